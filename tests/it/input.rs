//! What comes in: texts, members, numbers, times and query parameters of every operation of `/openapi.json`, each made
//! hostile. Both stacks refuse the same and keep the same.

use std::sync::Mutex;

use reqwest::Method;
use serde_json::{Value, json};
use tollgate_tests::{
    answer::{Answer, Client, send},
    app::{App, on_every_stack},
    openapi::Operation,
};

use crate::errors::{addressed, with_bodies};

pub(crate) const KEYS: &str = "/api/v1/api-keys";
/// What stands for a secret in the wrong place.
const SECRET: &str = "tgt_admin_SECRET, expected SECRET";

/// Control characters, written as JSON and as parts of a URL; the last is none, but half of a surrogate pair.
const HOSTILE: [(&str, &str); 9] = [
    (r"a\u0000b", "a%00b"),
    (r"\u0001", "%01"),
    (r"a\tb", "a%09b"),
    (r"a\nb", "a%0Ab"),
    (r"\u001F", "%1F"),
    ("\u{7f}", "%7F"),
    (r"\u0085", "%C2%85"),
    ("\u{9f}", "%C2%9F"),
    (r"\ud800", "%ED%A0%80"),
];

/// Runs a story that notes what it was answered, on every stack, and sees that all noted the same.
pub(crate) async fn alike_on_every_stack(story: impl AsyncFn(&App) -> Vec<String>) {
    let notes = Mutex::new(Vec::new());
    on_every_stack(async |app| {
        let noted = story(app).await;
        assert!(!noted.is_empty());
        notes.lock().unwrap().push(noted);
    })
    .await;
    let notes = notes.into_inner().unwrap();
    for other in &notes[1..] {
        for (one, other) in notes[0].iter().zip(other) {
            assert_eq!(one, other);
        }
        assert_eq!(notes[0].len(), other.len());
    }
}

/// Places of all values below `value` for which `is_wanted`.
pub(crate) fn places(value: &Value, is_wanted: fn(&Value) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut below = |step: &str, value: &Value| {
        let step = step.replace('~', "~0").replace('/', "~1");
        found.extend(is_wanted(value).then(|| format!("/{step}")));
        found.extend(places(value, is_wanted).into_iter().map(|place| format!("/{step}{place}")));
    };
    match value {
        Value::Array(items) => items.iter().enumerate().for_each(|(index, item)| below(&index.to_string(), item)),
        Value::Object(members) => members.iter().for_each(|(name, member)| below(name, member)),
        _ => {}
    }
    found
}

/// `value` as JSON with `raw` in place of what is at `place`.
pub(crate) fn with_raw(value: &Value, place: &str, raw: &str) -> String {
    const MARK: &str = "what is to be replaced";
    let mut value = value.clone();
    *value.pointer_mut(place).unwrap() = json!(MARK);
    value.to_string().replace(&format!("\"{MARK}\""), raw)
}

/// `value` as JSON with the member at `place` given twice.
fn with_twin(value: &Value, place: &str) -> String {
    let (parent, name) = place.rsplit_once('/').unwrap();
    let object = value.pointer(parent).unwrap().to_string();
    let twin = format!("{},{}:null}}", object.strip_suffix('}').unwrap(), json!(name));
    if parent.is_empty() { twin } else { with_raw(value, parent, &twin) }
}

pub(crate) async fn send_text(client: &Client, operation: &Operation, path: &str, body: String) -> Answer {
    let request = client.request(operation.method.parse().unwrap(), path);
    send(request.header("content-type", "application/json").body(body)).await
}

