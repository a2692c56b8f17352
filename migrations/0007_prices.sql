-- What keys cost, by the minute: prices in versions that never change, which of them a plan has from when, and which plan a
-- key has from when. So every unit keeps the price of the minute it was used in.

-- A plan's prices as they were last set. Null: a plan of the version before, whose prices stand in base_price and
-- overage_unit_price; the next start fills it. Those columns are written on, for nodes of that version.
alter table plans add column prices jsonb;

-- Highest amount that a key may cost in a period, in millionths of its currency's unit. Null: what its plan says.
alter table api_keys add column spend_cap bigint;

-- What decides a bill. Rows are added and never changed: equal terms are one row.
create table prices (
    tenant_id  uuid        not null,
    id         uuid        not null,                      -- made from plan and terms
    plan_id    uuid        not null,
    terms      jsonb       not null,                      -- PriceTerms
    created_at timestamptz not null,
    primary key (tenant_id, id)
);

-- From when a plan has which prices. The first row of a plan counts from the beginning of time.
create table plan_prices (
    tenant_id uuid        not null,
    plan_id   uuid        not null,
    starts_at timestamptz not null,                       -- a whole minute, but for a plan's first row
    price_id  uuid        not null,
    is_first  boolean     not null,
    primary key (tenant_id, plan_id, starts_at)
);
create index plan_prices_by_time on plan_prices (starts_at);

-- From when a key is on which plan, to be billed. The first row of a key counts from the beginning of time.
create table plan_spans (
    tenant_id  uuid        not null,
    api_key_id uuid        not null,
    starts_at  timestamptz not null,                      -- a whole minute, but for a key's first row
    plan_id    uuid        not null,
    is_first   boolean     not null,
    primary key (tenant_id, api_key_id, starts_at)
);
create index plan_spans_by_plan on plan_spans (tenant_id, plan_id);
insert into plan_spans (tenant_id, api_key_id, starts_at, plan_id, is_first)
select tenant_id, id, created_at, plan_id, true from api_keys;

-- Units admitted while one version of prices was in force, written with usage_periods, whose allowed it sums to.
create table usage_segments (
    tenant_id    uuid        not null,
    api_key_id   uuid        not null,
    period_start timestamptz not null,
    starts_at    timestamptz not null,                    -- the period's start, or when plan or prices changed within it
    units        bigint      not null check (units >= 0),
    primary key (tenant_id, api_key_id, period_start, starts_at)
);
insert into usage_segments (tenant_id, api_key_id, period_start, starts_at, units)
select tenant_id, api_key_id, period_start, period_start, allowed from usage_periods;

-- Who is billed, from which period on. Keys of the test environment are not.
create table billing_accounts (
    tenant_id   uuid        not null,
    api_key_id  uuid        not null,
    next_period timestamptz,                              -- the next to be closed; null: nothing more is owed
    ended_at    timestamptz,                              -- when the key was deleted or revoked
    primary key (tenant_id, api_key_id)
);
create index billing_accounts_due on billing_accounts (next_period, tenant_id, api_key_id) where next_period is not null;
