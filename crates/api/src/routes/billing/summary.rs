//! Sums of records.
#![expect(unused_qualifications, reason = "utoipa expands a query's parameters with one")]

use axum::{Json as Answer, extract::State};
use serde::{Deserialize, Serialize};
use tollgate_domain::{Currency, Money, billing::SummaryGroup};
use tollgate_service::billing::SummaryRow;
use utoipa::{IntoParams, ToSchema, openapi::ObjectBuilder};

use crate::{
    answers::views::{Data, one_of},
    app::App,
    body::{problem::Problem, query::Params},
    middleware::auth::{BillingRead, Can},
    routes::billing::month,
};

/// Of which month, and by what.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct SummaryQuery {
    /// A month; all unless given.
    period: Option<String>,
    #[serde(default)]
    #[param(schema_with = group_by)]
    group_by: SummaryGroup,
}

/// Sums of a group of closed records in one currency: two currencies are never added.
#[derive(Serialize, ToSchema)]
pub(crate) struct SummaryView {
    /// The plan, owner or status; of a currency, its code. Null: records of no owner.
    #[schema(required, example = "USD")]
    group: Option<String>,
    #[schema(value_type = String, example = "USD")]
    currency: Currency,
    #[schema(example = 120)]
    records: i64,
    #[schema(example = 12_345)]
    units: i64,
    #[schema(example = "44.00")]
    total: String,
    #[schema(example = "44.00")]
    amount_due: String,
    #[schema(example = "0.00")]
    paid: String,
    /// Due and not paid.
    #[schema(example = "44.00")]
    outstanding: String,
    /// Of that, past the day it was due.
    #[schema(example = "0.00")]
    overdue: String,
}

/// Sums of closed records, by currency, plan, owner or status.
#[utoipa::path(get, path = "/api/v1/billing/summary", tag = "billing", params(SummaryQuery),
    responses((status = 200, description = "A row per group and currency.", body = Data<Vec<SummaryView>>)), extensions(("x-required-scope" = json!("billing:read"))))]
pub(crate) async fn summary(
    State(app): State<App>,
    Can(tenant_id, ..): Can<BillingRead>,
    Params(query): Params<SummaryQuery>,
) -> Result<Answer<Data<Vec<SummaryView>>>, Problem> {
    let period = query.period.as_deref().map(|text| month("period", text)).transpose()?;
    let rows = app.service.billing().summary(tenant_id, period, query.group_by).await?;
    let by_currency = query.group_by == SummaryGroup::Currency;
    let views = rows.into_iter().map(|row| view(row, by_currency)).collect::<Result<_, _>>()?;
    Ok(Data::json(views))
}

fn view(row: SummaryRow, by_currency: bool) -> Result<SummaryView, Problem> {
    let currency: Currency = row.currency.parse().map_err(|_| Problem::internal("a stored currency is unknown"))?;
    let amount = |micros: i64| Money(micros).in_currency(currency);
    Ok(SummaryView {
        group: if by_currency { Some(currency.to_string()) } else { row.name },
        currency,
        records: row.records,
        units: row.units,
        total: amount(row.total),
        amount_due: amount(row.amount_due),
        paid: amount(row.paid),
        outstanding: amount(row.outstanding),
        overdue: amount(row.overdue),
    })
}

fn group_by() -> ObjectBuilder {
    one_of(&["currency", "tier", "owner", "status"])
}
