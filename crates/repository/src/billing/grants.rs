//! Grants of credit, as operators see them.

use chrono::{DateTime, Utc};
use sqlx::{Encode, QueryBuilder, Type};
use tollgate_domain::{
    ApiKeyId, GrantId, Money, Page, Paged, RecordId, TenantId,
    billing::grant::{CreditGrant, GrantFilter, GrantHolder, GrantSource, GrantStatus},
};
use uuid::Uuid;

use super::Billing;
use crate::{
    Error,
    core::{database::Tx, time::micros},
};

/// The columns of [`GrantRow`], of a table `g`.
macro_rules! grant_columns {
    () => {
        "g.id, g.owner_id, g.api_key_id, g.amount, g.currency, g.priority, g.effective_at, g.expires_at, g.reason, g.prepaid,
         g.source, g.created_at, g.voided_at, g.version,
         cast(coalesce((select sum(a.amount) from credit_applications a
            where a.tenant_id = g.tenant_id and a.grant_id = g.id and a.returned_at is null), 0) as bigint) as applied"
    };
}

#[derive(sqlx::FromRow)]
struct GrantRow {
    id: Uuid,
    owner_id: Option<String>,
    api_key_id: Option<Uuid>,
    amount: i64,
    currency: String,
    priority: i32,
    effective_at: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
    reason: Option<String>,
    prepaid: bool,
    source: String,
    created_at: DateTime<Utc>,
    voided_at: Option<DateTime<Utc>>,
    version: i64,
    applied: i64,
}

/// What a grant paid of a record. One that was taken back gave it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// The record.
    pub record_id: RecordId,
    /// How much.
    pub amount: Money,
    /// When.
    pub at: DateTime<Utc>,
}

impl TryFrom<GrantRow> for CreditGrant {
    type Error = Error;

    fn try_from(row: GrantRow) -> Result<Self, Error> {
        let holder = match (row.owner_id, row.api_key_id) {
            (Some(owner), _) => GrantHolder::Owner(owner),
            (None, Some(key)) => GrantHolder::Key(ApiKeyId(key)),
            (None, None) => return Err(Error::Corrupt("credit_grants.owner_id".into())),
        };
        let source = [GrantSource::Manual, GrantSource::Correction].into_iter().find(|s| s.as_str() == row.source);
        Ok(Self {
            id: GrantId(row.id),
            holder,
            amount: Money(row.amount),
            currency: row.currency.parse().map_err(|e| Error::Corrupt(format!("credit_grants.currency: {e}")))?,
            priority: u8::try_from(row.priority).map_err(|e| Error::Corrupt(format!("credit_grants.priority: {e}")))?,
            effective_at: row.effective_at,
            expires_at: row.expires_at,
            reason: row.reason,
            prepaid: row.prepaid,
            source: source.ok_or_else(|| Error::Corrupt("credit_grants.source".into()))?,
            created_at: row.created_at,
            voided_at: row.voided_at,
            applied: Money(row.applied),
            version: row.version,
        })
    }
}

