//! A repository per engine with an empty schema, a clock, and things to put in.

use std::{path::Path, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, SqliteConnection};
use tempfile::TempDir;
use tollgate_domain::{
    AdminToken, ApiKey, ApiKeyId, BootId, Clock, Currency, Environment, KeySecret, KeyStatus, LimitSpec, Money,
    Overage, Plan, PlanId, Prices, QuotaSpec, Rate, SecretHash, TenantId, TokenId, TokenSecret,
    usage::{Counts, EndpointUsage, JournalSpan, KeyUsage, MinuteUsage, UsageBatch, pack},
};
use tollgate_repository::{Error, Options, PeriodTotal, Repository};
use tollgate_test_servers::{database::Database, pgbouncer::PgBouncer};

pub(crate) const TENANT: TenantId = TenantId::DEFAULT;

/// A migrated, otherwise empty database, and the tenant [`TENANT`].
pub(crate) struct Stack {
    pub(crate) repository: Repository,
    pub(crate) clock: Clock,
    pub(crate) url: String,
    /// The same through the pooler, if there is one.
    service_url: String,
    _files: Option<TempDir>,
    _database: Option<Database>,
    pooler: Option<PgBouncer>,
}

pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// When every test begins.
pub(crate) fn now() -> DateTime<Utc> {
    at("2026-05-15T10:30:00Z")
}

impl Stack {
    /// One of each engine, and PostgreSQL behind a pooler.
    pub(crate) async fn every() -> [Self; 3] {
        [Self::sqlite().await, Self::postgres().await, Self::pooled().await]
    }

    pub(crate) async fn sqlite() -> Self {
        let files = TempDir::new().unwrap();
        let url = format!("sqlite://{}", files.path().join("data/tollgate.db").display());
        Self::at(url, Some(files), None, None).await
    }

    pub(crate) async fn postgres() -> Self {
        let database = Database::create();
        Self::at(database.url(), None, Some(database), None).await
    }

    async fn pooled() -> Self {
        let database = Database::create();
        let pooler = PgBouncer::before(database.port());
        Self::at(database.url(), None, Some(database), Some(pooler)).await
    }

    async fn at(url: String, files: Option<TempDir>, database: Option<Database>, pooler: Option<PgBouncer>) -> Self {
        let behind = database.as_ref().zip(pooler.as_ref());
        let service_url = behind.map_or_else(|| url.clone(), |(database, pooler)| database.url_through(pooler.port()));
        let repository = connect(&service_url, pooler.as_ref()).await;
        repository.migrate().await.unwrap();
        let clock = Clock::manual(now());
        repository.tenants().insert(TENANT, clock.now()).await.unwrap();
        Self { repository, clock, url, service_url, _files: files, _database: database, pooler }
    }

    /// Another process' view: its own connections to the same database.
    pub(crate) async fn another(&self) -> Repository {
        connect(&self.service_url, self.pooler.as_ref()).await
    }

    /// Runs a statement behind the repository's back.
    pub(crate) async fn sql(&self, text: &'static str) {
        if self.repository.engine() == "sqlite" {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::raw_sql(text).execute(&mut connection).await.unwrap();
        } else {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            sqlx::raw_sql(text).execute(&mut connection).await.unwrap();
        }
    }

    /// Asks for one number behind the repository's back.
    pub(crate) async fn number(&self, text: &'static str) -> i64 {
        if self.repository.engine() == "sqlite" {
            let mut connection = SqliteConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(text).fetch_one(&mut connection).await.unwrap()
        } else {
            let mut connection = PgConnection::connect(&self.url).await.unwrap();
            sqlx::query_scalar(text).fetch_one(&mut connection).await.unwrap()
        }
    }

    pub(crate) async fn tenant(&self) -> TenantId {
        let tenant_id = TenantId(self.clock.new_id());
        self.repository.tenants().insert(tenant_id, self.clock.now()).await.unwrap();
        tenant_id
    }

