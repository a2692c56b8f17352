//! Shows, resets and changes a key's limits.
#![expect(unused_qualifications, reason = "utoipa expands a query's parameters with one")]

use axum::{
    Json as Answer,
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use tollgate_domain::{ApiKeyId, FieldError, KeyStatus, Scope, ViolationCursor, usage::ViolationRow};
use tollgate_service::{Caller, CheckOutcome, LimitStatus, Timestamp, keys::NewSize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    answers::{
        check_response::{KeySummary, LimitState, limit_states, reset_time},
        views::{self, ApiKeyView, Cursor, Data, Series},
    },
    app::App,
    body::{
        extract::{Id, IfMatch, page_size},
        json::Json,
        problem::Problem,
        query::Params,
        whole,
    },
    middleware::auth::{Can, LimitsWrite, UsageRead, Who},
    routes::keys::shown,
};

/// Hours of violations when the client sets none, and most hours.
const DEFAULT_HOURS: i64 = 24;
const MAX_HOURS: i64 = 168;

/// Where a key stands; the figures are those of its most constrained limit.
#[derive(Serialize, ToSchema)]
pub(crate) struct Info<'a> {
    key: KeySummary<'a>,
    limit: u64,
    remaining: u64,
    used: u64,
    /// Seconds that the limit counts in; of a calendar period its usual length.
    #[schema(example = 3600)]
    window: u64,
    /// Of a token bucket, which has no windows, now.
    window_start: DateTime<Utc>,
    window_end: DateTime<Utc>,
    /// When one unit fits, while `remaining` is 0; else when the window ends.
    reset_time: DateTime<Utc>,
    /// Seconds until a request of one unit fits; 0: now, null: never.
    #[schema(required, example = 0)]
    retry_after: Option<u64>,
    limits: Vec<LimitState<'a>>,
    /// Refusals by limits in the last 24 hours.
    recent_violations: i64,
    tier: &'a str,
    #[schema(schema_with = views::key_status)]
    status: KeyStatus,
}

/// Whose counters: one of both.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(min_properties = 1, max_properties = 1)]
pub(crate) struct Reset {
    /// The key's secret.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    api_key: Option<String>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<uuid::Uuid>, example = "01a20a9e-85ea-7c36-a9d2-d95b58943f68", nullable = false)]
    api_key_id: Option<ApiKeyId>,
}

/// What was done, and where the key stands now.
#[derive(Serialize, ToSchema)]
pub(crate) struct ResetDone {
    #[schema(example = "the counters are back to zero")]
    message: &'static str,
    data: AfterReset,
}

#[derive(Serialize, ToSchema)]
struct AfterReset {
    limit: u64,
    remaining: u64,
    used: u64,
}

/// A new size for the key's first limit.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeLimit {
    #[serde(deserialize_with = "whole::number")]
    #[schema(example = 5000, minimum = 1, maximum = 1_000_000_000)]
    new_limit: u64,
    /// Seconds; unchanged unless given. Another window starts its counter again from zero. Absent where the limit counts in
    /// periods of the calendar.
    #[serde(default, deserialize_with = "whole::optional")]
    #[schema(example = 3600, minimum = 1, maximum = 31_622_400)]
    window: Option<u64>,
    /// The size of a token bucket. Needed where the bucket has a burst of its own, and allowed for token buckets only.
    #[serde(default, deserialize_with = "whole::optional")]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    burst: Option<u64>,
}

/// Which violations.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListViolations {
    /// Of the last so many hours: 1 to 168, 24 unless given.
    #[param(minimum = 1, maximum = 168)]
    hours: Option<i64>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
    /// 1 to 100; 20 unless given.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<u32>,
}

/// Refusals of one limit at one endpoint in one minute.
#[derive(Serialize, ToSchema)]
pub(crate) struct ViolationView {
    /// Name of the limit, or `quota`.
    #[schema(example = "per-hour")]
    limit_name: String,
    /// Null when the caller named none.
    #[schema(required)]
    endpoint: Option<String>,
    /// The network of the last caller, as its first address, unless the operator keeps whole ones.
    #[schema(required)]
    ip_address: Option<String>,
    /// Decisions, not units.
    count: i64,
    first_at: DateTime<Utc>,
    last_at: DateTime<Utc>,
}

