-- A database of the version before 0006, with data of every table that has any. Written by `pg_dump --inserts --no-owner --no-privileges`.
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;
CREATE TABLE public._sqlx_migrations (
    version bigint NOT NULL,
    description text NOT NULL,
    installed_on timestamp with time zone DEFAULT now() NOT NULL,
    success boolean NOT NULL,
    checksum bytea NOT NULL,
    execution_time bigint NOT NULL
);
CREATE TABLE public.admin_tokens (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    hash bytea NOT NULL,
    chosen boolean NOT NULL,
    name text NOT NULL,
    prefix text NOT NULL,
    scopes jsonb NOT NULL,
    allowed_ips jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone,
    last_used_at timestamp with time zone,
    deleted_at timestamp with time zone,
    version bigint NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT admin_tokens_new_version_check CHECK ((version > 0))
);
CREATE TABLE public.api_key_secrets (
    hash bytea NOT NULL,
    tenant_id uuid NOT NULL,
    api_key_id uuid NOT NULL,
    expires_at timestamp with time zone
);
CREATE TABLE public.api_key_tags (
    tenant_id uuid NOT NULL,
    api_key_id uuid NOT NULL,
    tag text NOT NULL
);
CREATE TABLE public.api_keys (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    plan_id uuid NOT NULL,
    key_prefix text NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    description text,
    environment text NOT NULL,
    status text NOT NULL,
    suspended_until timestamp with time zone,
    suspension_reason text,
    owner_id text,
    tags jsonb NOT NULL,
    metadata jsonb NOT NULL,
    allowed_ips jsonb NOT NULL,
    allowed_countries jsonb NOT NULL,
    limits jsonb NOT NULL,
    search text NOT NULL COLLATE pg_catalog."C",
    expires_at timestamp with time zone,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    deleted_at timestamp with time zone,
    version bigint NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT api_keys_environment_check CHECK ((environment = ANY (ARRAY['live'::text, 'test'::text]))),
    CONSTRAINT api_keys_status_check CHECK ((status = ANY (ARRAY['active'::text, 'suspended'::text, 'revoked'::text]))),
    CONSTRAINT api_keys_version_check CHECK ((version > 0))
);
CREATE TABLE public.former_token_secrets (
    hash bytea NOT NULL,
    chosen boolean NOT NULL,
    tenant_id uuid NOT NULL,
    token_id uuid NOT NULL,
    expires_at timestamp with time zone NOT NULL
);
CREATE TABLE public.idempotency_keys (
    tenant_id uuid NOT NULL,
    actor text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    started_at timestamp with time zone NOT NULL,
    status integer,
    content_type text,
    headers jsonb,
    body bytea
);
CREATE TABLE public.journal_cursors (
    boot_id uuid NOT NULL,
    stream text NOT NULL,
    "position" bigint NOT NULL,
    CONSTRAINT journal_cursors_position_check CHECK (("position" >= 0)),
    CONSTRAINT journal_cursors_stream_check CHECK ((stream = ANY (ARRAY['usage'::text, 'violations'::text])))
);
CREATE TABLE public.plans (
    tenant_id uuid NOT NULL,
    id uuid NOT NULL,
    name text NOT NULL COLLATE pg_catalog."C",
    description text,
    limits jsonb NOT NULL,
    quota jsonb,
    currency text NOT NULL,
    base_price bigint NOT NULL,
    overage_unit_price bigint NOT NULL,
    features jsonb NOT NULL,
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    deleted boolean NOT NULL,
    version bigint NOT NULL,
    revision bigint NOT NULL,
    CONSTRAINT plans_version_check CHECK ((version > 0))
);
CREATE TABLE public.revisions (
    name text NOT NULL,
    value bigint NOT NULL
);
CREATE TABLE public.schedules (
    name text NOT NULL,
    last_tick timestamp with time zone NOT NULL
);
CREATE TABLE public.tenants (
    id uuid NOT NULL,
    created_at timestamp with time zone NOT NULL
);
CREATE TABLE public.usage_days (
    tenant_id uuid NOT NULL,
    api_key_id uuid NOT NULL,
    day timestamp with time zone NOT NULL,
    allowed bigint NOT NULL,
    rate_limited bigint NOT NULL,
    quota_exceeded bigint NOT NULL,
    rejected bigint NOT NULL,
    CONSTRAINT usage_days_added_allowed_check CHECK ((allowed >= 0)),
    CONSTRAINT usage_days_added_quota_exceeded_check CHECK ((quota_exceeded >= 0)),
    CONSTRAINT usage_days_added_rate_limited_check CHECK ((rate_limited >= 0)),
    CONSTRAINT usage_days_added_rejected_check CHECK ((rejected >= 0))
)
WITH (fillfactor='60');
CREATE TABLE public.usage_endpoints (
    tenant_id uuid NOT NULL,
    api_key_id uuid NOT NULL,
    day timestamp with time zone NOT NULL,
    endpoint text NOT NULL COLLATE pg_catalog."C",
    allowed bigint NOT NULL,
    CONSTRAINT usage_endpoints_added_allowed_check CHECK ((allowed >= 0))
)
WITH (fillfactor='60');
CREATE TABLE public.usage_events (
    tenant_id uuid NOT NULL,
    id text NOT NULL,
    api_key_id uuid NOT NULL,
    at timestamp with time zone NOT NULL,
    units bigint NOT NULL,
    endpoint text,
    CONSTRAINT usage_events_kept_units_check CHECK ((units >= 0))
);
CREATE TABLE public.usage_hours (
    tenant_id uuid NOT NULL,
    api_key_id uuid NOT NULL,
    hour timestamp with time zone NOT NULL,
    allowed bigint NOT NULL,
    rate_limited bigint NOT NULL,
    quota_exceeded bigint NOT NULL,
    rejected bigint NOT NULL,
    CONSTRAINT usage_hours_added_allowed_check CHECK ((allowed >= 0)),
    CONSTRAINT usage_hours_added_quota_exceeded_check CHECK ((quota_exceeded >= 0)),
    CONSTRAINT usage_hours_added_rate_limited_check CHECK ((rate_limited >= 0)),
    CONSTRAINT usage_hours_added_rejected_check CHECK ((rejected >= 0))
)
WITH (fillfactor='60');
CREATE TABLE public.usage_minutes (
    minute timestamp with time zone NOT NULL,
    tenant_id uuid NOT NULL,
    api_key_id uuid NOT NULL,
    allowed bigint NOT NULL,
    rate_limited bigint NOT NULL,
    quota_exceeded bigint NOT NULL,
    rejected bigint NOT NULL,
    CONSTRAINT usage_minutes_by_time_allowed_check CHECK ((allowed >= 0)),
    CONSTRAINT usage_minutes_by_time_quota_exceeded_check CHECK ((quota_exceeded >= 0)),
    CONSTRAINT usage_minutes_by_time_rate_limited_check CHECK ((rate_limited >= 0)),
    CONSTRAINT usage_minutes_by_time_rejected_check CHECK ((rejected >= 0))
);
CREATE TABLE public.usage_pending (
    bucket smallint NOT NULL,
    boot_id uuid NOT NULL,
    "position" bigint NOT NULL,
    rows bytea NOT NULL
);
ALTER TABLE ONLY public.usage_pending ALTER COLUMN rows SET STORAGE EXTERNAL;
CREATE TABLE public.usage_periods (
    tenant_id uuid NOT NULL,
    api_key_id uuid NOT NULL,
    period_start timestamp with time zone NOT NULL,
    allowed bigint NOT NULL,
    rate_limited bigint NOT NULL,
    quota_exceeded bigint NOT NULL,
    rejected bigint NOT NULL,
    last_at timestamp with time zone NOT NULL,
    CONSTRAINT usage_periods_added_allowed_check CHECK ((allowed >= 0)),
    CONSTRAINT usage_periods_added_quota_exceeded_check CHECK ((quota_exceeded >= 0)),
    CONSTRAINT usage_periods_added_rate_limited_check CHECK ((rate_limited >= 0)),
    CONSTRAINT usage_periods_added_rejected_check CHECK ((rejected >= 0))
)
WITH (fillfactor='60');
CREATE TABLE public.violations (
    tenant_id uuid NOT NULL,
    api_key_id uuid NOT NULL,
    minute timestamp with time zone NOT NULL,
    limit_name text NOT NULL COLLATE pg_catalog."C",
    endpoint text NOT NULL COLLATE pg_catalog."C",
    ip_address text NOT NULL,
    count bigint NOT NULL,
    first_at timestamp with time zone NOT NULL,
    last_at timestamp with time zone NOT NULL,
    CONSTRAINT violations_bounded_count_check CHECK ((count >= 0))
);
INSERT INTO public._sqlx_migrations VALUES (1, 'initial', '2026-11-25 10:54:26.88329+00', true, '\x32f3fd2c00f67e790173b58a96bb8e6bbf980b7ba8ccba13dcc18b1bb1a815a656e80bd1d00a88ea192f954a6e7d24ef', 227652878);
INSERT INTO public._sqlx_migrations VALUES (2, 'tokens', '2026-11-25 10:54:26.88329+00', true, '\x269a2f18a62248f273bd00b20c0109de32d822e0961d820fd7967cbdd1c3997225dbc71ba4555810790a1e0db4f9b430', 39147038);
INSERT INTO public._sqlx_migrations VALUES (3, 'usage by time', '2026-11-25 10:54:26.88329+00', true, '\xdc406fed8507d4eb41ccc321adc5a1c3e8785a4fabf82ebce5b53904dfacd9cb084fd9997b8c0178b9e96ebc1b3795f2', 58718193);
INSERT INTO public._sqlx_migrations VALUES (1001, 'byte order', '2026-11-25 10:54:26.88329+00', true, '\x84714c787e208f79cddb36e1ee4ed0f4e05bae2b48109f9fc560c344c972b5c2039de51f44055921206c463ecf0c64f8', 47115839);
INSERT INTO public._sqlx_migrations VALUES (1003, 'usage storage', '2026-11-25 10:54:26.88329+00', true, '\xa9c318f7711fbac04b071888023a0e2093fd1b9d4defd0e960802a4c212c0fb770ee8de54f81073c514cd02ad3e5f4e5', 14553228);
INSERT INTO public.admin_tokens VALUES ('00000000-0000-0000-0000-000000000001', '01a21257-b44a-768e-b092-a065427077e1', '\x8cdcaa1c8fd912ae42b6cc3911fa77b270c85a3184c53d46bea8c92a439c692a', true, 'bootstrap', 'tgt_admin_dump', '{"items": ["keys:read", "keys:write", "limits:check", "limits:write", "usage:read", "billing:read", "billing:write", "alerts:read", "alerts:write", "admin"]}', '{"items": []}', '2026-11-25 10:54:27.402324+00', '2026-11-25 10:54:27.402324+00', NULL, '2026-11-25 10:54:30.811468+00', NULL, 1, 1);
INSERT INTO public.admin_tokens VALUES ('00000000-0000-0000-0000-000000000001', '01a21257-d50b-7f5f-879d-000de86994c1', '\xb877c9aebbdca1687c6d5397e0331eaaad9c49dc863e750af60210e44c8ea0c2', false, 'reader', 'tgt_admin_a3z9', '{"items": ["keys:read"]}', '{"items": ["10.0.0.0/8"]}', '2026-11-25 10:54:35.787665+00', '2026-11-25 10:54:35.97479+00', NULL, NULL, NULL, 2, 9);
INSERT INTO public.api_key_secrets VALUES ('\xb60f76981b96fcba33a12fd7e590b03706218bd95bafd2c84a0669511686ae4c', '00000000-0000-0000-0000-000000000001', '01a21257-c332-73ec-b59b-8779b74760e5', NULL);
INSERT INTO public.api_key_secrets VALUES ('\x765c286e48b947586e9b20de9a0324719220cbb784473f18bb004f84d0af111c', '00000000-0000-0000-0000-000000000001', '01a21257-c1a0-7be3-b3d3-bfda5067f2a8', '2026-11-26 10:54:35.7342+00');
INSERT INTO public.api_key_secrets VALUES ('\x8952c2a65d6a42e64ed01c504187d37f615f662dcd176bb6af53cd6207cfaa55', '00000000-0000-0000-0000-000000000001', '01a21257-c1a0-7be3-b3d3-bfda5067f2a8', NULL);
INSERT INTO public.api_key_secrets VALUES ('\xb7795a32a1ab914eb274ab6e1bf98e404e490c29c39fb20dec97d8e05a3fbe5f', '00000000-0000-0000-0000-000000000001', '01a21257-c404-7464-b751-91bf12f44c04', '2026-11-25 10:54:35.772535+00');
INSERT INTO public.api_key_tags VALUES ('00000000-0000-0000-0000-000000000001', '01a21257-c1a0-7be3-b3d3-bfda5067f2a8', 'production');
INSERT INTO public.api_key_tags VALUES ('00000000-0000-0000-0000-000000000001', '01a21257-c1a0-7be3-b3d3-bfda5067f2a8', 'eu');
INSERT INTO public.api_keys VALUES ('00000000-0000-0000-0000-000000000001', '01a21257-c1a0-7be3-b3d3-bfda5067f2a8', '01a21257-b44a-79d0-bc98-1d4f23cbae36', 'tg_live_8iMF', 'Checkout service', 'a key with everything', 'live', 'active', NULL, NULL, 'acme', '{"items": ["production", "eu"]}', '{"note": "größer"}', '{"items": ["127.0.0.0/8"]}', '{"items": []}', '{"items": [{"per": "key", "cost": 1, "name": "per-second", "limit": 3, "window": 3600, "algorithm": "sliding_window", "on_failure": "local"}]}', 'checkout service
a key with everything
tg_live_8imf', NULL, '2026-11-25 10:54:30.816428+00', '2026-11-25 10:54:35.7342+00', NULL, 2, 5);
INSERT INTO public.api_keys VALUES ('00000000-0000-0000-0000-000000000001', '01a21257-c332-73ec-b59b-8779b74760e5', '01a21257-b44a-7362-9ca8-f0fc319a538d', 'tg_test_atOL', 'second', NULL, 'test', 'suspended', NULL, 'unpaid invoice', NULL, '{"items": []}', '{}', '{"items": []}', '{"items": []}', '{"items": []}', 'second
tg_test_atol', NULL, '2026-11-25 10:54:31.218064+00', '2026-11-25 10:54:35.753108+00', NULL, 2, 6);
INSERT INTO public.api_keys VALUES ('00000000-0000-0000-0000-000000000001', '01a21257-c404-7464-b751-91bf12f44c04', '01a21257-b44a-77ce-a897-2a989ede070d', 'tg_live_6AfY', 'third', NULL, 'live', 'revoked', NULL, NULL, NULL, '{"items": ["eu"]}', '{}', '{"items": []}', '{"items": []}', '{"items": []}', 'third
tg_live_6afy', NULL, '2026-11-25 10:54:31.428569+00', '2026-11-25 10:54:35.772535+00', '2026-11-25 10:54:35.772535+00', 2, 7);
INSERT INTO public.former_token_secrets VALUES ('\x1dcee9e0254355349b9f377c159a1debc8305a20f06328ff2a094cfb472c6a79', false, '00000000-0000-0000-0000-000000000001', '01a21257-d50b-7f5f-879d-000de86994c1', '2026-11-26 10:54:35.97479+00');
INSERT INTO public.idempotency_keys VALUES ('00000000-0000-0000-0000-000000000001', 'token:01a21257-b44a-768e-b092-a065427077e1', 'one', '\xd60e669b26e47cecc53fc5c11e3c471803c1cb18ecf4e77a6a8335030b4eb338', '2026-11-25 10:54:30.811799+00', 201, 'application/json', '{"items": [["etag", "\"1\""], ["location", "/api/v1/api-keys/01a21257-c1a0-7be3-b3d3-bfda5067f2a8"]]}', '\x71be2ae9b8d92f5f0147ff53c51bc9f889bf8ec4f5fabb277674b2359efd234c45982468561168d89e85cf8f79748b606c901aec3b68178f4f2e5b48220079f372f48baa31ca7d4373cf8ac7e165c888d84a57cfb2327f83ac37e8fa9add152bf77b439d0dbe6c907e4a9e94a01cec16221210445c8f05c4d4a096be7e576a4e8eb3c3e81f15257a43e78d385462a33ea3c4cff27c4eb9da23821ea342bc24a1d36a01f68305e312a456dc395023223e50a6b3099a5494150c7af159d3e44d63d39f00f7e00ab1cb6fc9d321f589c58aee851c7461c79ee07a09c278125421c884613ddb2af8de3757be2eed983eed503f6869f2c306ef7f80e026b696a6ba49aa581ab9665d74126c893282d056fd56135378b3efd05924301499faf39bd25ed82d6795ecbb887e3b3afeaadeb5aa745f7832a46f04d39fb83349bfca1bb386ab8c1832d6e264ae3dcbbaef201a73e6746011aa4cc067a37bbe76d3662f13dae04186abd2e579f8bd080797e8b865f74b8532d3b6ce35e6828380312a6e14c80ca9de3a4728b227f8db0feecc2da6e2d5a3faa569d39cb0efe3c8af45a8ebda2b7981c29dc8b579e634ce0009485487adb232c76be8f222e4e6626ada39b2abcbb11434849d33fbcfcc745efae01f2dc81930494ca3a0056140f87061adf84c5856e85f923ed17d2b11a350e46368ac5c87cb6f0418a843f2cb8a419a0a23ab2d00f2404b71914047ceb45db66fdc81c5d96644e4b76ff2e851a9f74b26a272cfc34698936ce9de1ca2c8198ad9ca8049af221552368a01a8765def4ee8d6bdb0c57ab1b069eb4286f6eb9cea96ffe1033f6e0f0868b1b0ba1929a9caf1b54688c69bddb59c7c5d14671a18dc538df39337a36b96ab3555afd5c7341cb739ed7f52ef05166f87fd101c821764b680cda7c26bc4f5997067a41061e87ba977eb89538c2a5fa7017c26362961965c7cd70aa18173aac9f1cb4bd3759969ab1b315c110099565dbd6f95f9f582ddf0b430a8d7d39c44a11df1c4b779f1360b0ddff86c4984f3663a673be90a8f2abdc365265afd046ce51b10a969bc71d6391f57454a583865ab3aac017e5b257e316f71f77692b20e40080ab58326946b0863518a5f184b9c3ced933983ffa567de771d8480816d3e1f61354a80f58b60e26f859e1e11d9155564ed2808e8bd1d7484ef918bc5858edb590096438c4e9c3f9bebdb5bc4d88cb4b668d892ac3ddff8');
INSERT INTO public.journal_cursors VALUES ('01a21257-b202-7c99-9966-db072b911f80', 'usage', 328);
INSERT INTO public.journal_cursors VALUES ('01a21257-b202-7c99-9966-db072b911f80', 'violations', 328);
INSERT INTO public.plans VALUES ('00000000-0000-0000-0000-000000000001', '01a21257-b44a-7362-9ca8-f0fc319a538d', 'free', NULL, '{"items": [{"per": "key", "cost": 1, "name": "per-hour", "limit": 100, "window": 3600, "algorithm": "sliding_window", "on_failure": "local"}]}', '{"limit": 10000, "overage": "block"}', 'USD', 0, 0, '{"items": ["community support"]}', '2026-11-25 10:54:27.402324+00', '2026-11-25 10:54:27.402324+00', false, 1, 1);
INSERT INTO public.plans VALUES ('00000000-0000-0000-0000-000000000001', '01a21257-b44a-79d0-bc98-1d4f23cbae36', 'standard', NULL, '{"items": [{"per": "key", "cost": 1, "name": "per-hour", "limit": 1000, "window": 3600, "algorithm": "sliding_window", "on_failure": "local"}]}', '{"limit": 100000, "overage": "bill"}', 'USD', 29000000, 500, '{"items": ["email support"]}', '2026-11-25 10:54:27.402324+00', '2026-11-25 10:54:27.402324+00', false, 1, 1);
INSERT INTO public.plans VALUES ('00000000-0000-0000-0000-000000000001', '01a21257-b44a-77ce-a897-2a989ede070d', 'pro', NULL, '{"items": [{"per": "key", "cost": 1, "name": "per-hour", "limit": 10000, "window": 3600, "algorithm": "sliding_window", "on_failure": "local"}]}', '{"limit": 1000000, "overage": "bill"}', 'USD', 199000000, 250, '{"items": ["priority support", "usage export"]}', '2026-11-25 10:54:27.402324+00', '2026-11-25 10:54:27.402324+00', false, 1, 1);
INSERT INTO public.plans VALUES ('00000000-0000-0000-0000-000000000001', '01a21257-b44a-732d-bb5a-d60d2d3c7250', 'enterprise', NULL, '{"items": [{"per": "key", "cost": 1, "name": "per-hour", "limit": 100000, "window": 3600, "algorithm": "sliding_window", "on_failure": "local"}]}', '{"limit": 10000000, "overage": "bill"}', 'USD', 1499000000, 120, '{"items": ["dedicated support", "usage export", "audit log"]}', '2026-11-25 10:54:27.402324+00', '2026-11-25 10:54:27.402324+00', false, 1, 1);
INSERT INTO public.revisions VALUES ('catalog', 9);
INSERT INTO public.schedules VALUES ('retention', '2026-11-25 00:00:00+00');
INSERT INTO public.schedules VALUES ('quota_sync', '2026-11-25 10:54:40+00');
INSERT INTO public.tenants VALUES ('00000000-0000-0000-0000-000000000001', '2026-11-25 10:54:27.402324+00');
INSERT INTO public.usage_days VALUES ('00000000-0000-0000-0000-000000000001', '01a21257-c1a0-7be3-b3d3-bfda5067f2a8', '2026-11-25 00:00:00+00', 10, 2, 0, 0);
INSERT INTO public.usage_endpoints VALUES ('00000000-0000-0000-0000-000000000001', '01a21257-c1a0-7be3-b3d3-bfda5067f2a8', '2026-11-25 00:00:00+00', '/v1/messages', 3);
INSERT INTO public.usage_events VALUES ('00000000-0000-0000-0000-000000000001', 'evt-1', '01a21257-c1a0-7be3-b3d3-bfda5067f2a8', '2026-11-25 10:54:35+00', 7, NULL);
INSERT INTO public.usage_hours VALUES ('00000000-0000-0000-0000-000000000001', '01a21257-c1a0-7be3-b3d3-bfda5067f2a8', '2026-11-25 10:00:00+00', 10, 2, 0, 0);
INSERT INTO public.usage_minutes VALUES ('2026-11-25 10:54:00+00', '00000000-0000-0000-0000-000000000001', '01a21257-c1a0-7be3-b3d3-bfda5067f2a8', 10, 2, 0, 0);
INSERT INTO public.usage_periods VALUES ('00000000-0000-0000-0000-000000000001', '01a21257-c1a0-7be3-b3d3-bfda5067f2a8', '2026-11-01 00:00:00+00', 10, 2, 0, 0, '2026-11-25 10:54:35+00');
INSERT INTO public.violations VALUES ('00000000-0000-0000-0000-000000000001', '01a21257-c1a0-7be3-b3d3-bfda5067f2a8', '2026-11-25 10:54:00+00', 'per-second', '/v1/messages', '127.0.0.0', 2, '2026-11-25 10:54:31.710276+00', '2026-11-25 10:54:31.71838+00');
ALTER TABLE ONLY public._sqlx_migrations
    ADD CONSTRAINT _sqlx_migrations_pkey PRIMARY KEY (version);
ALTER TABLE ONLY public.admin_tokens
    ADD CONSTRAINT admin_tokens_new_hash_key UNIQUE (hash);
ALTER TABLE ONLY public.admin_tokens
    ADD CONSTRAINT admin_tokens_new_pkey PRIMARY KEY (tenant_id, id);
ALTER TABLE ONLY public.api_key_secrets
    ADD CONSTRAINT api_key_secrets_pkey PRIMARY KEY (hash);
ALTER TABLE ONLY public.api_key_tags
    ADD CONSTRAINT api_key_tags_pkey PRIMARY KEY (tenant_id, tag, api_key_id);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (tenant_id, id);
ALTER TABLE ONLY public.former_token_secrets
    ADD CONSTRAINT former_token_secrets_pkey PRIMARY KEY (hash);
ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (tenant_id, actor, key);
ALTER TABLE ONLY public.journal_cursors
    ADD CONSTRAINT journal_cursors_pkey PRIMARY KEY (boot_id, stream);
ALTER TABLE ONLY public.plans
    ADD CONSTRAINT plans_pkey PRIMARY KEY (tenant_id, id);
ALTER TABLE ONLY public.revisions
    ADD CONSTRAINT revisions_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.schedules
    ADD CONSTRAINT schedules_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.tenants
    ADD CONSTRAINT tenants_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.usage_days
    ADD CONSTRAINT usage_days_added_pkey PRIMARY KEY (tenant_id, api_key_id, day);
ALTER TABLE ONLY public.usage_endpoints
    ADD CONSTRAINT usage_endpoints_added_pkey PRIMARY KEY (tenant_id, api_key_id, day, endpoint);
ALTER TABLE ONLY public.usage_events
    ADD CONSTRAINT usage_events_kept_pkey PRIMARY KEY (tenant_id, id);
ALTER TABLE ONLY public.usage_hours
    ADD CONSTRAINT usage_hours_added_pkey PRIMARY KEY (tenant_id, api_key_id, hour);
ALTER TABLE ONLY public.usage_minutes
    ADD CONSTRAINT usage_minutes_by_time_pkey PRIMARY KEY (minute, tenant_id, api_key_id);
ALTER TABLE ONLY public.usage_pending
    ADD CONSTRAINT usage_pending_pkey PRIMARY KEY (bucket, boot_id, "position");
ALTER TABLE ONLY public.usage_periods
    ADD CONSTRAINT usage_periods_added_pkey PRIMARY KEY (tenant_id, api_key_id, period_start);
ALTER TABLE ONLY public.violations
    ADD CONSTRAINT violations_bounded_pkey PRIMARY KEY (tenant_id, api_key_id, minute, limit_name, endpoint);
CREATE INDEX admin_tokens_by_age ON public.admin_tokens USING btree (tenant_id, created_at, id) WHERE (deleted_at IS NULL);
CREATE INDEX admin_tokens_by_revision ON public.admin_tokens USING btree (revision);
CREATE INDEX api_key_secrets_by_end ON public.api_key_secrets USING btree (expires_at) WHERE (expires_at IS NOT NULL);
CREATE INDEX api_key_secrets_by_key ON public.api_key_secrets USING btree (tenant_id, api_key_id);
CREATE INDEX api_key_tags_by_key ON public.api_key_tags USING btree (tenant_id, api_key_id);
CREATE INDEX api_keys_by_age ON public.api_keys USING btree (tenant_id, created_at, id) WHERE (deleted_at IS NULL);
CREATE INDEX api_keys_by_owner ON public.api_keys USING btree (tenant_id, owner_id) WHERE (deleted_at IS NULL);
CREATE INDEX api_keys_by_plan ON public.api_keys USING btree (tenant_id, plan_id) WHERE (deleted_at IS NULL);
CREATE INDEX api_keys_by_revision ON public.api_keys USING btree (revision);
CREATE INDEX former_token_secrets_by_end ON public.former_token_secrets USING btree (expires_at);
CREATE INDEX former_token_secrets_by_token ON public.former_token_secrets USING btree (tenant_id, token_id);
CREATE INDEX idempotency_keys_by_age ON public.idempotency_keys USING btree (started_at);
CREATE UNIQUE INDEX plans_by_name ON public.plans USING btree (tenant_id, name) WHERE (NOT deleted);
CREATE INDEX plans_by_revision ON public.plans USING btree (revision);
CREATE INDEX usage_endpoints_by_age ON public.usage_endpoints USING btree (day);
CREATE INDEX usage_events_by_age ON public.usage_events USING btree (at);
CREATE INDEX violations_by_age ON public.violations USING btree (minute);
CREATE INDEX violations_newest ON public.violations USING btree (tenant_id, api_key_id, last_at);
ALTER TABLE ONLY public.admin_tokens
    ADD CONSTRAINT admin_tokens_new_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);
ALTER TABLE ONLY public.api_key_secrets
    ADD CONSTRAINT api_key_secrets_tenant_id_api_key_id_fkey FOREIGN KEY (tenant_id, api_key_id) REFERENCES public.api_keys(tenant_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.api_key_tags
    ADD CONSTRAINT api_key_tags_tenant_id_api_key_id_fkey FOREIGN KEY (tenant_id, api_key_id) REFERENCES public.api_keys(tenant_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_tenant_id_plan_id_fkey FOREIGN KEY (tenant_id, plan_id) REFERENCES public.plans(tenant_id, id);
ALTER TABLE ONLY public.former_token_secrets
    ADD CONSTRAINT former_token_secrets_tenant_id_token_id_fkey FOREIGN KEY (tenant_id, token_id) REFERENCES public.admin_tokens(tenant_id, id) ON DELETE CASCADE;
ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);
ALTER TABLE ONLY public.plans
    ADD CONSTRAINT plans_tenant_id_fkey FOREIGN KEY (tenant_id) REFERENCES public.tenants(id);
