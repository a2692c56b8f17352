-- No column's check lists the values that it may have: what may be stored is what the service's types can say. See the file
-- for SQLite.
alter table api_keys drop constraint api_keys_environment_check;
alter table api_keys drop constraint api_keys_status_check;
alter table journal_cursors drop constraint journal_cursors_stream_check;
