//! `/api/v1/api-keys`: made, listed, found, changed, rotated, suspended, deleted.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tollgate_tests::{
    answer::send,
    app::{App, on_every_stack, on_every_stack_with},
};

const KEYS: &str = "/api/v1/api-keys";

async fn record(app: &App, id: &str) -> Value {
    app.admin.get(&format!("{KEYS}/{id}")).await.expect(200).data().clone()
}

#[tokio::test]
async fn a_new_key_shows_its_secret_this_once_and_works() {
    on_every_stack(async |app| {
        let body = json!({
            "name": "checkout", "tier": "standard", "description": "the shop", "environment": "test",
            "owner_id": "acme", "tags": ["shop", "eu"], "metadata": {"team": "blue"}, "allowed_ips": ["127.0.0.1", "10.0.0.0/8"],
            "expires_at": "2031-12-01T00:00:00Z",
        });
        let made = app.admin.post(KEYS, &body).await.expect(201);
        let key = made.data();
        let secret = key["key"].as_str().unwrap();
        assert!(secret.starts_with("tg_test_") && secret.len() == 44, "{secret}");
        assert_eq!(key["key_prefix"], secret[..12]);
        for member in ["name", "tier", "description", "environment", "owner_id", "tags", "metadata", "expires_at"] {
            assert_eq!(key[member], body[member], "{member}");
        }
        assert_eq!((&key["rate_limit"], &key["rate_limit_window"]), (&json!(1000), &json!(3600)));
        assert_eq!((&key["status"], &key["version"]), (&json!("active"), &json!(1)));
        assert_eq!(key["created_at"], "2031-05-15T10:20:30Z");
        assert!(key["limits"].is_array() && key["quota"]["limit"] == 100_000, "{key}");

        let id = key["id"].as_str().unwrap();
        let shown = app.admin.get(&format!("{KEYS}/{id}")).await.expect(200);
        assert!(!shown.text.contains(&secret[12..]) && shown.data().get("key").is_none(), "{}", shown.text);
        let validated = app.admin.with_credential(secret).post("/api/public/v1/rate-limit/validate", &json!({})).await;
        assert!(validated.expect(200).allowed());
    })
    .await;
}

#[tokio::test]
async fn every_wrong_field_is_named_not_the_first() {
    on_every_stack(async |app| {
        let body = json!({
            "name": "", "tier": "platinum", "description": "x".repeat(501), "tags": vec!["t"; 21],
            "allowed_ips": ["10.0.0.0/99"], "expires_at": "2001-01-01T00:00:00Z",
            "limits": [{"name": "a b", "limit": 0, "window": 0}],
        });
        let refused = app.admin.post(KEYS, &body).await.expect_problem(422, "INVALID_REQUEST");
        let pointers = refused.pointers();
        for wrong in ["/name", "/tier", "/description", "/tags", "/allowed_ips/0", "/expires_at", "/limits/0/limit"] {
            assert!(pointers.iter().any(|pointer| pointer == wrong), "{wrong} is not in {pointers:?}");
        }
        assert_eq!(app.admin.get(KEYS).await.expect(200).body["pagination"]["total"], 0);
    })
    .await;
}

#[tokio::test]
async fn keys_are_listed_by_page_filter_and_order() {
    on_every_stack(async |app| {
        for number in 0..5 {
            let tier = if number % 2 == 0 { "pro" } else { "free" };
            let tags = json!([if number == 3 { "blue" } else { "red" }]);
            let name = format!("key {number}");
            app.key_with(json!({"name": name, "tier": tier, "tags": tags, "owner_id": format!("owner-{number}")}))
                .await;
            app.advance(1);
        }
        let names = async |query: &str| {
            let list = app.admin.get(&format!("{KEYS}?{query}")).await.expect(200);
            let secret = |key: &Value| key.get("key").is_some();
            assert!(
                !list.data().as_array().unwrap().iter().any(secret) && !list.text.contains("hash"),
                "{}",
                list.text
            );
            let of = |key: &Value| key["name"].as_str().unwrap().replace("key ", "");
            let names: Vec<_> = list.body["data"].as_array().unwrap().iter().map(of).collect();
            (names.join(" "), list.body["pagination"].clone())
        };
        let (first, pages) = names("page=1&limit=2&order_by=name&order=asc").await;
        assert_eq!((first.as_str(), pages), ("0 1", json!({"page": 1, "limit": 2, "total": 5, "pages": 3})));
        assert_eq!(names("page=3&limit=2&order_by=name&order=asc").await.0, "4");
        assert_eq!(names("order_by=created_at&order=desc").await.0, "4 3 2 1 0");
        assert_eq!(names("tier=pro&order_by=name&order=asc").await.0, "0 2 4");
        assert_eq!(names("tag=blue").await.0, "3");
        assert_eq!(names("owner_id=owner-1").await.0, "1");
        assert_eq!(names("search=KEY%202").await.0, "2");
        assert_eq!(names("search=%25").await.0, "");
        assert_eq!(names("status=suspended").await.0, "");
    })
    .await;
}

