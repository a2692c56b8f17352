//! The events of a request, whichever way they are sent.

use std::collections::BTreeMap;

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
};
use hyper::{HeaderMap, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::Value;
use tollgate_domain::{ApiKeyId, Invalid, Rfc3339};
use tollgate_service::metering::events::{MAX_EVENTS, SentEvent};
use utoipa::ToSchema;

use super::cloud_event;
use crate::body::{ce_headers, json, problem::Problem, whole::Signed};

/// Usage that was metered elsewhere.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Events {
    #[schema(min_items = 1, max_items = 1000)]
    events: Vec<Event>,
}

/// One use of a key.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Event {
    /// Yours, unique within the source: a repeat is counted once. 1 to 255 characters.
    #[schema(example = "order-4711")]
    id: String,
    #[schema(value_type = uuid::Uuid, example = "01a20a9e-85ea-7c36-a9d2-d95b58943f68")]
    api_key_id: ApiKeyId,
    /// Who sends it, if several do. Empty unless given.
    source: Option<String>,
    /// Now unless given.
    #[schema(value_type = Option<DateTime<Utc>>)]
    timestamp: Option<Rfc3339>,
    /// 1 unless given.
    #[schema(value_type = Option<u32>, example = 1, minimum = 1, maximum = 1_000_000)]
    units: Option<Signed>,
    #[schema(example = "/v1/orders")]
    endpoint: Option<String>,
}

/// How the events of a request are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Our JSON: each in the answer's list.
    Listed,
    /// CloudEvents: the same.
    Batch,
    /// One CloudEvent: by the answer's status.
    Alone,
}

/// One event of a request.
pub(crate) struct Read {
    pub(crate) source: String,
    pub(crate) id: String,
    /// What could be read, or why it could not.
    pub(crate) event: Result<SentEvent, Invalid>,
}

/// The events of a request: at least one.
pub(crate) struct Sent {
    pub(crate) mode: Mode,
    pub(crate) events: Vec<Read>,
}

impl Mode {
    /// What is wrong with an event, by the names that its members have in the request.
    pub(crate) fn named(self, mut wrong: Invalid) -> Invalid {
        if self != Self::Listed {
            for error in &mut wrong.errors {
                if let Some((_, name)) = cloud_event::NAMES.iter().find(|(ours, _)| error.pointer == *ours) {
                    (*name).clone_into(&mut error.pointer);
                }
            }
        }
        wrong
    }
}

impl<S: Sync> FromRequest<S> for Sent {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let media_type = media_type(&parts.headers);
        let is_binary = ce_headers::is_binary_mode(&parts.headers);
        let attributes = ce_headers::attributes(&parts.headers)?;
        let body = json::read(body).await?;
        match media_type.as_str() {
            "application/cloudevents-batch+json" => batch(&body),
            "application/cloudevents+json" => Ok(Self::alone(cloud_event::read(json::tree(&body, "")?))),
            other if other.starts_with("application/cloudevents") => Err(Problem::bad_request(
                "of CloudEvents, application/cloudevents+json and application/cloudevents-batch+json are read",
            )),
            _ if is_binary => binary(attributes, media_type, &body),
            _ => listed(json::parse(&body)?),
        }
    }
}

impl Sent {
    fn alone(event: Read) -> Self {
        Self { mode: Mode::Alone, events: vec![event] }
    }
}

/// The type and subtype of the body in lower case; empty when there is none.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn listed(Events { events }: Events) -> Result<Sent, Problem> {
    bounded(events.len(), "/events")?;
    let read = |event: Event| {
        let event = SentEvent {
            source: event.source.unwrap_or_default(),
            id: event.id,
            api_key_id: event.api_key_id,
            at: event.timestamp.map(|Rfc3339(at)| at),
            units: event.units.map(|Signed(units)| units),
            endpoint: event.endpoint,
            attributes: BTreeMap::new(),
        };
        Read { source: event.source.clone(), id: event.id.clone(), event: Ok(event) }
    };
    Ok(Sent { mode: Mode::Listed, events: events.into_iter().map(read).collect() })
}

fn batch(body: &Bytes) -> Result<Sent, Problem> {
    let Value::Array(events) = json::tree(body, "")? else {
        return Err(Invalid::field("", "expected an array").into());
    };
    bounded(events.len(), "")?;
    Ok(Sent { mode: Mode::Batch, events: events.into_iter().map(cloud_event::read).collect() })
}

/// The body is the event's data, and its media type the attribute that says of which type that is.
fn binary(mut attributes: BTreeMap<String, String>, media_type: String, body: &Bytes) -> Result<Sent, Problem> {
    let data = if body.trim_ascii().is_empty() { Value::Null } else { json::tree(body, "/data")? };
    if !data.is_null() && !media_type.is_empty() {
        attributes.insert("datacontenttype".to_owned(), media_type);
    }
    Ok(Sent::alone(cloud_event::of(attributes, data, Invalid::none())))
}

fn bounded(events: usize, pointer: &str) -> Result<(), Invalid> {
    let mut invalid = Invalid::none();
    invalid.require((1..=MAX_EVENTS).contains(&events), pointer, format_args!("from 1 to {MAX_EVENTS}"));
    invalid.finish()
}
