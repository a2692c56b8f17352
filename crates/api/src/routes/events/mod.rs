//! Usage that other systems metered: as JSON of our own, or as CloudEvents in each of the three modes of their HTTP binding.
//!
//! `sent` finds out which it is and reads it, and `cloud_event` reads one CloudEvent.

mod cloud_event;
mod sent;

use axum::{Json as Answer, extract::State};
use hyper::StatusCode;
use serde::Serialize;
use tollgate_domain::{EventOutcome, EventResult};
use tollgate_service::metering::events::Recorded;
use utoipa::{ToSchema, openapi::ObjectBuilder};

use self::{
    cloud_event::{CloudEvent, CloudEvents},
    sent::{Events, Mode, Read, Sent},
};
use crate::{
    answers::views::{Data, one_of},
    app::App,
    body::{ce_headers::BinaryMode, problem::Problem},
    middleware::auth::{BillingWrite, Can},
};

/// Why an event was not counted whose identity another one has.
const CONFLICT: &str = "another event was counted under this source and id";

/// What became of the events.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct EventsTaken {
    /// Counted now.
    accepted: usize,
    /// Counted before.
    duplicates: usize,
    /// Not counted, because another event has the same source and id.
    conflicts: usize,
    /// Not counted, because something is wrong with them.
    rejected: usize,
    /// In the order given.
    events: Vec<EventTaken>,
}

#[derive(Serialize, ToSchema)]
struct EventTaken {
    id: String,
    source: String,
    #[schema(schema_with = result)]
    result: &'static str,
    /// Whether `result` is `duplicate`.
    duplicate: bool,
    /// Why it was not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// True when the record of its month was closed already, so that it becomes a correction in a later one.
    #[serde(skip_serializing_if = "Option::is_none")]
    period_closed: Option<bool>,
}

/// Take usage that was metered elsewhere.
///
/// As a list, or as CloudEvents 1.0: several (`application/cloudevents-batch+json`), one
/// (`application/cloudevents+json`), or one in binary mode, whose attributes are in the headers `ce-*` and whose data is the
/// body.
///
/// An event is counted once, however often it is sent: `source` and `id` name it, and a repeat says the same again,
/// also in what it leaves out. Another event under the same name is a `conflict`, and the first one stays counted. So
/// `id` is that of the thing that was metered, and not of the attempt to report it. An event of a list that is wrong is
/// `rejected` and never fails the others. An event that is sent alone is answered 409 or 422 instead. An event may be
/// up to 35 days old and 5 minutes ahead; one without a time happened when it was first received.
#[utoipa::path(post, path = "/api/v1/usage/events", tag = "usage", params(BinaryMode),
    request_body(content((Events = "application/json"), (CloudEvents = "application/cloudevents-batch+json"), (CloudEvent = "application/cloudevents+json"))),
    responses((status = 200, description = "What became of each.", body = Data<EventsTaken>)), extensions(("x-required-scope" = json!("billing:write"))))]
pub(crate) async fn take_events(
    State(app): State<App>,
    Can(tenant_id, ..): Can<BillingWrite>,
    Sent { mode, events }: Sent,
) -> Result<Answer<Data<EventsTaken>>, Problem> {
    let readable: Vec<_> = events.iter().filter_map(|read| read.event.as_ref().ok()).collect();
    let mut recorded = app.service.metering().record_events(tenant_id, &readable).await?.into_iter();
    let mut taken = EventsTaken::default();
    for Read { source, id, event } in events {
        let became = match event {
            Ok(_) => recorded.next().ok_or_else(|| Problem::internal("an event was not recorded"))?,
            Err(wrong) => Recorded::Rejected(wrong),
        };
        match became {
            Recorded::Rejected(wrong) if mode == Mode::Alone => return Err(mode.named(wrong).into()),
            Recorded::Rejected(wrong) => taken.reject(source, id, mode.named(wrong).to_string()),
            Recorded::Known(EventOutcome { result: EventResult::Conflict, .. }) if mode == Mode::Alone => {
                return Err(Problem::new(StatusCode::CONFLICT, "CONFLICT", CONFLICT));
            }
            Recorded::Known(outcome) => taken.add(source, id, outcome),
        }
    }
    Ok(Data::json(taken))
}

impl EventsTaken {
    fn add(&mut self, source: String, id: String, outcome: EventOutcome) {
        let (count, result) = match outcome.result {
            EventResult::Accepted => (&mut self.accepted, "accepted"),
            EventResult::Duplicate => (&mut self.duplicates, "duplicate"),
            EventResult::Conflict => (&mut self.conflicts, "conflict"),
        };
        *count += 1;
        self.events.push(EventTaken {
            id,
            source,
            result,
            duplicate: outcome.result == EventResult::Duplicate,
            detail: (outcome.result == EventResult::Conflict).then(|| CONFLICT.to_owned()),
            period_closed: outcome.period_closed.then_some(true),
        });
    }

    fn reject(&mut self, source: String, id: String, detail: String) {
        self.rejected += 1;
        let (result, detail) = ("rejected", Some(detail));
        self.events.push(EventTaken { id, source, result, duplicate: false, detail, period_closed: None });
    }
}

fn result() -> ObjectBuilder {
    one_of(&["accepted", "duplicate", "conflict", "rejected"])
}