#[tokio::test]
async fn a_text_with_a_control_character_is_refused_in_every_member_of_every_body() {
    alike_on_every_stack(async |app| {
        let (document, operations) = with_bodies(app).await;
        let mut noted = Vec::new();
        for (operation, path, client) in operations {
            let body = document.full_example(operation.body.as_ref().unwrap());
            let texts = places(&body, Value::is_string);
            for (place, (text, _)) in texts.iter().flat_map(|place| HOSTILE.map(|hostile| (place, hostile))) {
                let answer =
                    send_text(&client, &operation, &path, with_raw(&body, place, &format!("\"{text}\""))).await;
                let is_no_text = text == r"\ud800";
                let name = format!("{} {}: {place} {text:?}", operation.method, operation.path);
                let answer = answer.expect_problem(if is_no_text { 400 } else { 422 }, "INVALID_REQUEST");
                assert!(is_no_text || answer.pointers().contains(place), "{name}: {}", answer.text);
                noted.push(format!("{name}: {} {:?}", answer.status, answer.pointers()));
            }
        }
        noted
    })
    .await;
}

#[tokio::test]
async fn a_text_with_a_control_character_is_refused_in_every_query_path_and_header() {
    alike_on_every_stack(async |app| {
        let (_, operations) = addressed(app).await;
        let mut noted = Vec::new();
        for (operation, path, client) in operations {
            let request = |path: &str| client.request(operation.method.parse().unwrap(), path);
            let parameters = operation.value["parameters"].as_array().cloned().unwrap_or_default();
            for (parameter, (_, text)) in parameters.iter().flat_map(|one| HOSTILE.map(|hostile| (one, hostile))) {
                let name = parameter["name"].as_str().unwrap();
                let (place, answer) = match parameter["in"].as_str().unwrap() {
                    "query" => (
                        "query",
                        send(request(&format!("{path}?{name}={text}"))).await.expect_problem(400, "INVALID_REQUEST"),
                    ),
                    "path" => {
                        let path = operation.path.replace(&format!("{{{name}}}"), text);
                        ("path", send(request(&path)).await.expect_problem(404, "NOT_FOUND"))
                    }
                    // Of the others no HTTP client sends any.
                    _ if text == "a%09b" => (
                        "header",
                        send(request(&path).header(name, "a\tb")).await.expect_problem(400, "INVALID_REQUEST"),
                    ),
                    _ => continue,
                };
                noted.push(format!(
                    "{} {}: {place} {name} {text}: {}",
                    operation.method,
                    operation.path,
                    answer.text.len()
                ));
            }
        }
        noted
    })
    .await;
}

