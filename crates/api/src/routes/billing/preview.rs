//! What units would cost.

use axum::{Json as Answer, extract::State};
use serde::Deserialize;
use tollgate_domain::{BillingPeriod, Currency, Invalid, Rfc3339, plan::validate_prices};
use tollgate_service::billing::preview::{Preview, PreviewPlan, PreviewSegment};
use utoipa::ToSchema;

use crate::{
    answers::{
        bill::BillView,
        prices::PlanPrices,
        views::{Data, Quota},
    },
    app::App,
    body::{json::Json, problem::Problem, whole},
    middleware::auth::{BillingRead, Can},
};

/// Units of a preview: more than any key uses, and few enough that their price can be counted.
const MAX_PREVIEWED: u64 = 1_000_000_000_000_000;

/// A period that might be: a plan and its units, or segments with one each.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"plan": "standard", "units": 120_000}))]
pub(crate) struct PreviewRequest {
    plan: Option<PlanOrPrices>,
    #[serde(default, deserialize_with = "whole::optional")]
    #[schema(example = 120_000, minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    units: Option<u64>,
    /// In place of `plan` and `units`: parts of the period, each from the end of the one before.
    #[schema(min_items = 1, max_items = 100)]
    segments: Option<Vec<Part>>,
    /// A month; the present one unless given.
    #[schema(example = "2026-11")]
    period: Option<String>,
    /// All plans must be in it, if it is given.
    #[schema(value_type = Option<String>, example = "USD")]
    currency: Option<Currency>,
}

/// A part of the period.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Part {
    /// The period's start unless given.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    start: Option<Rfc3339>,
    /// The period's end unless given.
    #[schema(value_type = Option<chrono::DateTime<chrono::Utc>>)]
    end: Option<Rfc3339>,
    plan: PlanOrPrices,
    #[serde(deserialize_with = "whole::number")]
    #[schema(example = 120_000, minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    units: u64,
}

/// The name of a plan, or the prices and the quota of one that may be made.
#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum PlanOrPrices {
    Name(PlanName),
    Given(Box<GivenPlan>),
}

/// A plan's slug.
#[derive(Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(pattern = "^[a-z0-9_-]{1,64}$", example = "standard")]
struct PlanName(String);

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct GivenPlan {
    prices: PlanPrices,
    quota: Option<Quota>,
}

/// What units would cost. Nothing is stored; a period is closed with the same figures.
#[utoipa::path(post, path = "/api/v1/billing/preview", tag = "billing", request_body = PreviewRequest,
    responses((status = 200, description = "Lines and totals.", body = Data<BillView>)), extensions(("x-required-scope" = json!("billing:read"))))]
pub(crate) async fn preview(
    State(app): State<App>,
    Can(tenant_id, ..): Can<BillingRead>,
    Json(body): Json<PreviewRequest>,
) -> Result<Answer<Data<BillView>>, Problem> {
    let (period, bill) = app.service.billing().preview(tenant_id, body.read()?).await?;
    Ok(Data::json(BillView::new(period, &bill).map_err(tollgate_service::Error::from)?))
}

impl PreviewRequest {
    fn read(self) -> Result<Preview, Problem> {
        let wrong = |pointer: &str, detail: &str| Problem::from(Invalid::field(pointer, detail));
        let period = match self.period.as_deref() {
            Some(text) => {
                let period = BillingPeriod::parse(text);
                Some(period.ok_or_else(|| wrong("/period", "must be a month such as \"2026-11\""))?)
            }
            None => None,
        };
        let segments = match (self.plan, self.units, self.segments) {
            (Some(plan), units, None) => {
                let units = units.ok_or_else(|| wrong("/units", "required with a plan"))?;
                vec![PreviewSegment { at: String::new(), start: None, end: None, plan: plan.read("/plan")?, units }]
            }
            (None, None, Some(parts)) => {
                if !(1..=100).contains(&parts.len()) {
                    return Err(wrong("/segments", "1 to 100"));
                }
                let read = |(index, part): (usize, Part)| part.read(format!("/segments/{index}"));
                parts.into_iter().enumerate().map(read).collect::<Result<_, _>>()?
            }
            (None, _, None) => return Err(wrong("/plan", "required, or segments")),
            (_, _, Some(_)) => return Err(wrong("/segments", "not together with plan or units")),
        };
        if let Some(segment) = segments.iter().find(|segment| segment.units > MAX_PREVIEWED) {
            return Err(wrong(&format!("{}/units", segment.at), &format!("from 0 to {MAX_PREVIEWED}")));
        }
        Ok(Preview { period, currency: self.currency, segments })
    }
}

impl Part {
    fn read(self, at: String) -> Result<PreviewSegment, Problem> {
        let time = |time: Option<Rfc3339>| time.map(|Rfc3339(at)| at);
        let plan = self.plan.read(&format!("{at}/plan"))?;
        Ok(PreviewSegment { at, start: time(self.start), end: time(self.end), plan, units: self.units })
    }
}

impl PlanOrPrices {
    fn read(self, at: &str) -> Result<PreviewPlan, Problem> {
        match self {
            Self::Name(PlanName(name)) => Ok(PreviewPlan::Named(name)),
            Self::Given(plan) => {
                let (prices, quota) =
                    (plan.prices.read().map_err(|invalid| invalid.within(at))?.0, plan.quota.map(Into::into));
                validate_prices(&prices, quota.as_ref()).map_err(|invalid| invalid.within(at))?;
                Ok(PreviewPlan::Given(prices, quota))
            }
        }
    }
}
