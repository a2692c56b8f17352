-- Tokens can be made, changed, rotated and deleted. The table is built again, because SQLite adds no constraint to one that
-- is there; it keeps the columns that nodes of the version before read.

create table admin_tokens_new (
    tenant_id    uuid        not null references tenants (id),
    id           uuid        not null,
    hash         bytea       not null unique,             -- SHA-256 of the current secret; names the tenant at log-in
    chosen       boolean     not null,                    -- the secret may be an operator's own text, without a checksum
    name         text        not null,
    prefix       text        not null,                    -- displayable start of the current secret
    scopes       jsonb       not null,                    -- {"items": ["keys:read", ...]}
    allowed_ips  jsonb       not null,                    -- {"items": ["10.0.0.0/8", ...]}; none: from anywhere
    created_at   timestamptz not null,
    updated_at   timestamptz not null,
    expires_at   timestamptz,
    last_used_at timestamptz,                             -- to within a minute
    deleted_at   timestamptz,                             -- hidden; whoever did something stays known
    version      bigint      not null check (version > 0),
    revision     bigint      not null,                    -- see revisions
    primary key (tenant_id, id)
);
insert into admin_tokens_new (tenant_id, id, hash, chosen, name, prefix, scopes, allowed_ips, created_at, updated_at,
    expires_at, last_used_at, deleted_at, version, revision)
select tenant_id, id, hash, true, name, prefix, scopes, '{"items": []}', created_at, created_at, expires_at, null, null, 1, 0
from admin_tokens;
drop table admin_tokens;
alter table admin_tokens_new rename to admin_tokens;
create index admin_tokens_by_age on admin_tokens (tenant_id, created_at, id) where deleted_at is null;
create index admin_tokens_by_revision on admin_tokens (revision);

-- Secrets that a rotation replaced, while their grace lasts.
create table former_token_secrets (
    hash       bytea       not null primary key,          -- SHA-256 of the whole token
    chosen     boolean     not null,                      -- as in admin_tokens
    tenant_id  uuid        not null,
    token_id   uuid        not null,
    expires_at timestamptz not null,
    foreign key (tenant_id, token_id) references admin_tokens (tenant_id, id) on delete cascade
);
create index former_token_secrets_by_token on former_token_secrets (tenant_id, token_id);
create index former_token_secrets_by_end on former_token_secrets (expires_at);
