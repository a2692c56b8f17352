//! Types that several routes share. They are the contract; the domain's types may change without them.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tollgate_domain::{
    Algorithm, ApiKeyId, CalendarSpec, CalendarUnit, Environment, KeyStatus, LimitSpec, OnFailure, Page, Paged, Per,
    QuotaSpec, limit::MAX_LIMIT, plan::MAX_QUOTA,
};
use tollgate_service::keys::KeyDetail;
use utoipa::{
    ToSchema,
    openapi::{
        ObjectBuilder,
        schema::{SchemaType, Type},
    },
};

use crate::body::whole;

/// One resource.
#[derive(Serialize, ToSchema)]
pub(crate) struct Data<T: ToSchema> {
    pub(crate) data: T,
}

impl<T: ToSchema + Serialize> Data<T> {
    pub(crate) fn json(data: T) -> Json<Self> {
        Json(Self { data })
    }
}

/// One page of a list.
#[derive(Serialize, ToSchema)]
pub(crate) struct List<T: ToSchema> {
    data: Vec<T>,
    pagination: Pagination,
}

/// Where a page stands.
#[derive(Serialize, ToSchema)]
pub(crate) struct Pagination {
    /// From 1.
    #[schema(example = 1)]
    page: u32,
    #[schema(example = 20)]
    limit: u32,
    /// Over all pages.
    #[schema(example = 45)]
    total: i64,
    #[schema(example = 3)]
    pages: i64,
}

impl<T: ToSchema + Serialize> List<T> {
    pub(crate) fn of<U>(page: Page, found: Paged<U>, view: impl Fn(U) -> T) -> Response {
        let limit = i64::from(page.limit.max(1));
        let pages = (found.total + limit - 1) / limit;
        let pagination = Pagination { page: page.page, limit: page.limit, total: found.total, pages };
        Json(Self { data: found.items.into_iter().map(view).collect(), pagination }).into_response()
    }
}

/// One page of a series.
#[derive(Serialize, ToSchema)]
pub(crate) struct Series<T: ToSchema> {
    pub(crate) data: Vec<T>,
    pub(crate) pagination: Cursor,
}

/// Where the next page begins.
#[derive(Serialize, ToSchema)]
pub(crate) struct Cursor {
    /// To be sent as `cursor`; null at the end.
    #[schema(required)]
    pub(crate) next_cursor: Option<String>,
}

/// A limit by name.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "per-hour", "algorithm": "sliding_window", "limit": 1000, "window": 3600, "cost": 1,
    "per": "key", "on_failure": "local"}))]
pub(crate) struct Limit {
    /// 1 to 64 letters, digits, `-`, `_` or `.`. A key's limit replaces the plan's of the same name.
    #[schema(example = "per-hour", min_length = 1, max_length = 64)]
    name: String,
    #[serde(default)]
    #[schema(schema_with = algorithm)]
    algorithm: Algorithm,
    /// Units per window; with `sliding_log` at most 1000.
    #[serde(deserialize_with = "whole::number")]
    #[schema(example = 1000, minimum = 1, maximum = 1_000_000_000)]
    limit: u64,
    /// Seconds; with `calendar` it may be absent, and is shown as the period's nominal length.
    #[serde(default, deserialize_with = "whole::number")]
    #[schema(example = 3600, minimum = 1, maximum = 31_622_400)]
    window: u64,
    /// Fixed windows may follow the calendar instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    calendar: Option<Calendar>,
    /// Size of a token bucket; `limit` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "whole::optional")]
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    burst: Option<u64>,
    /// Units of this limit that one requested unit takes.
    #[serde(default = "one", deserialize_with = "whole::number")]
    #[schema(minimum = 1, maximum = 1_000_000)]
    cost: u32,
    #[serde(default)]
    #[schema(schema_with = per)]
    per: Per,
    #[serde(default)]
    #[schema(schema_with = on_failure)]
    on_failure: OnFailure,
}

/// The literals in the schemas must equal the domain's bounds.
const _: () = assert!(MAX_LIMIT == 1_000_000_000 && MAX_QUOTA == 1_000_000_000_000);

