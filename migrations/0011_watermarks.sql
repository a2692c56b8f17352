-- Until when all decisions of a boot are in the database, and how many units its journal has brought. A period is closed once
-- every boot's watermark is past its end. Null: a boot of the version before.
alter table journal_cursors add column watermark timestamptz;
alter table journal_cursors add column units bigint;

-- Units of a period that came as events and by no journal. Null: none.
alter table usage_periods add column event_units bigint;
