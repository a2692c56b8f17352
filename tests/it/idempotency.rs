//! `Idempotency-Key`: a write that is sent again is done once.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tollgate_tests::{
    answer::{Answer, send},
    app::{App, on_every_stack},
};

/// A write that may be repeated, and may be for one version only.
async fn write(app: &App, key: &str, method: Method, path: &str, body: &Value, if_match: Option<&str>) -> Answer {
    let request = app.admin.request(method, path).header("idempotency-key", key).json(body);
    send(match if_match {
        Some(tag) => request.header("if-match", tag),
        None => request,
    })
    .await
}

/// Headers of the answer itself; the others are the request's or the connection's.
fn own_headers(answer: &Answer) -> Vec<(String, String)> {
    let of_the_request = ["x-request-id", "date", "content-length", "idempotent-replayed"];
    let own = answer.headers.iter().filter(|(name, _)| !of_the_request.contains(&name.as_str()));
    let mut own: Vec<_> = own.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    own.sort();
    own
}

async fn create(app: &App, idempotency_key: &str, body: &Value) -> Answer {
    let request = app.admin.request(Method::POST, "/api/v1/api-keys");
    send(request.header("idempotency-key", idempotency_key).json(body)).await
}

async fn keys(app: &App) -> u64 {
    app.admin.get("/api/v1/api-keys").await.expect(200).body["pagination"]["total"].as_u64().unwrap()
}

#[tokio::test]
async fn a_repeated_write_replays_the_first_answer() {
    on_every_stack(async |app| {
        let body = json!({"name": "once", "tier": "free"});
        let first = create(app, "one", &body).await.expect(201);
        let again = create(app, "one", &body).await.expect(201);
        assert_eq!(first.text, again.text);
        assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), ("", "true"));
        assert_eq!(first.header("content-type"), again.header("content-type"));
        assert_ne!(first.header("x-request-id"), again.header("x-request-id"));
        assert_eq!(keys(app).await, 1);
        let other = create(app, "one", &json!({"name": "twice", "tier": "free"})).await;
        other.expect_problem(422, "INVALID_REQUEST");
        create(app, "two", &body).await.expect(201);
        assert_eq!(keys(app).await, 2);
        app.advance(24 * 3_600 + 1);
        create(app, "one", &body).await.expect(201);
        assert_eq!(keys(app).await, 3);
    })
    .await;
}

#[tokio::test]
async fn a_refused_write_is_replayed_too() {
    on_every_stack(async |app| {
        let body = json!({"name": "", "tier": "free"});
        create(app, "bad", &body).await.expect_problem(422, "INVALID_REQUEST");
        let again = create(app, "bad", &body).await.expect(422);
        assert_eq!(again.header("idempotent-replayed"), "true");
        for key in ["".to_owned(), "x".repeat(256)] {
            let refused = create(app, &key, &json!({"name": "x", "tier": "free"})).await;
            refused.expect_problem(400, "INVALID_REQUEST");
        }
        let two = app.admin.request(Method::POST, "/api/v1/api-keys").json(&body);
        let two = send(two.header("idempotency-key", "a").header("idempotency-key", "b")).await;
        two.expect_problem(400, "INVALID_REQUEST");
    })
    .await;
}

