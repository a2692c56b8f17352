//! A bad request of every kind, driven over the routes of `/openapi.json`: each gets its code and no 5xx.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tollgate_tests::{
    answer::{Client, send},
    app::{App, on_every_stack},
    openapi::{Document, Operation},
};

/// Every operation with a path that exists and a credential that suffices.
pub(crate) async fn addressed(app: &App) -> (Document, Vec<(Operation, String, Client)>) {
    let document = Document::of(&app.anyone()).await;
    let things = app.things().await;
    let addressed = document.operations().into_iter().map(|operation| {
        let path = things.path(&operation.path);
        let of_a_client = operation.path.starts_with("/api/public/") || operation.path == "/api/v1/rate-limit/info";
        let client = if of_a_client { app.holder(&things.key) } else { app.admin.clone() };
        (operation, path, client)
    });
    let operations = addressed.collect();
    (document, operations)
}

/// Those that take a body.
pub(crate) async fn with_bodies(app: &App) -> (Document, Vec<(Operation, String, Client)>) {
    let (document, mut operations) = addressed(app).await;
    operations.retain(|(operation, ..)| operation.body.is_some());
    assert!(operations.len() >= 14, "{} operations take a body", operations.len());
    (document, operations)
}

#[tokio::test]
async fn a_body_that_is_not_json_is_400_and_a_wrong_one_422() {
    on_every_stack(async |app| {
        let (document, operations) = with_bodies(app).await;
        for (operation, path, client) in operations {
            let name = format!("{} {}", operation.method, operation.path);
            let request = || client.request(operation.method.parse().unwrap(), &path);
            let with =
                async |body: Vec<u8>| send(request().header("content-type", "application/json").body(body)).await;
            eprintln!("{name}");
            for not_json in [&b"{"[..], b"{\"a\":\xff}", b"nonsense", b"{} {}"] {
                with(not_json.to_vec()).await.expect_problem(400, "INVALID_REQUEST");
            }
            let deep = format!("{{\"a\":{}{}}}", "[".repeat(5_000), "]".repeat(5_000));
            assert!(matches!(with(deep.into_bytes()).await.status, 400 | 422), "{name}: a deep body");
            with(vec![b' '; 65 * 1024]).await.expect_problem(413, "INVALID_REQUEST");

            let schema = document.resolve(operation.body.as_ref().unwrap());
            let example = document.example(schema);
            let mut surprising = example.clone();
            surprising["surprise"] = json!(1);
            let refused = send(request().json(&surprising)).await.expect_problem(422, "INVALID_REQUEST");
            assert_eq!(refused.pointers(), ["/surprise"], "{name}: {}", refused.text);
            for member in schema["properties"].as_object().into_iter().flatten().map(|(member, _)| member) {
                let mut wrong = example.clone();
                wrong[member] = json!([[[[]]]]);
                let refused = send(request().json(&wrong)).await.expect_problem(422, "INVALID_REQUEST");
                let named = refused.pointers().iter().any(|pointer| pointer.starts_with(&format!("/{member}")));
                assert!(named, "{name}: /{member} is not named: {}", refused.text);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_there_is_404_and_a_wrong_method_405() {
    on_every_stack(async |app| {
        let document = Document::of(&app.anyone()).await;
        for operation in document.operations().iter().filter(|operation| operation.path.contains("{id}")) {
            for id in [app.clock.new_id().to_string(), "nonsense".into(), "%00".into(), "..%2f..%2fetc".into()] {
                let path = operation.path.replace("{id}", &id);
                let mut request = app.admin.request(operation.method.parse().unwrap(), &path);
                if let Some(schema) = &operation.body {
                    request = request.json(&document.example(schema));
                }
                send(request).await.expect_problem(404, "NOT_FOUND");
            }
        }
        for nowhere in ["/", "/api", "/api/v1", "/api/v1/nothing", "/api/v2/api-keys", "/metrics/x"] {
            app.admin.get(nowhere).await.expect_problem(404, "NOT_FOUND");
        }
        for path in ["/api/v1/api-keys", "/api/public/v1/rate-limit/validate", "/health"] {
            for method in [reqwest::Method::PATCH, reqwest::Method::TRACE] {
                let refused = send(app.admin.request(method, path)).await.expect_problem(405, "INVALID_REQUEST");
                assert_ne!(refused.header("allow"), "", "{path}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_wrong_query_parameter_is_refused() {
    on_every_stack(async |app| {
        let key = app.key("free").await;
        let lists = ["/api/v1/api-keys".to_owned(), "/api/v1/plans".into(), "/api/v1/jobs/dead".into()];
        for list in lists {
            for query in ["page=0", "page=-1", "page=x", "limit=0", "limit=101", "limit=99999999999"] {
                app.admin.get(&format!("{list}?{query}")).await.expect_problem(400, "INVALID_REQUEST");
            }
        }
        for query in ["status=dead", "order_by=secret", "order=up"] {
            app.admin.get(&format!("/api/v1/api-keys?{query}")).await.expect_problem(400, "INVALID_REQUEST");
        }
        let hours = format!("/api/v1/rate-limit/{}/violations?hours=x", key.id);
        app.admin.get(&hours).await.expect_problem(400, "INVALID_REQUEST");
    })
    .await;
}

#[tokio::test]
async fn a_url_over_8_kib_is_414() {
    on_every_stack(async |app| {
        let long = format!("/api/v1/api-keys?search={}", "x".repeat(8 * 1024));
        app.admin.get(&long).await.expect_problem(414, "INVALID_REQUEST");
        let key = app.key("free").await;
        let long = format!("/api/public/v1/rate-limit/validate?{}", "x".repeat(8 * 1024));
        app.holder(&key).post(&long, &json!({})).await.expect_problem(414, "INVALID_REQUEST");
    })
    .await;
}

#[tokio::test]
async fn a_body_that_takes_over_ten_seconds_is_408() {
    on_every_stack(async |app| {
        let address = app.admin.base().trim_start_matches("http://");
        let mut socket = TcpStream::connect(address).await.unwrap();
        let token = tollgate_tests::BOOTSTRAP_TOKEN;
        let head = format!(
            "POST /api/v1/api-keys HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: 100\r\n\r\n{{"
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        let started = std::time::Instant::now();
        let mut answer = vec![0; 12];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(std::str::from_utf8(&answer).unwrap(), "HTTP/1.1 408");
        let took = started.elapsed().as_secs_f64();
        assert!((9.0..15.0).contains(&took), "{took} s");
    })
    .await;
}

#[tokio::test]
async fn every_answer_carries_a_request_id() {
    on_every_stack(async |app| {
        let with_id = async |path: &str, id: &str| {
            let request = app.admin.request(reqwest::Method::GET, path).header("x-request-id", id);
            send(request).await.header("x-request-id").to_owned()
        };
        for path in ["/health", "/api/v1/plans", "/nowhere", "/metrics"] {
            assert_eq!(with_id(path, "client-chosen.1").await, "client-chosen.1", "{path}");
            for unfit in ["with space".to_owned(), "x".repeat(129), String::new()] {
                let made = with_id(path, &unfit).await;
                assert!(made.parse::<uuid::Uuid>().is_ok_and(|id| id.get_version_num() == 7), "{path}: {made}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn hostile_bytes_on_the_socket_get_an_answer_or_a_close_and_never_a_5xx() {
    on_every_stack(async |app| {
        let address = app.admin.base().trim_start_matches("http://");
        let both = "POST /api/v1/plans HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
        let many = format!("GET /health HTTP/1.1\r\nhost: x\r\n{}\r\n", "a: b\r\n".repeat(500));
        let large = format!("GET /health HTTP/1.1\r\nhost: x\r\na: {}\r\n\r\n", "b".repeat(100_000));
        let corpus: [&[u8]; 8] = [
            b"\r\n\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"POST /api/v1/plans HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
            both.as_bytes(),
            many.as_bytes(),
            large.as_bytes(),
        ];
        for bytes in corpus {
            let mut socket = TcpStream::connect(address).await.unwrap();
            // A server may close while it is still being written to.
            let _closed = socket.write_all(bytes).await;
            let _closed = socket.shutdown().await;
            let mut answer = Vec::new();
            let _reset = socket.read_to_end(&mut answer).await;
            let answer = String::from_utf8_lossy(&answer);
            let status = answer.split(' ').nth(1).unwrap_or("closed");
            assert!(!status.starts_with('5'), "{answer}");
        }
        app.anyone().get("/live").await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn problems_of_validation_name_fields_by_json_pointer() {
    on_every_stack(async |app| {
        let body = json!({"name": 5, "tier": null});
        let refused = app.admin.post("/api/v1/api-keys", &body).await.expect_problem(422, "INVALID_REQUEST");
        for error in refused.body["errors"].as_array().unwrap() {
            assert!(error["pointer"].as_str().unwrap().starts_with('/'), "{error}");
            assert!(matches!(&error["detail"], Value::String(text) if !text.is_empty()), "{error}");
        }
    })
    .await;
}