/// A window that follows a civil calendar.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Calendar {
    #[schema(schema_with = calendar_unit)]
    unit: CalendarUnit,
    /// An IANA time zone; UTC if absent.
    #[serde(default = "utc")]
    #[schema(example = "Europe/Berlin")]
    timezone: String,
    /// Day on which a week (1 Monday to 7), month or year (1 to 31, or its last day) begins.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "whole::optional")]
    #[schema(minimum = 1, maximum = 31)]
    anchor_day: Option<u8>,
}

fn one() -> u32 {
    1
}

fn utc() -> String {
    "UTC".into()
}

impl From<LimitSpec> for Limit {
    fn from(spec: LimitSpec) -> Self {
        let window = spec.window_seconds();
        let LimitSpec { name, algorithm, limit, calendar, burst, cost, per, on_failure, .. } = spec;
        let calendar =
            calendar.map(|CalendarSpec { unit, timezone, anchor_day }| Calendar { unit, timezone, anchor_day });
        Self { name, algorithm, limit, window, calendar, burst, cost, per, on_failure }
    }
}

impl From<Limit> for LimitSpec {
    fn from(Limit { name, algorithm, limit, window, calendar, burst, cost, per, on_failure }: Limit) -> Self {
        let calendar =
            calendar.map(|Calendar { unit, timezone, anchor_day }| CalendarSpec { unit, timezone, anchor_day });
        Self { name, algorithm, limit, window, calendar, burst, cost, per, on_failure }
    }
}

/// Units that a calendar month (UTC) includes.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quota {
    #[serde(deserialize_with = "whole::number")]
    #[schema(example = 100_000, minimum = 1, maximum = 1_000_000_000_000_i64)]
    limit: u64,
    /// What happens beyond: `block` refuses, `bill` lets pass and bills, `throttle` lets pass slowly and bills nothing.
    #[schema(schema_with = overage)]
    overage: tollgate_domain::Overage,
    /// With `overage` `throttle`, and only then: how many units pass beyond the quota.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    throttle: Option<Throttle>,
}

/// Units per seconds.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Throttle {
    #[serde(deserialize_with = "whole::number")]
    #[schema(example = 10, minimum = 1, maximum = 1_000_000_000)]
    limit: u64,
    /// Seconds.
    #[serde(deserialize_with = "whole::number")]
    #[schema(example = 1, minimum = 1, maximum = 31_622_400)]
    window: u64,
}

impl From<QuotaSpec> for Quota {
    fn from(QuotaSpec { limit, overage, throttle }: QuotaSpec) -> Self {
        let throttle = throttle.map(|tollgate_domain::Throttle { limit, window }| Throttle { limit, window });
        Self { limit, overage, throttle }
    }
}

impl From<Quota> for QuotaSpec {
    fn from(Quota { limit, overage, throttle }: Quota) -> Self {
        let throttle = throttle.map(|Throttle { limit, window }| tollgate_domain::Throttle { limit, window });
        Self { limit, overage, throttle }
    }
}

/// A key's record. Its secret is not part of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct ApiKeyView {
    #[schema(value_type = uuid::Uuid)]
    id: ApiKeyId,
    /// What may be displayed of the secret.
    #[schema(example = "tg_live_4fQz")]
    key_prefix: String,
    #[schema(example = "Checkout service")]
    name: String,
    #[schema(required)]
    description: Option<String>,
    /// The plan's name.
    #[schema(example = "standard")]
    tier: String,
    #[schema(schema_with = environment)]
    environment: Environment,
    #[schema(schema_with = key_status)]
    status: KeyStatus,
    #[schema(required)]
    suspension: Option<Suspension>,
    /// Units per window of the first limit.
    #[schema(required, example = 1000)]
    rate_limit: Option<u64>,
    /// Seconds.
    #[schema(required, example = 3600)]
    rate_limit_window: Option<u64>,
    /// The limits in force: the plan's, with the key's own in place of those of the same name.
    limits: Vec<Limit>,
    #[schema(required)]
    quota: Option<Quota>,
    /// The most that it may cost in a month; null: what its plan says.
    #[schema(required, example = "50.00")]
    spend_cap: Option<String>,
    #[schema(required)]
    owner_id: Option<String>,
    tags: Vec<String>,
    #[schema(schema_with = metadata)]
    metadata: Map<String, Value>,
    #[schema(value_type = Vec<String>, example = json!(["192.0.2.0/24"]))]
    allowed_ips: Vec<String>,
    allowed_countries: Vec<String>,
    #[schema(required)]
    expires_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    /// Counts changes; `If-Match` compares it.
    #[schema(example = 1)]
    pub(crate) version: i64,
}

