//! Checks by id, for a back end: one, many, or a preview.

use std::net::IpAddr;

use axum::{
    Extension, Json as Answer,
    body::Body,
    extract::State,
    response::{IntoResponse, Response},
};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tollgate_domain::{ApiKeyId, Country, FieldError, TenantId};
use tollgate_service::{CheckRequest, check::standing::Origin};
use utoipa::{
    ToSchema,
    openapi::{
        ObjectBuilder, Ref,
        schema::{AllOfBuilder, AnyOfBuilder, ArrayBuilder, Type},
    },
};

use crate::{
    answers::{
        check_response::{Decided, KeySummary, QuotaState, Refused, in_batch, quota_state, respond},
        views::{self, Data},
    },
    app::App,
    body::{json::Json, problem::Problem, whole},
    middleware::{
        auth::{Can, LimitsCheck},
        envelope::RequestId,
        idempotency::NothingConsumed,
    },
};

/// Most checks of one batch (API contract).
const MAX_CHECKS: usize = 1_000;

/// A check of one key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Check {
    #[schema(value_type = uuid::Uuid, example = "01a20a9e-85ea-7c36-a9d2-d95b58943f68")]
    api_key_id: ApiKeyId,
    /// As you name it, at most 256 characters.
    #[schema(example = "/v1/orders")]
    endpoint: Option<String>,
    #[schema(example = "GET")]
    method: Option<String>,
    #[schema(value_type = Option<String>, example = "192.0.2.7")]
    ip_address: Option<IpAddr>,
    user_agent: Option<String>,
    /// ISO 3166-1 alpha-2.
    #[schema(value_type = Option<String>, example = "DE")]
    country: Option<Country>,
    /// Units; 0 looks without consuming. 1 unless given.
    #[serde(default, deserialize_with = "whole::optional")]
    #[schema(example = 1, maximum = 1_000_000)]
    requests: Option<u32>,
}

/// Many checks.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckBatch {
    /// 1 to 1000, as far as the body stays within 64 KiB.
    #[schema(min_items = 1, max_items = 1000)]
    checks: Vec<Check>,
}

/// Each check's answer, in the order asked: the members of one check, or of a problem with `"allowed": false`.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchAnswers {
    #[schema(schema_with = answers)]
    data: Vec<Box<RawValue>>,
}

/// What a check would answer, and why.
#[derive(Serialize, ToSchema)]
pub(crate) struct PreviewView<'a> {
    allowed: bool,
    /// Seconds until the limits let the request through if nothing else is consumed; 0: now, null: never, for it exceeds a
    /// limit itself.
    #[schema(required, example = 0)]
    retry_after: Option<u64>,
    /// Why the key may not be used at all; null when it may.
    #[schema(required)]
    rejection: Option<Rejection>,
    key: KeySummary<'a>,
    limits: Vec<PreviewLimit<'a>>,
    #[schema(required)]
    quota: Option<QuotaState>,
    /// Whether the shared store took part.
    degraded: bool,
}

/// The problem that a check would answer.
#[derive(Serialize, ToSchema)]
struct Rejection {
    code: &'static str,
    detail: String,
}

/// A limit with its counter and its origin.
#[derive(Serialize, ToSchema)]
struct PreviewLimit<'a> {
    #[serde(flatten)]
    #[schema(inline)]
    state: crate::answers::check_response::LimitState<'a>,
    used: u64,
    /// `plan`, or `key` when the key overrides or adds it.
    #[schema(schema_with = origin)]
    origin: &'static str,
    /// Most units that may be admitted beyond the limit in one window; 0: none, every check asks the counter itself.
    max_overshoot: u64,
}

/// Check a key by id and consume from its limits.
#[utoipa::path(post, path = "/api/v1/rate-limit/check", tag = "checks", request_body = Check,
    responses((status = 200, description = "The call may go ahead.", body = Decided<'static>),
        (status = 429, description = "A limit or the quota refuses it.", body = Refused<'static>, content_type = "application/problem+json")),
    extensions(("x-required-scope" = json!("limits:check"))))]
pub(crate) async fn check(
    State(app): State<App>,
    Can(tenant_id, ..): Can<LimitsCheck>,
    Extension(RequestId(id)): Extension<RequestId>,
    Json(body): Json<Check>,
) -> Result<Response, Problem> {
    let outcome = app.service.checks().check(tenant_id, body.api_key_id, body.into()).await?;
    Ok(respond(&outcome, app.headers, id.to_str().unwrap_or_default())?.map(Body::new))
}

/// Check many keys, each on its own.
#[utoipa::path(post, path = "/api/v1/rate-limit/check-batch", tag = "checks", request_body = CheckBatch,
    responses((status = 200, description = "All answers, in order.", body = BatchAnswers)), extensions(("x-required-scope" = json!("limits:check"))))]
