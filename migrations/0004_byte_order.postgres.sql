-- Compare these texts byte by byte, as SQLite does: the same order on both engines and under any locale.
alter table api_keys alter column name type text collate "C";
alter table api_keys alter column search type text collate "C";
alter table plans alter column name type text collate "C";
alter table usage_endpoints alter column endpoint type text collate "C";
alter table violations alter column limit_name type text collate "C";
alter table violations alter column endpoint type text collate "C";
