//! A CloudEvent 1.0 (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>) as usage of a key.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::Value;
use tollgate_domain::{ApiKeyId, Invalid, rfc3339::parse_time, text};
use tollgate_service::metering::events::SentEvent;
use utoipa::ToSchema;

use super::sent::Read;
use crate::body::{whole::Signed, wrong_fields};

/// Members of our own JSON, and what they are in a CloudEvent.
pub(super) const NAMES: [(&str, &str); 4] =
    [("/api_key_id", "/subject"), ("/timestamp", "/time"), ("/units", "/data/units"), ("/endpoint", "/data/endpoint")];
/// Attributes that the specification names. Extensions may also be numbers and booleans.
const TEXTS: [&str; 8] = ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"];

/// A CloudEvent 1.0 about one use of a key. Extensions are allowed, and only tell one event from another.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the schema of what is read as a tree, because extensions have any name")]
pub(crate) struct CloudEvent {
    #[schema(example = "1.0", pattern = r"^1\.0$")]
    specversion: String,
    /// Yours, unique within the source: a repeat is counted once.
    id: String,
    source: String,
    #[schema(example = "com.example.order", pattern = r"^[^\x00-\x1F\x7F-\x9F]+$")]
    r#type: String,
    /// The id of the API key.
    subject: uuid::Uuid,
    /// Now unless given.
    time: Option<DateTime<Utc>>,
    /// JSON, which it is unless given.
    #[schema(example = "application/json")]
    datacontenttype: Option<String>,
    #[schema(pattern = r"^[^\x00-\x1F\x7F-\x9F]*$")]
    dataschema: Option<String>,
    data: Option<EventData>,
}

/// Some of them.
#[derive(ToSchema)]
#[schema(min_items = 1, max_items = 1000)]
#[expect(dead_code, reason = "the schema of what is read as a tree")]
pub(crate) struct CloudEvents(Vec<CloudEvent>);

/// What was used.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EventData {
    /// 1 unless given.
    #[schema(value_type = Option<u32>, example = 1, minimum = 1, maximum = 1_000_000)]
    units: Option<Signed>,
    #[schema(example = "/v1/orders")]
    endpoint: Option<String>,
}

/// An event in the JSON format.
pub(super) fn read(event: Value) -> Read {
    let Value::Object(members) = event else {
        return Read { source: String::new(), id: String::new(), event: Err(Invalid::field("", "expected an object")) };
    };
    let (mut attributes, mut data, mut wrong) = (BTreeMap::new(), Value::Null, Invalid::none());
    for (name, value) in members {
        match value {
            value if name == "data" => data = value,
            // Null is as good as absent (JSON format, section 2.2).
            Value::Null => {}
            _ if name == "data_base64" => wrong.push("/data_base64", "the data must be JSON, in data"),
            Value::String(text) => _ = attributes.insert(name, text),
            _ if TEXTS.contains(&name.as_str()) => wrong.push(format!("/{name}"), "expected a string"),
            Value::Bool(is) => _ = attributes.insert(name, is.to_string()),
            Value::Number(number) if number.is_i64() => _ = attributes.insert(name, number.to_string()),
            _ => wrong.push(pointer(&name), "expected a string, a boolean or a whole number"),
        }
    }
    of(attributes, data, wrong)
}

/// An event of its attributes and data; `wrong` is what could not be read of it.
pub(super) fn of(mut attributes: BTreeMap<String, String>, data: Value, mut wrong: Invalid) -> Read {
    let wrong = &mut wrong;
    require(attributes.remove("specversion").as_deref(), "/specversion", "1.0", |version| version == "1.0", wrong);
    let (id, source) = (attributes.remove("id"), attributes.remove("source"));
    require(id.as_deref(), "/id", text::EVENT_ID, |id| text::EVENT_ID.fit(id), wrong);
    let is_source = |source: &str| !source.is_empty() && text::EVENT_SOURCE.fit(source);
    require(source.as_deref(), "/source", format_args!("not empty, {}", text::EVENT_SOURCE), is_source, wrong);
    // It stays with the rest, which only tells one event from another.
    require(attributes.get("type").map(String::as_str), "/type", "not empty", |kind| !kind.is_empty(), wrong);
    let subject = attributes.remove("subject");
    let key = subject.as_deref().and_then(|subject| subject.parse::<ApiKeyId>().ok());
    require(subject.as_deref(), "/subject", "the id of an API key", |_| key.is_some(), wrong);
    let time = attributes.remove("time");
    let at = time.as_deref().and_then(parse_time);
    wrong.require(time.is_some() == at.is_some(), "/time", "a time such as 2026-11-01T12:00:00Z (RFC 3339)");
    let of_json = attributes.remove("datacontenttype").is_none_or(|media_type| is_json(&media_type));
    wrong.require(of_json, "/datacontenttype", "application/json");
    check_extensions(&attributes, wrong);
    let EventData { units, endpoint } = read_data(data, wrong);
    let (source, id) = (source.unwrap_or_default(), id.unwrap_or_default());
    let event = match key {
        Some(api_key_id) if wrong.errors.is_empty() => Ok(SentEvent {
            source: source.clone(),
            id: id.clone(),
            api_key_id,
            at,
            units: units.map(|Signed(units)| units),
            endpoint,
            attributes,
        }),
        _ => Err(std::mem::take(wrong)),
    };
    Read { source, id, event }
}