pub(crate) async fn check_batch(
    State(app): State<App>,
    Can(tenant_id, ..): Can<LimitsCheck>,
    Extension(RequestId(id)): Extension<RequestId>,
    Json(body): Json<CheckBatch>,
) -> Result<Response, Problem> {
    if !(1..=MAX_CHECKS).contains(&body.checks.len()) {
        let detail = format!("from 1 to {MAX_CHECKS}");
        return Err(Problem::invalid(vec![FieldError { pointer: "/checks".into(), detail }]));
    }
    let checks: Vec<_> = body.checks.into_iter().map(|check| (check.api_key_id, CheckRequest::from(check))).collect();
    let wrong: Vec<_> = checks.iter().enumerate().flat_map(|(index, (_, check))| wrong_in(index, check)).collect();
    if !wrong.is_empty() {
        return Err(Problem::invalid(wrong));
    }
    let instance = id.to_str().unwrap_or_default();
    let answers = checks.into_iter().map(|(id, check)| one_of_batch(&app, tenant_id, id, check, instance));
    let answers = join_all(answers).await;
    let is_admitted = answers.iter().any(|(admitted, _)| *admitted);
    let data = answers.into_iter().map(|(_, answer)| answer).collect::<Result<_, _>>();
    let data = data.map_err(|error: serde_json::Error| Problem::internal(error.to_string()))?;
    let mut response = Answer(BatchAnswers { data }).into_response();
    if !is_admitted {
        response.extensions_mut().insert(NothingConsumed);
    }
    Ok(response)
}

/// The errors of one check of a batch.
fn wrong_in(index: usize, check: &CheckRequest) -> Vec<FieldError> {
    let errors = check.validate().err().unwrap_or_default().errors;
    let placed = |error: FieldError| FieldError { pointer: format!("/checks/{index}{}", error.pointer), ..error };
    errors.into_iter().map(placed).collect()
}

/// Whether the check was admitted, and its answer.
async fn one_of_batch(
    app: &App,
    tenant_id: TenantId,
    id: ApiKeyId,
    check: CheckRequest,
    instance: &str,
) -> (bool, Result<Box<RawValue>, serde_json::Error>) {
    match app.service.checks().check(tenant_id, id, check).await {
        Ok(outcome) => (outcome.allowed(), in_batch(&outcome, instance)),
        Err(error) => (false, Problem::from(error).in_batch(instance)),
    }
}

/// What a check would answer and why. Consumes nothing.
#[utoipa::path(post, path = "/api/v1/rate-limit/preview", tag = "checks", request_body = Check,
    responses((status = 200, description = "The answer and its reasons.", body = Data<PreviewView<'static>>)), extensions(("x-required-scope" = json!("limits:check"))))]
pub(crate) async fn preview(
    State(app): State<App>,
    Can(tenant_id, ..): Can<LimitsCheck>,
    Json(body): Json<Check>,
) -> Result<Response, Problem> {
    let preview = app.service.checks().preview(tenant_id, body.api_key_id, &CheckRequest::from(body)).await?;
    let (allowed, outcome) = (preview.allowed(), &preview.checked);
    let statuses = outcome.rate_limits().map(|(_, status)| status.used());
    let explained =
        crate::answers::check_response::limit_states(outcome).into_iter().zip(statuses).zip(preview.reasons);
    let limits = explained.map(|((state, used), reason)| PreviewLimit {
        state,
        used,
        origin: match reason.origin {
            Origin::Plan => "plan",
            Origin::Key => "key",
        },
        max_overshoot: reason.max_overshoot,
    });
    let rejection = preview.rejection.map(|error| {
        let detail = error.to_string();
        Rejection { code: Problem::from(error).code(), detail }
    });
    Ok(Data::json(PreviewView {
        allowed,
        retry_after: outcome.retry_after_seconds(),
        rejection,
        key: KeySummary::new(outcome),
        limits: limits.collect(),
        quota: quota_state(outcome),
        degraded: outcome.decision.degraded,
    })
    .into_response())
}

fn origin() -> ObjectBuilder {
    views::one_of(&["plan", "key"])
}

/// Each element is the answer to one check, or a problem.
fn answers() -> ArrayBuilder {
    let refused = ObjectBuilder::new().property("allowed", ObjectBuilder::new().schema_type(Type::Boolean));
    let problem = AllOfBuilder::new().item(Ref::from_schema_name("Problem")).item(refused.required("allowed"));
    let one =
        AnyOfBuilder::new().item(Ref::from_schema_name("Decided")).item(Ref::from_schema_name("Refused")).item(problem);
    ArrayBuilder::new().items(one)
}

impl From<Check> for CheckRequest {
    fn from(check: Check) -> Self {
        Self {
            requests: check.requests.unwrap_or(1),
            endpoint: check.endpoint,
            method: check.method,
            ip: check.ip_address,
            user_agent: check.user_agent,
            country: check.country,
        }
    }
}