    pub(crate) fn plan_of(&self, tenant_id: TenantId, name: &str) -> Plan {
        Plan {
            id: PlanId(self.clock.new_id()),
            tenant_id,
            name: name.to_owned(),
            description: Some("für Menschen".to_owned()),
            limits: vec![LimitSpec::sliding("per-hour", 100, 3_600), LimitSpec::sliding("per-second", 5, 1)],
            quota: Some(QuotaSpec { limit: 1_000, overage: Overage::Bill, throttle: None }),
            prices: Prices::per_unit(Currency::USD, Money(29_000_000), Rate(500_000_000)),
            features: vec!["email support".to_owned()],
            created_at: self.clock.now(),
            updated_at: self.clock.now(),
            version: 1,
        }
    }

    pub(crate) async fn plan(&self, name: &str) -> Plan {
        self.repository.plans().insert(TENANT, &self.plan_of(TENANT, name)).await.unwrap()
    }

    pub(crate) fn key_of(&self, tenant_id: TenantId, tier: &str, name: &str) -> (ApiKey, SecretHash) {
        let secret = KeySecret::generate(Environment::Live).unwrap();
        let key = ApiKey {
            id: ApiKeyId(self.clock.new_id()),
            tenant_id,
            key_prefix: secret.prefix(),
            name: name.to_owned(),
            description: None,
            tier: tier.to_owned(),
            environment: Environment::Live,
            status: KeyStatus::Active,
            suspension: None,
            owner_id: None,
            tags: Vec::new(),
            metadata: serde_json::Map::new(),
            allowed_ips: Vec::new(),
            allowed_countries: Vec::new(),
            expires_at: None,
            limits: Vec::new(),
            spend_cap: None,
            created_at: self.clock.now(),
            updated_at: self.clock.now(),
            version: 1,
        };
        (key, secret.hash())
    }

    /// A stored key of the plan `pro`, which is made when it is missing.
    pub(crate) async fn key(&self, tenant_id: TenantId, name: &str) -> (ApiKey, SecretHash) {
        if self.repository.plans().by_name(tenant_id, "pro").await.unwrap().is_none() {
            self.repository.plans().insert(tenant_id, &self.plan_of(tenant_id, "pro")).await.unwrap();
        }
        let (key, hash) = self.key_of(tenant_id, "pro", name);
        (self.repository.keys().insert(tenant_id, &key, &hash).await.unwrap(), hash)
    }

    pub(crate) fn token(&self, tenant_id: TenantId) -> (AdminToken, SecretHash) {
        let secret = TokenSecret::generate().unwrap();
        let id = TokenId(self.clock.new_id());
        let token = AdminToken::unlimited(id, tenant_id, "operator", secret.prefix(), self.clock.now());
        (token, secret.hash())
    }

    pub(crate) fn boot(&self) -> BootId {
        BootId(self.clock.new_id())
    }
}

/// Changes from what a story read before: `None` when something came between, or the thing is gone.
pub(crate) trait FromVersion {
    async fn update_api_key(&self, tenant_id: TenantId, key: &ApiKey) -> Result<Option<ApiKey>, Error>;
    async fn rotate_api_key_to(
        &self,
        tenant_id: TenantId,
        key: &ApiKey,
        secret: &KeySecret,
        old_expires_at: DateTime<Utc>,
    ) -> Result<Option<ApiKey>, Error>;
    async fn update_plan(&self, tenant_id: TenantId, plan: &Plan) -> Result<Option<Plan>, Error>;
}

/// Why a change was not made.
enum Refused {
    Moved,
    Stored(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Stored(error)
    }
}

impl Refused {
    fn of(read: i64, stored: i64) -> Result<(), Self> {
        if read == stored { Ok(()) } else { Err(Self::Moved) }
    }

