//! `/health`, `/live`, `/ready`.

use serde_json::json;
use tollgate_tests::app::on_every_stack;

#[tokio::test]
async fn health_names_each_dependency() {
    on_every_stack(async |app| {
        let health = app.anyone().get("/health").await.expect(200);
        for dependency in ["database", "limiter", "queue"] {
            assert!(health.text.contains(dependency), "{dependency}: {}", health.text);
        }
        assert!(health.text.contains("latency"), "{}", health.text);
        assert_eq!(health.header("cache-control"), "no-store");
        app.anyone().get("/live").await.expect(200);
        app.anyone().get("/ready").await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn security_headers_are_on_every_answer() {
    on_every_stack(async |app| {
        let key = app.key("free").await;
        let answers = [
            app.anyone().get("/health").await,
            app.anyone().get("/nowhere").await,
            app.admin.get("/api/v1/plans").await,
            app.admin.post("/api/v1/api-keys", &json!({})).await,
            app.validate(&key).await,
        ];
        for answer in answers {
            assert_eq!(answer.header("x-content-type-options"), "nosniff", "{}", answer.text);
            assert_eq!(answer.header("cache-control"), "no-store", "{}", answer.text);
        }
    })
    .await;
}
