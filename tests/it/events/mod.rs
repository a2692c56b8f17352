//! `/api/v1/usage/events`: usage that was metered elsewhere is counted once, however and how often it is sent.

mod cloud_events;

use reqwest::Method;
use serde_json::{Value, json};
use tollgate_domain::{Scope, TenantId};
use tollgate_tests::{
    answer::{Answer, send},
    app::{App, Key, on_every_stack},
};
use uuid::Uuid;

const EVENTS: &str = "/api/v1/usage/events";
const ONE: &str = "application/cloudevents+json";
const BATCH: &str = "application/cloudevents-batch+json";

/// Of 10:00 on the day on which the tests begin.
fn event(key: &Key, id: &str, units: i64) -> Value {
    json!({"id": id, "api_key_id": key.id, "units": units, "timestamp": "2031-05-15T10:00:00Z"})
}

async fn listed(app: &App, events: &[Value]) -> Answer {
    app.admin.post(EVENTS, &json!({"events": events})).await
}

async fn post_as(app: &App, media_type: &str, body: &Value) -> Answer {
    send(app.admin.request(Method::POST, EVENTS).header("content-type", media_type).body(body.to_string())).await
}

/// The results in order; the counts are those of the results, and only those that were not counted say why.
#[track_caller]
fn results(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text);
    let events = answer.data()["events"].as_array().unwrap();
    let results: Vec<_> = events.iter().map(|event| event["result"].as_str().unwrap().to_owned()).collect();
    for (count, result) in
        [("accepted", "accepted"), ("duplicates", "duplicate"), ("conflicts", "conflict"), ("rejected", "rejected")]
    {
        assert_eq!(answer.data()[count], results.iter().filter(|one| *one == result).count(), "{}", answer.text);
    }
    for event in events {
        let is_told = ["conflict", "rejected"].contains(&event["result"].as_str().unwrap());
        assert_eq!(event["detail"].is_string(), is_told, "{event}");
        assert_eq!(event["duplicate"], event["result"] == "duplicate", "{event}");
    }
    results
}

#[tokio::test]
async fn an_event_is_counted_once_however_often_it_is_sent() {
    on_every_stack(async |app| {
        let key = app.key("standard").await;
        let call = [event(&key, "a", 5), event(&key, "b", 7), event(&key, "a", 5)];
        let first = listed(app, &call).await;
        assert_eq!(results(&first), ["accepted", "accepted", "duplicate"]);
        assert_eq!(
            first.data()["events"][2],
            json!({"id": "a", "source": "", "result": "duplicate", "duplicate": true})
        );
        assert_eq!(results(&listed(app, &call).await), ["duplicate"; 3]);
        // Known events fail no new one.
        assert_eq!(results(&listed(app, &[event(&key, "a", 5), event(&key, "c", 1)]).await), ["duplicate", "accepted"]);
        // The same values, written otherwise.
        let again = json!({"api_key_id": key.id.to_uppercase(), "units": 5.0, "endpoint": null, "source": "", "id": "a",
                           "timestamp": "2031-05-15T10:00:00.000000Z"});
        assert_eq!(results(&listed(app, &[again]).await), ["duplicate"]);
        app.used_becomes(&key, 13).await;
    })
    .await;
}

#[tokio::test]
async fn another_event_under_a_known_id_is_a_conflict_and_the_first_stays_counted() {
    on_every_stack(async |app| {
        let (key, other) = (app.key("standard").await, app.key("standard").await);
        let first = event(&key, "a", 5);
        let with = |member: &str, value: Value| {
            let mut event = first.clone();
            event[member] = value;
            event
        };
        let without = |member: &str| {
            let mut event = first.clone();
            event.as_object_mut().unwrap().remove(member);
            event
        };
        let call = [
            first.clone(),
            with("units", json!(6)),
            with("timestamp", json!("2031-05-15T10:00:00.000001Z")),
            with("endpoint", json!("/a")),
            with("api_key_id", json!(other.id)),
            without("timestamp"),
            without("units"),
            first.clone(),
            with("source", json!("/another")),
        ];
        let mut wanted = vec!["accepted"];
        wanted.extend(["conflict"; 6]);
        wanted.extend(["duplicate", "accepted"]);
        assert_eq!(results(&listed(app, &call).await), wanted);
        app.used_becomes(&key, 10).await;
        assert_eq!(app.current(&other).await["requests_made"], 0);
    })
    .await;
}

