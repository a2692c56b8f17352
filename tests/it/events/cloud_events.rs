//! The same as CloudEvents: in batches, structured and in binary mode.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tollgate_tests::{
    answer::send,
    app::{App, Key, on_every_stack},
    openapi::Document,
};
use uuid::Uuid;

use super::{BATCH, EVENTS, ONE, post_as, results};

/// Of 10:00 on the day on which the tests begin.
fn cloud_event(key: &Key, id: &str, units: i64) -> Value {
    json!({"specversion": "1.0", "id": id, "source": "/meter", "type": "order", "subject": key.id,
           "time": "2031-05-15T10:00:00Z", "data": {"units": units}})
}

/// The same event as [`cloud_event`] in binary mode.
fn binary(app: &App, key: &Key, id: &str, units: i64) -> RequestBuilder {
    let request = app.admin.request(Method::POST, EVENTS).json(&json!({"units": units}));
    let request = request.header("ce-specversion", "1.0").header("ce-id", id).header("ce-source", "/meter");
    request.header("ce-type", "order").header("ce-subject", &key.id).header("ce-time", "2031-05-15T10:00:00.000+00:00")
}

#[tokio::test]
async fn a_batch_of_cloud_events_is_answered_event_by_event() {
    on_every_stack(async |app| {
        let key = app.key("standard").await;
        let with = |member: &str, value: Value| {
            let mut event = cloud_event(&key, "b", 3);
            event[member] = value;
            event
        };
        let wrong = [
            (with("specversion", json!("0.3")), "/specversion"),
            (with("subject", json!(Uuid::nil())), "/subject"),
            (with("subject", json!("key")), "/subject"),
            (with("time", json!("2031-05-15T10:25:31Z")), "/time"),
            (with("time", json!("now")), "/time"),
            (with("id", json!(7)), "/id"),
            (with("source", json!("")), "/source"),
            (with("data", json!({"units": 1_000_001})), "/data/units"),
            (with("data", json!({"units": "1"})), "/data/units"),
            (with("data", json!({"endpoint": "x".repeat(257)})), "/data/endpoint"),
            (with("data", json!({"tokens": 1})), "/data/tokens"),
            (json!("event"), ""),
        ];
        let mut call = vec![cloud_event(&key, "a", 5), cloud_event(&key, "a", 5), with("type", json!("refund"))];
        call.extend(wrong.iter().map(|(event, _)| event.clone()));
        call.push(with("type", json!("order")));
        let answer = post_as(app, &format!("{BATCH}; charset=UTF-8"), &json!(call)).await;
        let results = results(&answer);
        assert_eq!(results[..3], ["accepted", "duplicate", "accepted"]);
        assert_eq!(results[3..results.len() - 1], vec!["rejected"; wrong.len()], "{}", answer.text);
        // Of the other type it came before.
        assert_eq!(results.last().unwrap(), "conflict");
        let taken = answer.data()["events"].as_array().unwrap();
        for ((_, place), taken) in wrong.iter().zip(&taken[3..]) {
            assert!(taken["detail"].as_str().unwrap().starts_with(&format!("{place}: ")), "{place}: {taken}");
        }
        assert_eq!((&taken[0]["id"], &taken[0]["source"]), (&json!("a"), &json!("/meter")));
        app.used_becomes(&key, 8).await;
    })
    .await;
}

#[tokio::test]
async fn a_cloud_event_that_is_sent_alone_is_answered_by_the_status() {
    on_every_stack(async |app| {
        let key = app.key("standard").await;
        let one = cloud_event(&key, "a", 5);
        assert_eq!(results(&post_as(app, ONE, &one).await), ["accepted"]);
        assert_eq!(results(&post_as(app, ONE, &one).await), ["duplicate"]);
        // In binary mode it is the same event.
        assert_eq!(results(&send(binary(app, &key, "a", 5)).await), ["duplicate"]);
        assert_eq!(results(&send(binary(app, &key, "b", 7)).await), ["accepted"]);
        assert_eq!(results(&post_as(app, BATCH, &json!([cloud_event(&key, "b", 7)])).await), ["duplicate"]);
        post_as(app, ONE, &cloud_event(&key, "a", 6)).await.expect_problem(409, "CONFLICT");
        send(binary(app, &key, "a", 6)).await.expect_problem(409, "CONFLICT");
        send(binary(app, &key, "a", 5).header("ce-traceparent", "00-1")).await.expect_problem(409, "CONFLICT");
        let mut wrong = cloud_event(&key, "c", 0);
        wrong["time"] = json!("2031-05-16T10:00:00Z");
        let refused = post_as(app, ONE, &wrong).await.expect_problem(422, "INVALID_REQUEST");
        assert_eq!(refused.pointers(), ["/data/units", "/time"]);
        wrong["specversion"] = json!("2.0");
        let refused = post_as(app, ONE, &wrong).await.expect_problem(422, "INVALID_REQUEST");
        assert_eq!(refused.pointers(), ["/specversion"]);
        app.used_becomes(&key, 12).await;
    })
    .await;
}

