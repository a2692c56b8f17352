//! Hostile HTTP, byte by byte: whatever the service can answer is a problem document with the request's id.

use tollgate_tests::{
    answer::Answer,
    app::{App, on_every_stack},
    raw::Raw,
};

const VALIDATE: &str = "/api/public/v1/rate-limit/validate";
const EXPECT: &str = "expect: 100-continue\r\n";

/// A request line and header lines, each without its end; the body follows.
fn request(line: &str, fields: &[&str], body: &str) -> Vec<u8> {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    format!("{line} HTTP/1.1\r\n{fields}\r\n{body}").into_bytes()
}

/// The service refuses it with a problem document of `status`.
async fn refused(app: &App, name: &str, bytes: impl AsRef<[u8]>, status: u16) -> (Answer, Raw) {
    let mut raw = Raw::connect(app.admin.base()).await;
    raw.send(bytes).await;
    let answer = raw.answer().await.unwrap_or_else(|| panic!("{name}: closed without an answer"));
    assert_eq!(answer.status, status, "{name}: {}", answer.text);
    assert!(answer.header("date").ends_with(" GMT"), "{name}: {:?}", answer.headers);
    (answer.expect_problem(status, if status == 404 { "NOT_FOUND" } else { "INVALID_REQUEST" }), raw)
}

/// The same, and nothing that follows on the connection is read as another request.
async fn refused_and_closed(app: &App, name: &str, bytes: impl AsRef<[u8]>, status: u16) -> Answer {
    let mut bytes = bytes.as_ref().to_vec();
    bytes.extend_from_slice(&request("GET /live", &["host: x"], ""));
    let (answer, mut raw) = refused(app, name, bytes, status).await;
    assert_eq!(answer.header("connection"), "close", "{name}");
    assert!(raw.is_closed().await, "{name}: more was said");
    answer
}

#[tokio::test]
async fn a_request_names_its_host_once() {
    on_every_stack(async |app| {
        for (name, fields) in [
            ("no Host", &["accept: */*"][..]),
            ("two", &["host: a", "host: b"]),
            ("two alike", &["host: a", "host: a"]),
            ("an empty one", &["host:"]),
            ("with a space", &["host: a b"]),
            ("two in one", &["host: a, b"]),
            ("with a user", &["host: a@b"]),
            ("with a path", &["host: a/b"]),
            ("with a port that is none", &["host: a:b"]),
            ("with two ports", &["host: a:1:2"]),
            ("with half a bracket", &["host: [::1"]),
            ("no ASCII", &["host: b\u{fc}cher.example"]),
        ] {
            for line in
                ["GET /live", "GET /api/v1/plans", "GET http://x/live", "GET /nowhere", &format!("POST {VALIDATE}")]
            {
                let answer = refused_and_closed(app, name, request(line, fields, ""), 400).await;
                assert!(answer.body["detail"].as_str().unwrap().contains("Host"), "{name}: {}", answer.text);
            }
        }
        for host in ["x", "127.0.0.1:8080", "[::1]:8080", "a-b_c.example:0", "xn--bcher-kva.example", "x:"] {
            let mut raw = Raw::connect(app.admin.base()).await;
            raw.send(request("GET /live", &[&format!("host: {host}")], "")).await;
            raw.answer().await.expect("an answer").expect(200);
        }
        let mut raw = Raw::connect(app.admin.base()).await;
        raw.send("GET /live HTTP/1.0\r\n\r\n").await;
        raw.answer().await.expect("HTTP/1.0 has no Host").expect(200);
    })
    .await;
}

#[tokio::test]
async fn a_body_has_one_length() {
    on_every_stack(async |app| {
        for (name, fields, body) in [
            ("both", &["content-length: 5", "transfer-encoding: chunked"][..], "0\r\n\r\n"),
            ("both, the other way round", &["transfer-encoding: chunked", "content-length: 5"], "0\r\n\r\n"),
            ("both, apart", &["Content-Length: 0", "accept: */*", "TRANSFER-ENCODING:chunked"], "0\r\n\r\n"),
            ("two that differ", &["content-length: 3", "content-length: 4"], "abc"),
            ("a list", &["content-length: 3, 4"], "abc"),
            ("negative", &["content-length: -1"], ""),
            ("signed", &["content-length: +3"], "abc"),
            ("in hexadecimal", &["content-length: 0x3"], "abc"),
            ("empty", &["content-length:"], ""),
            ("beyond 64 bits", &["content-length: 18446744073709551616"], ""),
            ("not chunked", &["transfer-encoding: identity"], ""),
            ("chunked, but not last", &["transfer-encoding: chunked, gzip"], "0\r\n\r\n"),
            ("chunked twice", &["transfer-encoding: chunked, chunked"], "0\r\n\r\n"),
            ("chunked and more", &["transfer-encoding: gzip, chunked"], "0\r\n\r\n"),
            ("in two fields", &["transfer-encoding: gzip", "transfer-encoding: chunked"], "0\r\n\r\n"),
            ("nearly chunked", &["transfer-encoding: xchunked"], "0\r\n\r\n"),
        ] {
            for path in [VALIDATE, "/api/v1/plans", "/live"] {
                let fields = [&["host: x"], fields].concat();
                refused_and_closed(app, name, request(&format!("POST {path}"), &fields, body), 400).await;
            }
        }
        let old = format!("POST {VALIDATE} HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n");
        refused_and_closed(app, "chunked in HTTP/1.0", old, 400).await;
        let key = app.key("free").await;
        for size in ["zz", "-1", "fffffffffffffffff", ""] {
            let fields = ["host: x", "transfer-encoding: chunked", &format!("x-api-key: {}", key.secret)];
            let bytes = request(&format!("POST {VALIDATE}"), &fields, &format!("{size}\r\n{{}}\r\n0\r\n\r\n"));
            refused_and_closed(app, "a chunk's size", bytes, 400).await;
        }
        app.used_becomes(&key, 0).await;
    })
    .await;
}

