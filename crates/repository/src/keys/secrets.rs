//! The hashes that lead to a key: its current secret, and former ones until their grace ends.

use chrono::{DateTime, Utc};
use tollgate_domain::{ApiKey, ApiKeyId, KeySecret, Plan, SecretHash, TenantId, period::month_of};

use super::{
    Keys,
    row::{self, KeyRow, key_columns, search_text},
};
use crate::{
    Error,
    access::tokens::same_hash,
    core::{
        database::Tx,
        revisions,
        rows::{Rows, parts},
        time::micros,
    },
    plans::{self, PlanRow, plan_columns},
};

/// Everything that a check needs to know of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyAndPlan {
    /// The key's whole record.
    pub key: ApiKey,
    /// The plan that its `tier` names.
    pub plan: Plan,
    /// When the secret that led to it ends, if ever; None when it was found by id.
    pub secret_expires_at: Option<DateTime<Utc>>,
    /// Units admitted in the billing period so far.
    pub used: i64,
}

#[derive(sqlx::FromRow)]
struct FoundRow {
    #[sqlx(flatten)]
    key: KeyRow,
    #[sqlx(flatten)]
    plan: PlanRow,
    hash: Option<Vec<u8>>,
    secret_expires_at: Option<DateTime<Utc>>,
    used: i64,
    /// Whether any key's usage is still to be added to `used`.
    waits: bool,
}

impl TryFrom<FoundRow> for KeyAndPlan {
    type Error = Error;

    fn try_from(row: FoundRow) -> Result<Self, Error> {
        Ok(Self {
            key: row.key.try_into()?,
            plan: row.plan.try_into()?,
            secret_expires_at: row.secret_expires_at,
            used: row.used,
        })
    }
}

impl Keys<'_> {
    /// The key with this secret, current or a former one whose grace lasts at `now`, including revoked, suspended and
    /// expired keys. There is no tenant parameter, because the credential determines the tenant.
    pub async fn by_secret(self, hash: &SecretHash, now: DateTime<Utc>) -> Result<Option<KeyAndPlan>, Error> {
        let text = concat!(
            "select ",
            key_columns!(),
            ", ",
            plan_columns!(),
            ",
                s.hash, s.expires_at as secret_expires_at, coalesce(u.allowed, 0) as used,
                exists (select 1 from usage_pending) as waits
             from api_key_secrets s
             join api_keys k on k.tenant_id = s.tenant_id and k.id = s.api_key_id
             join plans p on p.tenant_id = k.tenant_id and p.id = k.plan_id
             left join usage_periods u
                on u.tenant_id = k.tenant_id and u.api_key_id = k.id and u.period_start = $3
             where s.hash = $1 and (s.expires_at is null or s.expires_at > $2) and k.deleted_at is null"
        );
        let row: Option<FoundRow> = self
            .0
            .read(|db| async move {
                on!(&db, pool => sqlx::query_as(text)
                    .bind(hash.0.as_slice()).bind(micros(now)).bind(month_of(now)).fetch_optional(pool).await)
            })
            .await?;
        let row = row.filter(|row| row.hash.as_ref().is_some_and(|stored| same_hash(stored, hash)));
        self.with_waiting(row, now).await
    }

    /// Adds the recent usage that the tables do not include yet. The result may be one fold behind, but never ahead.
    async fn with_waiting(self, row: Option<FoundRow>, now: DateTime<Utc>) -> Result<Option<KeyAndPlan>, Error> {
        let Some(row) = row else { return Ok(None) };
        let waits = row.waits;
        let mut found = KeyAndPlan::try_from(row)?;
        if waits {
            // Boxed because it is rare and large: otherwise every look-up's future would reserve room for it.
            let waiting = Box::pin(self.0.usage().waiting_units(found.key.tenant_id, found.key.id, month_of(now)));
            found.used += waiting.await?;
        }
        Ok(Some(found))
    }

    /// A key with its plan, for reads of its usage. Includes deleted keys, with the time of deletion.
    pub async fn with_plan_even_deleted(
        self,
        tenant_id: TenantId,
        id: ApiKeyId,
    ) -> Result<Option<(ApiKey, Plan, Option<DateTime<Utc>>)>, Error> {
        #[derive(sqlx::FromRow)]
        struct Row {
            #[sqlx(flatten)]
            key: KeyRow,
            #[sqlx(flatten)]
            plan: PlanRow,
            deleted_at: Option<DateTime<Utc>>,
        }
        let text = concat!(
            "select ",
            key_columns!(),
            ", ",
            plan_columns!(),
            ", k.deleted_at
             from api_keys k join plans p on p.tenant_id = k.tenant_id and p.id = k.plan_id
             where k.tenant_id = $1 and k.id = $2"
        );
        let row: Option<Row> = self
            .0
            .read(|db| async move {
                on!(&db, pool => sqlx::query_as(text).bind(tenant_id.0).bind(id.0).fetch_optional(pool).await)
            })
            .await?;
        row.map(|row| Ok((row.key.try_into()?, row.plan.try_into()?, row.deleted_at))).transpose()
    }

    /// A key with its plan, by id.
    pub async fn with_plan(
        self,
        tenant_id: TenantId,
        id: ApiKeyId,
        now: DateTime<Utc>,
    ) -> Result<Option<KeyAndPlan>, Error> {
        let text = concat!(
            "select ",
            key_columns!(),
            ", ",
            plan_columns!(),
            ",
                null as hash, null as secret_expires_at, coalesce(u.allowed, 0) as used,
                exists (select 1 from usage_pending) as waits
             from api_keys k
             join plans p on p.tenant_id = k.tenant_id and p.id = k.plan_id
             left join usage_periods u
                on u.tenant_id = k.tenant_id and u.api_key_id = k.id and u.period_start = $3
             where k.tenant_id = $1 and k.id = $2 and k.deleted_at is null"
        );
        let row: Option<FoundRow> = self
            .0
            .read(|db| async move {
                on!(&db, pool => sqlx::query_as(text)
                    .bind(tenant_id.0).bind(id.0).bind(month_of(now)).fetch_optional(pool).await)
            })
            .await?;
        self.with_waiting(row, now).await
    }

    /// Those of these keys that exist, with their plans, as from [`Keys::with_plan`], but without the usage that
    /// the tables do not include yet.
    pub async fn many_with_plans(
        self,
        keys: &[(TenantId, ApiKeyId)],
        now: DateTime<Utc>,
    ) -> Result<Vec<KeyAndPlan>, Error> {
        let mut found = Vec::with_capacity(keys.len());
        for part in parts(&self.0.primary, keys) {
            let rows: Vec<FoundRow> = self
                .0
                .read(|db| async move {
                    on!(&db, pool => {
                        let mut query = sqlx::query_as(BY_IDS.text(part.len()));
                        for (tenant_id, id) in part {
                            query = query.bind(tenant_id.0).bind(id.0).bind(month_of(now));
                        }
                        query.fetch_all(pool).await
                    })
                })
                .await?;
            found.extend(rows.into_iter().map(KeyAndPlan::try_from).collect::<Result<Vec<_>, _>>()?);
        }
        Ok(found)
    }

    /// Gives the key the secret that `make` makes from the present key. The current secret, and any former
    /// one that would last longer, ends at `old_expires_at`. None when there is no such key;
    /// [`Error::Conflict`] when the secret exists.
    pub async fn rotate<E: From<Error>>(
        self,
        tenant_id: TenantId,
        id: ApiKeyId,
        now: DateTime<Utc>,
        old_expires_at: DateTime<Utc>,
        make: impl Fn(&ApiKey) -> Result<KeySecret, E>,
    ) -> Result<Option<(ApiKey, Plan, KeySecret)>, E> {
        let rotated = self.0.write_in_turn(|| async {
            let mut tx = self.0.begin().await?;
            let revision = revisions::next(&mut tx).await?;
            let Some(key) = row::get(&mut tx, tenant_id, id).await? else { return Ok(Ok(None)) };
            let secret = match make(&key) {
                Ok(secret) => secret,
                Err(refused) => return Ok(Err(refused)),
            };
            set_prefix(&mut tx, tenant_id, &key, &secret.prefix(), now, revision).await?;
            end_by(&mut tx, tenant_id, id, old_expires_at).await?;
            insert(&mut tx, tenant_id, id, &secret.hash()).await?;
            let rotated = row::get(&mut tx, tenant_id, id).await?.ok_or(Error::Conflict)?;
            let plan = plans::named(&mut tx, tenant_id, &rotated.tier).await?.ok_or(Error::Conflict)?;
            tx.commit().await?;
            Ok(Ok(Some((rotated, plan, secret))))
        });
        rotated.await?
    }
}

