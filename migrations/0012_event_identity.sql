-- An event is known by who sent it and the id that the sender gave it, and a repeat by the hash of what was sent. Events
-- from before have no hash: whatever comes under their ids is a repeat. SQLite changes no primary key, so this builds the
-- table again.

create table usage_events_sourced (
    tenant_id    uuid        not null,
    source       text        not null,                    -- empty: the sender named none
    id           text        not null,
    api_key_id   uuid        not null,
    at           timestamptz not null,
    units        bigint      not null check (units >= 0),
    endpoint     text,
    payload_hash bytea,                                   -- SHA-256; null: from before hashes were kept
    primary key (tenant_id, source, id)
);

insert into usage_events_sourced (tenant_id, source, id, api_key_id, at, units, endpoint)
select tenant_id, '', id, api_key_id, at, units, endpoint from usage_events;

drop table usage_events;
alter table usage_events_sourced rename to usage_events;

create index usage_events_by_age on usage_events (at);