#[tokio::test]
async fn a_body_declared_too_large_is_refused_before_it_is_sent() {
    on_every_stack(async |app| {
        for path in [VALIDATE, "/api/v1/plans", "/nowhere"] {
            for length in ["65537", "10000000000", "18446744073709551613"] {
                let length = format!("content-length: {length}");
                for expect in ["", EXPECT] {
                    let fields = format!("host: x\r\n{expect}{length}");
                    let bytes = request(&format!("POST {path}"), &[&fields], "");
                    let (answer, mut raw) = refused(app, &length, bytes, 413).await;
                    assert_eq!(answer.header("connection"), "close");
                    // What the client sends without having listened is read, lest the answer be lost on its way.
                    raw.send(vec![b'x'; 64 * 1024]).await;
                }
            }
        }
        let mut raw = Raw::connect(app.admin.base()).await;
        let large =
            [&request("POST /api/v1/plans", &["host: x", "content-length: 3000000"], "")[..], &[b' '; 3_000_000]];
        raw.send(large.concat()).await;
        raw.answer().await.expect("an answer, though the client spoke first").expect_problem(413, "INVALID_REQUEST");

        let key = app.key("free").await;
        let mut raw = Raw::connect(app.admin.base()).await;
        let fields = format!("host: x\r\n{EXPECT}content-length: 2\r\nx-api-key: {}", key.secret);
        raw.send(request(&format!("POST {VALIDATE}"), &[&fields], "")).await;
        raw.answer().await.expect("an answer").expect(100);
        raw.send("{}").await;
        raw.answer().await.expect("an answer").expect(200);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_read_is_answered_with_a_problem_document() {
    on_every_stack(async |app| {
        let with = |field: &str| request("GET /live", &["host: x", field], "");
        let many = "a: b\r\n".repeat(120);
        for (name, bytes, status) in [
            ("a line without a colon", with("nothing"), 400),
            ("a space in a name", with("Bad Header: 1"), 400),
            ("a space before the colon", with("name : 1"), 400),
            ("a folded line", with("name: 1\r\n 2"), 400),
            ("a NUL in a value", with("name: \0"), 400),
            ("a bare carriage return", with("name: a\rb"), 400),
            ("a bracket in a name", with("na(me: 1"), 400),
            ("an empty name", with(": 1"), 400),
            ("too many fields", with(&many), 431),
            ("a long field", with(&format!("name: {}", "a".repeat(40_000))), 431),
            ("an endless field", with(&format!("name: {}", "a".repeat(400_000))), 431),
            ("a NUL in the method", b"GET\0 /live HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), 400),
            ("no path", b"GET\r\n\r\n".to_vec(), 400),
            ("HTTP/0.9", b"GET /live\r\n\r\n".to_vec(), 400),
            ("another version", b"GET /live HTTP/9.9\r\nhost: x\r\n\r\n".to_vec(), 400),
            ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 400),
            ("two spaces", b"GET  /live HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), 400),
            ("no slash", b"GET live/x HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), 400),
            ("a path of other bytes", b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), 400),
            ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec(), 400),
        ] {
            refused_and_closed(app, name, bytes, status).await;
        }
        for length in [8_193, 20_000, 40_000, 70_000, 300_000] {
            let line = format!("GET /live?{}", "x".repeat(length));
            let (answer, _) = refused(app, "a long URL", request(&line, &["host: x"], ""), 414).await;
            assert!(answer.body["detail"].as_str().unwrap().contains("8192 bytes"), "{}", answer.text);
        }
    })
    .await;
}

#[tokio::test]
async fn a_bad_request_behind_a_good_one_takes_nothing_from_it() {
    on_every_stack(async |app| {
        let good = request("GET /live", &["host: x"], "");
        let both = ["host: x", "content-length: 2", "transfer-encoding: chunked"];
        let both = request(&format!("POST {VALIDATE}"), &both, "0\r\n\r\n");
        for bad in [both, request("GET /live", &["host: x", "bad header: 1"], ""), request("GET /live", &[], "")] {
            let mut raw = Raw::connect(app.admin.base()).await;
            raw.send([&good[..], &good, &bad, &good].concat()).await;
            for _ in 0..2 {
                raw.answer().await.expect("an answer").expect(200);
            }
            raw.answer().await.expect("an answer").expect_problem(400, "INVALID_REQUEST");
            assert!(raw.is_closed().await, "more was said");
        }
    })
    .await;
}

#[tokio::test]
async fn an_odd_method_is_405_and_an_odd_path_404() {
    on_every_stack(async |app| {
        for path in ["/live", "/metrics", "/openapi.json", "/docs/", "/docs/index.html", "/api/v1/plans", VALIDATE] {
            for method in ["TRACE", "BREW", "PROPFIND", "get", "PATCH"] {
                let line = format!("{method} {path}");
                let (answer, _) = refused(app, &line, request(&line, &["host: x"], ""), 405).await;
                assert_ne!(answer.header("allow"), "", "{line}");
            }
        }
        for line in ["TRACE /nowhere", "BREW *", "CONNECT x:443", "CONNECT /live"] {
            let (answer, _) = refused(app, line, request(line, &["host: x"], ""), 405).await;
            assert_ne!(answer.header("allow"), "", "{line}");
        }
        for line in [
            "GET /nowhere",
            "OPTIONS *",
            "GET /docs/nothing",
            "GET /docs/../x",
            "GET /docs/%00",
            "GET //",
            "GET /live/",
        ] {
            refused(app, line, request(line, &["host: x"], ""), 404).await;
        }
    })
    .await;
}
