//! Creates a key.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use hyper::StatusCode;
use serde::Deserialize;
use tollgate_domain::{Environment, FieldError, Money, Rfc3339};
use tollgate_service::keys::NewApiKey;
use utoipa::{
    ToSchema,
    openapi::{
        ObjectBuilder,
        schema::{ArrayBuilder, Type},
    },
};

use super::{ApiKeyWithSecret, with_secret};
use crate::{
    answers::views::{self, Data, Limit},
    app::App,
    body::{extract::location, json::Json, problem::Problem, wrong_fields::FreeForm},
    middleware::auth::{Can, KeysWrite},
};

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateApiKey {
    /// 1 to 255 characters.
    #[serde(default)]
    #[schema(required, value_type = String, example = "Checkout service")]
    name: Option<String>,
    /// The plan's name.
    #[serde(default)]
    #[schema(required, value_type = String, example = "standard")]
    tier: Option<String>,
    /// At most 500 characters.
    description: Option<String>,
    #[serde(default)]
    #[schema(schema_with = views::environment)]
    environment: Environment,
    /// Your own id of the customer who holds the key.
    owner_id: Option<String>,
    /// At most 20, each once.
    #[serde(default)]
    #[schema(schema_with = tags)]
    tags: Vec<String>,
    /// At most 50 members and 8192 bytes.
    #[serde(default)]
    #[schema(schema_with = views::metadata)]
    metadata: FreeForm,
    /// The most that the key may cost in a month, in its plan's currency; what the plan says unless given.
    #[schema(value_type = Option<String>, example = "50.00")]
    spend_cap: Option<Money>,
    /// Addresses or networks; empty: any.
    #[serde(default)]
    #[schema(example = json!(["192.0.2.0/24"]), max_items = 100)]
    allowed_ips: Vec<String>,
    /// ISO 3166-1 alpha-2; empty: any.
    #[serde(default)]
    #[schema(max_items = 250)]
    allowed_countries: Vec<String>,
    /// At most 100 years ahead.
    #[schema(value_type = Option<DateTime<Utc>>)]
    expires_at: Option<Rfc3339>,
    /// Override the plan's limits of the same name, or add to them.
    #[serde(default)]
    #[schema(max_items = 16)]
    limits: Vec<Limit>,
}

/// Make a key. Its secret is shown this once.
#[utoipa::path(post, path = "/api/v1/api-keys", tag = "api-keys", request_body = CreateApiKey,
    responses((status = 201, description = "Made.", body = Data<ApiKeyWithSecret>)), extensions(("x-required-scope" = json!("keys:write"))))]
pub(crate) async fn create(
    State(app): State<App>,
    Can(tenant_id, ..): Can<KeysWrite>,
    Json(body): Json<CreateApiKey>,
) -> Result<Response, Problem> {
    let (detail, secret) = app.service.keys().create(tenant_id, body.try_into()?).await?;
    let location = location("/api/v1/api-keys", &detail.key.id);
    Ok((location, with_secret(StatusCode::CREATED, &app, detail, secret.expose())).into_response())
}

impl TryFrom<CreateApiKey> for NewApiKey {
    type Error = Problem;

    /// Names both required members when both are missing.
    fn try_from(body: CreateApiKey) -> Result<Self, Problem> {
        let CreateApiKey { name: Some(name), tier: Some(tier), .. } = body else {
            let absent = [("/name", body.name.is_none()), ("/tier", body.tier.is_none())];
            let missing = absent.into_iter().filter(|(_, missing)| *missing);
            let error = |(pointer, _): (&str, bool)| FieldError { pointer: pointer.into(), detail: "required".into() };
            return Err(Problem::invalid(missing.map(error).collect()));
        };
        Ok(Self {
            name,
            tier,
            description: body.description,
            environment: body.environment,
            owner_id: body.owner_id,
            tags: body.tags,
            metadata: body.metadata.0,
            allowed_ips: body.allowed_ips,
            allowed_countries: body.allowed_countries,
            expires_at: body.expires_at.map(|Rfc3339(at)| at),
            limits: body.limits.into_iter().map(Into::into).collect(),
            spend_cap: body.spend_cap,
        })
    }
}

pub(super) fn tags() -> ArrayBuilder {
    ArrayBuilder::new().items(ObjectBuilder::new().schema_type(Type::String)).max_items(Some(20)).unique_items(true)
}
