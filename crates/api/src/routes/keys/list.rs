//! Lists keys.
#![expect(unused_qualifications, reason = "utoipa expands a query's parameters with one")]

use axum::{extract::State, response::Response};
use serde::Deserialize;
use tollgate_domain::{KeyFilter, KeyOrder, KeyStatus, Order};
use utoipa::{IntoParams, openapi::ObjectBuilder};

use crate::{
    answers::views::{self, ApiKeyView, List},
    app::App,
    body::{extract::page, problem::Problem, query::Params},
    middleware::auth::{Can, KeysRead},
};

/// Which keys, in which order.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListApiKeys {
    /// From 1.
    #[param(minimum = 1, maximum = 1_000_000_000)]
    page: Option<u32>,
    /// 1 to 100; 20 unless given.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
    #[param(schema_with = views::key_status)]
    status: Option<KeyStatus>,
    tier: Option<String>,
    owner_id: Option<String>,
    tag: Option<String>,
    /// Part of name, description or key prefix, in any case.
    search: Option<String>,
    #[serde(default)]
    #[param(schema_with = order_by)]
    order_by: KeyOrder,
    #[serde(default)]
    #[param(schema_with = views::order)]
    order: Order,
}

/// List keys.
#[utoipa::path(get, path = "/api/v1/api-keys", tag = "api-keys", params(ListApiKeys),
    responses((status = 200, description = "A page.", body = List<ApiKeyView>)), extensions(("x-required-scope" = json!("keys:read"))))]
pub(crate) async fn list(
    State(app): State<App>,
    Can(tenant_id, ..): Can<KeysRead>,
    Params(query): Params<ListApiKeys>,
) -> Result<Response, Problem> {
    let page = page(query.page, query.limit)?;
    let found = app.service.keys().list(tenant_id, &query.into(), page).await?;
    let now = app.service.clock().now();
    Ok(List::of(page, found, |detail| ApiKeyView::new(detail, now)))
}

impl From<ListApiKeys> for KeyFilter {
    fn from(query: ListApiKeys) -> Self {
        Self {
            status: query.status,
            tier: query.tier,
            owner_id: query.owner_id,
            tag: query.tag,
            search: query.search,
            order_by: query.order_by,
            order: query.order,
        }
    }
}

fn order_by() -> ObjectBuilder {
    views::one_of(&["created_at", "updated_at", "name", "expires_at"])
}