impl Billing<'_> {
    /// Stores a grant.
    pub async fn insert_grant(self, tenant_id: TenantId, grant: &CreditGrant) -> Result<CreditGrant, Error> {
        let text = "
            insert into credit_grants (tenant_id, id, owner_id, api_key_id, amount, currency, priority, effective_at,
                expires_at, reason, prepaid, source, created_at, version)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
        self.0
            .write(|| async {
                let mut tx = self.0.begin().await?;
                on!(&mut tx, t => sqlx::query(text)
                    .bind(tenant_id.0).bind(grant.id.0).bind(grant.holder.owner()).bind(grant.holder.key().map(|id| id.0))
                    .bind(grant.amount.0).bind(grant.currency.to_string()).bind(i32::from(grant.priority))
                    .bind(micros(grant.effective_at)).bind(grant.expires_at.map(micros)).bind(&grant.reason)
                    .bind(grant.prepaid).bind(grant.source.as_str()).bind(micros(grant.created_at)).bind(grant.version)
                    .execute(&mut **t).await.map(|_| ()))?;
                let stored = get(&mut tx, tenant_id, grant.id).await?.ok_or(Error::Conflict)?;
                tx.commit().await?;
                Ok(stored)
            })
            .await
    }

    /// A grant with what it paid.
    pub async fn grant(
        self,
        tenant_id: TenantId,
        id: GrantId,
    ) -> Result<Option<(CreditGrant, Vec<Application>)>, Error> {
        let applications = "
            select record_id, amount, applied_at from credit_applications
            where tenant_id = $1 and grant_id = $2 and returned_at is null order by applied_at, record_id";
        self.0
            .snapshot(|mut tx| async move {
                let found = async {
                    let Some(grant) = get(&mut tx, tenant_id, id).await? else { return Ok(None) };
                    let rows: Vec<(Uuid, i64, DateTime<Utc>)> = on!(&mut tx, t => sqlx::query_as(applications)
                        .bind(tenant_id.0).bind(id.0).fetch_all(&mut **t).await)?;
                    let paid = rows.into_iter().map(|(record, amount, at)| Application {
                        record_id: RecordId(record),
                        amount: Money(amount),
                        at,
                    });
                    Ok(Some((grant, paid.collect())))
                };
                Ok(found.await)
            })
            .await?
    }

    /// A page of grants, the newest first. May lag.
    pub async fn grants(
        self,
        tenant_id: TenantId,
        filter: &GrantFilter,
        page: Page,
        now: DateTime<Utc>,
    ) -> Result<Paged<CreditGrant>, Error> {
        let (rows, total): (Vec<GrantRow>, i64) = self
            .0
            .read_lagging(|db| async move {
                on!(&db, pool => {
                    let mut list =
                        QueryBuilder::new(concat!("select * from (select ", grant_columns!(), " from credit_grants g where "));
                    push_filter(&mut list, tenant_id, filter, now);
                    list.push(" order by created_at desc, id desc limit ").push_bind(page.rows());
                    list.push(" offset ").push_bind(page.offset());
                    let rows = list.build_query_as().fetch_all(pool).await?;
                    let mut count = QueryBuilder::new(
                        concat!("select count(*) from (select ", grant_columns!(), " from credit_grants g where "));
                    push_filter(&mut count, tenant_id, filter, now);
                    Ok((rows, count.build_query_scalar().fetch_one(pool).await?))
                })
            })
            .await?;
        let items = rows.into_iter().map(CreditGrant::try_from).collect::<Result<_, _>>()?;
        Ok(Paged { items, total })
    }

    /// All grants of an owner that may still pay, now or later. From the primary.
    pub async fn live_grants(
        self,
        tenant_id: TenantId,
        owner_id: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<CreditGrant>, Error> {
        let text = concat!(
            "select ",
            grant_columns!(),
            " from credit_grants g where g.tenant_id = $1 and g.owner_id = $2 and g.voided_at is null
                and (g.expires_at is null or g.expires_at > $3) order by g.expires_at, g.id"
        );
        let rows: Vec<GrantRow> = self
            .0
            .read(|db| async move {
                on!(&db, pool => sqlx::query_as(text)
                    .bind(tenant_id.0).bind(owner_id).bind(micros(now)).fetch_all(pool).await)
            })
            .await?;
        rows.into_iter().map(CreditGrant::try_from).collect()
    }

    /// Takes what is left of a grant away; what it paid stays. One that is void stays as it is. None when there is none.
    pub async fn void_grant(
        self,
        tenant_id: TenantId,
        id: GrantId,
        now: DateTime<Utc>,
    ) -> Result<Option<CreditGrant>, Error> {
        let text = "
            update credit_grants set voided_at = $3, version = version + 1
            where tenant_id = $1 and id = $2 and voided_at is null";
        self.0
            .write(|| async {
                let mut tx = self.0.begin().await?;
                on!(&mut tx, t => sqlx::query(text)
                    .bind(tenant_id.0).bind(id.0).bind(micros(now)).execute(&mut **t).await.map(|_| ()))?;
                let stored = get(&mut tx, tenant_id, id).await?;
                tx.commit().await?;
                Ok(stored)
            })
            .await
    }
}

async fn get(tx: &mut Tx, tenant_id: TenantId, id: GrantId) -> Result<Option<CreditGrant>, Error> {
    let text = concat!("select ", grant_columns!(), " from credit_grants g where g.tenant_id = $1 and g.id = $2");
    let row: Option<GrantRow> =
        on!(tx, t => sqlx::query_as(text).bind(tenant_id.0).bind(id.0).fetch_optional(&mut **t).await)?;
    row.map(CreditGrant::try_from).transpose()
}

/// The filter of the inner query, its end, and that of the outer one, by status.
fn push_filter<DB>(query: &mut QueryBuilder<DB>, tenant_id: TenantId, filter: &GrantFilter, now: DateTime<Utc>)
where
    DB: sqlx::Database,
    for<'t> Uuid: Encode<'t, DB> + Type<DB>,
    for<'t> String: Encode<'t, DB> + Type<DB>,
    for<'t> DateTime<Utc>: Encode<'t, DB> + Type<DB>,
{
    query.push("g.tenant_id = ").push_bind(tenant_id.0);
    if let Some(owner_id) = &filter.owner_id {
        query.push(" and g.owner_id = ").push_bind(owner_id.clone());
    }
    if let Some(key) = filter.api_key_id {
        query.push(" and g.api_key_id = ").push_bind(key.0);
    }
    query.push(") found where 1 = 1");
    // The rules of `CreditGrant::status_at`.
    let (now, open) = (micros(now), " and voided_at is null and applied < amount");
    match filter.status {
        None => query,
        Some(GrantStatus::Void) => query.push(" and voided_at is not null"),
        Some(GrantStatus::Used) => query.push(" and voided_at is null and applied >= amount"),
        Some(GrantStatus::Expired) => query.push(open).push(" and expires_at <= ").push_bind(now),
        Some(GrantStatus::Pending) => {
            query.push(open).push(" and effective_at > ").push_bind(now);
            query.push(" and (expires_at is null or expires_at > ").push_bind(now).push(")")
        }
        Some(GrantStatus::Active) => {
            query.push(open).push(" and effective_at <= ").push_bind(now);
            query.push(" and (expires_at is null or expires_at > ").push_bind(now).push(")")
        }
    };
}
