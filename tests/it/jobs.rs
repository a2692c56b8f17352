//! `/api/v1/jobs`: the dead letters.

use std::time::Duration;

use serde_json::json;
use tollgate_tests::{app::on_every_stack, wait::eventually};

#[tokio::test]
async fn nothing_is_dead_in_a_healthy_service_and_an_unknown_job_cannot_be_retried() {
    on_every_stack(async |app| {
        let dead = app.admin.get("/api/v1/jobs/dead").await.expect(200);
        assert_eq!(dead.body, json!({"data": [], "pagination": {"page": 1, "limit": 20, "total": 0, "pages": 0}}));
        for id in [app.clock.new_id().to_string(), "nonsense".into()] {
            app.admin.post(&format!("/api/v1/jobs/{id}/retry"), &json!({})).await.expect_problem(404, "NOT_FOUND");
        }
    })
    .await;
}

#[tokio::test]
async fn jobs_go_on_beside_usage_and_leave_no_backlog() {
    on_every_stack(async |app| {
        let key = app.key("free").await;
        app.validate(&key).await.expect(200);
        app.used_becomes(&key, 1).await;
        let waiting = |line: &&str| line.starts_with("tollgate_queue") && line.contains("waiting");
        eventually("the queue is empty", Duration::from_secs(10), async || {
            let metrics = app.anyone().get("/metrics").await.expect(200).text;
            let mut gauges = metrics.lines().filter(waiting).peekable();
            gauges.peek().expect("a gauge of waiting jobs");
            gauges.all(|line| line.ends_with(" 0")).then_some(())
        })
        .await;
    })
    .await;
}