    fn or_none<T>(outcome: Result<Option<T>, Self>) -> Result<Option<T>, Error> {
        match outcome {
            Err(Self::Moved) => Ok(None),
            Err(Self::Stored(error)) => Err(error),
            Ok(outcome) => Ok(outcome),
        }
    }
}

impl FromVersion for Repository {
    async fn update_api_key(&self, tenant_id: TenantId, key: &ApiKey) -> Result<Option<ApiKey>, Error> {
        let changed = self.keys().change(tenant_id, key.id, Some(&key.tier), |stored, _| {
            Refused::of(key.version, stored.version)?;
            *stored = key.clone();
            Ok(())
        });
        Ok(Refused::or_none(changed.await)?.map(|(key, _)| key))
    }

    async fn rotate_api_key_to(
        &self,
        tenant_id: TenantId,
        key: &ApiKey,
        secret: &KeySecret,
        old_expires_at: DateTime<Utc>,
    ) -> Result<Option<ApiKey>, Error> {
        let make = |stored: &ApiKey| {
            Refused::of(key.version, stored.version)?;
            Ok(KeySecret::parse(secret.expose()).unwrap())
        };
        let rotated = self.keys().rotate(tenant_id, key.id, key.updated_at, old_expires_at, make);
        Ok(Refused::or_none(rotated.await)?.map(|(key, ..)| key))
    }

    async fn update_plan(&self, tenant_id: TenantId, plan: &Plan) -> Result<Option<Plan>, Error> {
        let changed = self.plans().change(tenant_id, plan.id, now(), |stored| {
            Refused::of(plan.version, stored.version)?;
            *stored = plan.clone();
            Ok(())
        });
        Refused::or_none(changed.await)
    }
}

/// Connects to a database at the address that the pooler has, if there is one.
async fn connect(url: &str, pooler: Option<&PgBouncer>) -> Repository {
    Repository::connect(url, Options { pooler: pooler.is_some(), ..options() }).await.unwrap()
}

/// For a deletion that nothing speaks against.
pub(crate) fn agreed<T>(_: &T) -> Result<(), Error> {
    Ok(())
}

/// A wait for a connection that a busy test machine does not exceed; tests of the wait itself use the default.
pub(crate) fn options() -> Options {
    Options { acquire_timeout: Duration::from_secs(10), ..Options::default() }
}

pub(crate) fn allowed(units: i64) -> Counts {
    Counts { allowed: units, ..Counts::default() }
}

pub(crate) fn usage(key: &ApiKey, minute: &str, counts: Counts) -> KeyUsage {
    let minute = at(minute);
    let row = MinuteUsage { minute, counts, last_at: minute + chrono::TimeDelta::seconds(30) };
    KeyUsage { tenant_id: key.tenant_id, api_key_id: key.id, minutes: vec![row], endpoints: vec![] }
}

pub(crate) fn endpoint(key: &ApiKey, day: &str, endpoint: &str, allowed: i64) -> KeyUsage {
    let row = EndpointUsage { day: at(day), endpoint: Arc::from(endpoint), allowed };
    KeyUsage { tenant_id: key.tenant_id, api_key_id: key.id, minutes: vec![], endpoints: vec![row] }
}

pub(crate) fn batch(boot: BootId, from: u64, to: u64, usage: Vec<KeyUsage>, endpoints: Vec<KeyUsage>) -> UsageBatch {
    UsageBatch { span: JournalSpan { boot, from, to }, chunks: pack(&[usage, endpoints].concat()) }
}

/// Adds all that waits to the tables.
pub(crate) async fn fold(repository: &Repository) -> Vec<PeriodTotal> {
    let mut totals = Vec::new();
    for part in repository.usage().waiting_parts().await.unwrap() {
        totals.extend(repository.usage().fold(part, now()).await.unwrap());
    }
    totals
}

/// The path of a SQLite URL.
pub(crate) fn file_of(url: &str) -> &Path {
    Path::new(url.strip_prefix("sqlite://").unwrap())
}
