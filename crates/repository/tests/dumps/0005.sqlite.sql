-- A database of the version before 0006, with data of every table that has any. Written by `.dump` of sqlite3.
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE _sqlx_migrations (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP,
    success BOOLEAN NOT NULL,
    checksum BLOB NOT NULL,
    execution_time BIGINT NOT NULL
);
INSERT INTO _sqlx_migrations VALUES(1,'initial','2026-11-25 10:54:07',1,X'32f3fd2c00f67e790173b58a96bb8e6bbf980b7ba8ccba13dcc18b1bb1a815a656e80bd1d00a88ea192f954a6e7d24ef',2258140);
INSERT INTO _sqlx_migrations VALUES(2,'tokens','2026-11-25 10:54:07',1,X'269a2f18a62248f273bd00b20c0109de32d822e0961d820fd7967cbdd1c3997225dbc71ba4555810790a1e0db4f9b430',1673737);
INSERT INTO _sqlx_migrations VALUES(3,'usage by time','2026-11-25 10:54:07',1,X'dc406fed8507d4eb41ccc321adc5a1c3e8785a4fabf82ebce5b53904dfacd9cb084fd9997b8c0178b9e96ebc1b3795f2',7845688);
CREATE TABLE tenants (
    id         uuid        not null primary key,
    created_at timestamptz not null
);
INSERT INTO tenants VALUES(X'00000000000000000000000000000001','2026-11-25T10:54:07.137673+00:00');
CREATE TABLE plans (
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
INSERT INTO plans VALUES(X'00000000000000000000000000000001',X'01a2125765217c7f99e10f84acc8c141','free',NULL,'{"items":[{"algorithm":"sliding_window","cost":1,"limit":100,"name":"per-hour","on_failure":"local","per":"key","window":3600}]}','{"limit":10000,"overage":"block"}','USD',0,0,'{"items":["community support"]}','2026-11-25T10:54:07.137673+00:00','2026-11-25T10:54:07.137673+00:00',0,1,1);
INSERT INTO plans VALUES(X'00000000000000000000000000000001',X'01a21257652171959fa5e211e8d62020','standard',NULL,'{"items":[{"algorithm":"sliding_window","cost":1,"limit":1000,"name":"per-hour","on_failure":"local","per":"key","window":3600}]}','{"limit":100000,"overage":"bill"}','USD',29000000,500,'{"items":["email support"]}','2026-11-25T10:54:07.137673+00:00','2026-11-25T10:54:07.137673+00:00',0,1,1);
INSERT INTO plans VALUES(X'00000000000000000000000000000001',X'01a2125765217dce92f0f82bbaad45ba','pro',NULL,'{"items":[{"algorithm":"sliding_window","cost":1,"limit":10000,"name":"per-hour","on_failure":"local","per":"key","window":3600}]}','{"limit":1000000,"overage":"bill"}','USD',199000000,250,'{"items":["priority support","usage export"]}','2026-11-25T10:54:07.137673+00:00','2026-11-25T10:54:07.137673+00:00',0,1,1);
INSERT INTO plans VALUES(X'00000000000000000000000000000001',X'01a212576521747dbd280c8cd6b19c9a','enterprise',NULL,'{"items":[{"algorithm":"sliding_window","cost":1,"limit":100000,"name":"per-hour","on_failure":"local","per":"key","window":3600}]}','{"limit":10000000,"overage":"bill"}','USD',1499000000,120,'{"items":["dedicated support","usage export","audit log"]}','2026-11-25T10:54:07.137673+00:00','2026-11-25T10:54:07.137673+00:00',0,1,1);
CREATE TABLE api_keys (
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
INSERT INTO api_keys VALUES(X'00000000000000000000000000000001',X'01a212577062711fafcb2c9d155be1e8',X'01a21257652171959fa5e211e8d62020','tg_live_SeLG','Checkout service','a key with everything','live','active',NULL,NULL,'acme','{"items":["production","eu"]}','{"note":"größer"}','{"items":["127.0.0.0/8"]}','{"items":[]}','{"items":[{"algorithm":"sliding_window","cost":1,"limit":3,"name":"per-second","on_failure":"local","per":"key","window":3600}]}',replace('checkout service\na key with everything\ntg_live_selg','\n',char(10)),NULL,'2026-11-25T10:54:10.018329+00:00','2026-11-25T10:54:14.761287+00:00',NULL,2,5);
INSERT INTO api_keys VALUES(X'00000000000000000000000000000001',X'01a2125771e6773e8ac0f2407807f9e4',X'01a2125765217c7f99e10f84acc8c141','tg_test_5k2e','second',NULL,'test','suspended',NULL,'unpaid invoice',NULL,'{"items":[]}','{}','{"items":[]}','{"items":[]}','{"items":[]}',replace('second\n\ntg_test_5k2e','\n',char(10)),NULL,'2026-11-25T10:54:10.406955+00:00','2026-11-25T10:54:14.791676+00:00',NULL,2,6);
INSERT INTO api_keys VALUES(X'00000000000000000000000000000001',X'01a21257728d7202b197f86898b0d992',X'01a2125765217dce92f0f82bbaad45ba','tg_live_OCs3','third',NULL,'live','revoked',NULL,NULL,NULL,'{"items":["eu"]}','{}','{"items":[]}','{"items":[]}','{"items":[]}',replace('third\n\ntg_live_ocs3','\n',char(10)),NULL,'2026-11-25T10:54:10.573929+00:00','2026-11-25T10:54:14.805701+00:00','2026-11-25T10:54:14.805701+00:00',2,7);
CREATE TABLE api_key_tags (
    tenant_id  uuid not null,
    api_key_id uuid not null,
    tag        text not null,
    primary key (tenant_id, tag, api_key_id),
    foreign key (tenant_id, api_key_id) references api_keys (tenant_id, id) on delete cascade
);
INSERT INTO api_key_tags VALUES(X'00000000000000000000000000000001',X'01a212577062711fafcb2c9d155be1e8','production');
INSERT INTO api_key_tags VALUES(X'00000000000000000000000000000001',X'01a212577062711fafcb2c9d155be1e8','eu');
CREATE TABLE api_key_secrets (
    hash       bytea       not null primary key,          -- SHA-256 of the whole key; names tenant and key at a check
    tenant_id  uuid        not null,
    api_key_id uuid        not null,
    expires_at timestamptz,                               -- null: the current secret
    foreign key (tenant_id, api_key_id) references api_keys (tenant_id, id) on delete cascade
);
INSERT INTO api_key_secrets VALUES(X'174eeca05a45204121779d644bf2bfc8557149dea8d4dc594f2b247a201bd461',X'00000000000000000000000000000001',X'01a212577062711fafcb2c9d155be1e8','2026-11-26T10:54:14.761287+00:00');
INSERT INTO api_key_secrets VALUES(X'c7051bced4f60acd8684b0c75ed464f8ff86a20329cc41403d932fec461c18d4',X'00000000000000000000000000000001',X'01a2125771e6773e8ac0f2407807f9e4',NULL);
INSERT INTO api_key_secrets VALUES(X'b46bda9f505b69ebe92fee929051a523d6369308e2117a05b1e75dcae3e50a9e',X'00000000000000000000000000000001',X'01a21257728d7202b197f86898b0d992','2026-11-25T10:54:14.805701+00:00');
INSERT INTO api_key_secrets VALUES(X'd16b0ab5d966cbe350dba724f84887286e10d8b6b81be638ad7b7bd4075b7de8',X'00000000000000000000000000000001',X'01a212577062711fafcb2c9d155be1e8',NULL);
CREATE TABLE journal_cursors (
    boot_id  uuid   not null,
    stream   text   not null check (stream in ('usage', 'violations')),
    position bigint not null check (position >= 0),       -- bytes
    primary key (boot_id, stream)
);
INSERT INTO journal_cursors VALUES(X'01a2125764be7c65a2cdf82d2bfa0078','usage',328);
INSERT INTO journal_cursors VALUES(X'01a2125764be7c65a2cdf82d2bfa0078','violations',328);
CREATE TABLE revisions (
    name  text   not null primary key,
    value bigint not null
);
INSERT INTO revisions VALUES('catalog',9);
CREATE TABLE schedules (
    name      text        not null primary key,
    last_tick timestamptz not null
);
INSERT INTO schedules VALUES('quota_sync','2026-11-25T10:54:20+00:00');
INSERT INTO schedules VALUES('retention','2026-11-25T00:00:00+00:00');
CREATE TABLE idempotency_keys (
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
INSERT INTO idempotency_keys VALUES(X'00000000000000000000000000000001','token:01a21257-6521-75f6-9ec9-d094ea7ae024','one',X'd60e669b26e47cecc53fc5c11e3c471803c1cb18ecf4e77a6a8335030b4eb338','2026-11-25T10:54:10.017178+00:00',201,'application/json','{"items":[["etag","\"1\""],["location","/api/v1/api-keys/01a21257-7062-711f-afcb-2c9d155be1e8"]]}',X'dedc6084a37080e154f67a3b74616ce74946283de31f730762a832a1859c2c8d458f610ff9bded52f99a9ea78b683030c3f2af8d18b53240dcfcd27ac18ed76aa0aaaa27754f7b235c80d4f8167c9dd2989cc435e7252dd3863bd8d4058d61371a5d25cadbec578e200ecec3605a47562e7d4489df27f5ede858823783962d55a10a3cf6ae44074c5f6751ea5a2b35182f6d41cedaba26d8707a41c72784a32c274e38b26d0ec6ab5068ad3a144664755edadeae3d2b162ea8f0e5ce62e43cc04ecba39582fc99d17ff875d7c2405725b940c88fd9c73c3ee167a3b37f5377cfd3b40f7158f9d7c8373e866b274048c6039578ee77067df51b25a43b91913a4aa25ea8e9252ad7ada5989413babcb4bad93a0cedec077d4498c33718da8aed521197112ba171548f54adc7073a496219bf2b71d532881e4acb161a0b633b205fbf47d934df243d4bf228776744037943de2219f3d267b54f9b690d1ff9244667c97ac890738611ad3b32563af95d02bbbf7b93b0249fc0388f1fc97006023c334493cbcf312b1b0323ea15a8132f2b115f8aeb0248f2b3b8b1a15a276db1168dec477ffe8064c97231bc17f0f24181f31da3ee19894d66fa96538d73da27042045f979a74ebc7b64e8ca681a6fc3a373473111ee425d9ee6d7d7e4aad7a4d0b1ca127b5dbc714428ad5dab539395f89e91bdd3836652dcb69f4a46225aea52545cf023a87e0298aef2c6537ed785282e281e588cc34a86b3870fe791b22d83c806986534ac291acad1b98f11defec27fd2b67e0012c146c504f20182d8b767055951c41e42636014ae98d9e78d1a84f576c244c4cf17f48cb7c51a84405f92197356a5b143a938f63050494eda3a501b484bac1359bb99aa4ca18572a8c9bd8b77c2b04e211317407e6d6c9d1202c1e948662bf810b30baee858c429ddc9b8c1b976aa5d129785549b8a58fc157b7b7b9c9032a810e37b395fbe83f102190c2cb187d7fb9a72d066db0b2f2737ceedfc2af693dd143add7f0232050281c43a1662a5b4967a7ec11ca133d1d2e2445fd91e644d1077c511c7e74b1ba06fce8b23494074df5e0d63ed84e4def5fd4e59ca4909a36e62afd8f90672800f06b5dc5241d1d39cadeda574e605eda7a780184d4182196030b558323966a1f396ad0370f9363a00eb560ab03c5a7e5a993ff92a62b29d6afd03b4a89626048ee4becb28abf211c0bb7ce5a1a47fde329a7c');
CREATE TABLE IF NOT EXISTS "admin_tokens" (
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
INSERT INTO admin_tokens VALUES(X'00000000000000000000000000000001',X'01a21257652175f69ec9d094ea7ae024',X'8cdcaa1c8fd912ae42b6cc3911fa77b270c85a3184c53d46bea8c92a439c692a',1,'bootstrap','tgt_admin_dump','{"items":["keys:read","keys:write","limits:check","limits:write","usage:read","billing:read","billing:write","alerts:read","alerts:write","admin"]}','{"items":[]}','2026-11-25T10:54:07.137673+00:00','2026-11-25T10:54:07.137673+00:00',NULL,'2026-11-25T10:54:10.016968+00:00',NULL,1,1);
INSERT INTO admin_tokens VALUES(X'00000000000000000000000000000001',X'01a21257832874168b59a54948721407',X'c7b766fdea0332761e09b184d84d5df5de8c9dea0e00f6af5565757574065570',0,'reader','tgt_admin_RcNr','{"items":["keys:read"]}','{"items":["10.0.0.0/8"]}','2026-11-25T10:54:14.824531+00:00','2026-11-25T10:54:15.015308+00:00',NULL,NULL,NULL,2,9);
CREATE TABLE former_token_secrets (
    hash       bytea       not null primary key,          -- SHA-256 of the whole token
    chosen     boolean     not null,                      -- as in admin_tokens
    tenant_id  uuid        not null,
    token_id   uuid        not null,
    expires_at timestamptz not null,
    foreign key (tenant_id, token_id) references admin_tokens (tenant_id, id) on delete cascade
);
INSERT INTO former_token_secrets VALUES(X'1f2014522856ab0bcbeef7ee5b7d9af55a909332d9df338815abd856aab10048',0,X'00000000000000000000000000000001',X'01a21257832874168b59a54948721407','2026-11-26T10:54:15.015308+00:00');
CREATE TABLE usage_pending (
    bucket   smallint not null,                           -- of the key ids; -1: any key
    boot_id  uuid     not null,
    position bigint   not null,                           -- where the batch ends in that boot's journal
    rows     bytea    not null,                           -- PackedUsage
    primary key (bucket, boot_id, position)
);
CREATE TABLE IF NOT EXISTS "usage_minutes" (
    minute         timestamptz not null,
    tenant_id      uuid        not null,
    api_key_id     uuid        not null,
    allowed        bigint      not null check (allowed >= 0),        -- units, as all that follow
    rate_limited   bigint      not null check (rate_limited >= 0),
    quota_exceeded bigint      not null check (quota_exceeded >= 0),
    rejected       bigint      not null check (rejected >= 0),
    primary key (minute, tenant_id, api_key_id)
);
INSERT INTO usage_minutes VALUES('2026-11-25T10:54:00+00:00',X'00000000000000000000000000000001',X'01a212577062711fafcb2c9d155be1e8',10,2,0,0);
CREATE TABLE IF NOT EXISTS "usage_hours" (
    tenant_id      uuid        not null,
    api_key_id     uuid        not null,
    hour           timestamptz not null,
    allowed        bigint      not null check (allowed >= 0),
    rate_limited   bigint      not null check (rate_limited >= 0),
    quota_exceeded bigint      not null check (quota_exceeded >= 0),
    rejected       bigint      not null check (rejected >= 0),
    primary key (tenant_id, api_key_id, hour)
);
INSERT INTO usage_hours VALUES(X'00000000000000000000000000000001',X'01a212577062711fafcb2c9d155be1e8','2026-11-25T10:00:00+00:00',10,2,0,0);
CREATE TABLE IF NOT EXISTS "usage_days" (
    tenant_id      uuid        not null,
    api_key_id     uuid        not null,
    day            timestamptz not null,
    allowed        bigint      not null check (allowed >= 0),
    rate_limited   bigint      not null check (rate_limited >= 0),
    quota_exceeded bigint      not null check (quota_exceeded >= 0),
    rejected       bigint      not null check (rejected >= 0),
    primary key (tenant_id, api_key_id, day)
);
INSERT INTO usage_days VALUES(X'00000000000000000000000000000001',X'01a212577062711fafcb2c9d155be1e8','2026-11-25T00:00:00+00:00',10,2,0,0);
CREATE TABLE IF NOT EXISTS "usage_periods" (
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
INSERT INTO usage_periods VALUES(X'00000000000000000000000000000001',X'01a212577062711fafcb2c9d155be1e8','2026-11-01T00:00:00+00:00',10,2,0,0,'2026-11-25T10:54:15+00:00');
CREATE TABLE IF NOT EXISTS "usage_endpoints" (
    tenant_id  uuid        not null,
    api_key_id uuid        not null,
    day        timestamptz not null,
    endpoint   text        not null,                      -- at most 100 of a key and day; "(other)" has the rest
    allowed    bigint      not null check (allowed >= 0),
    primary key (tenant_id, api_key_id, day, endpoint)
);
INSERT INTO usage_endpoints VALUES(X'00000000000000000000000000000001',X'01a212577062711fafcb2c9d155be1e8','2026-11-25T00:00:00+00:00','/v1/messages',3);
CREATE TABLE IF NOT EXISTS "usage_events" (
    tenant_id  uuid        not null,
    id         text        not null,
    api_key_id uuid        not null,
    at         timestamptz not null,
    units      bigint      not null check (units >= 0),
    endpoint   text,
    primary key (tenant_id, id)
);
INSERT INTO usage_events VALUES(X'00000000000000000000000000000001','evt-1',X'01a212577062711fafcb2c9d155be1e8','2026-11-25T10:54:15+00:00',7,NULL);
CREATE TABLE IF NOT EXISTS "violations" (
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
INSERT INTO violations VALUES(X'00000000000000000000000000000001',X'01a212577062711fafcb2c9d155be1e8','2026-11-25T10:54:00+00:00','per-second','/v1/messages','127.0.0.0',2,'2026-11-25T10:54:10.738562+00:00','2026-11-25T10:54:10.746356+00:00');
CREATE UNIQUE INDEX plans_by_name on plans (tenant_id, name) where not deleted;
CREATE INDEX plans_by_revision on plans (revision);
CREATE INDEX api_keys_by_age on api_keys (tenant_id, created_at, id) where deleted_at is null;
CREATE INDEX api_keys_by_plan on api_keys (tenant_id, plan_id) where deleted_at is null;
CREATE INDEX api_keys_by_owner on api_keys (tenant_id, owner_id) where deleted_at is null;
CREATE INDEX api_keys_by_revision on api_keys (revision);
CREATE INDEX api_key_tags_by_key on api_key_tags (tenant_id, api_key_id);
CREATE INDEX api_key_secrets_by_key on api_key_secrets (tenant_id, api_key_id);
CREATE INDEX api_key_secrets_by_end on api_key_secrets (expires_at) where expires_at is not null;
CREATE INDEX idempotency_keys_by_age on idempotency_keys (started_at);
CREATE INDEX admin_tokens_by_age on admin_tokens (tenant_id, created_at, id) where deleted_at is null;
CREATE INDEX admin_tokens_by_revision on admin_tokens (revision);
CREATE INDEX former_token_secrets_by_token on former_token_secrets (tenant_id, token_id);
CREATE INDEX former_token_secrets_by_end on former_token_secrets (expires_at);
CREATE INDEX usage_endpoints_by_age on usage_endpoints (day);
CREATE INDEX usage_events_by_age on usage_events (at);
CREATE INDEX violations_newest on violations (tenant_id, api_key_id, last_at);
CREATE INDEX violations_by_age on violations (minute);
COMMIT;
