//! `/api/v1/tokens` and `/api/v1/whoami`: made, used, changed, rotated, ended; never more than the maker has, never none left.

use std::sync::Arc;

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tollgate_domain::{Scope, TenantId};
use tollgate_tests::{
    answer::{Client, send},
    app::{App, Stack, on_every_stack},
    process::Process,
    wait::{HANGS_AFTER, eventually},
};

use crate::processes::{key_on, settings};

const TOKENS: &str = "/api/v1/tokens";
const WHOAMI: &str = "/api/v1/whoami";

fn path(token: &Value) -> String {
    format!("{TOKENS}/{}", token["id"].as_str().unwrap())
}

async fn me(client: &Client) -> Value {
    client.get(WHOAMI).await.expect(200).data().clone()
}

#[tokio::test]
async fn a_new_token_shows_its_secret_this_once_and_does_what_its_scopes_say() {
    on_every_stack(async |app| {
        let body = json!({
            "name": "deploy pipeline", "scopes": ["keys:read", "limits:check"],
            "allowed_ips": ["127.0.0.1", "10.0.0.0/8"], "expires_at": "2031-12-01T00:00:00Z",
        });
        let made = app.admin.post(TOKENS, &body).await.expect(201);
        let token = made.data();
        let secret = token["token"].as_str().unwrap();
        assert!(secret.starts_with("tgt_admin_") && secret.len() == 46, "{secret}");
        assert_eq!(token["prefix"], secret[..14]);
        for member in ["name", "scopes", "allowed_ips", "expires_at"] {
            assert_eq!(token[member], body[member], "{member}");
        }
        assert_eq!((&token["status"], &token["version"]), (&json!("active"), &json!(1)));
        assert_eq!((&token["created_at"], &token["last_used_at"]), (&json!("2031-05-15T10:20:30Z"), &json!(null)));
        for shown in [app.admin.get(&path(token)).await, app.admin.get(TOKENS).await] {
            let shown = shown.expect(200);
            assert!(!shown.text.contains(&secret[14..]) && !shown.text.contains("hash"), "{}", shown.text);
        }

        let client = app.anyone().with_credential(secret);
        client.get("/api/v1/api-keys").await.expect(200);
        let refused = client.post("/api/v1/api-keys", &json!({"name": "x", "tier": "free"})).await;
        refused.expect_problem(403, "FORBIDDEN");
        client.get(TOKENS).await.expect_problem(403, "FORBIDDEN");
        client.post(TOKENS, &json!({"name": "x", "scopes": ["keys:read"]})).await.expect_problem(403, "FORBIDDEN");
        let who = me(&client).await;
        assert_eq!((&who["id"], &who["scopes"]), (&token["id"], &body["scopes"]));
        assert_eq!(who["tenant_id"], json!(TenantId::DEFAULT.to_string()));
        assert!(who.get("token").is_none(), "{who}");
        app.holder(&app.key("free").await).get(WHOAMI).await.expect_problem(403, "FORBIDDEN");
        app.anyone().get(WHOAMI).await.expect_problem(401, "INVALID_API_KEY");
    })
    .await;
}

#[tokio::test]
async fn every_wrong_field_of_a_token_is_named() {
    on_every_stack(async |app| {
        let wrong = json!({
            "name": " ", "scopes": ["keys:read", "everything", "keys:read"], "allowed_ips": ["10.0.0.0/99"],
            "expires_at": "2001-01-01T00:00:00Z",
        });
        let all = ["/allowed_ips/0", "/expires_at", "/name", "/scopes/1", "/scopes/2"];
        let (_, token) = app.token_with(json!({})).await;
        for refused in [app.admin.post(TOKENS, &wrong).await, app.admin.put(&path(&token), &wrong).await] {
            assert_eq!(refused.expect_problem(422, "INVALID_REQUEST").pointers(), all);
        }
        let empty = app.admin.post(TOKENS, &json!({})).await.expect_problem(422, "INVALID_REQUEST");
        assert_eq!(empty.pointers(), ["/name", "/scopes"]);
        for scopeless in [json!([]), json!(null)] {
            let refused = app.admin.post(TOKENS, &json!({"name": "x", "scopes": scopeless})).await;
            assert_eq!(refused.expect_problem(422, "INVALID_REQUEST").pointers(), ["/scopes"]);
        }
        let grace = app.admin.post(&format!("{}/rotate", path(&token)), &json!({"grace_seconds": 2_592_001})).await;
        assert_eq!(grace.expect_problem(422, "INVALID_REQUEST").pointers(), ["/grace_seconds"]);
        app.admin.get(&format!("{TOKENS}/{}", app.key("free").await.id)).await.expect_problem(404, "NOT_FOUND");
        app.admin.get(&format!("{TOKENS}/nonsense")).await.expect_problem(404, "NOT_FOUND");
    })
    .await;
}

