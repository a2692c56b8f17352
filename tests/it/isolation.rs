//! Tenants: whatever route one of them takes, it meets nothing of another, jobs included.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tollgate_domain::{
    ApiKeyId, BootId, Counts, Scope, TenantId,
    usage::{JournalSpan, KeyUsage, MinuteUsage, UsageBatch, ViolationBatch, ViolationRow, pack},
};
use tollgate_jobs::{Concurrency, Job, Outcome, Push, job::retention, run};
use tollgate_tests::{
    answer::{Answer, Client, send},
    app::{App, on_every_stack},
    openapi::{Document, Operation},
    things::Things,
    wait::{HANGS_AFTER, eventually},
};

use crate::openapi::made_real;

const DEAD: &str = "/api/v1/jobs/dead";

/// What a key did in the minute of the story.
fn usage_of(app: &App, tenant_id: TenantId, api_key_id: ApiKeyId) -> KeyUsage {
    let minute = app.clock.now();
    let counts = Counts { rejected: 1, ..Counts::default() };
    KeyUsage {
        tenant_id,
        api_key_id,
        minutes: vec![MinuteUsage { minute, counts, last_at: minute }],
        endpoints: vec![],
    }
}

fn violation_of(app: &App, tenant_id: TenantId, api_key_id: ApiKeyId) -> ViolationRow {
    let at = app.clock.now();
    ViolationRow {
        tenant_id,
        api_key_id,
        limit_name: "per-hour".into(),
        endpoint: "/of-whom".into(),
        minute: at,
        ip_address: String::new(),
        count: 1,
        first_at: at,
        last_at: at,
    }
}

/// Jobs by their ids: of the first tenant, of the other one, of both, of the installation.
fn jobs(app: &App, first: (TenantId, ApiKeyId), other: (TenantId, ApiKeyId)) -> Vec<(&'static str, Job)> {
    let span = JournalSpan { boot: BootId(app.clock.new_id()), from: 0, to: 1 };
    let usage = |keys: &[(TenantId, ApiKeyId)]| {
        let keys: Vec<_> = keys.iter().map(|(tenant, key)| usage_of(app, *tenant, *key)).collect();
        Job::UsageApply(UsageBatch { span, chunks: pack(&keys) })
    };
    let violations = |keys: &[(TenantId, ApiKeyId)]| {
        let rows = keys.iter().map(|(tenant, key)| violation_of(app, *tenant, *key)).collect();
        Job::ViolationRecord(ViolationBatch { span, rows })
    };
    vec![
        ("first-usage", usage(&[first])),
        ("first-violations", violations(&[first])),
        ("both-usage", usage(&[first, other])),
        ("both-violations", violations(&[first, other])),
        ("other-usage", usage(&[other])),
        ("installation", Job::Retention(retention::Payload { at: app.clock.now() })),
    ]
}

