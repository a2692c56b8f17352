//! Records of past months: closed by time, paid, taken back, corrected, added up and exported.

use serde_json::{Value, json};
use tollgate_tests::{
    app::{App, Key, on_every_stack},
    wait::{HANGS_AFTER, eventually},
};

const RECORDS: &str = "/api/v1/billing/records";

/// Usage that was metered elsewhere; true when its month was closed before.
pub(crate) async fn event(app: &App, key: &Key, id: &str, at: &str, units: u64) -> bool {
    let event = json!({"id": id, "api_key_id": key.id, "timestamp": at, "units": units});
    let taken = app.admin.post("/api/v1/usage/events", &json!({"events": [event]})).await.expect(200);
    assert_eq!(taken.data()["accepted"], 1, "{}", taken.text);
    taken.data()["events"][0]["period_closed"] == true
}

/// Moves the clock to a moment and has what is due there done.
pub(crate) fn go_to(app: &App, moment: &str) {
    let moment: chrono::DateTime<chrono::Utc> = moment.parse().unwrap();
    app.advance((moment - app.clock.now()).num_seconds());
}

/// The records of a key, the newest first.
async fn records(app: &App, key: &Key) -> Vec<Value> {
    let list = app.admin.get(&format!("{RECORDS}?api_key_id={}&order=desc", key.id)).await.expect(200);
    list.data().as_array().unwrap().clone()
}

/// Waits for as many records of a key, and returns the newest with its lines.
pub(crate) async fn newest(app: &App, key: &Key, count: usize) -> Value {
    let records = eventually(&format!("{count} records"), HANGS_AFTER, async || {
        // What is due is looked for every half minute.
        app.advance(31);
        let records = records(app, key).await;
        assert!(records.len() <= count, "{records:?}");
        (records.len() == count).then_some(records)
    })
    .await;
    let path = format!("{RECORDS}/{}", records[0]["id"].as_str().unwrap());
    app.admin.get(&path).await.expect(200).data().clone()
}

pub(crate) fn members(of: &Value, members: &[&str]) -> String {
    members.iter().map(|member| of[*member].to_string().replace('"', "")).collect::<Vec<_>>().join(" ")
}

fn lines(record: &Value) -> Vec<String> {
    let lines = record["lines"].as_array().unwrap().iter();
    lines.map(|line| members(line, &["kind", "quantity", "unit_amount", "amount"])).collect()
}

#[tokio::test]
async fn a_month_is_closed_once_with_what_was_estimated() {
    on_every_stack(async |app| {
        let key = app.key("standard").await;
        event(app, &key, "a", "2031-05-15T09:00:00Z", 150_000).await;
        let current = app.admin.get(&format!("/api/v1/billing/{}/current", key.id)).await.expect(200).data().clone();
        assert_eq!(members(&current, &["status", "units", "overage_units", "amount_due"]), "open 150000 50000 54.00");
        assert_eq!(app.current(&key).await["estimated_cost"], "54.00");
        go_to(app, "2031-06-01T00:59:00Z");
        let early = json!({"period": "2031-05"});
        app.admin.post("/api/v1/billing/close", &early).await.expect_problem(409, "CONFLICT");
        go_to(app, "2031-06-01T01:00:05Z");
        let record = newest(app, &key, 1).await;
        assert_eq!(lines(&record), ["base 1 29.00 29.00", "usage 50000 0.0005 25.00"]);
        assert_eq!(record["lines"], current["lines"]);
        for member in ["id", "number", "subtotal", "total", "rounding", "amount_due", "amount_due_minor", "units"] {
            assert_eq!(record[member], current[member], "{member}");
        }
        let shown =
            ["status", "payment_status", "amount_due_minor", "closed_at", "due_at", "complete", "revision", "tier"];
        assert_eq!(
            members(&record, &shown),
            "closed pending 5400 2031-06-01T01:00:00Z 2031-06-15T01:00:00Z true 1 standard"
        );
        assert!(record["number"].as_str().unwrap().starts_with("TG-2031-05-"), "{record}");
        // Again, and nothing happens.
        app.admin.post("/api/v1/billing/close", &json!({"period": "2031-05"})).await.expect(202);
        go_to(app, "2031-06-02T00:00:00Z");
        assert_eq!(newest(app, &key, 1).await["digest"], record["digest"]);
    })
    .await;
}