#[tokio::test]
async fn tokens_are_listed_by_page_the_newest_first() {
    on_every_stack(async |app| {
        for number in 1..=4 {
            app.advance(1);
            app.token_with(json!({"name": number.to_string()})).await;
        }
        let names = async |query: &str| {
            let list = app.admin.get(&format!("{TOKENS}?{query}")).await.expect(200);
            assert_eq!(list.body["pagination"]["total"], 5, "{}", list.text);
            let names: Vec<_> = list.data().as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
            names.join(" ")
        };
        assert_eq!(names("limit=3").await, "4 3 2");
        assert_eq!(names("limit=3&page=2").await, "1 bootstrap");
        assert_eq!(names("page=3").await, "");
    })
    .await;
}

#[tokio::test]
async fn a_change_is_in_force_with_the_next_request_and_from_the_version_it_names() {
    on_every_stack(async |app| {
        let (client, token) = app.token_with(json!({"name": "old", "scopes": ["keys:read", "usage:read"]})).await;
        client.get("/api/v1/api-keys").await.expect(200);
        let put = app.admin.put(&path(&token), &json!({"scopes": ["usage:read"]})).await.expect(200);
        assert_eq!((put.header("etag"), &put.data()["name"]), ("\"2\"", &json!("old")));
        client.get("/api/v1/api-keys").await.expect_problem(403, "FORBIDDEN");

        let with_version = async |method: Method, version: &str, body: Value| {
            let request = app.admin.request(method, &path(&token)).header("if-match", format!("\"{version}\""));
            send(request.json(&body)).await
        };
        with_version(Method::PUT, "1", json!({"name": "new"})).await.expect_problem(412, "CONFLICT");
        with_version(Method::PUT, "2", json!({"name": "new"})).await.expect(200);
        with_version(Method::DELETE, "2", json!({})).await.expect_problem(412, "CONFLICT");
        let rotate = app.admin.request(Method::POST, &format!("{}/rotate", path(&token))).header("if-match", "\"2\"");
        send(rotate).await.expect_problem(412, "CONFLICT");
        let rename = async |number: usize| {
            let body = json!({"name": format!("number {number}")});
            app.admin.put(&path(&token), &body).await.status
        };
        let parallel = join_all((0..10).map(rename));
        assert_eq!(parallel.await, [200; 10], "no version was named");
        with_version(Method::DELETE, "13", json!({})).await.expect(204);
        client.get(WHOAMI).await.expect_problem(401, "INVALID_API_KEY");
        for gone in [app.admin.get(&path(&token)).await, app.admin.delete(&path(&token)).await] {
            gone.expect_problem(404, "NOT_FOUND");
        }
    })
    .await;
}

