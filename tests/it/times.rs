//! Times: read alike in every body and on every stack.

use serde_json::{Value, json};
use tollgate_tests::app::on_every_stack;

use crate::{
    errors::with_bodies,
    input::{KEYS, alike_on_every_stack, places, send_text, with_raw},
};

#[tokio::test]
async fn times_are_rfc_3339_in_every_body() {
    on_every_stack(async |app| {
        let (document, operations) = with_bodies(app).await;
        let mut seen = 0;
        for (operation, path, client) in operations {
            let body = document.full_example(operation.body.as_ref().unwrap());
            let is_time = |value: &Value| value.as_str().is_some_and(|text| text.ends_with(":00Z"));
            for place in places(&body, is_time) {
                seen += 1;
                for wrong in [
                    "2031-05-15",
                    "2031-05-15T10:00:00",
                    "2031-05-15 10:00:00Z",
                    "2031-5-15T10:00:00Z",
                    "2031-05-15T9:00:00Z",
                    "12031-05-15T10:00:00Z",
                    "+2031-05-15T10:00:00Z",
                    "-2031-05-15T10:00:00Z",
                    "231-05-15T10:00:00Z",
                    "0000-01-01T00:00:00Z",
                    "9999-12-31T23:59:59Z",
                    "2031-06-30T23:59:60Z",
                    "2031-05-15T10:00:00+0200",
                    "2031-05-15T10:00:00Z ",
                    "now",
                ] {
                    let answer =
                        send_text(&client, &operation, &path, with_raw(&body, &place, &json!(wrong).to_string())).await;
                    let refused = answer.expect_problem(422, "INVALID_REQUEST");
                    assert!(refused.pointers().contains(&place), "{}: {wrong}: {}", operation.path, refused.text);
                }
            }
        }
        assert!(seen >= 3, "{seen} times in bodies");
    })
    .await;
}

#[tokio::test]
async fn a_key_ends_within_a_hundred_years_and_both_stacks_order_its_end_alike() {
    alike_on_every_stack(async |app| {
        let create = async |name: &str, at: &str| {
            app.admin.post(KEYS, &json!({"name": name, "tier": "free", "expires_at": at})).await
        };
        for far in
            ["2131-05-15T10:20:30.000001Z", "9998-01-01T00:00:00Z", "2031-05-15T10:20:30Z", "1999-01-01T00:00:00Z"]
        {
            assert_eq!(
                create("x", far).await.expect_problem(422, "INVALID_REQUEST").pointers(),
                ["/expires_at"],
                "{far}"
            );
        }
        let ends = [
            ("a", "2131-05-15T10:20:30Z"),
            ("b", "2031-05-15T12:20:31+02:00"),
            ("c", "2031-05-15T10:20:30.5Z"),
            ("d", "2031-05-15T10:20:30.500001Z"),
            ("e", "2031-05-15T05:20:32.0-05:00"),
            ("f", "2031-05-15T10:20:30.000001Z"),
            ("g", "2099-12-31T23:59:59Z"),
            ("h", "2031-05-15t10:20:31.1z"),
        ];
        for (name, at) in ends {
            create(name, at).await.expect(201);
        }
        let list = async |query: &str| {
            let list = app.admin.get(&format!("{KEYS}?limit=100&{query}")).await.expect(200);
            let of = |key: &Value| format!("{} {} {}", key["name"], key["status"], key["expires_at"]);
            list.data().as_array().unwrap().iter().map(of).collect::<Vec<_>>()
        };
        let mut noted = Vec::new();
        for _ in 0..3 {
            for query in
                ["order_by=expires_at&order=asc", "status=expired&order_by=name", "status=active&order_by=name"]
            {
                noted.extend(list(query).await);
            }
            app.clock.advance(chrono::TimeDelta::microseconds(500_001));
        }
        let key = app.key("free").await;
        let path = format!("{KEYS}/{}", key.id);
        for far in ["2131-05-16T10:20:30Z", "1931-05-14T10:20:30Z"] {
            app.admin.put(&path, &json!({"expires_at": far})).await.expect_problem(422, "INVALID_REQUEST");
        }
        let past = app.admin.put(&path, &json!({"expires_at": "2031-05-15T10:00:00Z"})).await.expect(200);
        assert_eq!(past.data()["status"], "expired");
        noted
    })
    .await;
}
