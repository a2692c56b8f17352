//! Another tenant's thing is as good as none: for every read and write that takes a tenant.

use tollgate_domain::{
    AdminToken, ApiKey, Environment, Granularity, Idempotency, KeyFilter, KeySecret, Page, Plan, StoredResponse,
    TokenSecret, UsageEvent, UsageStats, usage::Counts,
};
use tollgate_repository::{Error, TokenWrite};

use crate::{
    harness::{FromVersion, Stack, TENANT, agreed, allowed, at, batch, endpoint, fold, usage},
    violations,
};

const PAGE: Page = Page { page: 1, limit: 100 };

#[tokio::test]
async fn another_tenants_keys_and_plans_are_neither_seen_nor_changed() {
    for stack in Stack::every().await {
        let repository = &stack.repository;
        let now = stack.clock.now();
        let stranger = stack.tenant().await;
        let (key, hash) = stack.key(TENANT, "mine").await;
        let plan = repository.plans().by_name(TENANT, "pro").await.unwrap().unwrap();
        stack.key(stranger, "theirs").await;

        assert_eq!(repository.plans().get(stranger, plan.id).await.unwrap(), None);
        assert_ne!(repository.plans().by_name(stranger, "pro").await.unwrap().unwrap().id, plan.id);
        assert_eq!(repository.plans().list(stranger, PAGE).await.unwrap().total, 1);
        assert_eq!(repository.update_plan(stranger, &Plan { features: vec![], ..plan.clone() }).await.unwrap(), None);
        assert!(!repository.plans().delete(stranger, plan.id, agreed).await.unwrap());

        assert_eq!(repository.keys().get(stranger, key.id).await.unwrap(), None);
        assert_eq!(repository.keys().with_plan(stranger, key.id, now).await.unwrap(), None);
        let listed = repository.keys().list(stranger, &KeyFilter::default(), PAGE, now).await.unwrap();
        assert_eq!((listed.total, listed.items[0].name.as_str()), (1, "theirs"));
        let renamed = ApiKey { name: "stolen".to_owned(), ..key.clone() };
        assert_eq!(repository.update_api_key(stranger, &renamed).await.unwrap(), None);
        let secret = KeySecret::generate(Environment::Live).unwrap();
        assert_eq!(repository.rotate_api_key_to(stranger, &key, &secret, now).await.unwrap(), None);
        assert!(!repository.keys().delete(stranger, key.id, now, agreed).await.unwrap());

        let found = repository.keys().by_secret(&hash, now).await.unwrap().unwrap();
        assert_eq!((found.key, found.plan), (key, plan));
    }
}

#[tokio::test]
async fn another_tenants_tokens_are_neither_seen_nor_changed() {
    for stack in Stack::every().await {
        let (repository, now) = (&stack.repository, stack.clock.now());
        let stranger = stack.tenant().await;
        let (token, hash) = stack.token(TENANT);
        repository.tokens().insert(TENANT, &token, &hash).await.unwrap();
        assert_eq!(repository.tokens().get(stranger, token.id).await.unwrap(), None);
        assert_eq!(repository.tokens().list(stranger, PAGE).await.unwrap().total, 0);
        for write in [TokenWrite::Update(token.clone()), TokenWrite::Delete(token.clone())] {
            let stolen = repository.tokens().change(stranger, now, |tokens| {
                assert_eq!(tokens, []);
                Ok::<_, Error>(write.clone())
            });
            drop(stolen.await);
        }
        let secret = TokenSecret::generate().unwrap().hash();
        let rotate = |_: &[AdminToken]| Ok::<_, Error>(TokenWrite::Rotate(token.clone(), secret, now));
        assert!(repository.tokens().change(stranger, now, rotate).await.is_err());
        assert_eq!(repository.tokens().by_secret(&hash, now).await.unwrap().unwrap().token, token);
    }
}