#[tokio::test]
async fn a_token_ends_at_its_moment_and_a_rotated_secret_with_its_grace() {
    on_every_stack(async |app| {
        let (client, token) = app.token_with(json!({"expires_at": "2031-05-15T10:21:30Z"})).await;
        app.advance(59);
        client.get(WHOAMI).await.expect(200);
        app.advance(1);
        client.get(WHOAMI).await.expect_problem(401, "INVALID_API_KEY");
        assert_eq!(app.admin.get(&path(&token)).await.expect(200).data()["status"], "expired");

        let (first, token) = app.token_with(json!({})).await;
        let rotate = format!("{}/rotate", path(&token));
        let rotated = app.admin.post(&rotate, &json!({"grace_seconds": 60})).await.expect(200);
        assert_eq!((&rotated.data()["id"], &rotated.data()["version"]), (&token["id"], &json!(2)));
        let second = app.admin.with_credential(rotated.data()["token"].as_str().unwrap());
        assert_eq!(me(&first).await["id"], me(&second).await["id"]);
        app.advance(59);
        first.get(WHOAMI).await.expect(200);
        app.advance(1);
        first.get(WHOAMI).await.expect_problem(401, "INVALID_API_KEY");
        second.get(WHOAMI).await.expect(200);
        // Without a body there is no grace; a token may rotate itself.
        let third = send(second.request(Method::POST, &rotate)).await.expect(200);
        second.get(WHOAMI).await.expect_problem(401, "INVALID_API_KEY");
        app.admin.with_credential(third.data()["token"].as_str().unwrap()).get(WHOAMI).await.expect(200);
    })
    .await;
}

#[tokio::test]
async fn a_token_grants_at_most_what_its_maker_has() {
    on_every_stack(async |app| {
        let limits = json!({"expires_at": "2031-06-01T00:00:00Z", "allowed_ips": ["127.0.0.0/8", "::1"]});
        let (maker, own) = app.token_with(limits.clone()).await;
        let (_, boundless) = app.token_with(json!({})).await;
        let post = async |expires_at: Value, allowed_ips: Value| {
            let body = json!({"name": "x", "scopes": ["admin"], "expires_at": expires_at, "allowed_ips": allowed_ips});
            maker.post(TOKENS, &body).await
        };
        let within = &limits["expires_at"];
        post(within.clone(), json!(["127.0.0.1"])).await.expect(201);
        for (expires_at, allowed_ips, word) in [
            (json!(null), json!(["127.0.0.1"]), "2031-06-01T00:00:00"),
            (json!("2031-06-01T00:00:00.000001Z"), json!(["127.0.0.1"]), "2031-06-01T00:00:00"),
            (within.clone(), json!([]), "everywhere"),
            (within.clone(), json!(["127.0.0.0/7"]), "networks"),
            (within.clone(), json!(["127.0.0.1", "192.0.2.7"]), "networks"),
        ] {
            let refused = post(expires_at, allowed_ips).await.expect_problem(403, "FORBIDDEN");
            assert!(refused.body["detail"].as_str().unwrap().contains(word), "{}", refused.text);
        }
        // Neither of itself, nor by a change or a new secret of one that has more; less is no gain.
        maker.put(&path(&own), &json!({"expires_at": null})).await.expect_problem(403, "FORBIDDEN");
        maker.put(&path(&own), &json!({"allowed_ips": []})).await.expect_problem(403, "FORBIDDEN");
        maker.post(&format!("{}/rotate", path(&boundless)), &json!({})).await.expect_problem(403, "FORBIDDEN");
        maker.put(&path(&boundless), &json!({"name": "renamed", "scopes": ["keys:read"]})).await.expect(200);
        let gain = json!({"scopes": ["keys:read", "usage:read"]});
        maker.put(&path(&boundless), &gain).await.expect_problem(403, "FORBIDDEN");
        app.admin.put(&path(&boundless), &gain).await.expect(200);
        maker.delete(&path(&boundless)).await.expect(204);
    })
    .await;
}

