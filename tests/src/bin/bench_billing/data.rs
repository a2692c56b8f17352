//! Keys with a month of usage, and records of many months, written straight into the tables.

use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tokio::sync::Mutex;

/// A database behind the service's back.
pub(crate) struct Store {
    connection: Mutex<Raw>,
}

enum Raw {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// The engines' words for the same things.
struct Words {
    numbers: &'static str,
    id: &'static str,
    id_type: &'static str,
    time_type: &'static str,
    last_month: &'static str,
    middle: &'static str,
    month_before: &'static str,
}

const SQLITE: Words = Words {
    numbers: "with recursive n(i) as (select 1 union all select i + 1 from n where i < $N) ",
    id: "randomblob(16)",
    id_type: "blob",
    time_type: "text",
    last_month: "(strftime('%Y-%m', 'now', 'start of month', '-1 month') || '-01T00:00:00+00:00')",
    middle: "(strftime('%Y-%m', 'now', 'start of month', '-1 month') || '-16T00:00:00+00:00')",
    month_before: "(strftime('%Y-%m', r.period_start, '-' || n.i || ' months') || '-01T00:00:00+00:00')",
};
const POSTGRES: Words = Words {
    numbers: "with n(i) as (select generate_series(1, $N)) ",
    id: "gen_random_uuid()",
    id_type: "uuid",
    time_type: "timestamptz",
    last_month: "(date_trunc('month', now() at time zone 'UTC') - interval '1 month') at time zone 'UTC'",
    middle: "(date_trunc('month', now() at time zone 'UTC') - interval '1 month' + interval '15 days') at time zone 'UTC'",
    month_before: "(r.period_start at time zone 'UTC' - make_interval(months => n.i)) at time zone 'UTC'",
};

impl Store {
    pub(crate) async fn open(url: &str) -> Self {
        let raw = if url.starts_with("sqlite") {
            Raw::Sqlite(SqliteConnection::connect(url).await.expect("SQLite opens"))
        } else {
            Raw::Postgres(PgConnection::connect(url).await.expect("PostgreSQL answers"))
        };
        Self { connection: Mutex::new(raw) }
    }

    async fn run(&self, text: String) {
        let text = AssertSqlSafe(text);
        match &mut *self.connection.lock().await {
            Raw::Sqlite(connection) => sqlx::raw_sql(text).execute(connection).await.map(drop),
            Raw::Postgres(connection) => sqlx::raw_sql(text).execute(connection).await.map(drop),
        }
        .expect("the statement fits the tables");
    }

    pub(crate) async fn count(&self, text: &'static str) -> u64 {
        let count: i64 = match &mut *self.connection.lock().await {
            Raw::Sqlite(connection) => sqlx::query_scalar(text).fetch_one(connection).await,
            Raw::Postgres(connection) => sqlx::query_scalar(text).fetch_one(connection).await,
        }
        .expect("a count");
        u64::try_from(count).expect("a count")
    }

    async fn words(&self) -> &'static Words {
        match &*self.connection.lock().await {
            Raw::Sqlite(_) => &SQLITE,
            Raw::Postgres(_) => &POSTGRES,
        }
    }

    /// Keys on `standard`, every tenth of them on `pro` since the middle of last month, which is the next to be closed.
    pub(crate) async fn fill(&self, keys: u64) {
        let words = self.words().await;
        let numbers = words.numbers.replace("$N", &keys.to_string());
        let (last_month, middle) = (words.last_month, words.middle);
        let id = words.id;
        self.run(format!(
            "{numbers}insert into api_keys (tenant_id, id, plan_id, key_prefix, name, environment, status, owner_id, tags, metadata,
                allowed_ips, allowed_countries, limits, search, created_at, updated_at, version, revision)
             select p.tenant_id, {id}, p.id, 'tg_live_demo', 'key ' || n.i, 'live', 'active', 'owner ' || (n.i % 1000),
                '{{\"items\": []}}', '{{}}', '{{\"items\": []}}', '{{\"items\": []}}', '{{\"items\": []}}', 'key ' || n.i, {last_month},
                {last_month}, 1, 1
             from n cross join plans p where p.name = 'standard'"
        ))
        .await;
        let keys = "from api_keys k where k.key_prefix = 'tg_live_demo'";
        let tenth = "substr(k.name, length(k.name), 1) = '7'";
        for text in [
            format!("insert into plan_spans select k.tenant_id, k.id, k.created_at, k.plan_id, true {keys}"),
            format!(
                "insert into plan_spans select k.tenant_id, k.id, {middle}, p.id, false from api_keys k
                 join plans p on p.tenant_id = k.tenant_id and p.name = 'pro' where k.key_prefix = 'tg_live_demo' and {tenth}"
            ),
            format!("insert into billing_accounts select k.tenant_id, k.id, {last_month}, null {keys}"),
            format!(
                "insert into usage_periods (tenant_id, api_key_id, period_start, allowed, rate_limited, quota_exceeded, rejected,
                    last_at) select k.tenant_id, k.id, {last_month}, 150000, 0, 0, 0, {last_month} {keys}"
            ),
            format!("insert into usage_segments select k.tenant_id, k.id, {last_month}, {last_month}, 150000 {keys}"),
        ] {
            self.run(text).await;
        }
        self.analyze().await;
    }

    /// Forgets the records, so that they can be closed again.
    pub(crate) async fn open_again(&self) {
        let last_month = self.words().await.last_month;
        self.run("truncate billing_records, billing_lines, billing_units".into()).await;
        self.run(format!("update billing_accounts set next_period = {last_month}")).await;
        self.run("vacuum analyze billing_accounts".into()).await;
    }

    /// As many records, with their lines: those of last month, copied into the months before.
    pub(crate) async fn multiply(&self, records: u64) {
        let have = self.count("select count(*) from billing_records").await;
        let words = self.words().await;
        let numbers = words.numbers.replace("$N", &(records.div_ceil(have) - 1).to_string());
        let (id, month) = (words.id, words.month_before);
        self.run(format!("create table copies (former {}, id {0}, month {})", words.id_type, words.time_type)).await;
        for text in [
            format!("{numbers}insert into copies select r.id, {id}, {month} from billing_records r cross join n"),
            "insert into billing_records select r.tenant_id, c.id, r.number, r.api_key_id, r.api_key_name, r.owner_id, r.environment,
                r.tier, c.month, r.revision, r.currency, r.units, r.overage_units, r.subtotal, r.credits_applied, r.total,
                r.rounding, r.amount_due, r.amount_due_minor, r.complete, r.holder_hash, r.digest, r.closed_at, r.due_at, r.status,
                r.payment_status, r.amount_paid, r.paid_at, r.voided_at, r.void_reason, r.version
             from copies c join billing_records r on r.id = c.former"
                .into(),
            "insert into billing_lines select l.tenant_id, c.id, l.position, l.kind, l.price_id, l.tier_name, l.tier,
                l.segment_start, l.segment_end, l.share, c.month, l.quantity, l.unit_amount, l.amount, l.corrects_record_id
             from copies c join billing_records r on r.id = c.former
             join billing_lines l on l.tenant_id = r.tenant_id and l.record_id = c.former"
                .into(),
            "drop table copies".into(),
        ] {
            self.run(text).await;
        }
        self.analyze().await;
    }

    async fn analyze(&self) {
        let is_postgres = matches!(&*self.connection.lock().await, Raw::Postgres(_));
        self.run(if is_postgres { "vacuum analyze" } else { "analyze" }.into()).await;
    }
}
