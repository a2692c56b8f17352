//! Two nodes on the same PostgreSQL and Redis: one count, and changes that reach both within a second.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use futures_util::future::join_all;
use serde_json::json;
use tollgate_tests::{
    app::{App, Key, on_every_stack},
    wait::within_promise,
};

/// The contract: in force on every node within a second.
const IN_FORCE_WITHIN: Duration = Duration::from_secs(1);

/// Tells a story of two nodes wherever counters are shared.
async fn on_two_nodes(story: impl AsyncFn(&App, &App)) {
    on_every_stack(async |app| {
        if app.stack.redis.is_some() {
            let other = app.another_node().await;
            story(app, &other).await;
            other.stop().await;
        }
    })
    .await;
}

async fn status_becomes(node: &App, key: &Key, status: u16) {
    let started = Instant::now();
    within_promise(&format!("the node answers {status}"), IN_FORCE_WITHIN, async || {
        (node.validate(key).await.status == status).then_some(())
    })
    .await;
    eprintln!("in force after {:?}", started.elapsed());
}

#[tokio::test]
async fn two_nodes_admit_one_limit() {
    on_two_nodes(async |one, two| {
        let key = one.key_limited("sliding_window", 30, 3_600).await;
        let answers = join_all((0..80).map(|n| if n % 2 == 0 { one.validate(&key) } else { two.validate(&key) })).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 30);
        one.used_becomes(&key, 30).await;
        two.used_becomes(&key, 30).await;
    })
    .await;
}

#[tokio::test]
async fn a_change_on_one_node_is_in_force_on_the_other_within_a_second() {
    on_two_nodes(async |one, two| {
        let key = one.key("free").await;
        two.validate(&key).await.expect(200);
        let path = format!("/api/v1/api-keys/{}", key.id);
        one.admin.post(&format!("{path}/suspend"), &json!({"seconds": null, "reason": null})).await.expect(200);
        status_becomes(two, &key, 403).await;
        one.admin.post(&format!("{path}/resume"), &json!({})).await.expect(200);
        status_becomes(two, &key, 200).await;
        two.exhaust(&key).await;
        one.admin.put(&format!("/api/v1/rate-limit/{}", key.id), &json!({"new_limit": 100_000})).await.expect(200);
        status_becomes(two, &key, 200).await;
        let rotated = one.admin.post(&format!("{path}/rotate"), &json!({"grace_seconds": 0})).await.expect(200);
        status_becomes(two, &key, 401).await;
        let key = Key { secret: rotated.data()["key"].as_str().unwrap().to_owned(), ..key };
        two.validate(&key).await.expect(200);
        one.admin.delete(&path).await.expect(204);
        status_becomes(two, &key, 401).await;
    })
    .await;
}

#[tokio::test]
async fn a_plan_that_is_changed_on_one_node_is_in_force_on_the_other_within_a_second() {
    on_two_nodes(async |one, two| {
        let limits = |limit: u64| json!([{"name": "per-hour", "limit": limit, "window": 3_600}]);
        let plan = one.plan("narrow", limits(1), json!(null)).await;
        let key = one.key("narrow").await;
        two.validate(&key).await.expect(200);
        two.validate(&key).await.expect(429);
        let wider = json!({"limits": limits(1_000), "quota": null, "prices": plan["prices"]});
        one.admin.put(&format!("/api/v1/plans/{}", plan["id"].as_str().unwrap()), &wider).await.expect(200);
        status_becomes(two, &key, 200).await;
        assert_eq!(two.validate(&key).await.expect(200).body["limit"], 1_000);
    })
    .await;
}

#[tokio::test]
async fn a_token_that_is_changed_on_one_node_is_changed_on_the_other_within_a_second() {
    on_every_stack(async |one| {
        let two = one.another_node().await;
        let (_, token) = one.token_with(json!({"scopes": ["keys:read"]})).await;
        let path = format!("/api/v1/tokens/{}", token["id"].as_str().unwrap());
        let there = async |secret: &serde_json::Value, status: u16| {
            let client = two.admin.with_credential(secret.as_str().unwrap());
            let started = Instant::now();
            within_promise(&format!("the node answers {status}"), IN_FORCE_WITHIN, async || {
                (client.get("/api/v1/api-keys").await.status == status).then_some(())
            })
            .await;
            eprintln!("in force after {:?}", started.elapsed());
        };
        there(&token["token"], 200).await;
        one.admin.put(&path, &json!({"scopes": ["usage:read"]})).await.expect(200);
        there(&token["token"], 403).await;
        one.admin.put(&path, &json!({"scopes": ["keys:read"]})).await.expect(200);
        there(&token["token"], 200).await;
        one.admin.put(&path, &json!({"expires_at": one.clock.now() + TimeDelta::minutes(1)})).await.expect(200);
        one.advance(60);
        there(&token["token"], 401).await;
        one.admin.put(&path, &json!({"expires_at": null})).await.expect(200);
        there(&token["token"], 200).await;
        let rotated = one.admin.post(&format!("{path}/rotate"), &json!({})).await.expect(200);
        there(&token["token"], 401).await;
        there(&rotated.data()["token"], 200).await;
        one.admin.delete(&path).await.expect(204);
        there(&rotated.data()["token"], 401).await;
        two.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_reset_on_one_node_frees_the_other() {
    on_two_nodes(async |one, two| {
        let key = one.key("free").await;
        two.exhaust(&key).await;
        one.admin.post(&format!("/api/v1/rate-limit/{}/reset", key.id), &json!({})).await.expect(200);
        status_becomes(two, &key, 200).await;
    })
    .await;
}