#[tokio::test]
async fn binary_mode_takes_attributes_from_headers_and_data_from_the_body() {
    on_every_stack(async |app| {
        let key = app.key("standard").await;
        let bare = |id: &str| {
            let request = app.admin.request(Method::POST, EVENTS).header("ce-specversion", "1.0").header("ce-id", id);
            request.header("ce-source", "/M%C3%BCnchen").header("ce-type", "order").header("ce-subject", &key.id)
        };
        let taken = send(bare("without%20data")).await;
        assert_eq!(results(&taken), ["accepted"]);
        assert_eq!(taken.data()["events"][0]["id"], "without data");
        assert_eq!(taken.data()["events"][0]["source"], "/München");
        let plus = bare("suffix").header("content-type", "application/vnd.usage+json").body(r#"{"units":4}"#);
        assert_eq!(results(&send(plus).await), ["accepted"]);
        app.used_becomes(&key, 5).await;

        let not_json = bare("1").header("content-type", "application/json").body("{");
        send(not_json).await.expect_problem(400, "INVALID_REQUEST");
        for (request, places) in [
            (bare("1").header("content-type", "text/plain").body("{}"), &["/datacontenttype"][..]),
            (bare("1").header("content-type", "application/json").body(r#"{"units":-1}"#), &["/data/units"]),
            (bare("1").header("content-type", "application/json").body(r#"{"units":1,"units":2}"#), &["/data/units"]),
            (bare("1").header("ce-time", "soon"), &["/time"]),
            (bare("%20").header("ce-trace-parent", "00"), &["/trace-parent"]),
            (
                app.admin.request(Method::POST, EVENTS).header("ce-id", "1"),
                &["/source", "/specversion", "/subject", "/type"],
            ),
        ] {
            let refused = send(request).await.expect_problem(422, "INVALID_REQUEST");
            assert_eq!(refused.pointers(), places, "{}", refused.text);
        }
        send(bare("1").header("ce-id", "2")).await.expect_problem(400, "INVALID_REQUEST");
        assert_eq!(app.current(&key).await["requests_made"], 5);
    })
    .await;
}

#[tokio::test]
async fn an_idempotency_key_repeats_the_answer_for_the_same_headers_only() {
    on_every_stack(async |app| {
        let key = app.key("standard").await;
        let with_key = async |id: &str| send(binary(app, &key, id, 5).header("idempotency-key", "one")).await;
        assert_eq!(results(&with_key("a").await), ["accepted"]);
        let replayed = with_key("a").await;
        assert_eq!((results(&replayed), replayed.header("idempotent-replayed")), (vec!["accepted".into()], "true"));
        with_key("b").await.expect_problem(422, "INVALID_REQUEST");
        app.used_becomes(&key, 5).await;
    })
    .await;
}

#[tokio::test]
async fn the_document_tells_every_way_to_send_events() {
    on_every_stack(async |app| {
        let document = Document::of(&app.anyone()).await;
        let mut operations = document.operations().into_iter();
        let operation = operations.find(|operation| operation.path == EVENTS).unwrap();
        let content = operation.value["requestBody"]["content"].as_object().unwrap();
        assert_eq!(content.keys().collect::<Vec<_>>(), [ONE, BATCH, "application/json"]);
        let key = app.key("standard").await;
        for media_type in [BATCH, ONE] {
            let schema = &content[media_type]["schema"];
            let mut example = document.full_example(schema);
            let event = if example.is_array() { &mut example[0] } else { &mut example };
            (event["subject"], event["time"]) = (json!(key.id), json!("2031-05-15T10:00:00Z"));
            assert_eq!(document.differences(schema, &example), [""; 0]);
            let answer = post_as(app, media_type, &example).await;
            // What the one has counted, the other repeats.
            assert_eq!(results(&answer), [if media_type == BATCH { "accepted" } else { "duplicate" }], "{example}");
            document.expect_described(&operation, &answer);
        }
        assert_eq!(document.resolve(&content[BATCH]["schema"])["maxItems"], 1_000);
        let parameters = operation.value["parameters"].as_array().unwrap().iter();
        let names = parameters.filter(|one| one["in"] == "header").map(|one| one["name"].as_str().unwrap());
        let attributes: Vec<_> = names.filter_map(|name| name.strip_prefix("ce-")).collect();
        assert_eq!(attributes, ["specversion", "id", "source", "type", "subject", "time", "dataschema"]);
        document.expect_described(&operation, &send(binary(app, &key, "a", 1)).await);
        document.expect_described(&operation, &send(binary(app, &key, "a", 2)).await.expect(409));
        document.expect_described(&operation, &send(binary(app, &key, "b", 0)).await.expect(422));
    })
    .await;
}