/// Why and how long a key rests.
#[derive(Serialize, ToSchema)]
pub(crate) struct Suspension {
    /// Null: until it is resumed.
    #[schema(required)]
    until: Option<DateTime<Utc>>,
    #[schema(required)]
    reason: Option<String>,
}

impl ApiKeyView {
    pub(crate) fn new(detail: KeyDetail, now: DateTime<Utc>) -> Self {
        let limits = detail.limits();
        let first = limits.first();
        let (rate_limit, rate_limit_window) = (first.map(|l| l.limit), first.map(|l| l.window));
        let KeyDetail { key, plan } = detail;
        let status = key.status_at(now);
        let resting = key.suspension.filter(|_| status == KeyStatus::Suspended);
        Self {
            id: key.id,
            key_prefix: key.key_prefix,
            name: key.name,
            description: key.description,
            tier: key.tier,
            environment: key.environment,
            status,
            suspension: resting.map(|s| Suspension { until: s.until, reason: s.reason }),
            rate_limit,
            rate_limit_window,
            limits: limits.into_iter().map(Limit::from).collect(),
            quota: plan.quota.map(Quota::from),
            spend_cap: key.spend_cap.map(|cap| cap.in_currency(plan.prices.currency)),
            owner_id: key.owner_id,
            tags: key.tags,
            metadata: key.metadata,
            allowed_ips: key.allowed_ips.iter().map(ToString::to_string).collect(),
            allowed_countries: key.allowed_countries.iter().map(ToString::to_string).collect(),
            expires_at: key.expires_at,
            created_at: key.created_at,
            updated_at: key.updated_at,
            version: key.version,
        }
    }
}

/// At most 50 members.
pub(crate) fn metadata() -> ObjectBuilder {
    ObjectBuilder::new().max_properties(Some(50)).examples([serde_json::json!({"team": "payments"})])
}

pub(crate) fn environment() -> ObjectBuilder {
    one_of(&Environment::ALL.map(Environment::as_str))
}

pub(crate) fn key_status() -> ObjectBuilder {
    let all = [KeyStatus::Active, KeyStatus::Suspended, KeyStatus::Revoked, KeyStatus::Expired];
    one_of(&all.map(KeyStatus::as_str))
}

pub(crate) fn algorithm() -> ObjectBuilder {
    one_of(&["sliding_window", "sliding_log", "fixed_window", "token_bucket"])
}

pub(crate) fn order() -> ObjectBuilder {
    one_of(&["asc", "desc"])
}

fn calendar_unit() -> ObjectBuilder {
    one_of(&["minute", "hour", "day", "week", "month", "year"])
}

fn per() -> ObjectBuilder {
    one_of(&["key", "owner"])
        .description(Some("Whose requests are counted together: the key's, or all of its owner's keys'."))
}

fn on_failure() -> ObjectBuilder {
    one_of(&["local", "allow", "deny"]).description(Some("What to answer while the shared store is away."))
}

fn overage() -> ObjectBuilder {
    one_of(&["block", "bill", "throttle"])
}

/// The same, or null.
pub(crate) fn one_of_or_null(names: &[&'static str]) -> ObjectBuilder {
    let names = names.iter().map(|name| Value::from(*name)).chain([Value::Null]);
    ObjectBuilder::new().schema_type(SchemaType::from_iter([Type::String, Type::Null])).enum_values(Some(names))
}

pub(crate) fn one_of(names: &[&'static str]) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(names.iter().copied()))
}
