-- What keys owe: a record per key and calendar month, its lines, and what pays it. All amounts are millionths of the currency's
-- unit. Closed numbers and lines never change; 0010 has the engines refuse it.

create table billing_records (
    tenant_id        uuid        not null,
    id               uuid        not null,                -- made from tenant, key, period and revision
    number           text        not null,
    api_key_id       uuid        not null,
    api_key_name     text        not null,                -- when it was closed, as owner_id, environment and tier
    owner_id         text,
    environment      text        not null,
    tier             text        not null,
    period_start     timestamptz not null,
    revision         integer     not null check (revision > 0),
    currency         text        not null,
    units            bigint      not null check (units >= 0),
    overage_units    bigint      not null check (overage_units >= 0),
    subtotal         bigint      not null,
    credits_applied  bigint      not null check (credits_applied >= 0),
    total            bigint      not null check (total >= 0),
    rounding         bigint      not null,
    amount_due       bigint      not null check (amount_due = total + rounding),
    amount_due_minor bigint      not null,
    complete         boolean     not null,                -- false: a node's journal was still missing
    holder_hash      bytea       not null,
    digest           bytea       not null,
    closed_at        timestamptz not null,
    due_at           timestamptz not null,
    status           text        not null,                -- closed or void; from here on columns may change
    payment_status   text,                                -- null: it is void
    amount_paid      bigint      not null check (amount_paid >= 0),
    paid_at          timestamptz,
    voided_at        timestamptz,
    void_reason      text,
    version          bigint      not null check (version > 0),
    primary key (tenant_id, id),
    unique (tenant_id, api_key_id, period_start, revision)
);
-- At most one counts.
create unique index billing_records_that_count on billing_records (tenant_id, api_key_id, period_start) where status <> 'void';
create index billing_records_by_period on billing_records (tenant_id, period_start, api_key_id, revision);
create index billing_records_by_owner on billing_records (tenant_id, owner_id, period_start);
create index billing_records_unpaid on billing_records (due_at) where payment_status = 'pending' or payment_status = 'failed';

create table billing_lines (
    tenant_id          uuid        not null,
    record_id          uuid        not null,
    position           integer     not null check (position > 0),
    kind               text        not null,
    price_id           uuid,
    tier_name          text,
    tier               integer,
    segment_start      timestamptz,
    segment_end        timestamptz,
    share              text,
    period_start       timestamptz not null,              -- of a correction, the corrected one
    quantity           bigint      not null check (quantity >= 0),
    unit_amount        text,                              -- a decimal number of up to 12 places
    amount             bigint      not null,
    corrects_record_id uuid,
    primary key (tenant_id, record_id, position)
);

-- Which units a record bills, so that a later correction bills each only once. Rows are added and never changed.
create table billing_units (
    tenant_id    uuid        not null,
    record_id    uuid        not null,
    period_start timestamptz not null,                    -- of the units; earlier than the record's where it corrects
    price_id     uuid        not null,
    units        bigint      not null,
    amount       bigint      not null,                    -- of all lines with this price and period
    primary key (tenant_id, record_id, period_start, price_id)
);

-- Usage that came after its period was closed, written with it. Waived: the record was taken back for good.
create table billing_due (
    tenant_id    uuid        not null,
    api_key_id   uuid        not null,
    period_start timestamptz not null,
    waived       boolean     not null,
    primary key (tenant_id, api_key_id, period_start)
);

-- What became of a record's payment, in order; the last is its status.
create table payment_events (
    tenant_id      uuid        not null,
    record_id      uuid        not null,
    seq            bigint      not null check (seq > 0),
    at             timestamptz not null,
    payment_status text        not null,
    amount_paid    bigint      not null,
    reference      text,
    primary key (tenant_id, record_id, seq)
);

-- Amounts granted in advance. What is left is the amount less the applications that were not given back.
create table credit_grants (
    tenant_id    uuid        not null,
    id           uuid        not null,
    owner_id     text,                                    -- either this
    api_key_id   uuid,                                    -- or that
    amount       bigint      not null check (amount > 0),
    currency     text        not null,
    priority     integer     not null,
    effective_at timestamptz not null,
    expires_at   timestamptz,
    reason       text,
    prepaid      boolean     not null,
    source       text        not null,                    -- manual, or correction
    created_at   timestamptz not null,
    voided_at    timestamptz,
    version      bigint      not null check (version > 0),
    primary key (tenant_id, id)
);
create index credit_grants_by_owner on credit_grants (tenant_id, owner_id) where owner_id is not null;
create index credit_grants_by_key on credit_grants (tenant_id, api_key_id) where api_key_id is not null;

create table credit_applications (
    tenant_id   uuid        not null,
    grant_id    uuid        not null,
    record_id   uuid        not null,
    amount      bigint      not null check (amount > 0),
    applied_at  timestamptz not null,
    returned_at timestamptz,                              -- its record was taken back
    primary key (tenant_id, grant_id, record_id)
);
create index credit_applications_by_record on credit_applications (tenant_id, record_id);
