-- Units that were counted before journals' units were: what is compared with all journals leaves them out. One row, which the
-- first start writes.
create table journal_baseline (
    name  text   not null primary key,
    units bigint not null
);

-- What did not agree. A difference that is found again is the same row.
create table reconciliation_findings (
    tenant_id    uuid        not null,
    id           uuid        not null,
    kind         text        not null,                    -- what was compared
    subject      text        not null,                    -- the key's or the record's id; empty: all journals
    period_start timestamptz not null,                    -- the epoch: of no period
    expected     text        not null,
    actual       text        not null,
    found_at     timestamptz not null,
    status       text        not null,                    -- open or acknowledged
    note         text,
    primary key (tenant_id, id),
    unique (tenant_id, kind, subject, period_start, expected, actual)
);
create index reconciliation_findings_by_age on reconciliation_findings (tenant_id, found_at, id);
create index reconciliation_findings_open on reconciliation_findings (status) where status = 'open';
