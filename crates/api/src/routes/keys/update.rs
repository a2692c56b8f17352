//! Changes a key.

use axum::{extract::State, response::Response};
use serde::Deserialize;
use tollgate_domain::{ApiKeyId, KeyStatus, Money, Rfc3339};
use tollgate_service::keys::ApiKeyChange;
use utoipa::{
    ToSchema,
    openapi::{
        ObjectBuilder,
        schema::{ArrayBuilder, SchemaType, Type},
    },
};

use super::{create::tags, shown};
use crate::{
    answers::views::{self, ApiKeyView, Data, Limit},
    app::App,
    body::{
        extract::{Id, IfMatch, present},
        json::Json,
        problem::Problem,
        wrong_fields::FreeForm,
    },
    middleware::auth::{Can, KeysWrite},
};

/// A change: what is absent stays as it is, null clears.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UpdateApiKey {
    #[schema(example = "Checkout service, new")]
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    description: Option<Option<String>>,
    #[schema(example = "pro")]
    tier: Option<String>,
    #[schema(schema_with = new_status)]
    status: Option<KeyStatus>,
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    owner_id: Option<Option<String>>,
    #[schema(schema_with = new_tags)]
    tags: Option<Vec<String>>,
    #[schema(schema_with = new_metadata)]
    metadata: Option<FreeForm>,
    #[schema(max_items = 100)]
    allowed_ips: Option<Vec<String>>,
    #[schema(max_items = 250)]
    allowed_countries: Option<Vec<String>>,
    /// Within 100 years of now.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<DateTime<Utc>>)]
    expires_at: Option<Option<Rfc3339>>,
    #[schema(max_items = 16)]
    limits: Option<Vec<Limit>>,
    /// The most that the key may cost in a month, in its plan's currency; null: what the plan says.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, example = "50.00")]
    spend_cap: Option<Option<Money>>,
}

/// Change a key; in force on every node within a second.
#[utoipa::path(put, path = "/api/v1/api-keys/{id}", tag = "api-keys", request_body = UpdateApiKey,
    params(("id" = uuid::Uuid, Path, description = "The key's id."), IfMatch),
    responses((status = 200, description = "Changed.", body = Data<ApiKeyView>)), extensions(("x-required-scope" = json!("keys:write"))))]
pub(crate) async fn update(
    State(app): State<App>,
    Can(tenant_id, ..): Can<KeysWrite>,
    Id(id): Id<ApiKeyId>,
    IfMatch(version): IfMatch,
    Json(body): Json<UpdateApiKey>,
) -> Result<Response, Problem> {
    Ok(shown(&app, app.service.keys().update(tenant_id, id, &body.into(), version).await?))
}

impl From<UpdateApiKey> for ApiKeyChange {
    fn from(body: UpdateApiKey) -> Self {
        Self {
            name: body.name,
            description: body.description,
            tier: body.tier,
            status: body.status,
            owner_id: body.owner_id,
            tags: body.tags,
            metadata: body.metadata.map(|FreeForm(members)| members),
            allowed_ips: body.allowed_ips,
            allowed_countries: body.allowed_countries,
            expires_at: body.expires_at.map(|at| at.map(|Rfc3339(at)| at)),
            limits: body.limits.map(|limits| limits.into_iter().map(Into::into).collect()),
            spend_cap: body.spend_cap,
        }
    }
}

fn new_status() -> ObjectBuilder {
    views::one_of_or_null(&[KeyStatus::Active, KeyStatus::Suspended, KeyStatus::Revoked].map(KeyStatus::as_str))
}

fn new_tags() -> ArrayBuilder {
    tags().schema_type(SchemaType::from_iter([Type::Array, Type::Null]))
}

fn new_metadata() -> ObjectBuilder {
    views::metadata().schema_type(SchemaType::from_iter([Type::Object, Type::Null]))
}