#[tokio::test]
async fn a_key_is_found_by_its_secret() {
    on_every_stack(async |app| {
        let (key, other) = (app.key("free").await, app.key("free").await);
        let found = app.admin.post(&format!("{KEYS}/lookup"), &json!({"key": key.secret})).await.expect(200);
        assert_eq!(found.data()["id"], json!(key.id));
        assert!(!found.text.contains(&key.secret));
        app.admin.delete(&format!("{KEYS}/{}", other.id)).await.expect(204);
        for unknown in [other.secret.as_str(), "tg_live_nonsense", ""] {
            app.admin.post(&format!("{KEYS}/lookup"), &json!({"key": unknown})).await.expect_problem(404, "NOT_FOUND");
        }
    })
    .await;
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_is_in_force_at_once() {
    on_every_stack(async |app| {
        let key = app.key_with(json!({"description": "old", "tags": ["a"]})).await;
        let refused = app.exhaust(&key).await;
        assert_eq!(refused.body["limit"], 100);
        let change = json!({"name": "new", "tier": "pro", "metadata": {"a": 1}});
        let changed = app.admin.put(&format!("{KEYS}/{}", key.id), &change).await.expect(200);
        let now = changed.data();
        assert_eq!((&now["name"], &now["tier"], &now["version"]), (&json!("new"), &json!("pro"), &json!(2)));
        assert_eq!(
            (&now["description"], &now["tags"], &now["rate_limit"]),
            (&json!("old"), &json!(["a"]), &json!(10_000))
        );
        assert!(app.validate(&key).await.expect(200).allowed());

        app.admin.put(&format!("{KEYS}/{}", key.id), &json!({"allowed_ips": ["192.0.2.0/24"]})).await.expect(200);
        app.validate(&key).await.expect_problem(403, "IP_NOT_ALLOWED");
        let check = async |mut call: Value| {
            call["api_key_id"] = json!(key.id);
            app.admin.post("/api/v1/rate-limit/check", &call).await
        };
        check(json!({"ip_address": "192.0.2.7"})).await.expect(200);
        check(json!({"ip_address": "192.0.3.7"})).await.expect_problem(403, "IP_NOT_ALLOWED");

        let change = json!({"allowed_ips": [], "allowed_countries": ["DE"]});
        app.admin.put(&format!("{KEYS}/{}", key.id), &change).await.expect(200);
        check(json!({"country": "FR"})).await.expect_problem(403, "COUNTRY_NOT_ALLOWED");
        check(json!({"country": "DE"})).await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn of_two_writers_with_the_same_version_one_is_told() {
    on_every_stack(async |app| {
        let key = app.key("free").await;
        let put = async |version: &str, name: &str| {
            let request = app.admin.request(Method::PUT, &format!("{KEYS}/{}", key.id));
            send(request.header("if-match", version).json(&json!({"name": name}))).await
        };
        put("\"1\"", "first").await.expect(200);
        put("\"1\"", "second").await.expect_problem(412, "CONFLICT");
        assert_eq!(record(app, &key.id).await["name"], "first");
        put("\"2\"", "third").await.expect(200);
    })
    .await;
}

/// Every write to a key or plan that honours `If-Match`, each with a body that it takes.
fn versioned(key: &str, plan: &str) -> Vec<(Method, String, Value)> {
    let limits = json!([{"name": "per-hour", "limit": 7, "window": 60}]);
    let terms = json!({"limits": limits, "prices": {"currency": "USD", "base": "1.00", "overage_unit": "0.01"}});
    vec![
        (Method::PUT, format!("{KEYS}/{key}"), json!({"name": "other"})),
        (Method::POST, format!("{KEYS}/{key}/rotate"), json!({})),
        (Method::POST, format!("{KEYS}/{key}/suspend"), json!({"reason": "test"})),
        (Method::POST, format!("{KEYS}/{key}/resume"), json!({})),
        (Method::PUT, format!("/api/v1/rate-limit/{key}"), json!({"new_limit": 9})),
        (Method::PUT, format!("/api/v1/plans/{plan}"), terms),
        (Method::DELETE, format!("{KEYS}/{key}"), json!({})),
        (Method::DELETE, format!("/api/v1/plans/{plan}"), json!({})),
    ]
}

#[tokio::test]
async fn every_write_to_a_key_or_plan_honours_if_match() {
    on_every_stack(async |app| {
        let key = app.key("free").await;
        let plan = app.plan("versioned", json!([{"name": "per-hour", "limit": 5, "window": 60}]), json!(null)).await;
        let plan = plan["id"].as_str().unwrap();
        for (method, path, body) in versioned(&key.id, plan) {
            let kind =
                if path.contains("/plans/") { format!("/api/v1/plans/{plan}") } else { format!("{KEYS}/{}", key.id) };
            let version = app.admin.get(&kind).await.expect(200).data()["version"].as_i64().unwrap();
            let with = async |tags: &[&str]| {
                let request = app.admin.request(method.clone(), &path).json(&body);
                send(tags.iter().fold(request, |request, tag| request.header("if-match", *tag))).await
            };
            eprintln!("{method} {path}");
            for other in [version + 1, version - 1, -version] {
                with(&[&format!("\"{other}\"")]).await.expect_problem(412, "CONFLICT");
            }
            for other in [format!("\"+{version}\""), format!("\"0{version}\""), "\"tag\"".into()] {
                with(&[&other]).await.expect_problem(412, "CONFLICT");
            }
            let (bare, quoted) = (version.to_string(), format!("\"{version}\""));
            let malformed = [&[bare.as_str()][..], &["\"1\", \"2\""], &[&quoted, &quoted], &["W/\"1\""]];
            for tags in malformed {
                with(tags).await.expect_problem(400, "INVALID_REQUEST");
            }
            let unchanged = app.admin.get(&kind).await.expect(200);
            assert_eq!(unchanged.data()["version"], version, "{method} {path}");
            let done = with(&[&quoted]).await;
            if method == Method::DELETE {
                done.expect(204);
            } else {
                assert_eq!(done.expect(200).header("etag"), format!("\"{}\"", version + 1), "{method} {path}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn parallel_writes_without_if_match_all_happen_and_with_it_one_does() {
    // A busy test machine may be slow to hand connections on; that would be 503 and nothing of the promise.
    on_every_stack_with(&[("database.acquire_timeout_ms", "10000")], async |app| {
        let plan = app.plan("versioned", json!([{"name": "per-hour", "limit": 5, "window": 60}]), json!(null)).await;
        let plan = plan["id"].as_str().unwrap();
        let key = app.key("free").await;
        let another = app.another_node().await;
        for (method, path, body) in
            versioned(&key.id, plan).into_iter().filter(|(method, ..)| *method != Method::DELETE)
        {
            let kind =
                if path.contains("/plans/") { format!("/api/v1/plans/{plan}") } else { format!("{KEYS}/{}", key.id) };
            let version = async || app.admin.get(&kind).await.expect(200).data()["version"].as_i64().unwrap();
            let before = version().await;
            let all = async |tag: Option<&str>| {
                let one = |number| {
                    let node = if number % 2 == 0 { &app.admin } else { &another.admin };
                    let request = node.request(method.clone(), &path).json(&body);
                    send(match tag {
                        Some(tag) => request.header("if-match", tag),
                        None => request,
                    })
                };
                let answers = join_all((0..40).map(one)).await;
                answers.into_iter().map(|answer| answer.status).collect::<Vec<_>>()
            };
            assert_eq!(all(None).await, [200; 40], "{method} {path}");
            assert_eq!(version().await, before + 40, "{method} {path}");
            let mut raced = all(Some(&format!("\"{}\"", before + 40))).await;
            raced.sort_unstable();
            assert_eq!((raced[0], &raced[1..]), (200, &[412; 39][..]), "{method} {path}");
            assert_eq!(version().await, before + 41, "{method} {path}");
        }
        another.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_deleted_key_is_refused_at_once_and_hidden() {
    on_every_stack(async |app| {
        let key = app.key("free").await;
        app.validate(&key).await.expect(200);
        app.admin.delete(&format!("{KEYS}/{}", key.id)).await.expect(204);
        app.validate(&key).await.expect_problem(401, "INVALID_API_KEY");
        app.admin.get(&format!("{KEYS}/{}", key.id)).await.expect_problem(404, "NOT_FOUND");
        app.admin.delete(&format!("{KEYS}/{}", key.id)).await.expect_problem(404, "NOT_FOUND");
        assert_eq!(app.admin.get(KEYS).await.expect(200).body["pagination"]["total"], 0);
    })
    .await;
}

#[tokio::test]
async fn a_rotated_secret_works_until_its_grace_ends() {
    on_every_stack(async |app| {
        let key = app.key("free").await;
        app.validate(&key).await.expect(200);
        let rotate = async |grace: u64| {
            let path = format!("{KEYS}/{}/rotate", key.id);
            let rotated = app.admin.post(&path, &json!({"grace_seconds": grace})).await.expect(200);
            assert_eq!(rotated.data()["id"], json!(key.id));
            let secret = rotated.data()["key"].as_str().unwrap().to_owned();
            tollgate_tests::app::Key { secret, ..key.clone() }
        };
        let second = rotate(60).await;
        app.validate(&second).await.expect(200);
        app.advance(59);
        app.validate(&key).await.expect(200);
        app.advance(1);
        app.validate(&key).await.expect_problem(401, "INVALID_API_KEY");
        let third = rotate(0).await;
        app.validate(&second).await.expect_problem(401, "INVALID_API_KEY");
        let counted = app.validate(&third).await.expect(200);
        assert_eq!(counted.body["remaining"], 96, "the key keeps its counters: {}", counted.text);
        let too_long = app.admin.post(&format!("{KEYS}/{}/rotate", key.id), &json!({"grace_seconds": 2_592_001})).await;
        too_long.expect_problem(422, "INVALID_REQUEST");
    })
    .await;
}

#[tokio::test]
async fn a_suspension_says_when_it_ends_and_lifts_itself() {
    on_every_stack(async |app| {
        let key = app.key("free").await;
        let path = format!("{KEYS}/{}/suspend", key.id);
        let suspended = app.admin.post(&path, &json!({"seconds": 600, "reason": "unpaid"})).await.expect(200);
        assert_eq!(suspended.data()["status"], "suspended");
        let refused = app.validate(&key).await.expect_problem(403, "API_KEY_SUSPENDED");
        assert_eq!((refused.retry_after(), refused.header("retry-after")), (600, "600"));
        app.advance(599);
        app.validate(&key).await.expect_problem(403, "API_KEY_SUSPENDED");
        app.advance(1);
        app.validate(&key).await.expect(200);
        assert_eq!(record(app, &key.id).await["status"], "active");

        app.admin.post(&path, &json!({"seconds": null, "reason": "for good"})).await.expect(200);
        let refused = app.validate(&key).await.expect_problem(403, "API_KEY_SUSPENDED");
        assert!(refused.body.get("retry_after").is_none(), "{}", refused.text);
        app.admin.post(&format!("{KEYS}/{}/resume", key.id), &json!({})).await.expect(200);
        app.validate(&key).await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn an_expired_and_a_revoked_key_are_told_apart() {
    on_every_stack(async |app| {
        let key = app.key_with(json!({"expires_at": "2031-05-15T10:21:30Z"})).await;
        app.advance(59);
        app.validate(&key).await.expect(200);
        app.advance(1);
        app.validate(&key).await.expect_problem(403, "API_KEY_EXPIRED");
        assert_eq!(record(app, &key.id).await["status"], "expired");
        let key = app.key("free").await;
        app.admin.put(&format!("{KEYS}/{}", key.id), &json!({"status": "revoked"})).await.expect(200);
        app.validate(&key).await.expect_problem(403, "API_KEY_REVOKED");
        let back = app.admin.put(&format!("{KEYS}/{}", key.id), &json!({"status": "active"})).await;
        back.expect_problem(409, "CONFLICT");
    })
    .await;
}

#[tokio::test]
async fn the_record_and_its_statistics_tell_what_the_key_did() {
    on_every_stack(async |app| {
        let key = app.key_limited("fixed_window", 5, 3_600).await;
        for endpoint in ["/a", "/b", "/b", "/b"] {
            app.validate_with(&key, json!({"endpoint": endpoint})).await.expect(200);
        }
        app.validate_with(&key, json!({"requests": 2})).await.expect(429);
        app.usage_becomes(&key, 4, 2).await;
        let stats = record(app, &key.id).await["usage_stats"].clone();
        // The refused units were asked for, too.
        assert_eq!((&stats["requests_this_month"], &stats["requests_today"]), (&json!(6), &json!(6)));
        assert_eq!(stats["last_used_at"], "2031-05-15T10:20:30Z");
        let stats = app.admin.get(&format!("{KEYS}/{}/stats", key.id)).await.expect(200);
        let text = stats.data().to_string();
        assert!(text.contains("/b") && text.contains("/a"), "{text}");
        assert_eq!(stats.data()["last_24_hours"].as_array().map(Vec::len), Some(24), "{text}");
    })
    .await;
}