/// Has the jobs die: a second worker on the service's queue gives up each that it gets before the service's own one, which
/// does the others without effect; those are pushed again.
async fn die(app: &App, jobs: &[(&'static str, Job)]) {
    let queue = app.service.queue().clone();
    let ids: BTreeSet<_> = jobs.iter().map(|(id, _)| *id).collect();
    let stop = CancellationToken::new();
    let failing = move |_job, context: tollgate_jobs::JobContext| {
        let is_ours = ids.contains(context.id.as_str());
        async move { if is_ours { Outcome::Abort("broken".into()) } else { Outcome::retry("not for this worker") } }
    };
    let concurrency = Concurrency { critical: 4, default: 4, low: 4 };
    let worker = tokio::spawn(run(queue.clone(), failing, concurrency, stop.clone().cancelled_owned()));
    eventually("the jobs are dead", HANGS_AFTER, async || {
        for (id, job) in jobs {
            queue.push(job, Push { id: Some((*id).into()), ..Push::default() }).await.unwrap();
        }
        let depths = queue.depths().await.unwrap();
        (depths.iter().map(|depth| depth.dead).sum::<u64>() == jobs.len() as u64).then_some(())
    })
    .await;
    stop.cancel();
    worker.await.unwrap().unwrap();
    // What it was not meant for is due again.
    app.advance(1);
}

/// The ids of a client's dead jobs, sorted, and the whole answer.
async fn dead(client: &Client) -> (String, Answer) {
    let answer = client.get(DEAD).await.expect(200);
    let jobs = answer.data().as_array().unwrap();
    let mut ids: Vec<_> = jobs.iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect();
    ids.sort_unstable();
    assert_eq!(answer.body["pagination"]["total"], ids.len(), "{}", answer.text);
    (ids.join(" "), answer)
}

/// Texts that stand in nobody's answers but the first tenant's.
fn marks(things: &Things) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let Things { key, plan, token, record, grant, finding } = things;
    let secrets = [key.secret.clone(), text(&token["token"])];
    let own =
        [&key.record["id"], &key.record["key_prefix"], &plan["id"], &plan["name"], &token["id"], &token["prefix"]];
    let ids = own.into_iter().chain([&record["id"], &grant["id"], &finding["id"]]);
    let jobs = ["first-usage", "first-violations", "installation"].map(str::to_owned);
    secrets.into_iter().chain(ids.map(text)).chain(jobs).collect()
}

/// Calls the operation with everything in it that names the first tenant's things.
async fn call(
    client: &Client,
    app: &App,
    document: &Document,
    operation: &Operation,
    path: &str,
    things: &Things,
) -> Answer {
    let mut request = client.request(operation.method.parse().unwrap(), path);
    if let Some(schema) = &operation.body {
        let mut body = document.example(schema);
        made_real(&mut body, &things.key, app);
        request = request.json(&body);
    }
    send(request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_no_route_does_a_tenant_meet_anything_of_another() {
    on_every_stack(async |app| {
        let things = app.things().await;
        let tenant_id = TenantId(app.clock.new_id());
        let stranger = app.token(tenant_id, Scope::ALL).await;
        let (first_key, other_key) = (things.key.id.parse().unwrap(), ApiKeyId(app.clock.new_id()));
        let jobs = jobs(app, (TenantId::DEFAULT, first_key), (tenant_id, other_key));
        die(app, &jobs).await;
        let (seen, dead_before) = dead(&app.admin).await;
        assert_eq!(seen, "both-usage both-violations first-usage first-violations installation");
        assert!(!dead_before.text.contains(&other_key.to_string()), "{}", dead_before.text);

        let document = Document::of(&app.anyone()).await;
        let marks = marks(&things);
        let operations = document.operations().into_iter().filter(|operation| operation.path.starts_with("/api/v1/"));
        let mut called = 0;
        for operation in operations {
            let paths = match operation.path.as_str() {
                "/api/v1/jobs/{id}/retry" => {
                    let of = |id: &str| operation.path.replace("{id}", id);
                    vec![of("first-usage"), of("first-violations"), of("installation")]
                }
                path => vec![things.uri(path)],
            };
            for path in paths {
                let answer = call(&stranger, app, &document, &operation, &path, &things).await;
                let name = format!("{} {path}: {} {}", operation.method, answer.status, answer.text);
                let met = marks.iter().find(|mark| answer.text.contains(*mark));
                assert!(met.is_none(), "{met:?} in {name}");
                assert!(!operation.path.contains("{id}") || answer.status == 404, "{name}");
                assert!(answer.status < 500, "{name}");
                called += 1;
            }
        }
        assert!(called >= 35, "{called} calls");

        // Of what is of both, each sees its own part.
        let (seen, shown) = dead(&stranger).await;
        assert_eq!(seen, "both-usage both-violations other-usage");
        assert_eq!(shown.text.matches(&other_key.to_string()).count(), 3, "{}", shown.text);

        // All is as it was.
        assert_eq!(dead(&app.admin).await.1.body, dead_before.body);
        app.validate(&things.key).await.expect(200);
        for (path, record) in [("api-keys", &things.key.record), ("plans", &things.plan), ("tokens", &things.token)] {
            let now = app.admin.get(&format!("/api/v1/{path}/{}", record["id"].as_str().unwrap())).await.expect(200);
            assert_eq!(now.data()["version"], record["version"], "{}", now.text);
        }
        let record = &things.record;
        let now =
            app.admin.get(&format!("/api/v1/billing/records/{}", record["id"].as_str().unwrap())).await.expect(200);
        assert_eq!(
            (&now.data()["status"], &now.data()["payment"]),
            (&record["status"], &record["payment"]),
            "{}",
            now.text
        );
        for (id, _) in &jobs {
            let owner = if id.starts_with("other") { &stranger } else { &app.admin };
            owner.post(&format!("/api/v1/jobs/{id}/retry"), &json!({})).await.expect(200);
        }
    })
    .await;
}
