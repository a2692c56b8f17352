//! What keys used: now, over time, against their plan.
#![expect(unused_qualifications, reason = "utoipa expands a query's parameters with one")]

use axum::{Json as Answer, extract::State};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use tollgate_domain::{
    ApiKeyId, BillingPeriod, Currency, Granularity, Model, Overage, Scope,
    rfc3339::{parse_end, parse_start},
    usage::Counts,
};
use tollgate_service::{keys::UsedKey, metering::history::History};
use utoipa::{IntoParams, ToSchema};

use crate::{
    answers::{
        bill::Period,
        prices::PlanPricesView,
        views::{self, Data, Limit, Quota},
    },
    app::App,
    body::{extract::Id, problem::Problem, query::Params},
    middleware::auth::Who,
};

/// The current billing period.
#[derive(Serialize, ToSchema)]
pub(crate) struct CurrentUsageView {
    #[schema(value_type = uuid::Uuid)]
    api_key_id: ApiKeyId,
    billing_period: Period,
    /// Units admitted.
    #[schema(example = 12_345)]
    requests_made: i64,
    /// Null: any number.
    #[schema(required, example = 100_000)]
    requests_limit: Option<u64>,
    #[schema(required, example = 87_655)]
    requests_remaining: Option<u64>,
    overage_requests: u64,
    /// Units refused by a limit or the quota.
    rate_limited: i64,
    /// What the period costs if no further unit is used.
    #[schema(example = "29.00")]
    estimated_cost: String,
    #[schema(value_type = String, example = "USD")]
    currency: Currency,
    /// When the key was deleted; null for one that was not. What it used stays readable.
    #[schema(required)]
    deleted_at: Option<DateTime<Utc>>,
    as_of: DateTime<Utc>,
}

/// Which part of a key's history.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct HistoryQuery {
    /// The first day, or a time in RFC 3339. Unless given: 24 hours, 30 days or 12 months before the end.
    start_date: Option<String>,
    /// The last day, which is included; or a time, which is not. Unless given: now.
    end_date: Option<String>,
    #[serde(default)]
    #[param(schema_with = granularity)]
    granularity: Granularity,
}

/// A history without gaps.
#[derive(Serialize, ToSchema)]
pub(crate) struct HistoryView {
    period: Period,
    #[schema(schema_with = granularity)]
    granularity: Granularity,
    usage: Vec<Bucket>,
    summary: Sums,
    /// When the key was deleted; null for one that was not. What it used stays readable.
    #[schema(required)]
    deleted_at: Option<DateTime<Utc>>,
}

#[derive(Serialize, ToSchema)]
struct Bucket {
    /// Its start.
    date: DateTime<Utc>,
    #[serde(flatten)]
    sums: Sums,
}

/// Units by what became of them.
#[derive(Serialize, ToSchema)]
struct Sums {
    /// All that were asked for.
    requests: i64,
    /// Admitted.
    successful: i64,
    /// Refused by a limit or the quota.
    rate_limited: i64,
    /// Refused for the key's state or the caller's address.
    errors: i64,
}

/// What a key's plan includes.
#[derive(Serialize, ToSchema)]
pub(crate) struct PlanLimits {
    #[schema(example = "standard")]
    tier: String,
    limits: Vec<Limit>,
    #[schema(required)]
    monthly_quota: Option<Quota>,
    /// Whether units beyond the quota are let pass and billed.
    overage_allowed: bool,
    /// Per unit beyond the included ones; null where units have no single price.
    #[schema(required, example = "0.0005")]
    overage_rate: Option<String>,
    prices: PlanPricesView,
    #[schema(value_type = String, example = "USD")]
    currency: Currency,
    features: Vec<String>,
    /// When the key was deleted; null for one that was not. What it used stays readable.
    #[schema(required)]
    deleted_at: Option<DateTime<Utc>>,
}

/// What a key used in the current billing period, no staler than two seconds.
#[utoipa::path(get, path = "/api/v1/usage/{id}/current", tag = "usage", params(("id" = uuid::Uuid, Path, description = "The key's id.")),
    responses((status = 200, description = "The period so far.", body = Data<CurrentUsageView>)), extensions(("x-required-scope" = json!("usage:read"))))]
