//! Pages of keys by status, plan, owner, tag and text.

use chrono::{DateTime, Utc};
use sqlx::{Encode, QueryBuilder, Type};
use tollgate_domain::{ApiKey, KeyFilter, KeyOrder, Order, Page, Paged, TenantId};
use uuid::Uuid;

use super::{
    Keys,
    row::{KeyRow, from_keys, key_columns},
};
use crate::{
    Error,
    core::{text::containing, time::micros},
};

impl Keys<'_> {
    /// A page of the tenant's keys, without deleted ones. May lag.
    pub async fn list(
        self,
        tenant_id: TenantId,
        filter: &KeyFilter,
        page: Page,
        now: DateTime<Utc>,
    ) -> Result<Paged<ApiKey>, Error> {
        let (rows, total): (Vec<KeyRow>, i64) = self
            .0
            .read_lagging(|db| async move {
                on!(&db, pool => {
                    let mut list = QueryBuilder::new(concat!("select ", key_columns!(), from_keys!()));
                    push_filter(&mut list, tenant_id, filter, now);
                    list.push(order_clause(filter)).push(" limit ").push_bind(page.rows());
                    list.push(" offset ").push_bind(page.offset());
                    let rows = list.build_query_as().fetch_all(pool).await?;
                    let mut count = QueryBuilder::new(concat!("select count(*)", from_keys!()));
                    push_filter(&mut count, tenant_id, filter, now);
                    Ok((rows, count.build_query_scalar().fetch_one(pool).await?))
                })
            })
            .await?;
        let items = rows.into_iter().map(ApiKey::try_from).collect::<Result<_, _>>()?;
        Ok(Paged { items, total })
    }
}

/// Adds only the filters that are set, so that their indexes can be used.
fn push_filter<DB>(query: &mut QueryBuilder<DB>, tenant_id: TenantId, filter: &KeyFilter, now: DateTime<Utc>)
where
    DB: sqlx::Database,
    for<'t> Uuid: Encode<'t, DB> + Type<DB>,
    for<'t> String: Encode<'t, DB> + Type<DB>,
    for<'t> &'static str: Encode<'t, DB> + Type<DB>,
    for<'t> DateTime<Utc>: Encode<'t, DB> + Type<DB>,
{
    query.push("k.tenant_id = ").push_bind(tenant_id.0);
    if let Some(status) = filter.status {
        // The same rules as `ApiKey::status_at`, in SQL.
        query.push(" and case when k.status = 'revoked' then 'revoked' when k.expires_at <= ").push_bind(micros(now));
        query
            .push(" then 'expired' when k.status = 'suspended' and (k.suspended_until is null or k.suspended_until > ");
        query.push_bind(micros(now)).push(") then 'suspended' else 'active' end = ").push_bind(status.as_str());
    }
    if let Some(tier) = &filter.tier {
        query.push(" and p.name = ").push_bind(tier.clone());
    }
    if let Some(owner_id) = &filter.owner_id {
        query.push(" and k.owner_id = ").push_bind(owner_id.clone());
    }
    if let Some(tag) = &filter.tag {
        query.push(" and exists (select 1 from api_key_tags g where g.tenant_id = k.tenant_id and g.api_key_id = k.id");
        query.push(" and g.tag = ").push_bind(tag.clone()).push(")");
    }
    if let Some(search) = &filter.search {
        query.push(" and k.search like ").push_bind(containing(search)).push(r" escape '\'");
    }
}

fn order_clause(filter: &KeyFilter) -> &'static str {
    match (filter.order_by, filter.order) {
        (KeyOrder::CreatedAt, Order::Asc) => " order by k.created_at, k.id",
        (KeyOrder::CreatedAt, Order::Desc) => " order by k.created_at desc, k.id desc",
        (KeyOrder::UpdatedAt, Order::Asc) => " order by k.updated_at, k.id",
        (KeyOrder::UpdatedAt, Order::Desc) => " order by k.updated_at desc, k.id desc",
        (KeyOrder::Name, Order::Asc) => " order by k.name, k.id",
        (KeyOrder::Name, Order::Desc) => " order by k.name desc, k.id desc",
        (KeyOrder::ExpiresAt, Order::Asc) => " order by k.expires_at nulls last, k.id",
        (KeyOrder::ExpiresAt, Order::Desc) => " order by k.expires_at desc nulls last, k.id desc",
    }
}
