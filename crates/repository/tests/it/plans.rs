//! Plans: stored whole, changed only from the version that was read, not deleted under their keys.

use tollgate_domain::Page;
use tollgate_repository::Error;

use crate::harness::{FromVersion, Stack, TENANT, agreed};

#[tokio::test]
async fn a_plan_reads_back_as_it_was_stored() {
    for stack in Stack::every().await {
        let plan = stack.plan_of(TENANT, "pro");
        assert_eq!(stack.repository.plans().insert(TENANT, &plan).await.unwrap(), plan);
        assert_eq!(stack.repository.plans().get(TENANT, plan.id).await.unwrap().as_ref(), Some(&plan));
        assert_eq!(stack.repository.plans().by_name(TENANT, "pro").await.unwrap().as_ref(), Some(&plan));
        assert_eq!(stack.repository.plans().by_name(TENANT, "Pro").await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_name_is_used_once() {
    for stack in Stack::every().await {
        stack.plan("pro").await;
        let same_name = stack.plan_of(TENANT, "pro");
        assert!(matches!(stack.repository.plans().insert(TENANT, &same_name).await, Err(Error::Conflict)));
    }
}

#[tokio::test]
async fn an_update_counts_the_version_up_and_an_older_version_changes_nothing() {
    for stack in Stack::every().await {
        let mut plan = stack.plan("pro").await;
        plan.quota = None;
        plan.features.clear();
        plan.description = None;
        let updated = stack.repository.update_plan(TENANT, &plan).await.unwrap().unwrap();
        plan.version = 2;
        assert_eq!(updated, plan);
        plan.version = 1;
        plan.features.push("lost".to_owned());
        assert_eq!(stack.repository.update_plan(TENANT, &plan).await.unwrap(), None);
        assert_eq!(stack.repository.plans().get(TENANT, plan.id).await.unwrap(), Some(updated));
    }
}

#[tokio::test]
async fn a_plan_in_use_is_not_deleted_and_a_deleted_one_frees_its_name() {
    for stack in Stack::every().await {
        let plan = stack.plan("pro").await;
        let (key, _) = stack.key(TENANT, "user").await;
        assert!(matches!(stack.repository.plans().delete(TENANT, plan.id, agreed).await, Err(Error::Conflict)));
        stack.repository.keys().delete(TENANT, key.id, stack.clock.now(), agreed).await.unwrap();
        assert!(stack.repository.plans().delete(TENANT, plan.id, agreed).await.unwrap());
        assert!(!stack.repository.plans().delete(TENANT, plan.id, agreed).await.unwrap());
        assert_eq!(stack.repository.plans().get(TENANT, plan.id).await.unwrap(), None);
        assert_eq!(stack.repository.update_plan(TENANT, &plan).await.unwrap(), None);
        let (orphan, hash) = stack.key_of(TENANT, "pro", "late");
        assert!(matches!(stack.repository.keys().insert(TENANT, &orphan, &hash).await, Err(Error::Conflict)));
        stack.plan("pro").await;
    }
}

#[tokio::test]
async fn pages_list_each_plan_once_by_name() {
    for stack in Stack::every().await {
        for name in ["b", "_a", "c-1", "c", "0"] {
            stack.plan(name).await;
        }
        let mut names = Vec::new();
        for page in 1..=4 {
            let paged = stack.repository.plans().list(TENANT, Page { page, limit: 2 }).await.unwrap();
            assert_eq!(paged.total, 5);
            names.extend(paged.items.into_iter().map(|plan| plan.name));
        }
        assert_eq!(names, ["0", "_a", "b", "c", "c-1"]);
    }
}