#[tokio::test]
async fn a_repeat_of_an_event_without_a_time_is_a_repeat_and_not_a_later_event() {
    on_every_stack(async |app| {
        let key = app.key("standard").await;
        let sent = json!({"id": "a", "api_key_id": key.id});
        assert_eq!(results(&listed(app, std::slice::from_ref(&sent)).await), ["accepted"]);
        app.advance(39 * 86_400);
        assert_eq!(results(&listed(app, std::slice::from_ref(&sent)).await), ["duplicate"]);
        let mut told = sent;
        told["units"] = json!(1);
        assert_eq!(results(&listed(app, &[told]).await), ["conflict"]);
    })
    .await;
}

#[tokio::test]
async fn a_wrong_event_is_rejected_and_fails_no_other() {
    on_every_stack(async |app| {
        let (key, deleted) = (app.key("standard").await, app.key("standard").await);
        let counted_before = event(&deleted, "before", 1);
        assert_eq!(results(&listed(app, std::slice::from_ref(&counted_before)).await), ["accepted"]);
        app.admin.delete(&format!("/api/v1/api-keys/{}", deleted.id)).await.expect(204);
        let with = |member: &str, value: Value| {
            let mut event = event(&key, "wrong", 5);
            event[member] = value;
            event
        };
        let wrong = [
            (with("api_key_id", json!(Uuid::nil())), "/api_key_id"),
            (with("api_key_id", json!(deleted.id)), "/api_key_id"),
            (with("units", json!(0)), "/units"),
            (with("units", json!(-5)), "/units"),
            (with("units", json!(1_000_001)), "/units"),
            (with("units", json!(u64::MAX)), "/units"),
            (with("timestamp", json!("2031-04-10T10:20:29.999999Z")), "/timestamp"),
            (with("timestamp", json!("2031-05-15T10:25:30.000001Z")), "/timestamp"),
            (with("timestamp", json!("1970-01-01T00:00:00Z")), "/timestamp"),
            (with("id", json!("")), "/id"),
            (with("id", json!("x".repeat(256))), "/id"),
            (with("source", json!("x".repeat(256))), "/source"),
            (with("endpoint", json!("x".repeat(257))), "/endpoint"),
        ];
        let mut call = vec![event(&key, "a", 5)];
        call.extend(wrong.iter().map(|(event, _)| event.clone()));
        // A rejected event has not taken the id.
        call.push(event(&key, "wrong", 7));
        let answer = listed(app, &call).await;
        let results = results(&answer);
        assert_eq!((results.first().unwrap(), results.last().unwrap()), (&"accepted".into(), &"accepted".into()));
        assert_eq!(results[1..results.len() - 1], vec!["rejected"; wrong.len()], "{}", answer.text);
        for ((_, place), taken) in wrong.iter().zip(&answer.data()["events"].as_array().unwrap()[1..]) {
            assert!(taken["detail"].as_str().unwrap().starts_with(&format!("{place}: ")), "{place}: {taken}");
        }
        app.used_becomes(&key, 12).await;
        // It happened before the key was deleted, and may be told again for ever.
        assert_eq!(self::results(&listed(app, &[counted_before]).await), ["duplicate"]);

        let stranger = app.token(TenantId(Uuid::from_u128(77)), Scope::ALL).await;
        let foreign = stranger.post(EVENTS, &json!({"events": [event(&key, "a", 5)]})).await;
        assert_eq!(self::results(&foreign), ["rejected"]);
        assert_eq!(app.current(&key).await["requests_made"], 12);
    })
    .await;
}

