//! `/openapi.json` and `/docs`: what is written about the API is true.

use std::collections::HashSet;

use reqwest::Method;
use serde_json::{Value, json};
use tollgate_tests::{
    answer::{Answer, Client, send},
    app::{App, Key, on_every_stack},
    openapi::{Document, Operation},
};

use crate::errors::addressed;

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
    let (path, key) = (things.uri(&operation.path), &things.key);
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
            document.expect_described(&operation, &answer);
            if operation.path == "/api/v1/jobs/{id}/retry" {
                answer.expect_problem(404, "NOT_FOUND");
                continue;
            }
            assert!((200..300).contains(&answer.status), "{name}: {} {}", answer.status, answer.text);
        }
    })
    .await;
}

/// Members of objects with names of their own, in which nothing is compared.
const FREE: [&str; 3] = ["metadata", "payload", "dependencies"];

/// What an example has and an answer has not, or the other way.
fn unlike(example: &Value, answer: &Value, at: &str) -> Vec<String> {
    match (example, answer) {
        (Value::Object(example), Value::Object(answer)) => {
            let names: std::collections::BTreeSet<_> = example.keys().chain(answer.keys()).collect();
            let compared = names.into_iter().filter(|name| !FREE.contains(&name.as_str()));
            let compare = |name: &String| match (example.get(name), answer.get(name)) {
                (Some(example), Some(answer)) => unlike(example, answer, &format!("{at}/{name}")),
                _ => vec![format!("{at}/{name}")],
            };
            compared.flat_map(compare).collect()
        }
        (Value::Array(example), Value::Array(answer)) => match (example.first(), answer.first()) {
            (Some(example), Some(answer)) => unlike(example, answer, &format!("{at}/0")),
            _ => vec![],
        },
        _ => vec![],
    }
}

#[tokio::test]
async fn every_success_has_an_example_that_looks_like_the_answer() {
    on_every_stack(async |app| {
        let document = Document::of(&app.anyone()).await;
        for operation in document.operations() {
            let name = format!("{} {}", operation.method, operation.path);
            let answer = send_example(app, &document, &operation).await;
            let responses = operation.value["responses"].as_object().unwrap();
            for (status, response) in responses.iter().filter(|(status, _)| status.starts_with('2') && *status != "204")
            {
                for content in document.resolve(response)["content"].as_object().unwrap().values() {
                    let example = &content["example"];
                    assert!(!example.is_null(), "{name}: {status} has no example");
                    let differences = document.differences(&content["schema"], example);
                    assert!(differences.is_empty(), "{name}: {differences:#?}\n{example}");
                    if answer.status.to_string() == *status {
                        let unlike = unlike(example, &answer.body, "");
                        assert!(unlike.is_empty(), "{name}: {unlike:#?}\n{example}\n{}", answer.text);
                    }
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn every_parameter_and_every_member_of_a_body_has_bounds() {
    on_every_stack(async |app| {
        let document = Document::of(&app.anyone()).await;
        let mut unbounded = Vec::new();
        for operation in document.operations() {
            let name = format!("{} {}", operation.method, operation.path);
            for parameter in operation.value["parameters"].as_array().into_iter().flatten() {
                let at = format!("{name}: {}", parameter["name"].as_str().unwrap());
                document.unbounded(&parameter["schema"], &at, &mut unbounded);
            }
            if let Some(body) = &operation.body {
                document.unbounded(body, &name, &mut unbounded);
            }
        }
        assert!(unbounded.is_empty(), "{unbounded:#?}");
    })
    .await;
}

/// Requests that are refused, each in a way of its own, or that carry more than usual.
async fn odd_requests(app: &App, operation: &Operation, path: &str, client: &Client, key: &Key) -> Vec<Answer> {
    let method: Method = operation.method.parse().unwrap();
    let request = |client: &Client, path: &str| client.request(method.clone(), path);
    let unknown = operation.path.replace("{id}", &app.clock.new_id().to_string());
    let large = vec![b' '; 65 * 1024];
    vec![
        send(request(&app.anyone(), path)).await,
        send(request(client, path).header("x-api-key", "another")).await,
        send(request(client, &format!("{path}?surprise=1"))).await,
        send(request(client, &format!("{path}?{}", "x".repeat(9_000)))).await,
        send(request(client, &unknown)).await,
        send(request(client, path).body("{")).await,
        send(request(client, path).body("[]")).await,
        send(request(client, path).body(large)).await,
        send(request(client, path).header("if-match", "nonsense")).await,
        send(request(client, path).header("if-match", "\"99\"")).await,
        send(request(client, path).header("idempotency-key", "\t")).await,
        send(request(client, path).header("idempotency-key", path).body("{\"surprise\":1}")).await,
        send(request(client, path).header("idempotency-key", path).body("{\"surprise\":1}")).await,
        send(request(client, path).header("idempotency-key", path).body("{\"surprise\":2}")).await,
        send(request(&app.holder(key), path)).await,
        send(request(&app.holder(key), &format!("{path}?surprise=1"))).await,
    ]
}

#[tokio::test]
async fn every_refusal_is_described_with_its_headers() {
    on_every_stack(async |app| {
        let (document, operations) = addressed(app).await;
        let key = app.key_limited("fixed_window", 1, 60).await;
        for (operation, path, client) in &operations {
            for answer in odd_requests(app, operation, path, client, &key).await {
                document.expect_described(operation, &answer);
            }
        }
        let of =
            |path: &str| operations.iter().find(|(operation, ..)| operation.path == path).map(|(one, ..)| one).unwrap();
        let (validate, check) = (of("/api/public/v1/rate-limit/validate"), of("/api/v1/rate-limit/check"));
        let by_id = json!({"api_key_id": key.id});
        document.expect_described(validate, &app.exhaust(&key).await);
        document.expect_described(check, &app.admin.post(&check.path, &by_id).await.expect(429));
        let never = app.validate_with(&key, json!({"requests": 5})).await.expect(429);
        document.expect_described(validate, &never);
        let suspend = format!("/api/v1/api-keys/{}/suspend", key.id);
        app.admin.post(&suspend, &json!({"seconds": 60})).await.expect(200);
        document.expect_described(validate, &app.validate(&key).await.expect(403));
        document.expect_described(check, &app.admin.post(&check.path, &by_id).await.expect(403));
        let info = of("/api/v1/rate-limit/info");
        document.expect_described(info, &app.holder(&key).get(&info.path).await.expect(403));
        document.expect_described(info, &app.admin.get(&info.path).await.expect(400));
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