#[tokio::test]
async fn a_replay_carries_every_header_that_the_answer_carried() {
    on_every_stack(async |app| {
        let key = app.key("standard").await;
        let plan = json!({"name": "once", "limits": [{"name": "per-hour", "limit": 5, "window": 60}],
            "prices": {"currency": "USD", "base": "1.00", "overage_unit": "0.01"}});
        let of_key = format!("/api/v1/api-keys/{}", key.id);
        let check = json!({"api_key_id": key.id, "requests": 3});
        let writes: [(&str, Method, String, Value, &[&str]); 7] = [
            ("check", Method::POST, "/api/v1/rate-limit/check".into(), check, &["ratelimit", "x-ratelimit-reset"]),
            ("plan", Method::POST, "/api/v1/plans".into(), plan, &["etag", "location"]),
            (
                "key",
                Method::POST,
                "/api/v1/api-keys".into(),
                json!({"name": "a", "tier": "free"}),
                &["etag", "location"],
            ),
            ("update", Method::PUT, of_key.clone(), json!({"name": "b"}), &["etag"]),
            ("rotate", Method::POST, format!("{of_key}/rotate"), json!({"grace_seconds": 60}), &["etag"]),
            ("invalid", Method::PUT, of_key.clone(), json!({"name": ""}), &[]),
            ("delete", Method::DELETE, of_key, json!({}), &[]),
        ];
        for (name, method, path, body, carried) in writes {
            let first = write(app, name, method.clone(), &path, &body, None).await;
            app.advance(1);
            let again = write(app, name, method, &path, &body, None).await;
            assert_eq!((first.status, &first.text), (again.status, &again.text), "{name}");
            assert_eq!(own_headers(&first), own_headers(&again), "{name}");
            assert_eq!(
                (first.header("idempotent-replayed"), again.header("idempotent-replayed")),
                ("", "true"),
                "{name}"
            );
            for header in carried {
                assert_ne!(again.header(header), "", "{name}: {header}");
            }
            if first.status >= 400 {
                assert_eq!(again.body["instance"], first.header("x-request-id"), "the stored answer's id: {name}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_refused_decision_is_decided_again() {
    on_every_stack(async |app| {
        let key = app.key_limited("fixed_window", 10, 60).await;
        let other = app.key_limited("fixed_window", 10, 60).await;
        let check = async |name: &str, requests: u64| {
            let body = json!({"api_key_id": key.id, "requests": requests});
            write(app, name, Method::POST, "/api/v1/rate-limit/check", &body, None).await
        };
        check("a", 8).await.expect(200);
        let refused = check("b", 3).await.expect(429);
        assert_eq!((refused.header("retry-after"), refused.header("idempotent-replayed")), ("30", ""));
        check("a", 8).await.expect(200);
        let path = format!("/api/v1/rate-limit/{}/reset", key.id);
        app.admin.post(&path, &json!({})).await.expect(200);
        let again = check("b", 3).await.expect(200);
        assert_eq!((again.header("idempotent-replayed"), &again.body["remaining"]), ("", &json!(7)));
        let replayed = check("b", 3).await.expect(200);
        assert_eq!((replayed.header("idempotent-replayed"), &replayed.body["remaining"]), ("true", &json!(7)));

        let batch = async |name: &str, requests: [u64; 2]| {
            let checks = json!([{"api_key_id": key.id, "requests": requests[0]}, {"api_key_id": other.id, "requests": requests[1]}]);
            write(app, name, Method::POST, "/api/v1/rate-limit/check-batch", &json!({"checks": checks}), None).await.expect(200)
        };
        batch("none", [8, 11]).await;
        assert_eq!(batch("none", [8, 11]).await.header("idempotent-replayed"), "");
        let some = batch("some", [8, 2]).await;
        let again = batch("some", [8, 2]).await;
        assert_eq!((again.header("idempotent-replayed"), &again.text), ("true", &some.text));

        let suspend = format!("/api/v1/api-keys/{}", other.id);
        app.admin.post(&format!("{suspend}/suspend"), &json!({})).await.expect(200);
        let by_id = json!({"api_key_id": other.id});
        let check = async || write(app, "c", Method::POST, "/api/v1/rate-limit/check", &by_id, None).await;
        check().await.expect_problem(403, "API_KEY_SUSPENDED");
        app.admin.post(&format!("{suspend}/resume"), &json!({})).await.expect(200);
        assert_eq!(check().await.expect(200).header("idempotent-replayed"), "");
    })
    .await;
}

#[tokio::test]
async fn the_same_key_for_another_version_is_another_request() {
    on_every_stack(async |app| {
        let key = app.key("free").await;
        let path = format!("/api/v1/api-keys/{}", key.id);
        let body = json!({"name": "b"});
        let put = async |name: &str, tag: Option<&str>| write(app, name, Method::PUT, &path, &body, tag).await;
        put("a", Some("\"1\"")).await.expect(200);
        assert_eq!(put("a", Some("\"1\"")).await.expect(200).header("idempotent-replayed"), "true");
        for other in [Some("\"2\""), Some("*"), None] {
            put("a", other).await.expect_problem(422, "INVALID_REQUEST");
        }
        put("b", None).await.expect(200);
        put("b", Some("\"3\"")).await.expect_problem(422, "INVALID_REQUEST");
    })
    .await;
}

#[tokio::test]
async fn of_parallel_repeats_one_is_done() {
    on_every_stack(async |app| {
        let body = json!({"name": "once", "tier": "free"});
        let answers = join_all((0..12).map(|_| create(app, "same", &body))).await;
        let created = answers.iter().filter(|answer| answer.status == 201).count();
        let running = answers.iter().filter(|answer| answer.status == 409).count();
        assert!(created >= 1 && created + running == 12, "{answers:?}");
        assert_eq!(keys(app).await, 1);
        create(app, "same", &body).await.expect(201);
    })
    .await;
}
