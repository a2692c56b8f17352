//! `Idempotency-Key`: a write that is sent again is done once.

use futures_util::future::join_all;
use serde_json::{Value, json};
use tollgate_tests::{
    answer::{Answer, send},
    app::{App, on_every_stack},
};

async fn create(app: &App, idempotency_key: &str, body: &Value) -> Answer {
    let request = app.admin.request(reqwest::Method::POST, "/api/v1/api-keys");
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
