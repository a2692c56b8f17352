-- The tables of keys, plans and usage, in the subset SQLite and PostgreSQL share.
-- Times are UTC in whole microseconds, ids are UUIDs and all values come from the caller: no column has a default.
-- Every table that holds a tenant's data has tenant_id first in its key.

-- Whose data there is.
create table tenants (
    id         uuid        not null primary key,
    created_at timestamptz not null
);

-- Who may manage a tenant's data. The secret is not stored, only its hash.
create table admin_tokens (
    tenant_id  uuid        not null references tenants (id),
    id         uuid        not null,
    hash       bytea       not null unique,               -- SHA-256 of the whole token; names the tenant at log-in
    name       text        not null,
    prefix     text        not null,                      -- displayable start of the secret
    scopes     jsonb       not null,                      -- {"items": ["keys:read", ...]}
    created_at timestamptz not null,
    expires_at timestamptz,
    primary key (tenant_id, id)
);

-- What a tier of keys may do and costs. A deleted plan stays, hidden, for the keys that once used it.
create table plans (
    tenant_id          uuid        not null references tenants (id),
    id                 uuid        not null,
    name               text        not null,              -- slug, never changes
    description        text,
    limits             jsonb       not null,              -- {"items": [{name, algorithm, limit, window, ...}]}
    quota              jsonb,                             -- {limit, overage}; null: any number of units
    currency           text        not null,              -- ISO 4217
    base_price         bigint      not null,              -- millionths of the currency's unit, per key and period
    overage_unit_price bigint      not null,              -- millionths of the currency's unit, per unit beyond the quota
    features           jsonb       not null,              -- {"items": ["..."]}
    created_at         timestamptz not null,
    updated_at         timestamptz not null,
    deleted            boolean     not null,              -- hidden; its name is free again
    version            bigint      not null check (version > 0),
    revision           bigint      not null,              -- see revisions
    primary key (tenant_id, id)
);
create unique index plans_by_name on plans (tenant_id, name) where not deleted;
create index plans_by_revision on plans (revision);

-- The record behind a key's secrets. A deleted key stays, hidden, because usage and bills refer to it.
create table api_keys (
    tenant_id         uuid        not null,
    id                uuid        not null,
    plan_id           uuid        not null,
    key_prefix        text        not null,               -- displayable start of the current secret
    name              text        not null,
    description       text,
    environment       text        not null check (environment in ('live', 'test')),
    status            text        not null check (status in ('active', 'suspended', 'revoked')),
    suspended_until   timestamptz,                        -- null while suspended: until resumed
    suspension_reason text,
    owner_id          text,
    tags              jsonb       not null,               -- {"items": ["..."]}; api_key_tags is its index
    metadata          jsonb       not null,
    allowed_ips       jsonb       not null,               -- {"items": ["10.0.0.0/8", ...]}
    allowed_countries jsonb       not null,               -- {"items": ["DE", ...]}
    limits            jsonb       not null,               -- {"items": [...]}, as in plans
    search            text        not null,               -- name, description and key_prefix in lower case, a line each
    expires_at        timestamptz,
    created_at        timestamptz not null,
    updated_at        timestamptz not null,
    deleted_at        timestamptz,
    version           bigint      not null check (version > 0),
    revision          bigint      not null,               -- see revisions
    primary key (tenant_id, id),
    foreign key (tenant_id, plan_id) references plans (tenant_id, id)
);
create index api_keys_by_age on api_keys (tenant_id, created_at, id) where deleted_at is null;
create index api_keys_by_plan on api_keys (tenant_id, plan_id) where deleted_at is null;
create index api_keys_by_owner on api_keys (tenant_id, owner_id) where deleted_at is null;
create index api_keys_by_revision on api_keys (revision);

-- The tags of api_keys.tags, one a row, so that a filter is a look-up. Written together with the key.
create table api_key_tags (
    tenant_id  uuid not null,
    api_key_id uuid not null,
    tag        text not null,
    primary key (tenant_id, tag, api_key_id),
    foreign key (tenant_id, api_key_id) references api_keys (tenant_id, id) on delete cascade
);
create index api_key_tags_by_key on api_key_tags (tenant_id, api_key_id);

-- Hashes of a key's secrets: the current one, and older ones while their grace lasts.
create table api_key_secrets (
    hash       bytea       not null primary key,          -- SHA-256 of the whole key; names tenant and key at a check
    tenant_id  uuid        not null,
    api_key_id uuid        not null,
    expires_at timestamptz,                               -- null: the current secret
    foreign key (tenant_id, api_key_id) references api_keys (tenant_id, id) on delete cascade
);
create index api_key_secrets_by_key on api_key_secrets (tenant_id, api_key_id);
create index api_key_secrets_by_end on api_key_secrets (expires_at) where expires_at is not null;

-- What a key did per minute. Written only together with its journal cursor or event, so a repeat adds nothing.
create table usage_minutes (
    tenant_id      uuid        not null,
    api_key_id     uuid        not null,
    day            timestamptz not null,                  -- start of the minute's day, UTC
    hour           timestamptz not null,                  -- start of the minute's hour, UTC
    minute         timestamptz not null,
    allowed        bigint      not null check (allowed >= 0),        -- units admitted; the others are requests
    rate_limited   bigint      not null check (rate_limited >= 0),
    quota_exceeded bigint      not null check (quota_exceeded >= 0),
    rejected       bigint      not null check (rejected >= 0),
    primary key (tenant_id, api_key_id, day, minute),
    foreign key (tenant_id, api_key_id) references api_keys (tenant_id, id) on delete cascade
);