#[tokio::test]
async fn names_in_metadata_hold_no_control_characters_and_six_characters_are_no_nul() {
    on_every_stack(async |app| {
        let create = async |metadata: &str| {
            let body = format!(r#"{{"name":"a","tier":"free","metadata":{metadata}}}"#);
            send(app.admin.request(Method::POST, KEYS).body(body)).await
        };
        for (text, _) in HOSTILE.into_iter().filter(|(text, _)| *text != r"\ud800") {
            let refused = create(&format!(r#"{{"a":[{{"{text}":1}}]}}"#)).await.expect_problem(422, "INVALID_REQUEST");
            assert!(refused.pointers()[0].starts_with("/metadata/a/0/"), "{}", refused.text);
        }
        let kept = r#"{"\\u0000":"\\u0000","a/b~c":["\"\\\/é😀\u00e9\ud83d\ude00",{"\\":"\\\\u0000\\n"}],"":""}"#;
        let made = create(kept).await.expect(201);
        let wanted: Value = serde_json::from_str(kept).unwrap();
        let id = made.data()["id"].as_str().unwrap();
        assert_eq!(made.data()["metadata"], wanted);
        assert_eq!(app.admin.get(&format!("{KEYS}/{id}")).await.expect(200).data()["metadata"], wanted);
    })
    .await;
}

#[tokio::test]
async fn a_cursor_that_we_did_not_give_is_refused() {
    on_every_stack(async |app| {
        let key = app.key("free").await;
        let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
        for (last_at, minute, limit, endpoint) in [
            ("9223372036854775807", "0", "per-hour", ""),
            ("-9223372036854775808", "0", "per-hour", ""),
            ("99999999999999999999", "0", "per-hour", ""),
            ("253402300800000000", "0", "per-hour", ""),
            ("-62135596800000001", "0", "per-hour", ""),
            ("0", "8210266876799999999", "per-hour", ""),
            ("+1700000000000000", "1700000000000000", "per-hour", ""),
            ("01700000000000000", "1700000000000000", "per-hour", ""),
            ("1700000000000000", "1700000000000000", "per\nhour", ""),
            ("1700000000000000", "1700000000000000", "per-hour", "/a\0/b"),
            ("1700000000000000", "1700000000000000", "per-hour", "\u{7f}"),
            ("1.7e15", "1700000000000000", "per-hour", ""),
            ("", "", "", ""),
        ] {
            let cursor = hex(&format!("{last_at}\0{minute}\0{limit}\0{endpoint}"));
            let path = format!("/api/v1/rate-limit/{}/violations?cursor={cursor}", key.id);
            app.admin.get(&path).await.expect_problem(400, "INVALID_REQUEST");
        }
        let cursor = hex("1700000000000000\x001700000000000000\0per-hour\0/a");
        let path = |cursor: &str| format!("/api/v1/rate-limit/{}/violations?cursor={cursor}", key.id);
        app.admin.get(&path(&cursor)).await.expect(200);
        for other in [cursor.to_uppercase(), format!("{cursor}00"), cursor[1..].into(), "%00".into(), "é".into()] {
            app.admin.get(&path(&other)).await.expect_problem(400, "INVALID_REQUEST");
        }
    })
    .await;
}

#[tokio::test]
async fn a_member_given_twice_is_named_in_every_body_at_any_depth() {
    on_every_stack(async |app| {
        let (document, operations) = with_bodies(app).await;
        for (operation, path, client) in operations {
            let body = document.full_example(operation.body.as_ref().unwrap());
            let members = places(&body, |_| true);
            let is_member =
                |place: &&String| !place.rsplit_once('/').unwrap().1.starts_with(|c: char| c.is_ascii_digit());
            for place in members.iter().filter(is_member) {
                let answer = send_text(&client, &operation, &path, with_twin(&body, place)).await;
                let refused = answer.expect_problem(422, "INVALID_REQUEST");
                let name = format!("{} {}", operation.method, operation.path);
                assert_eq!(refused.pointers(), std::slice::from_ref(place), "{name}: {}", refused.text);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn numbers_in_metadata_are_kept_or_refused_and_never_rounded() {
    on_every_stack(async |app| {
        let create = async |number: &str| {
            let body = format!(r#"{{"name":"a","tier":"free","metadata":{{"a":[{{"b":{number}}}]}}}}"#);
            send(app.admin.request(Method::POST, KEYS).body(body)).await
        };
        for number in
            ["18446744073709551615", "-9223372036854775808", "9007199254740993", "0.1", "-2.5e-7", "0", "1e15"]
        {
            let made = create(number).await.expect(201);
            let path = format!("{KEYS}/{}", made.data()["id"].as_str().unwrap());
            let kept = app.admin.get(&path).await.expect(200).data()["metadata"]["a"][0]["b"].clone();
            let sent: Value = serde_json::from_str(number).unwrap();
            assert!(kept == sent || kept.as_f64() == sent.as_f64() && sent.is_f64(), "{number}: {kept}");
        }
        for number in ["18446744073709551616", "-9223372036854775809", "1e20", "-1e300", &"9".repeat(100)] {
            let refused = create(number).await.expect_problem(422, "INVALID_REQUEST");
            assert_eq!(refused.pointers(), ["/metadata/a/0/b"], "{number}: {}", refused.text);
        }
        for number in ["1e400", "NaN", "Infinity", "0x1", "01", "+1", "1."] {
            create(number).await.expect_problem(400, "INVALID_REQUEST");
        }
    })
    .await;
}

#[tokio::test]
async fn an_unknown_query_parameter_is_refused_on_every_operation_and_the_known_ones_are_named() {
    on_every_stack(async |app| {
        let (_, operations) = addressed(app).await;
        assert!(operations.len() >= 30, "{} operations", operations.len());
        for (operation, path, client) in operations {
            let parameters = operation.value["parameters"].as_array().cloned().unwrap_or_default();
            let known: Vec<_> = parameters.iter().filter(|parameter| parameter["in"] == "query").collect();
            let known: Vec<_> = known.iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
            for query in [&format!("surprise={SECRET}")[..], "tgt_admin_SECRET", "%53ECRET=", "LIMIT=1", "a&b"] {
                let query = query.replace(' ', "%20");
                let refused = send(client.request(operation.method.parse().unwrap(), &format!("{path}?{query}"))).await;
                let refused = refused.expect_problem(400, "INVALID_REQUEST");
                let detail = refused.body["detail"].as_str().unwrap();
                assert!(
                    known.iter().all(|name| detail.contains(name)),
                    "{} {}: {detail}",
                    operation.method,
                    operation.path
                );
                assert!(!refused.text.contains("SECRET"), "{}", refused.text);
            }
            for name in known {
                let twice = client.request(operation.method.parse().unwrap(), &format!("{path}?{name}=1&{name}=1"));
                send(twice).await.expect_problem(400, "INVALID_REQUEST");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_batch_with_a_wrong_check_is_refused_whole_and_names_every_wrong_member() {
    on_every_stack(async |app| {
        let key = app.key("free").await;
        let checks = json!({"checks": [
            {"api_key_id": key.id, "requests": 1},
            {"api_key_id": key.id, "requests": 1_000_001, "endpoint": "x".repeat(257)},
            {"api_key_id": key.id, "method": "x".repeat(33)},
        ]});
        let refused = app.admin.post("/api/v1/rate-limit/check-batch", &checks).await;
        let refused = refused.expect_problem(422, "INVALID_REQUEST");
        assert_eq!(refused.pointers(), ["/checks/1/endpoint", "/checks/1/requests", "/checks/2/method"]);
        assert_eq!(app.validate(&key).await.expect(200).body["remaining"], 99);
    })
    .await;
}

#[tokio::test]
async fn a_refusal_never_repeats_a_value() {
    on_every_stack(async |app| {
        let (document, operations) = with_bodies(app).await;
        let mut refused = 0;
        let mut look = |answer: Answer| {
            refused += usize::from(answer.status >= 400);
            assert!(answer.status < 400 || !answer.text.contains("SECRET"), "{}", answer.text);
            assert!(answer.status < 500, "{}", answer.text);
        };
        for (operation, path, client) in &operations {
            let body = document.full_example(operation.body.as_ref().unwrap());
            for place in places(&body, |_| true) {
                for wrong in [json!(SECRET), json!([SECRET]), json!({"a": SECRET})] {
                    look(send_text(client, operation, path, with_raw(&body, &place, &wrong.to_string())).await);
                }
            }
            for body in [json!(SECRET).to_string(), json!([SECRET]).to_string(), SECRET.into(), format!("{{\"{SECRET}")]
            {
                look(send_text(client, operation, path, body).await);
            }
        }
        let (_, operations) = addressed(app).await;
        for (operation, path, client) in operations {
            for parameter in operation.value["parameters"].as_array().cloned().unwrap_or_default() {
                let name = parameter["name"].as_str().unwrap();
                let secret = SECRET.replace(' ', "%20");
                let request = |path: &str| client.request(operation.method.parse().unwrap(), path);
                look(match parameter["in"].as_str().unwrap() {
                    "query" => send(request(&format!("{path}?{name}={secret}"))).await,
                    "path" => send(request(&operation.path.replace(&format!("{{{name}}}"), &secret))).await,
                    _ => send(request(&path).header(name, SECRET)).await,
                });
            }
        }
        assert!(refused > 400, "{refused} refusals");
    })
    .await;
}
