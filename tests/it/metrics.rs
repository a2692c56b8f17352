//! `/metrics`: what is counted, and what may never be a label.

use std::collections::BTreeSet;

use serde_json::json;
use tollgate_tests::app::{App, on_every_stack};

async fn text(app: &App) -> String {
    app.anyone().get("/metrics").await.expect(200).text
}

/// Names and labels, without values.
fn series(text: &str) -> BTreeSet<&str> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series).collect()
}

#[tokio::test]
async fn a_thousand_identities_add_no_series() {
    on_every_stack(async |app| {
        let warm_up = async |name: String| {
            let key = app.key_with(json!({"name": name, "owner_id": name, "tags": [name]})).await;
            let body = json!({"endpoint": name, "ip_address": "192.0.2.1", "user_agent": name});
            app.validate_with(&key, body).await.expect(200);
            app.validate_with(&key, json!({"requests": 1_000, "endpoint": name})).await.expect(429);
            app.admin.get(&format!("/api/v1/api-keys/{}", key.id)).await.expect(200);
            app.anyone()
                .with_credential("tg_live_x")
                .post("/api/public/v1/rate-limit/validate", &json!({}))
                .await
                .expect(401);
            app.anyone().get(&format!("/nowhere/{name}")).await.expect(404);
            key
        };
        let first = warm_up("name-0".into()).await;
        app.used_becomes(&first, 1).await;
        text(app).await;
        let before = text(app).await;
        let before = series(&before);
        let mut keys = Vec::new();
        for number in 1..40 {
            keys.push(warm_up(format!("name-{number}")).await);
        }
        app.used_becomes(&keys[38], 1).await;
        let after = text(app).await;
        // What works in the background comes when it comes; the names of its jobs and results are lists in the source.
        let background = ["tollgate_jobs_total", "tollgate_journal_batches_total"];
        let of_a_client = |series: &&&str| !background.iter().any(|name| series.starts_with(name));
        let new: Vec<_> = series(&after).difference(&before).filter(of_a_client).map(|new| (*new).to_owned()).collect();
        assert!(new.is_empty(), "{new:#?}");
        for key in &keys {
            assert!(!after.contains(&key.id) && !after.contains("name-") && !after.contains(&key.secret[..12]));
        }
        assert!(!after.contains("192.0.2.1"));
    })
    .await;
}

#[tokio::test]
async fn what_an_operator_watches_is_there_with_help() {
    on_every_stack(async |app| {
        let key = app.key("free").await;
        app.exhaust(&key).await;
        app.used_becomes(&key, 100).await;
        let text = text(app).await;
        for word in ["checks", "http", "key_cache", "database_connections", "queue", "journal", "api_keys"] {
            let counted = |line: &str| line.starts_with("tollgate_") && line.contains(word);
            assert!(text.lines().any(counted), "nothing about {word}:\n{text}");
        }
        for name in
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).filter_map(|line| line.split(' ').next())
        {
            let help = format!("# HELP {name} ");
            let line =
                text.lines().find(|line| line.starts_with(&help)).unwrap_or_else(|| panic!("{name} has no help"));
            assert!(line.len() > help.len() + 10, "{line}");
        }
    })
    .await;
}