#[tokio::test]
async fn a_deleted_or_demoted_token_makes_no_other_on_any_node() {
    on_every_stack(async |app| {
        let other = app.another_node().await;
        for end in ["delete", "demote"] {
            let (client, token) = app.token_with(json!({})).await;
            let there = other.admin.with_credential(token["token"].as_str().unwrap());
            there.get(WHOAMI).await.expect(200);
            match end {
                "delete" => app.admin.delete(&path(&token)).await.expect(204),
                _ => app.admin.put(&path(&token), &json!({"scopes": ["keys:read"]})).await.expect(200),
            };
            // The other node may not have heard of it yet, and holds the token as it was.
            let made = join_all([&client, &there].map(|client| async {
                client.post(TOKENS, &json!({"name": "escaped", "scopes": ["admin"]})).await.status
            }));
            assert!(made.await.iter().all(|status| [401, 403].contains(status)), "{end}");
        }
        assert!(!app.admin.get(TOKENS).await.expect(200).text.contains("escaped"));
        other.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_last_token_with_admin_stays_whatever_is_tried() {
    on_every_stack(async |app| {
        let bootstrap = me(&app.admin).await;
        let (_, reader) = app.token_with(json!({"scopes": ["keys:read"]})).await;
        let (_, ending) = app.token_with(json!({"expires_at": "2031-06-01T00:00:00Z"})).await;
        let loses_it = [json!({"scopes": ["keys:read"]}), json!({"expires_at": "2031-07-01T00:00:00Z"})];
        let is_kept = async || {
            app.admin.delete(&path(&bootstrap)).await.expect_problem(409, "CONFLICT");
            for change in &loses_it {
                app.admin.put(&path(&bootstrap), change).await.expect_problem(409, "CONFLICT");
            }
        };
        // Neither a token without the scope nor one that will end stands in for it.
        is_kept().await;
        app.admin.put(&path(&bootstrap), &json!({"name": "renamed", "scopes": ["admin"]})).await.expect(200);
        app.admin.delete(&path(&reader)).await.expect(204);
        app.admin.delete(&path(&ending)).await.expect(204);
        is_kept().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_admins_who_end_each_other_at_once_one_is_left() {
    on_every_stack(async |app| {
        let other = app.another_node().await;
        for round in 0..10 {
            let one = app.token(TenantId(app.clock.new_id()), Scope::ALL).await;
            let record =
                one.post(TOKENS, &json!({"name": "two", "scopes": ["admin"]})).await.expect(201).data().clone();
            let two = other.admin.with_credential(record["token"].as_str().unwrap());
            let (of_one, of_two) = (path(&me(&one).await), path(&record));
            let (reader, ending) = (json!({"scopes": ["keys:read"]}), json!({"expires_at": "2031-07-01T00:00:00Z"}));
            let ended = match round % 3 {
                0 => tokio::join!(one.delete(&of_two), two.delete(&of_one)),
                1 => tokio::join!(one.put(&of_two, &reader), two.delete(&of_one)),
                _ => tokio::join!(one.put(&of_two, &ending), two.put(&of_one, &ending)),
            };
            let left = if one.get(WHOAMI).await.status == 200 { &one } else { &two };
            let tokens = left.get(TOKENS).await.expect(200);
            let lasting =
                |t: &&Value| t["expires_at"].is_null() && t["scopes"].as_array().unwrap().contains(&json!("admin"));
            let lasting = tokens.data().as_array().unwrap().iter().filter(lasting).count();
            assert_eq!(lasting, 1, "{} {}: {}", ended.0.status, ended.1.status, tokens.text);
        }
        other.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_last_use_is_known_to_within_a_minute() {
    on_every_stack(async |app| {
        let (client, token) = app.token_with(json!({"scopes": ["keys:read"]})).await;
        let last_used_at = async || {
            let shown = app.admin.get(&path(&token)).await.expect(200);
            shown.data()["last_used_at"].as_str().map(|at| at.parse::<chrono::DateTime<chrono::Utc>>().unwrap())
        };
        for pause in [0, 29, 31, 3_600] {
            app.advance(pause);
            client.get("/api/v1/api-keys").await.expect(200);
            let now = app.clock.now();
            // Writing it down does not hold the request up.
            eventually("the use is known", HANGS_AFTER, async || {
                last_used_at().await.filter(|at| (now - *at).num_seconds() < 60)
            })
            .await;
        }
        assert_eq!(me(&client).await["version"], 1, "a use is no change");
    })
    .await;
}

#[tokio::test]
async fn a_token_is_used_from_its_networks_only_wherever_the_proxy_says_the_client_is() {
    for stack in Stack::every().await {
        let app = App::start(Arc::new(stack), &[("api.trusted_proxies", "127.0.0.0/8")]).await;
        let (client, token) = app.token_with(json!({"allowed_ips": ["192.0.2.0/24", "2001:db8::/32"]})).await;
        let from = async |forwarded: &str| {
            send(client.request(Method::GET, WHOAMI).header("x-forwarded-for", forwarded)).await
        };
        client.get(WHOAMI).await.expect_problem(403, "IP_NOT_ALLOWED");
        from("192.0.3.7").await.expect_problem(403, "IP_NOT_ALLOWED");
        from("192.0.2.7, 192.0.3.7").await.expect_problem(403, "IP_NOT_ALLOWED");
        from("192.0.2.7").await.expect(200);
        from("::ffff:192.0.2.7").await.expect(200);
        from("2001:db8::7").await.expect(200);
        app.admin.put(&path(&token), &json!({"allowed_ips": []})).await.expect(200);
        client.get(WHOAMI).await.expect(200);
        app.stop().await;
    }
}

#[tokio::test]
async fn an_answer_is_repeated_to_the_secret_that_got_it_and_done_once_all_the_same() {
    on_every_stack(async |app| {
        let (first, token) = app.token_with(json!({})).await;
        let make = async |client: &Client| {
            let request = client.request(Method::POST, TOKENS).header("idempotency-key", "one");
            send(request.json(&json!({"name": "made once", "scopes": ["keys:read"]}))).await
        };
        let made = make(&first).await.expect(201);
        assert_eq!(make(&first).await.expect(201).text, made.text);
        let rotated = app.admin.post(&format!("{}/rotate", path(&token)), &json!({})).await.expect(200);
        let second = app.admin.with_credential(rotated.data()["token"].as_str().unwrap());
        make(&second).await.expect_problem(409, "CONFLICT");
        let list = app.admin.get(TOKENS).await.expect(200);
        assert_eq!(list.text.matches("made once").count(), 1, "{}", list.text);
    })
    .await;
}

/// Runs `tollgate-api token new` as a person on the machine would. What it wrote, and whether it succeeded.
fn token_new(settings: &[(&str, &str)], arguments: &[&str]) -> (String, String, bool) {
    let output = Process::api(settings).run(arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr), output.status.success())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_token_is_replaced_on_the_machine_while_the_service_runs() {
    for stack in Stack::every().await {
        let journal = TempDir::new().unwrap();
        let settings = settings(&stack, &journal);
        let mut api = Process::api(&settings);
        api.start_ready().await;
        let (out, err, done) = token_new(&settings, &["token", "new", "--name", "spare"]);
        assert!(done && err.is_empty(), "{err}");
        let client = api.client().with_credential(out.trim_end());
        let who = me(&client).await;
        assert_eq!((&who["name"], &who["expires_at"]), (&json!("spare"), &json!(null)));
        assert_eq!(who["scopes"].as_array().unwrap().len(), Scope::ALL.len());
        client.delete(&path(&me(&api.admin()).await)).await.expect(204);
        client.get(WHOAMI).await.expect(200);
        for wrong in [&["token", "new", "--name", " "][..], &["token", "new", "spare"], &["tokens"]] {
            let (out, err, done) = token_new(&settings, wrong);
            assert!(!done && out.is_empty() && (err.contains("--name") || err.contains("usage")), "{wrong:?}: {err}");
        }
        assert!(api.stop().success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_made_before_the_first_start_is_the_first_one_and_the_plans_are_there() {
    for stack in Stack::every().await {
        let journal = TempDir::new().unwrap();
        let settings = settings(&stack, &journal);
        let (out, err, done) = token_new(&settings, &["token", "new"]);
        assert!(done, "{err}");
        let mut api = Process::api(&settings).without_bootstrap_token();
        api.start_ready().await;
        assert!(!api.text().contains("shown this once"), "{}", api.text());
        key_on(&api.client().with_credential(out.trim_end()), "free").await;
        assert!(api.stop().success());
    }
}
