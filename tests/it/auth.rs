//! Who may call: every route of `/openapi.json` against no credential, too little of one, a client's key, another tenant.

use serde_json::json;
use tollgate_domain::{Scope, TenantId};
use tollgate_tests::{
    answer::{Answer, Client, send},
    app::{App, on_every_stack},
    openapi::{Document, Operation},
    things::Things,
};

/// The managed operations, each with a path that exists.
async fn managed(app: &App) -> (Document, Vec<(Operation, String)>, Things) {
    let document = Document::of(&app.anyone()).await;
    let things = app.things().await;
    let operations = document.operations().into_iter().filter(|operation| operation.scope.is_some());
    let addressed = operations.map(|operation| {
        let path = things.path(&operation.path);
        (operation, path)
    });
    let addressed: Vec<_> = addressed.collect();
    assert!(addressed.len() >= 30, "{} managed operations", addressed.len());
    (document, addressed, things)
}

async fn call(client: &Client, document: &Document, operation: &Operation, path: &str) -> Answer {
    let mut request = client.request(operation.method.parse().unwrap(), path);
    if let Some(schema) = &operation.body {
        request = request.json(&document.example(schema));
    }
    send(request).await
}

#[tokio::test]
async fn every_managed_route_asks_for_a_credential_and_for_its_scope() {
    on_every_stack(async |app| {
        let (document, operations, things) = managed(app).await;
        let holder = app.holder(&things.key);
        for (operation, path) in &operations {
            let name = format!("{} {}", operation.method, operation.path);
            eprintln!("{name}");
            call(&app.anyone(), &document, operation, path).await.expect_problem(401, "INVALID_API_KEY");
            let wrong = app.anyone().with_credential("tgt_admin_0123456789012345678901234567890123");
            call(&wrong, &document, operation, path).await.expect_problem(401, "INVALID_API_KEY");

            let scope: Scope = operation.scope.as_deref().unwrap().parse().unwrap();
            let others: Vec<_> = Scope::ALL.iter().copied().filter(|s| *s != scope && *s != Scope::Admin).collect();
            let without = app.token(TenantId::DEFAULT, &others).await;
            let refused = call(&without, &document, operation, path).await.expect_problem(403, "FORBIDDEN");
            assert!(refused.body["detail"].as_str().unwrap().contains(scope.as_str()), "{name}: {}", refused.text);

            let own = operation.method == "GET" && (path.contains("/usage/") || path.ends_with("/info"));
            if !own {
                call(&holder, &document, operation, path).await.expect_problem(403, "FORBIDDEN");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_scope_suffices() {
    on_every_stack(async |app| {
        let (document, operations, _) = managed(app).await;
        for (operation, path) in operations.iter().filter(|(operation, _)| operation.method != "DELETE") {
            let scope: Scope = operation.scope.as_deref().unwrap().parse().unwrap();
            // The example changes the plan's limits and its prices.
            let is_plan = operation.method == "PUT" && operation.path == "/api/v1/plans/{id}";
            let scopes = if is_plan { vec![scope, Scope::BillingWrite] } else { vec![scope] };
            let token = app.token(TenantId::DEFAULT, &scopes).await;
            let answer = call(&token, &document, operation, path).await;
            assert!(!matches!(answer.status, 401 | 403), "{} {}: {}", operation.method, operation.path, answer.text);
        }
    })
    .await;
}

#[tokio::test]
async fn another_tenants_things_are_not_there() {
    on_every_stack(async |app| {
        let (document, operations, Things { key, .. }) = managed(app).await;
        let other = app.token(TenantId(app.clock.new_id()), Scope::ALL).await;
        for (operation, path) in operations.iter().filter(|(operation, _)| operation.path.contains("{id}")) {
            eprintln!("{} {}", operation.method, operation.path);
            call(&other, &document, operation, path).await.expect_problem(404, "NOT_FOUND");
        }
        for list in ["/api/v1/api-keys", "/api/v1/plans"] {
            assert_eq!(other.get(list).await.expect(200).body["pagination"]["total"], 0, "{list}");
        }
        let lookup = other.post("/api/v1/api-keys/lookup", &json!({"key": key.secret})).await;
        lookup.expect_problem(404, "NOT_FOUND");
        let by_id = json!({"api_key_id": key.id, "endpoint": "/", "method": "GET"});
        other.post("/api/v1/rate-limit/check", &by_id).await.expect_problem(404, "NOT_FOUND");
        app.validate(&key).await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn a_token_works_in_either_header_but_two_must_agree() {
    on_every_stack(async |app| {
        let get = |client: &Client| client.request(reqwest::Method::GET, "/api/v1/plans");
        let token = tollgate_tests::BOOTSTRAP_TOKEN;
        send(get(&app.anyone()).header("x-api-key", token)).await.expect(200);
        send(get(&app.admin).header("x-api-key", token)).await.expect(200);
        send(get(&app.admin).header("x-api-key", "tg_live_other")).await.expect_problem(400, "INVALID_REQUEST");
    })
    .await;
}

#[tokio::test]
async fn a_forged_forwarding_header_does_not_move_the_client() {
    on_every_stack(async |app| {
        let key = app.key_with(json!({"allowed_ips": ["192.0.2.7"]})).await;
        let request = app.holder(&key).request(reqwest::Method::POST, "/api/public/v1/rate-limit/validate");
        let forged = send(request.header("x-forwarded-for", "192.0.2.7")).await;
        forged.expect_problem(403, "IP_NOT_ALLOWED");
    })
    .await;
}