#[tokio::test]
async fn a_write_stores_under_the_credentials_tenant_whatever_the_record_says() {
    for stack in Stack::every().await {
        let stranger = stack.tenant().await;
        let plan = stack.repository.plans().insert(stranger, &stack.plan_of(TENANT, "pro")).await.unwrap();
        assert_eq!(plan.tenant_id, stranger);
        let (key, hash) = stack.key_of(TENANT, "pro", "forged");
        let key = stack.repository.keys().insert(stranger, &key, &hash).await.unwrap();
        assert_eq!(key.tenant_id, stranger);
        let (token, token_hash) = stack.token(TENANT);
        stack.repository.tokens().insert(stranger, &token, &token_hash).await.unwrap();
        let found = stack.repository.tokens().by_secret(&token_hash, stack.clock.now()).await.unwrap().unwrap();
        assert_eq!(found.token.tenant_id, stranger);
    }
}

#[tokio::test]
async fn another_tenants_usage_and_violations_are_not_seen() {
    for stack in Stack::every().await {
        let repository = &stack.repository;
        let (key, _) = stack.key(TENANT, "mine").await;
        let stranger = stack.tenant().await;
        let (from, to) = (at("2026-05-01T00:00:00Z"), at("2026-06-01T00:00:00Z"));
        let rows = vec![usage(&key, "2026-05-15T10:00:00Z", allowed(1))];
        let ends = vec![endpoint(&key, "2026-05-15T00:00:00Z", "/a", 1)];
        repository.usage().apply(&batch(stack.boot(), 0, 1, rows, ends)).await.unwrap();
        let refusals = vec![violations::row(&key, at("2026-05-15T10:00:00Z"), "per-hour", "/a", 1)];
        repository.violations().record(&violations::batch(stack.boot(), 0, 1, refusals)).await.unwrap();
        for folded in [false, true] {
            if folded {
                fold(repository).await;
            }
            for granularity in [Granularity::Hourly, Granularity::Daily, Granularity::Monthly] {
                let of = async |tenant| repository.usage().series(tenant, key.id, granularity, from, to).await.unwrap();
                assert_eq!(of(stranger).await, []);
                assert_eq!(of(TENANT).await.len(), 1);
            }
            assert_eq!(repository.usage().of_period(stranger, key.id, from).await.unwrap(), Counts::default());
            let stats = repository.usage().stats(stranger, key.id, stack.clock.now()).await.unwrap();
            assert_eq!(stats, UsageStats::default());
            assert_eq!(repository.usage().top_endpoints(stranger, key.id, from, 10).await.unwrap(), []);
        }
        assert_eq!(repository.violations().list(stranger, key.id, from, None, 10).await.unwrap(), []);
        assert_eq!(repository.violations().count(stranger, key.id, from).await.unwrap(), 0);
        assert_eq!(repository.violations().list(TENANT, key.id, from, None, 10).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn event_ids_and_idempotency_keys_of_another_tenant_are_other_ones() {
    for stack in Stack::every().await {
        let repository = &stack.repository;
        let now = stack.clock.now();
        let stranger = stack.tenant().await;
        let event = |key: &ApiKey| [UsageEvent { at: now, endpoint: None, ..crate::events::event(key, "1", 1) }];
        let (mine, _) = stack.key(TENANT, "mine").await;
        let (theirs, _) = stack.key(stranger, "theirs").await;
        let foreign = repository.usage().insert_events(stranger, &event(&mine), now).await;
        assert!(matches!(foreign, Err(Error::Conflict)), "a key of another tenant does not exist");
        for (tenant, key) in [(TENANT, &mine), (stranger, &theirs)] {
            let counted = repository.usage().insert_events(tenant, &event(key), now).await.unwrap();
            assert_eq!(counted, [crate::events::ACCEPTED]);
        }

        let begin = async |tenant, actor| {
            repository.idempotency().begin(tenant, actor, "k", &[0; 32], now, now, now).await.unwrap()
        };
        assert_eq!(begin(TENANT, "a").await, Idempotency::Started);
        assert_eq!(begin(stranger, "a").await, Idempotency::Started);
        assert_eq!(begin(TENANT, "b").await, Idempotency::Started);
        repository.idempotency().forget(stranger, "a", "k").await.unwrap();
        let response = StoredResponse { status: 200, content_type: None, headers: vec![], body: vec![] };
        repository.idempotency().finish(stranger, "a", "k", &response).await.unwrap();
        assert_eq!(begin(TENANT, "a").await, Idempotency::InProgress);
    }
}
