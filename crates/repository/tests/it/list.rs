//! Lists of keys: every filter, every order, pages without gaps or repeats.

use chrono::TimeDelta;
use tollgate_domain::{ApiKey, KeyFilter, KeyOrder, KeyStatus, Order, Page, Suspension};

use crate::harness::{FromVersion, Stack, TENANT};

const ALL: Page = Page { page: 1, limit: 100 };

async fn names(stack: &Stack, filter: KeyFilter) -> Vec<String> {
    let paged = stack.repository.keys().list(TENANT, &filter, ALL, stack.clock.now()).await.unwrap();
    assert_eq!(paged.total, i64::try_from(paged.items.len()).unwrap());
    let mut names: Vec<_> = paged.items.into_iter().map(|key| key.name).collect();
    names.sort();
    names
}

async fn insert(stack: &Stack, name: &str, change: impl FnOnce(&mut ApiKey)) -> ApiKey {
    let (mut key, hash) = stack.key_of(TENANT, "pro", name);
    change(&mut key);
    stack.repository.keys().insert(TENANT, &key, &hash).await.unwrap()
}

#[tokio::test]
async fn the_status_filter_agrees_with_the_status_in_force() {
    for stack in Stack::every().await {
        stack.plan("pro").await;
        let now = stack.clock.now();
        let times = [None, Some(now - TimeDelta::microseconds(1)), Some(now), Some(now + TimeDelta::microseconds(1))];
        for status in [KeyStatus::Active, KeyStatus::Suspended, KeyStatus::Revoked] {
            for expires_at in times {
                for until in times {
                    let name = format!("{} {expires_at:?} {until:?}", status.as_str());
                    insert(&stack, &name, |key| {
                        key.status = status;
                        key.suspension = (status == KeyStatus::Suspended).then_some(Suspension { until, reason: None });
                        key.expires_at = expires_at;
                    })
                    .await;
                }
            }
        }
        let all = stack.repository.keys().list(TENANT, &KeyFilter::default(), ALL, now).await.unwrap().items;
        assert_eq!(all.len(), 48);
        for status in [KeyStatus::Active, KeyStatus::Suspended, KeyStatus::Revoked, KeyStatus::Expired] {
            let mut expected: Vec<_> =
                all.iter().filter(|key| key.status_at(now) == status).map(|key| key.name.clone()).collect();
            expected.sort();
            assert!(!expected.is_empty());
            assert_eq!(names(&stack, KeyFilter { status: Some(status), ..KeyFilter::default() }).await, expected);
        }
    }
}

#[tokio::test]
async fn filters_narrow_the_list_and_combine() {
    for stack in Stack::every().await {
        stack.plan("pro").await;
        stack.plan("free").await;
        insert(&stack, "a", |key| {
            key.owner_id = Some("acme".to_owned());
            key.tags = vec!["mobile".to_owned(), "eu".to_owned()];
        })
        .await;
        insert(&stack, "b", |key| {
            key.owner_id = Some("acme".to_owned());
            key.tier = "free".to_owned();
            key.tags = vec!["mobile".to_owned(), "mobile".to_owned()];
        })
        .await;
        let moved = insert(&stack, "c", |key| key.tags = vec!["eu".to_owned()]).await;
        stack
            .repository
            .update_api_key(TENANT, &ApiKey { tags: vec!["us".to_owned()], ..moved })
            .await
            .unwrap()
            .unwrap();
        let filter = KeyFilter::default;
        let text = |value: &str| Some(value.to_owned());
        assert_eq!(names(&stack, KeyFilter { tier: text("pro"), ..filter() }).await, ["a", "c"]);
        assert_eq!(names(&stack, KeyFilter { owner_id: text("acme"), ..filter() }).await, ["a", "b"]);
        assert_eq!(names(&stack, KeyFilter { tag: text("mobile"), ..filter() }).await, ["a", "b"]);
        assert_eq!(names(&stack, KeyFilter { tag: text("eu"), ..filter() }).await, ["a"]);
        assert_eq!(names(&stack, KeyFilter { tag: text("us"), ..filter() }).await, ["c"]);
        let both = KeyFilter { tier: text("free"), owner_id: text("acme"), tag: text("mobile"), ..filter() };
        assert_eq!(names(&stack, both).await, ["b"]);
        assert_eq!(names(&stack, KeyFilter { tier: text("gold"), ..filter() }).await, [""; 0]);
    }
}