-- Sums of usage_minutes per hour, for days that were rolled up.
create table usage_hours (
    tenant_id      uuid        not null,
    api_key_id     uuid        not null,
    hour           timestamptz not null,
    day            timestamptz not null,
    allowed        bigint      not null,
    rate_limited   bigint      not null,
    quota_exceeded bigint      not null,
    rejected       bigint      not null,
    primary key (tenant_id, api_key_id, hour),
    foreign key (tenant_id, api_key_id) references api_keys (tenant_id, id) on delete cascade
);

-- Sums of usage_minutes per day, for days that were rolled up.
create table usage_days (
    tenant_id       uuid        not null,
    api_key_id      uuid        not null,
    day             timestamptz not null,
    allowed         bigint      not null,
    rate_limited    bigint      not null,
    quota_exceeded  bigint      not null,
    rejected        bigint      not null,
    minutes_dropped boolean     not null,                 -- retention took the minutes: later ones are added, not summed anew
    primary key (tenant_id, api_key_id, day),
    foreign key (tenant_id, api_key_id) references api_keys (tenant_id, id) on delete cascade
);
create index usage_days_with_minutes on usage_days (day) where not minutes_dropped;

-- Totals per billing period, always complete: what quotas and bills read.
create table usage_periods (
    tenant_id      uuid        not null,
    api_key_id     uuid        not null,
    period_start   timestamptz not null,                  -- start of the calendar month, UTC
    allowed        bigint      not null check (allowed >= 0),
    rate_limited   bigint      not null check (rate_limited >= 0),
    quota_exceeded bigint      not null check (quota_exceeded >= 0),
    rejected       bigint      not null check (rejected >= 0),
    last_at        timestamptz not null,                  -- the last decision counted here
    primary key (tenant_id, api_key_id, period_start),
    foreign key (tenant_id, api_key_id) references api_keys (tenant_id, id) on delete cascade
);
create index usage_periods_by_activity on usage_periods (period_start, last_at);

-- Units admitted per endpoint and day. At most 100 endpoints of a key and day have their own row; "(other)" has the rest.
create table usage_endpoints (
    tenant_id  uuid        not null,
    api_key_id uuid        not null,
    day        timestamptz not null,
    endpoint   text        not null,
    allowed    bigint      not null,
    primary key (tenant_id, api_key_id, day, endpoint),
    foreign key (tenant_id, api_key_id) references api_keys (tenant_id, id) on delete cascade
);
create index usage_endpoints_by_age on usage_endpoints (day);

-- Usage metered elsewhere, by the id its sender gave it, so that a repeat is known.
create table usage_events (
    tenant_id  uuid        not null,
    id         text        not null,
    api_key_id uuid        not null,
    at         timestamptz not null,
    units      bigint      not null check (units >= 0),
    endpoint   text,
    primary key (tenant_id, id),
    foreign key (tenant_id, api_key_id) references api_keys (tenant_id, id) on delete cascade
);
create index usage_events_by_age on usage_events (at);

-- Keys and days whose minutes changed since their last roll-up. The row is also the lock of that key and day:
-- whoever adds, rolls up or drops its minutes writes this row first.
create table rollup_due (
    tenant_id  uuid        not null,
    api_key_id uuid        not null,
    day        timestamptz not null,
    primary key (tenant_id, api_key_id, day),
    foreign key (tenant_id, api_key_id) references api_keys (tenant_id, id) on delete cascade
);
create index rollup_due_by_day on rollup_due (day);

-- Refusals per key, limit, endpoint and minute: an attack adds to a row, it does not write one per refusal.
create table violations (
    tenant_id  uuid        not null,
    api_key_id uuid        not null,
    minute     timestamptz not null,
    limit_name text        not null,                      -- "quota" for the period's quota
    endpoint   text        not null,                      -- empty: the caller named none
    ip_address text        not null,                      -- the last one seen; empty: unknown
    count      bigint      not null check (count >= 0),
    first_at   timestamptz not null,
    last_at    timestamptz not null,
    primary key (tenant_id, api_key_id, minute, limit_name, endpoint),
    foreign key (tenant_id, api_key_id) references api_keys (tenant_id, id) on delete cascade
);
create index violations_newest on violations (tenant_id, api_key_id, last_at);
create index violations_by_age on violations (minute);

-- How far each boot's journal is in the database. The installation's own: a journal holds all tenants' decisions.
create table journal_cursors (
    boot_id  uuid   not null,
    stream   text   not null check (stream in ('usage', 'violations')),
    position bigint not null check (position >= 0),       -- bytes
    primary key (boot_id, stream)
);

-- One counter that every write to a key or plan takes its number from, inside its transaction: commits happen in the
-- counter's order, so "all above n" misses nothing. The installation's own: nodes cache all tenants' keys.
create table revisions (
    name  text   not null primary key,
    value bigint not null
);
insert into revisions (name, value) values ('catalog', 0);

-- The last tick of each periodic job that a worker took. The installation's own.
create table schedules (
    name      text        not null primary key,
    last_tick timestamptz not null
);

-- Answers to writes that carried an Idempotency-Key. The status is null while the first attempt runs.
create table idempotency_keys (
    tenant_id    uuid        not null references tenants (id),
    actor        text        not null,                    -- whose keys they are: the token's id
    key          text        not null,
    fingerprint  bytea       not null,                    -- SHA-256 of the request
    started_at   timestamptz not null,
    status       integer,
    content_type text,
    headers      jsonb,                                   -- {"items": [["name", "value"], ...]}
    body         bytea,
    primary key (tenant_id, actor, key)
);
create index idempotency_keys_by_age on idempotency_keys (started_at);
