-- No column's check lists the values that it may have: a further value would mean to build the table again. What may be
-- stored is what the service's types can say. SQLite drops no check, so this builds the tables again once.

create table api_keys_open (
    tenant_id         uuid        not null,
    id                uuid        not null,
    plan_id           uuid        not null,
    key_prefix        text        not null,               -- displayable start of the current secret
    name              text        not null,
    description       text,
    environment       text        not null,
    status            text        not null,
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

create table api_key_tags_open (
    tenant_id  uuid not null,
    api_key_id uuid not null,
    tag        text not null,
    primary key (tenant_id, tag, api_key_id),
    foreign key (tenant_id, api_key_id) references api_keys_open (tenant_id, id) on delete cascade
);

create table api_key_secrets_open (
    hash       bytea       not null primary key,          -- SHA-256 of the whole key; names tenant and key at a check
    tenant_id  uuid        not null,
    api_key_id uuid        not null,
    expires_at timestamptz,                               -- null: the current secret
    foreign key (tenant_id, api_key_id) references api_keys_open (tenant_id, id) on delete cascade
);

create table journal_cursors_open (
    boot_id  uuid   not null,
    stream   text   not null,
    position bigint not null check (position >= 0),       -- bytes
    primary key (boot_id, stream)
);

insert into api_keys_open select * from api_keys;
insert into api_key_tags_open select * from api_key_tags;
insert into api_key_secrets_open select * from api_key_secrets;
insert into journal_cursors_open select * from journal_cursors;

-- First what refers to keys: to drop them would delete it.
drop table api_key_tags;
drop table api_key_secrets;
drop table api_keys;
drop table journal_cursors;
alter table api_keys_open rename to api_keys;
alter table api_key_tags_open rename to api_key_tags;
alter table api_key_secrets_open rename to api_key_secrets;
alter table journal_cursors_open rename to journal_cursors;

create index api_keys_by_age on api_keys (tenant_id, created_at, id) where deleted_at is null;
create index api_keys_by_plan on api_keys (tenant_id, plan_id) where deleted_at is null;
create index api_keys_by_owner on api_keys (tenant_id, owner_id) where deleted_at is null;
create index api_keys_by_revision on api_keys (revision);
create index api_key_tags_by_key on api_key_tags (tenant_id, api_key_id);
create index api_key_secrets_by_key on api_key_secrets (tenant_id, api_key_id);
create index api_key_secrets_by_end on api_key_secrets (expires_at) where expires_at is not null;