const BY_IDS: Rows = Rows {
    head: "with given (tenant, api_key, month) as (",
    width: 3,
    tail: concat!(
        ") select ",
        key_columns!(),
        ", ",
        plan_columns!(),
        ",
            null as hash, null as secret_expires_at, coalesce(u.allowed, 0) as used, false as waits
         from given
         join api_keys k on k.tenant_id = given.tenant and k.id = given.api_key
         join plans p on p.tenant_id = k.tenant_id and p.id = k.plan_id
         left join usage_periods u
            on u.tenant_id = k.tenant_id and u.api_key_id = k.id and u.period_start = given.month
         where k.deleted_at is null"
    ),
};

async fn set_prefix(
    tx: &mut Tx,
    tenant_id: TenantId,
    key: &ApiKey,
    prefix: &str,
    now: DateTime<Utc>,
    revision: i64,
) -> Result<(), Error> {
    let text = "
        update api_keys set key_prefix = $3, search = $4, updated_at = $5, version = version + 1, revision = $6
        where tenant_id = $1 and id = $2";
    on!(tx, t => sqlx::query(text)
        .bind(tenant_id.0).bind(key.id.0)
        .bind(prefix).bind(search_text(key, prefix)).bind(micros(now)).bind(revision)
        .execute(&mut **t).await.map(|_| ()))?;
    Ok(())
}

/// Adds the current secret.
pub(crate) async fn insert(tx: &mut Tx, tenant_id: TenantId, id: ApiKeyId, hash: &SecretHash) -> Result<(), Error> {
    let text = "insert into api_key_secrets (hash, tenant_id, api_key_id, expires_at) values ($1, $2, $3, null)";
    on!(tx, t => sqlx::query(text)
        .bind(hash.0.as_slice()).bind(tenant_id.0).bind(id.0).execute(&mut **t).await.map(|_| ()))?;
    Ok(())
}

/// Ends the key's secrets at `end`, except those that end earlier.
pub(crate) async fn end_by(tx: &mut Tx, tenant_id: TenantId, id: ApiKeyId, end: DateTime<Utc>) -> Result<(), Error> {
    let text = "
        update api_key_secrets set expires_at = $3
        where tenant_id = $1 and api_key_id = $2 and (expires_at is null or expires_at > $3)";
    on!(tx, t => sqlx::query(text)
        .bind(tenant_id.0).bind(id.0).bind(micros(end)).execute(&mut **t).await.map(|_| ()))?;
    Ok(())
}