/// Where the caller's own key stands.
///
/// Needs a client's own key, not an admin token.
#[utoipa::path(get, path = "/api/v1/rate-limit/info", tag = "rate-limit",
    responses((status = 200, description = "The key's limits.", body = Data<Info<'static>>)))]
pub(crate) async fn own_info(State(app): State<App>, Who(caller): Who) -> Result<Response, Problem> {
    match caller {
        Caller::Key(known_key) => Ok(info_of(&app, app.service.checks().info(known_key).await?)),
        Caller::Token(_) => Err(Problem::bad_request("an admin token has no limits: ask /api/v1/rate-limit/{id}/info")),
    }
}

/// Where a key stands.
#[utoipa::path(get, path = "/api/v1/rate-limit/{id}/info", tag = "rate-limit", params(("id" = uuid::Uuid, Path, description = "The key's id.")),
    responses((status = 200, description = "The key's limits.", body = Data<Info<'static>>)), extensions(("x-required-scope" = json!("usage:read"))))]
pub(crate) async fn info(State(app): State<App>, Who(caller): Who, Id(id): Id<ApiKeyId>) -> Result<Response, Problem> {
    let tenant_id = caller.require_or_own(Scope::UsageRead, id)?;
    let known_key = app.service.checks().known_key(tenant_id, id).await?;
    Ok(info_of(&app, app.service.checks().info(known_key).await?))
}

/// Set a key's counters back to zero on every node; the key by id or secret.
#[utoipa::path(post, path = "/api/v1/rate-limit/reset", tag = "rate-limit", request_body = Reset,
    responses((status = 200, description = "Done.", body = ResetDone)), extensions(("x-required-scope" = json!("limits:write"))))]
pub(crate) async fn reset(
    State(app): State<App>,
    Can(tenant_id, ..): Can<LimitsWrite>,
    Json(body): Json<Reset>,
) -> Result<Answer<ResetDone>, Problem> {
    let id = match body {
        Reset { api_key: None, api_key_id: Some(id) } => id,
        Reset { api_key: Some(secret), api_key_id: None } => app.service.keys().id_of(tenant_id, &secret).await?,
        _ => {
            let detail = "give api_key or api_key_id".to_owned();
            return Err(Problem::invalid(vec![FieldError { pointer: "/api_key_id".into(), detail }]));
        }
    };
    Ok(done(&app.service.checks().reset(tenant_id, id).await?))
}

/// Set a key's counters back to zero on every node.
#[utoipa::path(post, path = "/api/v1/rate-limit/{id}/reset", tag = "rate-limit", params(("id" = uuid::Uuid, Path, description = "The key's id.")),
    responses((status = 200, description = "Done.", body = ResetDone)), extensions(("x-required-scope" = json!("limits:write"))))]
pub(crate) async fn reset_one(
    State(app): State<App>,
    Can(tenant_id, ..): Can<LimitsWrite>,
    Id(id): Id<ApiKeyId>,
) -> Result<Answer<ResetDone>, Problem> {
    Ok(done(&app.service.checks().reset(tenant_id, id).await?))
}

/// Change a key's first limit. A raised limit helps at once; counters are kept.
#[utoipa::path(put, path = "/api/v1/rate-limit/{id}", tag = "rate-limit", request_body = ChangeLimit,
    params(("id" = uuid::Uuid, Path, description = "The key's id."), IfMatch),
    responses((status = 200, description = "The key with its new limit.", body = Data<ApiKeyView>)), extensions(("x-required-scope" = json!("limits:write"))))]
