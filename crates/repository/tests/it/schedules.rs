//! Ticks of periodic jobs: one worker takes each.

use chrono::TimeDelta;

use crate::harness::Stack;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_eight_workers_takes_a_tick_and_none_takes_an_older_one() {
    for stack in Stack::every().await {
        let other = stack.another().await;
        let first = stack.clock.now();
        assert_eq!(stack.repository.schedules().last_tick("rollup").await.unwrap(), None);
        for tick in [first, first + TimeDelta::minutes(1)] {
            let claims: Vec<_> = (0..8)
                .map(|n| {
                    let node = if n % 2 == 0 { stack.repository.clone() } else { other.clone() };
                    tokio::spawn(async move { node.schedules().claim_tick("rollup", tick).await.unwrap() })
                })
                .collect();
            let mut taken = 0;
            for claim in claims {
                taken += u32::from(claim.await.unwrap());
            }
            assert_eq!(taken, 1);
            assert_eq!(other.schedules().last_tick("rollup").await.unwrap(), Some(tick));
        }
        assert!(!stack.repository.schedules().claim_tick("rollup", first).await.unwrap());
        assert!(stack.repository.schedules().claim_tick("clean-up", first).await.unwrap());
    }
}