pub(crate) async fn current(
    State(app): State<App>,
    Who(caller): Who,
    Id(id): Id<ApiKeyId>,
) -> Result<Answer<Data<CurrentUsageView>>, Problem> {
    let tenant_id = caller.require_or_own(Scope::UsageRead, id)?;
    let usage = app.service.metering().current(tenant_id, id).await?;
    let made = usage.counts.allowed;
    Ok(Data::json(CurrentUsageView {
        api_key_id: usage.api_key_id,
        billing_period: usage.period.into(),
        requests_made: made,
        requests_limit: usage.limit,
        requests_remaining: usage.remaining,
        overage_requests: usage.overage,
        rate_limited: usage.counts.refused(),
        estimated_cost: usage.cost.in_currency(usage.currency),
        currency: usage.currency,
        deleted_at: usage.deleted_at,
        as_of: usage.as_of,
    }))
}

/// What a key used by hour, day or month.
#[utoipa::path(get, path = "/api/v1/usage/{id}/history", tag = "usage", params(("id" = uuid::Uuid, Path, description = "The key's id."), HistoryQuery),
    responses((status = 200, description = "One item per hour, day or month, zeros where there was nothing.", body = Data<HistoryView>)), extensions(("x-required-scope" = json!("usage:read"))))]
pub(crate) async fn history(
    State(app): State<App>,
    Who(caller): Who,
    Id(id): Id<ApiKeyId>,
    Params(query): Params<HistoryQuery>,
) -> Result<Answer<Data<HistoryView>>, Problem> {
    let tenant_id = caller.require_or_own(Scope::UsageRead, id)?;
    let start = moment("start_date", query.start_date.as_deref(), parse_start)?;
    let end = moment("end_date", query.end_date.as_deref(), parse_end)?;
    let granularity = query.granularity;
    let History { start, end, deleted_at, buckets, summary } =
        app.service.metering().history(tenant_id, id, granularity, start, end).await?;
    Ok(Data::json(HistoryView {
        period: BillingPeriod { start, end }.into(),
        granularity,
        usage: buckets.into_iter().map(|(date, counts)| Bucket { date, sums: Sums::from(counts) }).collect(),
        summary: Sums::from(summary),
        deleted_at,
    }))
}

/// What a key's plan includes.
#[utoipa::path(get, path = "/api/v1/usage/{id}/limits", tag = "usage", params(("id" = uuid::Uuid, Path, description = "The key's id.")),
    responses((status = 200, description = "Limits, quota and prices.", body = Data<PlanLimits>)), extensions(("x-required-scope" = json!("usage:read"))))]
pub(crate) async fn limits(
    State(app): State<App>,
    Who(caller): Who,
    Id(id): Id<ApiKeyId>,
) -> Result<Answer<Data<PlanLimits>>, Problem> {
    let tenant_id = caller.require_or_own(Scope::UsageRead, id)?;
    let UsedKey { detail, deleted_at } = app.service.keys().get_even_deleted(tenant_id, id).await?;
    let limits = detail.limits().into_iter().map(Limit::from).collect();
    let plan = detail.plan;
    let overage_allowed = plan.quota.as_ref().is_none_or(|quota| quota.overage == Overage::Bill);
    Ok(Data::json(PlanLimits {
        tier: plan.name,
        limits,
        monthly_quota: plan.quota.map(Quota::from),
        overage_allowed,
        overage_rate: match plan.prices.model {
            Model::PerUnit { unit_amount } => Some(unit_amount.in_currency(plan.prices.currency)),
            _ => None,
        },
        currency: plan.prices.currency,
        prices: plan.prices.into(),
        features: plan.features,
        deleted_at,
    }))
}

impl From<Counts> for Sums {
    fn from(counts: Counts) -> Self {
        Self {
            requests: counts.requests(),
            successful: counts.allowed,
            rate_limited: counts.refused(),
            errors: counts.rejected,
        }
    }
}

fn moment(
    name: &str,
    text: Option<&str>,
    parse: impl FnOnce(&str) -> Option<DateTime<Utc>>,
) -> Result<Option<DateTime<Utc>>, Problem> {
    let wrong = || Problem::bad_request(format!("{name} must be a date (2026-11-01) or a time (2026-11-01T12:00:00Z)"));
    text.map(|text| parse(text).ok_or_else(wrong)).transpose()
}

fn granularity() -> utoipa::openapi::ObjectBuilder {
    views::one_of(&["hourly", "daily", "monthly"])
}