/// What is left are extensions, and those attributes that only tell one event from another.
fn check_extensions(attributes: &BTreeMap<String, String>, wrong: &mut Invalid) {
    for (name, value) in attributes {
        let is_name = !name.is_empty() && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9'));
        wrong.require(is_name && name != "data", &pointer(name), "an attribute's name has only a to z and 0 to 9");
        wrong.require(text::is_plain(value), &pointer(name), "no control characters");
    }
}

fn read_data(data: Value, wrong: &mut Invalid) -> EventData {
    match data {
        Value::Null => EventData::default(),
        Value::Object(_) => EventData::deserialize(&data).unwrap_or_else(|_| {
            let errors = wrong_fields::of_type::<EventData>(data);
            wrong.errors.append(&mut Invalid { errors }.within("/data").errors);
            EventData::default()
        }),
        _ => {
            wrong.push("/data", "expected an object");
            EventData::default()
        }
    }
}

/// A text that must be there and be such.
fn require(
    text: Option<&str>,
    pointer: &str,
    such: impl std::fmt::Display,
    is_such: impl FnOnce(&str) -> bool,
    wrong: &mut Invalid,
) {
    match text {
        None => wrong.push(pointer, "required"),
        Some(text) => wrong.require(is_such(text), pointer, such),
    }
}

/// Whether data of this type is JSON (specification, section 3.1.1).
fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
    subtype == "json" || subtype.ends_with("+json")
}

fn pointer(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const KEY: &str = "01a20a9e-85ea-7c36-a9d2-d95b58943f68";

    fn event(change: impl FnOnce(&mut Value)) -> Read {
        let mut event = json!({"specversion": "1.0", "id": "1", "source": "/meter", "type": "order", "subject": KEY});
        change(&mut event);
        read(event)
    }

    fn pointers(read: Read) -> Vec<String> {
        read.event.map_err(|wrong| wrong.errors.into_iter().map(|error| error.pointer).collect()).unwrap_err()
    }

    #[test]
    fn attributes_and_data_become_usage_and_the_rest_only_tells_events_apart() {
        let read = event(|event| {
            event["time"] = json!("2026-11-01T12:00:00+00:00");
            event["data"] = json!({"units": 5.0, "endpoint": "/a"});
            event["datacontenttype"] = json!("Application/vnd.usage+JSON; charset=utf-8");
            event["dataschema"] = json!("https://example.com/usage");
            event["sampled"] = json!(true);
            event["sequence"] = json!(7);
            event["traceparent"] = json!(null);
        });
        let event = read.event.unwrap();
        assert_eq!((read.source.as_str(), read.id.as_str()), ("/meter", "1"));
        assert_eq!((event.units, event.endpoint.as_deref()), (Some(5), Some("/a")));
        assert_eq!(event.at, parse_time("2026-11-01T12:00:00Z"));
        let rest: Vec<_> = event.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(rest, ["dataschema=https://example.com/usage", "sampled=true", "sequence=7", "type=order"]);
    }

    #[test]
    fn what_was_not_given_stays_absent() {
        for data in [json!(null), json!({}), json!({"units": null, "endpoint": null})] {
            let event = event(|event| event["data"] = data).event.unwrap();
            assert_eq!((event.at, event.units, event.endpoint), (None, None, None));
        }
    }

    #[test]
    fn everything_that_is_wrong_is_named() {
        for name in ["specversion", "id", "source", "type", "subject"] {
            let absent = event(|event| _ = event.as_object_mut().unwrap().remove(name));
            assert_eq!(pointers(absent), [format!("/{name}")]);
        }
        for (name, value, place) in [
            ("specversion", json!("0.3"), "/specversion"),
            ("id", json!(""), "/id"),
            ("id", json!("x".repeat(256)), "/id"),
            ("source", json!(""), "/source"),
            ("source", json!("x".repeat(256)), "/source"),
            ("type", json!(""), "/type"),
            ("subject", json!("key"), "/subject"),
            ("time", json!("yesterday"), "/time"),
            ("datacontenttype", json!("text/plain"), "/datacontenttype"),
            ("data", json!([1]), "/data"),
            ("data", json!({"units": "5"}), "/data/units"),
            ("data", json!({"units": 1.5}), "/data/units"),
            ("data", json!({"unit": 5}), "/data/unit"),
            ("data_base64", json!("e30="), "/data_base64"),
            ("traceParent", json!("00"), "/traceParent"),
            ("a/b", json!("00"), "/a~1b"),
            ("list", json!([]), "/list"),
            ("share", json!(0.5), "/share"),
        ] {
            let wrong = event(|event| event[name] = value.clone());
            assert_eq!(pointers(wrong), [place], "{name} {value}");
        }
        assert_eq!(pointers(event(|event| event["id"] = json!(1))), ["/id", "/id"]);
        assert_eq!(pointers(read(json!("event"))), [""]);
    }
}
