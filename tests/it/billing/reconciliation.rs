//! Figures that should be one are compared, and what does not agree is named.

use serde_json::{Value, json};
use tollgate_tests::{
    app::{App, on_every_stack},
    wait::{HANGS_AFTER, eventually},
};

use super::records::{event, go_to, members, newest};

const FINDINGS: &str = "/api/v1/billing/reconciliation";

/// What a reconciliation that begins now finds, as kind, expected and actual.
async fn findings(app: &App) -> Vec<String> {
    // What is found later is listed first.
    app.advance(1);
    app.service.billing().reconcile().await.unwrap();
    let list = app.admin.get(&format!("{FINDINGS}?limit=100")).await.expect(200).data().clone();
    list.as_array().unwrap().iter().map(|one| members(one, &["kind", "expected", "actual"])).collect()
}

#[tokio::test]
async fn a_number_that_was_changed_in_any_table_is_named() {
    on_every_stack(async |app| {
        let key = app.key("standard").await;
        for _ in 0..3 {
            app.validate(&key).await.expect(200);
        }
        app.used_becomes(&key, 3).await;
        event(app, &key, "a", "2031-05-15T09:00:00Z", 7).await;
        go_to(app, "2031-06-01T01:00:05Z");
        let record = newest(app, &key, 1).await;
        assert_eq!(record["units"], 10);
        assert_eq!(findings(app).await, [""; 0]);
        let mut known = 0;
        for (change, undo, found) in [
            (
                "update usage_segments set units = units + 1",
                "update usage_segments set units = units - 1",
                vec!["segments 10 11"],
            ),
            (
                "update usage_days set allowed = allowed + 1",
                "update usage_days set allowed = allowed - 1",
                vec!["days 10 11", "hours 11 10", "minutes 11 10"],
            ),
            (
                "update usage_hours set allowed = allowed + 1 where hour = (select min(hour) from usage_hours)",
                "update usage_hours set allowed = allowed - 1 where hour = (select min(hour) from usage_hours)",
                vec!["hours 10 11"],
            ),
            (
                "update usage_minutes set allowed = allowed + 1 where minute = (select min(minute) from usage_minutes)",
                "update usage_minutes set allowed = allowed - 1 where minute = (select min(minute) from usage_minutes)",
                vec!["minutes 10 11"],
            ),
            (
                "update usage_periods set allowed = allowed + 1",
                "update usage_periods set allowed = allowed - 1",
                vec!["days 11 10", "journal 3 4", "record_units 11 10", "segments 11 10"],
            ),
            (
                "update journal_cursors set units = units + 1 where stream = 'usage' and units > 0",
                "update journal_cursors set units = units - 1 where stream = 'usage' and units > 0",
                vec!["journal 4 3"],
            ),
        ] {
            app.sql(change).await.unwrap();
            let mut new = findings(app).await;
            new.truncate(new.len() - known);
            new.sort();
            assert_eq!(new, found, "{change}");
            known += found.len();
            app.sql(undo).await.unwrap();
            assert_eq!(findings(app).await.len(), known, "{undo}");
        }
        let list = app.admin.get(&format!("{FINDINGS}?status=open&kind=days")).await.expect(200);
        let one = &list.data()[0];
        let path = format!("{FINDINGS}/{}", one["id"].as_str().unwrap());
        let seen = json!({"status": "acknowledged", "note": "by hand"});
        assert_eq!(
            members(app.admin.put(&path, &seen).await.expect(200).data(), &["status", "note"]),
            "acknowledged by hand"
        );
    })
    .await;
}

#[tokio::test]
async fn a_closed_record_cannot_be_changed_and_one_that_was_is_named() {
    on_every_stack(async |app| {
        let key = app.key("standard").await;
        go_to(app, "2031-06-01T01:00:05Z");
        newest(app, &key, 1).await;
        for change in [
            "update billing_records set total = total + 1, amount_due = amount_due + 1",
            "update billing_records set units = 5",
            "update billing_records set digest = holder_hash",
            "update billing_lines set amount = 1",
            "update billing_units set units = 1",
            "delete from billing_records",
            "delete from billing_lines",
            "delete from billing_units",
        ] {
            let refused = app.sql(change).await.unwrap_err();
            assert!(refused.contains("change") || refused.contains("stay"), "{change}: {refused}");
        }
        app.without_triggers(&["billing_records", "billing_lines"]).await;
        app.sql("update billing_lines set quantity = 2").await.unwrap();
        let digests = findings(app).await;
        assert!(digests.len() == 1 && digests[0].starts_with("digest "), "{digests:?}");
        app.sql("update billing_lines set quantity = 1, amount = amount + 1").await.unwrap();
        let lines = findings(app).await;
        assert!(lines.contains(&"record_lines 29000000 29000001".to_owned()), "{lines:?}");
    })
    .await;
}

#[tokio::test]
async fn it_runs_when_it_is_asked_to() {
    on_every_stack(async |app| {
        app.key("standard").await;
        app.sql("update journal_baseline set units = 5").await.unwrap();
        let queued: Value = app.admin.post(&format!("{FINDINGS}/run"), &json!({})).await.expect(202).data().clone();
        assert!(queued["job_id"].as_str().unwrap().starts_with("reconciliation:"));
        eventually("the difference is found", HANGS_AFTER, async || {
            let list = app.admin.get(FINDINGS).await.expect(200).data().clone();
            (list.as_array().unwrap().len() == 1).then_some(())
        })
        .await;
        let metrics = app.admin.get("/metrics").await.expect(200);
        assert!(metrics.text.contains("tollgate_reconciliation_findings 1"), "{}", metrics.text);
    })
    .await;
}
