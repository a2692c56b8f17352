//! Records or their lines as a file: streamed from one snapshot, ordered by month, key and revision. The last row counts and adds
//! up, so that a stream that was cut is seen.
#![expect(unused_qualifications, reason = "utoipa expands a query's parameters with one")]

use axum::{body::Body, extract::State, response::Response};
use bytes::Bytes;
use chrono::TimeDelta;
use futures_util::{Stream, stream};
use hyper::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use serde::Deserialize;
use tollgate_domain::{BillingPeriod, text};
use tollgate_service::billing::{Export, ExportRange};
use utoipa::{IntoParams, openapi::ObjectBuilder};

use crate::{
    answers::{
        record_rows::{Format, Kind, Rows},
        views::one_of,
    },
    app::App,
    body::{problem::Problem, query::Params},
    middleware::auth::{BillingRead, Can},
    routes::billing::month,
};

/// What is exported, and how.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportQuery {
    /// A month; the last one that is over unless given. In its place: `start` and `end`.
    period: Option<String>,
    /// The first month.
    start: Option<String>,
    /// The last month, which is included.
    end: Option<String>,
    #[serde(default)]
    #[param(schema_with = kind)]
    kind: Kind,
    #[serde(default)]
    #[param(schema_with = format)]
    format: Format,
    owner_id: Option<String>,
}

/// Export records or their lines. A text cell of CSV that begins with `=`, `+`, `-`, `@`, a tab or a carriage return gets a `'`
/// before it, so that no program takes it for a formula; numbers never do.
#[utoipa::path(get, path = "/api/v1/billing/export", tag = "billing", params(ExportQuery),
    responses((status = 200, description = "The file. Its last row or member counts and adds up.", body = String, content_type = "text/csv",
        headers(("Content-Disposition" = String, description = "A name for the file.")),
        example = "row,number,…\r\nrecord,TG-2026-11-5c1f09ab,…\r\ntotal,,…\r\n")), extensions(("x-required-scope" = json!("billing:read"))))]
pub(crate) async fn export(
    State(app): State<App>,
    Can(tenant_id, ..): Can<BillingRead>,
    Params(query): Params<ExportQuery>,
) -> Result<Response, Problem> {
    let months = |from: &str, to: &str| Ok::<_, Problem>((month("start", from)?.start, month("end", to)?.end));
    let (from, to) = match (&query.period, &query.start, &query.end) {
        (Some(period), None, None) => (month("period", period)?.start, month("period", period)?.end),
        (None, Some(start), Some(end)) => months(start, end)?,
        (None, None, None) => {
            let present = BillingPeriod::containing(app.service.clock().now());
            let last = BillingPeriod::containing(present.start - TimeDelta::days(1));
            (last.start, last.end)
        }
        _ => return Err(Problem::bad_request("either period, or start and end, may be given")),
    };
    if from >= to {
        return Err(Problem::bad_request("start must not lie after end"));
    }
    if !text::FILTER.fit_any(query.owner_id.as_deref()) {
        return Err(Problem::bad_request(format!("owner_id must be {}", text::FILTER)));
    }
    let range = ExportRange { from, to, owner_id: query.owner_id };
    let export = app.service.billing().export(tenant_id, range).await?;
    let (kind, format) = (query.kind, query.format);
    let name = format!("attachment; filename=\"billing-{}.{}\"", from.format("%Y-%m"), format.as_str());
    let response = Response::builder().header(CONTENT_TYPE, format.content_type()).header(CONTENT_DISPOSITION, name);
    response.body(Body::from_stream(chunks(export, kind, format))).map_err(|error| Problem::internal(error.to_string()))
}

/// A page of the export at a time. An error ends the stream without its last row.
fn chunks(export: Export, kind: Kind, format: Format) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    let rows = Rows::new(kind, format);
    stream::try_unfold(Some((export, rows)), async |state| {
        let Some((mut export, mut rows)) = state else { return Ok(None) };
        let page = match rows.kind() {
            Kind::Records => rows.records(export.records().await.map_err(cut)?),
            Kind::Lines => rows.lines(export.lines().await.map_err(cut)?),
        };
        match page? {
            Some(bytes) => Ok(Some((bytes, Some((export, rows))))),
            None => Ok(Some((rows.end()?, None))),
        }
    })
}

/// The status has left already, so only the log can tell why the rest is missing.
fn cut(error: impl std::error::Error + Send + Sync + 'static) -> std::io::Error {
    tracing::error!(%error, "an export was cut");
    std::io::Error::other(error)
}

fn kind() -> ObjectBuilder {
    one_of(&["records", "lines"])
}

fn format() -> ObjectBuilder {
    one_of(&["csv", "json", "ndjson"])
}