pub(crate) async fn change(
    State(app): State<App>,
    Can(tenant_id, ..): Can<LimitsWrite>,
    Id(id): Id<ApiKeyId>,
    IfMatch(version): IfMatch,
    Json(body): Json<ChangeLimit>,
) -> Result<Response, Problem> {
    let size = NewSize { limit: body.new_limit, window: body.window, burst: body.burst };
    Ok(shown(&app, app.service.keys().set_limit(tenant_id, id, size, version).await?))
}

/// A key's refusals by limits, newest first.
#[utoipa::path(get, path = "/api/v1/rate-limit/{id}/violations", tag = "rate-limit",
    params(("id" = uuid::Uuid, Path, description = "The key's id."), ListViolations),
    responses((status = 200, description = "A page.", body = Series<ViolationView>)), extensions(("x-required-scope" = json!("usage:read"))))]
pub(crate) async fn violations(
    State(app): State<App>,
    Can(tenant_id, ..): Can<UsageRead>,
    Id(id): Id<ApiKeyId>,
    Params(query): Params<ListViolations>,
) -> Result<Answer<Series<ViolationView>>, Problem> {
    let hours = query.hours.unwrap_or(DEFAULT_HOURS);
    if !(1..=MAX_HOURS).contains(&hours) {
        return Err(Problem::bad_request(format!("hours must be from 1 to {MAX_HOURS}")));
    }
    let limit = i64::from(page_size(query.limit)?);
    let cursor = query.cursor.map(|text| text.parse::<ViolationCursor>()).transpose();
    let cursor = cursor.map_err(|_| Problem::bad_request("cursor is none of ours"))?;
    let found = app.service.metering().violations(tenant_id, id, hours, cursor.as_ref(), limit).await?;
    let next_cursor = found.next.map(|cursor| cursor.to_string());
    let data = found.rows.into_iter().map(ViolationView::from).collect();
    Ok(Answer(Series { data, pagination: Cursor { next_cursor } }))
}

fn info_of(app: &App, (outcome, recent_violations): (CheckOutcome, i64)) -> Response {
    let now = app.service.clock().now();
    let key = KeySummary::new(&outcome);
    let status = outcome.known_key.key.status_at(now);
    let top = outcome.most_constrained();
    let limit = top.and_then(|status| outcome.known_key.counted.limits.limit_of(status));
    let window = limit.map_or(0, |limit| limit.quota().window().seconds());
    let period = limit.map(|limit| limit.quota().period(outcome.decision.at));
    let at = |moment: Timestamp| DateTime::from_timestamp(moment.as_seconds(), 0).unwrap_or(now);
    let info = Info {
        key,
        limit: top.map_or(0, LimitStatus::limit),
        remaining: top.map_or(0, LimitStatus::remaining),
        used: top.map_or(0, LimitStatus::used),
        window,
        window_start: period.map_or(now, |period| at(period.start)),
        window_end: period.map_or(now, |period| at(period.end)),
        reset_time: top.map_or(now, reset_time),
        retry_after: outcome.retry_after_seconds(),
        limits: limit_states(&outcome),
        recent_violations,
        tier: &outcome.known_key.key.tier,
        status,
    };
    Data::json(info).into_response()
}

fn done(outcome: &CheckOutcome) -> Answer<ResetDone> {
    let top = outcome.rate_limits().map(|(_, status)| status).next();
    let data = AfterReset {
        limit: top.map_or(0, LimitStatus::limit),
        remaining: top.map_or(0, LimitStatus::remaining),
        used: top.map_or(0, LimitStatus::used),
    };
    Answer(ResetDone { message: "the counters are back to zero", data })
}

impl From<ViolationRow> for ViolationView {
    fn from(row: ViolationRow) -> Self {
        let non_empty = |text: String| (!text.is_empty()).then_some(text);
        Self {
            limit_name: row.limit_name,
            endpoint: non_empty(row.endpoint),
            ip_address: non_empty(row.ip_address),
            count: row.count,
            first_at: row.first_at,
            last_at: row.last_at,
        }
    }
}

/// A member that may be absent but not null, so that it is clear which of two is given.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