#[tokio::test]
async fn an_event_may_be_35_days_old_and_5_minutes_ahead() {
    on_every_stack(async |app| {
        let key = app.key("standard").await;
        let at = |id: &str, at: &str| json!({"id": id, "api_key_id": key.id, "timestamp": at});
        let call = [at("oldest", "2031-04-10T10:20:30Z"), at("newest", "2031-05-15T10:25:30Z")];
        assert_eq!(results(&listed(app, &call).await), ["accepted", "accepted"]);
        // The ids are kept for longer.
        for seconds in [300, 35 * 86_400] {
            app.advance(seconds);
            assert_eq!(results(&listed(app, &call).await), ["duplicate", "duplicate"]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused_whole() {
    on_every_stack(async |app| {
        let key = app.key("standard").await;
        let good = event(&key, "a", 5);
        for (member, value) in
            [("surprise", json!(1)), ("units", json!("5")), ("id", json!(5)), ("api_key_id", json!("key"))]
        {
            let mut wrong = event(&key, "b", 5);
            wrong[member] = value;
            let refused = listed(app, &[good.clone(), wrong]).await.expect_problem(422, "INVALID_REQUEST");
            assert_eq!(refused.pointers(), [format!("/events/1/{member}")]);
        }
        let many: Vec<_> = (0..1_001).map(|n| json!({"id": n.to_string(), "api_key_id": key.id})).collect();
        for events in [&[][..], &many] {
            // A thousand of the shortest events are larger than a body may be.
            let refused = listed(app, events).await;
            assert!([413, 422].contains(&refused.status), "{}", refused.text);
        }
        assert_eq!(listed(app, &[]).await.expect_problem(422, "INVALID_REQUEST").pointers(), ["/events"]);
        for body in [json!({}), json!([]), json!("event"), json!(null)] {
            let refused = post_as(app, BATCH, &body).await.expect_problem(422, "INVALID_REQUEST");
            assert_eq!(refused.pointers(), [""], "{body}");
        }
        for media_type in [BATCH, ONE] {
            let request = app.admin.request(Method::POST, EVENTS).header("content-type", media_type);
            send(request.body("[{")).await.expect_problem(400, "INVALID_REQUEST");
        }
        let twice = r#"[{"id":"a","id":"b"}]"#;
        let request = app.admin.request(Method::POST, EVENTS).header("content-type", BATCH).body(twice);
        let refused = send(request).await.expect_problem(422, "INVALID_REQUEST");
        assert_eq!(refused.pointers(), ["/0/id"]);
        post_as(app, "application/cloudevents+avro", &json!({})).await.expect_problem(400, "INVALID_REQUEST");
        assert_eq!(app.current(&key).await["requests_made"], 0);
    })
    .await;
}

#[tokio::test]
async fn the_same_events_at_once_from_many_senders_are_counted_once() {
    on_every_stack(async |app| {
        let key = app.key("standard").await;
        let events: Vec<_> = (0..50).map(|n| event(&key, &n.to_string(), 1)).collect();
        let calls: Vec<_> = (0..8)
            .map(|call| {
                let mut events = events.clone();
                events.rotate_left(call * 6);
                let admin = app.admin.clone();
                tokio::spawn(async move { admin.post(EVENTS, &json!({"events": events})).await })
            })
            .collect();
        let mut accepted = 0;
        for call in calls {
            let results = results(&call.await.unwrap());
            assert!(results.iter().all(|result| ["accepted", "duplicate"].contains(&result.as_str())), "{results:?}");
            accepted += results.iter().filter(|result| *result == "accepted").count();
        }
        assert_eq!(accepted, 50);
        app.used_becomes(&key, 50).await;
    })
    .await;
}
