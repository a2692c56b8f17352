-- As 1001, for the tables that 0003 made.
alter table usage_endpoints alter column endpoint type text collate "C";
alter table violations alter column limit_name type text collate "C";
alter table violations alter column endpoint type text collate "C";

-- Room on each page for the next version of its rows, so that adding to a sum touches neither another page nor an index.
alter table usage_hours set (fillfactor = 60);
alter table usage_days set (fillfactor = 60);
alter table usage_periods set (fillfactor = 60);
alter table usage_endpoints set (fillfactor = 60);

-- Packed already, and gone within seconds: compression would cost more than it saves.
alter table usage_pending alter column rows set storage external;
