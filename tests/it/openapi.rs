//! `/openapi.json` and `/docs`: what is written about the API is true.

use std::collections::HashSet;

use serde_json::{Value, json};
use tollgate_tests::{
    answer::{Answer, send},
    app::{App, Key, on_every_stack},
    openapi::{Document, Operation},
};

/// Puts ids and secrets that exist where an example has made-up ones.
pub(crate) fn made_real(value: &mut Value, key: &Key, app: &App) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| made_real(item, key, app)),
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                match name.as_str() {
                    "api_key_id" => *member = json!(key.id),
                    "api_key" | "key" if member.is_string() => *member = json!(key.secret),
                    "timestamp" => *member = json!(app.clock.now()),
                    "expires_at" => *member = json!("2040-01-01T00:00:00Z"),
                    _ => made_real(member, key, app),
                }
            }
            // A reset takes one of the two.
            if members.contains_key("api_key_id") && members.contains_key("api_key") {
                members.remove("api_key");
            }
        }
        _ => {}
    }
}

/// Sends an operation's example against a key and a plan of its own.
async fn send_example(app: &App, document: &Document, operation: &Operation) -> Answer {
    let things = app.things().await;
    let (path, key) = (things.path(&operation.path), &things.key);
    let own = operation.path == "/api/v1/rate-limit/info" || operation.path.starts_with("/api/public/");
    let client = if own { app.holder(key) } else { app.admin.clone() };
    let mut request = client.request(operation.method.parse().unwrap(), &path);
    if let Some(schema) = &operation.body {
        let mut body = document.example(schema);
        made_real(&mut body, key, app);
        request = request.json(&body);
    }
    send(request).await
}

#[tokio::test]
async fn every_example_of_the_document_works_and_every_answer_is_as_described() {
    on_every_stack(async |app| {
        let document = Document::of(&app.anyone()).await;
        for operation in document.operations() {
            let name = format!("{} {}", operation.method, operation.path);
            let answer = send_example(app, &document, &operation).await;
            if operation.path == "/api/v1/jobs/{id}/retry" {
                answer.expect_problem(404, "NOT_FOUND");
                continue;
            }
            assert!((200..300).contains(&answer.status), "{name}: {} {}", answer.status, answer.text);
            let described = document.resolve(&operation.value["responses"][answer.status.to_string()]);
            assert!(described.is_object(), "{name}: {} is not described", answer.status);
            if let Some(schema) = described.pointer("/content/application~1json/schema") {
                let differences = document.differences(schema, &answer.body);
                assert!(differences.is_empty(), "{name}: {differences:#?}\n{}", answer.text);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_document_is_openapi_3_1_and_holds_together() {
    on_every_stack(async |app| {
        let document = Document::of(&app.anyone()).await;
        assert!(document.0["openapi"].as_str().unwrap().starts_with("3.1."), "{}", document.0["openapi"]);
        assert!(document.0["info"]["title"].is_string() && document.0["info"]["version"].is_string());
        let mut references = Vec::new();
        references_in(&document.0, &mut references);
        for reference in &references {
            let pointer = reference.strip_prefix('#').expect("a reference into the document");
            assert!(document.0.pointer(pointer).is_some(), "{reference} leads nowhere");
        }
        let operations = document.operations();
        assert!(operations.len() >= 30, "{} operations", operations.len());
        let mut ids = HashSet::new();
        for operation in &operations {
            let name = format!("{} {}", operation.method, operation.path);
            let id = operation.value["operationId"].as_str().unwrap_or_else(|| panic!("{name} has no operationId"));
            assert!(ids.insert(id.to_owned()), "{name}: {id} is another's");
            let parameters = operation.value["parameters"].as_array().cloned().unwrap_or_default();
            let in_path = parameters.iter().filter(|parameter| parameter["in"] == "path").count();
            assert_eq!(in_path, operation.path.matches('{').count(), "{name}: path parameters");
            let for_anybody = ["/api/v1/rate-limit/info", "/api/v1/whoami"].contains(&operation.path.as_str());
            let scoped = operation.path.starts_with("/api/v1/") && !for_anybody;
            assert_eq!(scoped, operation.scope.is_some(), "{name}: who may call it");
            let responses = operation.value["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{name} never succeeds");
        }
    })
    .await;
}

fn references_in(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| references_in(item, found)),
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| references_in(member, found));
        }
        _ => {}
    }
}

#[tokio::test]
async fn the_interactive_documentation_needs_nothing_from_elsewhere() {
    on_every_stack(async |app| {
        let page = app.anyone().get("/docs/").await.expect(200);
        assert!(page.header("content-type").starts_with("text/html"), "{:?}", page.headers);
        for elsewhere in ["src=\"http", "href=\"http", "src=\"//", "href=\"//"] {
            assert!(!page.text.contains(elsewhere), "{elsewhere}: {}", page.text);
        }
        let assets = page.text.split(['"', '\'']).filter(|text| text.ends_with(".js") || text.ends_with(".css"));
        let mut loaded = 0;
        for asset in assets {
            app.anyone().get(&format!("/docs/{}", asset.trim_start_matches("./"))).await.expect(200);
            loaded += 1;
        }
        assert!(loaded >= 2, "{}", page.text);
    })
    .await;
}