#[tokio::test]
async fn late_usage_is_owed_with_the_next_month() {
    on_every_stack(async |app| {
        let key = app.key("standard").await;
        event(app, &key, "a", "2031-05-15T09:00:00Z", 100_000).await;
        go_to(app, "2031-06-01T01:00:05Z");
        let may = newest(app, &key, 1).await;
        assert_eq!(may["amount_due"], "29.00");
        assert!(event(app, &key, "late", "2031-05-20T09:00:00Z", 2_000).await);
        assert!(!event(app, &key, "b", "2031-06-01T00:30:00Z", 100_010).await);
        go_to(app, "2031-07-01T01:00:05Z");
        let june = newest(app, &key, 2).await;
        assert_eq!(lines(&june), ["base 1 29.00 29.00", "usage 10 0.0005 0.005", "correction 2000 null 1.00"]);
        let correction = &june["lines"][2];
        assert_eq!(correction["corrects_record_id"], may["id"]);
        assert_eq!(correction["period"]["start"], "2031-05-01T00:00:00Z");
        assert_eq!(members(&june, &["units", "total", "rounding", "amount_due"]), "100010 30.005 -0.005 30.00");
        assert_eq!(newest(app, &key, 2).await["digest"], june["digest"]);
        go_to(app, "2031-08-01T01:00:05Z");
        assert_eq!(lines(&newest(app, &key, 3).await), ["base 1 29.00 29.00"]);
    })
    .await;
}

#[tokio::test]
async fn a_record_that_is_taken_back_is_billed_again_or_never() {
    on_every_stack(async |app| {
        let (again, never) = (app.key("standard").await, app.key("standard").await);
        go_to(app, "2031-06-01T01:00:05Z");
        let void = async |record: &Value, rebill: bool| {
            let path = format!("{RECORDS}/{}/void", record["id"].as_str().unwrap());
            app.admin.post(&path, &json!({"reason": "a wrong plan", "rebill": rebill})).await.expect(200).data().clone()
        };
        let first = newest(app, &again, 1).await;
        event(app, &again, "late", "2031-05-20T09:00:00Z", 102_000).await;
        let voided = void(&first, true).await;
        assert_eq!(members(&voided, &["status", "payment_status", "void_reason"]), "void null a wrong plan");
        let second = newest(app, &again, 2).await;
        assert_eq!(voided["replacement_id"], second["id"]);
        assert_eq!(members(&second, &["status", "revision", "units", "amount_due"]), "closed 2 102000 30.00");
        // Taken back twice is taken back once.
        assert_eq!(void(&first, true).await["replacement_id"], Value::Null);

        let waived = newest(app, &never, 1).await;
        void(&waived, false).await;
        event(app, &never, "waived", "2031-05-21T09:00:00Z", 200_000).await;
        go_to(app, "2031-07-01T01:00:05Z");
        assert_eq!(lines(&newest(app, &never, 2).await), ["base 1 29.00 29.00"]);
        assert_eq!(lines(&newest(app, &again, 3).await), ["base 1 29.00 29.00"]);
    })
    .await;
}

#[tokio::test]
async fn a_payment_moves_as_it_may() {
    on_every_stack(async |app| {
        let key = app.key("standard").await;
        go_to(app, "2031-06-01T01:00:05Z");
        let record = newest(app, &key, 1).await;
        let path = format!("{RECORDS}/{}/payment-status", record["id"].as_str().unwrap());
        let pay = async |body: Value| app.admin.put(&path, &body).await;
        let refused = pay(json!({"payment_status": "refunded"})).await.expect_problem(409, "CONFLICT");
        assert!(refused.text.contains("paid, failed, overdue"), "{}", refused.text);
        assert_eq!(pay(json!({"payment_status": "failed"})).await.expect(200).data()["payment_status"], "failed");
        go_to(app, "2031-06-15T01:00:40Z");
        eventually("it is overdue", HANGS_AFTER, async || {
            (newest(app, &key, 1).await["payment_status"] == "overdue").then_some(())
        })
        .await;
        let paid = pay(json!({"payment_status": "paid", "reference": "ch_1"})).await.expect(200).data().clone();
        assert_eq!(members(&paid, &["payment_status", "amount_paid", "version"]), "paid 29.00 4");
        assert_eq!(pay(json!({"payment_status": "paid"})).await.expect(200).data()["version"], 4);
        let void = json!({"reason": "no", "rebill": false});
        let taken_back = format!("{RECORDS}/{}/void", record["id"].as_str().unwrap());
        app.admin.post(&taken_back, &void).await.expect_problem(409, "CONFLICT");
        assert_eq!(pay(json!({"payment_status": "refunded"})).await.expect(200).data()["payment_status"], "refunded");
        pay(json!({"payment_status": "paid"})).await.expect_problem(409, "CONFLICT");
        app.admin.post(&taken_back, &void).await.expect(200);
        // Nothing to be paid is paid.
        let free = app.key("free").await;
        event(app, &free, "a", "2031-06-15T00:00:00Z", 1).await;
        go_to(app, "2031-07-01T01:00:05Z");
        let record = newest(app, &free, 1).await;
        assert_eq!(members(&record, &["payment_status", "amount_due", "units"]), "paid 0.00 1");
    })
    .await;
}