#[tokio::test]
async fn a_search_finds_parts_of_name_description_and_prefix_in_any_case_and_takes_wildcards_plainly() {
    for stack in Stack::every().await {
        stack.plan("pro").await;
        // Prefixes are searched too, so random ones would at times hold what is looked for.
        let shown = insert(&stack, "ÜBERMUT", |key| key.key_prefix = "tg_live_1xYz".to_owned()).await;
        insert(&stack, "100% load", |key| key.key_prefix = "tg_live_2xYz".to_owned()).await;
        insert(&stack, "snake_case", |key| {
            key.key_prefix = "tg_live_3xYz".to_owned();
            key.description = Some("Back\\slash".to_owned());
        })
        .await;
        let search = |text: &str| KeyFilter { search: Some(text.to_owned()), ..KeyFilter::default() };
        assert_eq!(names(&stack, search("über")).await, ["ÜBERMUT"]);
        assert_eq!(names(&stack, search("LOAD")).await, ["100% load"]);
        assert_eq!(names(&stack, search("%")).await, ["100% load"]);
        assert_eq!(names(&stack, search("e_c")).await, ["snake_case"]);
        assert_eq!(names(&stack, search("k\\S")).await, ["snake_case"]);
        assert_eq!(names(&stack, search("'; drop table api_keys; --")).await, [""; 0]);
        assert_eq!(names(&stack, search("LIVE_1XyZ")).await, ["ÜBERMUT"]);
        let renamed = ApiKey { name: "renamed".to_owned(), ..shown };
        stack.repository.update_api_key(TENANT, &renamed).await.unwrap().unwrap();
        assert_eq!(names(&stack, search("über")).await, [""; 0]);
    }
}

#[tokio::test]
async fn every_order_pages_through_all_keys_once() {
    for stack in Stack::every().await {
        stack.plan("pro").await;
        let start = stack.clock.now();
        for n in 0..11_i64 {
            let name = ["b", "a", "B", "é", "Z"][usize::try_from(n % 5).unwrap()];
            insert(&stack, name, |key| {
                key.created_at = start + TimeDelta::minutes(n / 3);
                key.updated_at = start - TimeDelta::minutes(n / 2);
                key.expires_at = (n % 3 > 0).then(|| start + TimeDelta::minutes(n % 4));
            })
            .await;
        }
        for order_by in [KeyOrder::CreatedAt, KeyOrder::UpdatedAt, KeyOrder::Name, KeyOrder::ExpiresAt] {
            for order in [Order::Asc, Order::Desc] {
                let filter = KeyFilter { order_by, order, ..KeyFilter::default() };
                let mut listed = Vec::new();
                for page in 1..=4 {
                    let page = Page { page, limit: 3 };
                    let paged = stack.repository.keys().list(TENANT, &filter, page, start).await.unwrap();
                    assert_eq!(paged.total, 11);
                    listed.extend(paged.items);
                }
                let mut expected = listed.clone();
                expected.sort_by(|a, b| {
                    let by = match order_by {
                        KeyOrder::CreatedAt => a.created_at.cmp(&b.created_at),
                        KeyOrder::UpdatedAt => a.updated_at.cmp(&b.updated_at),
                        KeyOrder::Name => a.name.cmp(&b.name),
                        KeyOrder::ExpiresAt => a.expires_at.cmp(&b.expires_at),
                    };
                    let by = by.then(a.id.cmp(&b.id));
                    let by = if order == Order::Asc { by } else { by.reverse() };
                    match (order_by, a.expires_at, b.expires_at) {
                        (KeyOrder::ExpiresAt, None, Some(_)) => std::cmp::Ordering::Greater,
                        (KeyOrder::ExpiresAt, Some(_), None) => std::cmp::Ordering::Less,
                        _ => by,
                    }
                });
                let ids = |keys: &[ApiKey]| keys.iter().map(|key| key.id).collect::<Vec<_>>();
                assert_eq!(ids(&listed), ids(&expected), "{order_by:?} {order:?} on {}", stack.repository.engine());
                expected.dedup_by_key(|key| key.id);
                assert_eq!(expected.len(), 11);
            }
        }
    }
}
