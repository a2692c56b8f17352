-- Usage arrives packed and is added to the tables a part of all keys at a time, so that what is written follows the clock
-- of the tables and not the number of checks. Every table of usage is a sum that is added to: nothing is rolled up later.
-- None of them refers to api_keys any more: what was counted is owed, whatever becomes of the key.

-- What keys did and the tables do not hold yet: rows of a batch, in the transaction that moved the journal's cursor.
-- A key's usage is what the tables say and what is here. Written once, deleted in the transaction that adds it to the tables.
create table usage_pending (
    bucket   smallint not null,                           -- of the key ids; -1: any key
    boot_id  uuid     not null,
    position bigint   not null,                           -- where the batch ends in that boot's journal
    rows     bytea    not null,                           -- PackedUsage
    primary key (bucket, boot_id, position)
);

-- By minute first: those of now lie together, whichever keys they belong to.
create table usage_minutes_by_time (
    minute         timestamptz not null,
    tenant_id      uuid        not null,
    api_key_id     uuid        not null,
    allowed        bigint      not null check (allowed >= 0),        -- units, as all that follow
    rate_limited   bigint      not null check (rate_limited >= 0),
    quota_exceeded bigint      not null check (quota_exceeded >= 0),
    rejected       bigint      not null check (rejected >= 0),
    primary key (minute, tenant_id, api_key_id)
);

-- Kept longer than minutes. By key first: an update leaves the index alone.
create table usage_hours_added (
    tenant_id      uuid        not null,
    api_key_id     uuid        not null,
    hour           timestamptz not null,
    allowed        bigint      not null check (allowed >= 0),
    rate_limited   bigint      not null check (rate_limited >= 0),
    quota_exceeded bigint      not null check (quota_exceeded >= 0),
    rejected       bigint      not null check (rejected >= 0),
    primary key (tenant_id, api_key_id, hour)
);
create table usage_days_added (
    tenant_id      uuid        not null,
    api_key_id     uuid        not null,
    day            timestamptz not null,
    allowed        bigint      not null check (allowed >= 0),
    rate_limited   bigint      not null check (rate_limited >= 0),
    quota_exceeded bigint      not null check (quota_exceeded >= 0),
    rejected       bigint      not null check (rejected >= 0),
    primary key (tenant_id, api_key_id, day)
);

-- Totals per billing period: what quotas and bills read.
create table usage_periods_added (
    tenant_id      uuid        not null,
    api_key_id     uuid        not null,
    period_start   timestamptz not null,                  -- start of the calendar month, UTC
    allowed        bigint      not null check (allowed >= 0),
    rate_limited   bigint      not null check (rate_limited >= 0),
    quota_exceeded bigint      not null check (quota_exceeded >= 0),
    rejected       bigint      not null check (rejected >= 0),
    last_at        timestamptz not null,                  -- the last decision counted here
    primary key (tenant_id, api_key_id, period_start)
);

create table usage_endpoints_added (
    tenant_id  uuid        not null,
    api_key_id uuid        not null,
    day        timestamptz not null,
    endpoint   text        not null,                      -- at most 100 of a key and day; "(other)" has the rest
    allowed    bigint      not null check (allowed >= 0),
    primary key (tenant_id, api_key_id, day, endpoint)
);

create table usage_events_kept (
    tenant_id  uuid        not null,
    id         text        not null,
    api_key_id uuid        not null,
    at         timestamptz not null,
    units      bigint      not null check (units >= 0),
    endpoint   text,
    primary key (tenant_id, id)
);

-- Refusals by limits and quotas. Callers choose the endpoints, so rows per key, limit and day are bounded.
create table violations_bounded (
    tenant_id  uuid        not null,
    api_key_id uuid        not null,
    minute     timestamptz not null,                      -- of a row that stands for many: the start of its hour
    limit_name text        not null,                      -- "quota" for the period's quota
    endpoint   text        not null,                      -- empty: the caller named none; "(other)": of more than have rows
    ip_address text        not null,                      -- the last one seen; empty: unknown
    count      bigint      not null check (count >= 0),   -- decisions, not units
    first_at   timestamptz not null,
    last_at    timestamptz not null,
    primary key (tenant_id, api_key_id, minute, limit_name, endpoint)
);

insert into usage_minutes_by_time
select minute, tenant_id, api_key_id, allowed, rate_limited, quota_exceeded, rejected from usage_minutes;

-- The sums of a day that was due came from its minutes; what was rolled up of it counts only where these were gone.
insert into usage_hours_added
select tenant_id, api_key_id, hour, cast(sum(allowed) as bigint), cast(sum(rate_limited) as bigint),
    cast(sum(quota_exceeded) as bigint), cast(sum(rejected) as bigint)
from (
    select h.tenant_id, h.api_key_id, h.hour, h.allowed, h.rate_limited, h.quota_exceeded, h.rejected
    from usage_hours h
    join usage_days d on d.tenant_id = h.tenant_id and d.api_key_id = h.api_key_id and d.day = h.day
    where d.minutes_dropped or not exists (select 1 from rollup_due r
        where r.tenant_id = h.tenant_id and r.api_key_id = h.api_key_id and r.day = h.day)
    union all
    select m.tenant_id, m.api_key_id, m.hour, m.allowed, m.rate_limited, m.quota_exceeded, m.rejected
    from rollup_due r
    join usage_minutes m on m.tenant_id = r.tenant_id and m.api_key_id = r.api_key_id and m.day = r.day
) hours
group by tenant_id, api_key_id, hour;
insert into usage_days_added
select tenant_id, api_key_id, day, cast(sum(allowed) as bigint), cast(sum(rate_limited) as bigint),
    cast(sum(quota_exceeded) as bigint), cast(sum(rejected) as bigint)
from (
    select d.tenant_id, d.api_key_id, d.day, d.allowed, d.rate_limited, d.quota_exceeded, d.rejected
    from usage_days d
    where d.minutes_dropped or not exists (select 1 from rollup_due r
        where r.tenant_id = d.tenant_id and r.api_key_id = d.api_key_id and r.day = d.day)
    union all
    select m.tenant_id, m.api_key_id, m.day, m.allowed, m.rate_limited, m.quota_exceeded, m.rejected
    from rollup_due r
    join usage_minutes m on m.tenant_id = r.tenant_id and m.api_key_id = r.api_key_id and m.day = r.day
) days
group by tenant_id, api_key_id, day;
insert into usage_periods_added
select tenant_id, api_key_id, period_start, allowed, rate_limited, quota_exceeded, rejected, last_at from usage_periods;
insert into usage_endpoints_added select tenant_id, api_key_id, day, endpoint, allowed from usage_endpoints;
insert into usage_events_kept select tenant_id, id, api_key_id, at, units, endpoint from usage_events;
insert into violations_bounded
select tenant_id, api_key_id, minute, limit_name, endpoint, ip_address, count, first_at, last_at from violations;

drop table rollup_due;
drop table usage_minutes;
drop table usage_hours;
drop table usage_days;
drop table usage_periods;
drop table usage_endpoints;
drop table usage_events;
drop table violations;

alter table usage_minutes_by_time rename to usage_minutes;
alter table usage_hours_added rename to usage_hours;
alter table usage_days_added rename to usage_days;
alter table usage_periods_added rename to usage_periods;
alter table usage_endpoints_added rename to usage_endpoints;
alter table usage_events_kept rename to usage_events;
alter table violations_bounded rename to violations;

create index usage_endpoints_by_age on usage_endpoints (day);
create index usage_events_by_age on usage_events (at);
create index violations_newest on violations (tenant_id, api_key_id, last_at);
create index violations_by_age on violations (minute);