#[tokio::test]
async fn nothing_used_and_nothing_owed_is_no_record_and_tests_are_never_billed() {
    on_every_stack(async |app| {
        let idle = app.key("free").await;
        let test = app.key_with(json!({"tier": "pro", "environment": "test"})).await;
        let owes = app.key("pro").await;
        event(app, &test, "a", "2031-05-15T09:00:00Z", 5).await;
        let path = format!("/api/v1/billing/{}/current", test.id);
        assert_eq!(app.admin.get(&path).await.expect(200).data()["amount_due"], "199.00");
        go_to(app, "2031-06-01T01:00:05Z");
        assert_eq!(newest(app, &owes, 1).await["amount_due"], "199.00");
        go_to(app, "2031-07-01T01:00:05Z");
        newest(app, &owes, 2).await;
        assert_eq!((records(app, &idle).await.len(), records(app, &test).await.len()), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn a_key_that_ended_owes_its_last_month_whole_and_no_further_one() {
    on_every_stack(async |app| {
        let key = app.key("standard").await;
        go_to(app, "2031-05-20T00:00:00Z");
        app.admin.delete(&format!("/api/v1/api-keys/{}", key.id)).await.expect(204);
        go_to(app, "2031-06-01T01:00:05Z");
        assert_eq!(newest(app, &key, 1).await["amount_due"], "29.00");
        go_to(app, "2031-08-01T01:00:05Z");
        let other = app.key("standard").await;
        go_to(app, "2031-09-01T01:00:05Z");
        newest(app, &other, 1).await;
        assert_eq!(records(app, &key).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_change_of_plan_splits_the_month_at_the_next_minute() {
    on_every_stack(async |app| {
        let key = app.key("standard").await;
        event(app, &key, "a", "2031-05-15T09:00:00Z", 80_000).await;
        go_to(app, "2031-05-16T11:59:12Z");
        app.admin.put(&format!("/api/v1/api-keys/{}", key.id), &json!({"tier": "pro"})).await.expect(200);
        event(app, &key, "same-minute", "2031-05-16T11:59:59Z", 10_000).await;
        go_to(app, "2031-05-16T12:00:00Z");
        event(app, &key, "b", "2031-05-16T12:00:00Z", 600_000).await;
        let current = app.current(&key).await;
        // 31 days: half of each quota.
        assert_eq!(members(&current, &["requests_made", "requests_limit", "overage_requests"]), "690000 550000 140000");
        go_to(app, "2031-06-01T01:00:05Z");
        let record = newest(app, &key, 1).await;
        assert_eq!(
            lines(&record),
            ["base 1 29.00 14.50", "usage 40000 0.0005 20.00", "base 1 199.00 99.50", "usage 100000 0.00025 25.00",]
        );
        assert_eq!(members(&record["lines"][2]["segment"], &["start", "share"]), "2031-05-16T12:00:00Z 1/2");
    })
    .await;
}

#[tokio::test]
async fn changed_prices_are_in_force_with_the_next_month_or_the_next_minute() {
    on_every_stack(async |app| {
        let limits = json!([{"name": "per-hour", "limit": 1_000, "window": 3600}]);
        let plan = app.plan("dear", limits.clone(), json!({"limit": 1_000, "overage": "bill"})).await;
        let key = app.key("dear").await;
        let path = format!("/api/v1/plans/{}", plan["id"].as_str().unwrap());
        let put = async |base: &str, effective: &str| {
            let prices = json!({"currency": "USD", "base": base, "unit_amount": "0.50", "effective": effective});
            let terms = json!({"limits": limits, "quota": plan["quota"], "prices": prices});
            app.admin.put(&path, &terms).await.expect(200);
        };
        let estimate = async || app.current(&key).await["estimated_cost"].as_str().unwrap().to_owned();
        put("20.00", "next_period").await;
        assert_eq!(estimate().await, "10.00");
        go_to(app, "2031-06-01T01:00:05Z");
        assert_eq!(estimate().await, "20.00");
        go_to(app, "2031-06-15T23:59:30Z");
        put("60.00", "now").await;
        go_to(app, "2031-06-16T00:00:00Z");
        assert_eq!(estimate().await, "40.00");
        // The same prices again are no change, and another currency is refused.
        put("60.00", "now").await;
        let prices = json!({"currency": "EUR", "base": "1.00", "unit_amount": "0.50"});
        let terms = json!({"limits": limits, "prices": prices});
        app.admin.put(&path, &terms).await.expect_problem(409, "CONFLICT");
        go_to(app, "2031-07-01T01:00:05Z");
        let june = newest(app, &key, 2).await;
        assert_eq!(lines(&june), ["base 1 20.00 10.00", "base 1 60.00 30.00"]);
    })
    .await;
}

#[tokio::test]
async fn a_key_goes_to_another_currency_only_while_it_owes_nothing() {
    on_every_stack(async |app| {
        let limits = json!([{"name": "per-hour", "limit": 1_000, "window": 3600}]);
        for (name, currency, base) in [("euros", "EUR", "1.00"), ("yen", "JPY", "0")] {
            let prices = json!({"currency": currency, "base": base, "included_units": 0, "unit_amount": "1"});
            let body = json!({"name": name, "limits": limits, "prices": prices});
            app.admin.post("/api/v1/plans", &body).await.expect(201);
        }
        let (key, idle) = (app.key("yen").await, app.key("yen").await);
        let move_to =
            async |key: &Key| app.admin.put(&format!("/api/v1/api-keys/{}", key.id), &json!({"tier": "euros"})).await;
        event(app, &key, "a", "2031-05-15T09:00:00Z", 1).await;
        move_to(&key).await.expect_problem(409, "CURRENCY_MISMATCH");
        move_to(&idle).await.expect(200);
        go_to(app, "2031-06-01T01:00:05Z");
        assert_eq!(members(&newest(app, &key, 1).await, &["currency", "amount_due"]), "JPY 1");
        assert_eq!(members(&newest(app, &idle, 1).await, &["currency"]), "EUR");
    })
    .await;
}

#[tokio::test]
async fn what_is_shown_of_a_month_agrees() {
    on_every_stack(async |app| {
        let key = app.key_with(json!({"tier": "standard", "owner_id": "acme", "name": "=cmd|' /C calc'!A0"})).await;
        event(app, &key, "a", "2031-05-15T09:00:00Z", 150_001).await;
        let current = app.current(&key).await;
        go_to(app, "2031-06-01T01:00:05Z");
        let record = newest(app, &key, 1).await;
        assert_eq!(current["estimated_cost"], record["total"]);
        let path = format!("/api/v1/usage/{}/history?granularity=monthly", key.id);
        let history = app.admin.get(&path).await.expect(200).data().clone();
        assert_eq!(history["summary"]["successful"], record["units"]);
        for group in ["currency", "tier", "owner", "status"] {
            let path = format!("/api/v1/billing/summary?period=2031-05&group_by={group}");
            let rows = app.admin.get(&path).await.expect(200).data().clone();
            let row = rows.as_array().unwrap().iter().find(|row| row["units"] == 150_001).unwrap();
            let name = match group {
                "currency" => "USD",
                "tier" => "standard",
                "owner" => "acme",
                _ => "closed",
            };
            assert_eq!(
                members(row, &["group", "records", "total", "amount_due", "outstanding", "overdue"]),
                format!("{name} 1 54.0005 54.00 54.00 0.00")
            );
        }
        let export = async |query: &str| {
            app.admin.get(&format!("/api/v1/billing/export?period=2031-05&{query}")).await.expect(200).text
        };
        let csv = export("format=csv").await;
        let rows: Vec<_> = csv.split("\r\n").collect();
        assert!(rows[0].starts_with("row,number,id,revision,status,"), "{csv}");
        assert!(
            rows[1].starts_with("record,TG-2031-05-") && rows[1].contains("\"'=cmd|") | rows[1].contains(",'=cmd|"),
            "{csv}"
        );
        assert!(rows[2].starts_with("total,,,1,") && rows[2].contains(",54.00,"), "{csv}");
        assert!(rows[3].starts_with("end,,,1,"), "{csv}");
        let lines = export("format=ndjson&kind=lines").await;
        let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(members(&lines[2]["end"]["totals"][0], &["currency", "count", "amount"]), "USD 2 54.0005");
        let whole: Value = serde_json::from_str(&export("format=json&owner_id=acme").await).unwrap();
        assert_eq!(whole["data"][0]["digest"], record["digest"]);
        let none: Value = serde_json::from_str(&export("format=json&owner_id=nobody").await).unwrap();
        assert_eq!((none["data"].as_array().unwrap().len(), &none["end"]["count"]), (0, &json!(0)));
        app.admin.get("/api/v1/billing/export?start=2031-05").await.expect_problem(400, "INVALID_REQUEST");
    })
    .await;
}
