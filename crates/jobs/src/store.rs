//! The store of jobs, in this process or in Redis, chosen once. Both behave the same.

use std::sync::Arc;

use tollgate_domain::TenantId;

use crate::{
    Error, Priority,
    memory::Memory,
    record::{DeadRecord, Depth, LeasedJob, NewJob, Pushed, Settlement},
    redis::RedisStore,
};

#[derive(Clone)]
pub(crate) enum Store {
    Memory(Arc<Memory>),
    Redis(Arc<RedisStore>),
}

/// Makes the same call on either store.
macro_rules! on {
    ($store:expr, $method:ident($($argument:expr),*)) => {
        match $store {
            Store::Memory(memory) => Ok(memory.$method($($argument),*)),
            Store::Redis(redis) => redis.$method($($argument),*).await,
        }
    };
}

impl Store {
    /// Adds the jobs whose id does not exist yet; one answer per job, in order.
    pub(crate) async fn push(&self, priority: Priority, jobs: Vec<NewJob>) -> Result<Vec<Pushed>, Error> {
        on!(self, push(priority, jobs))
    }

    /// Leases up to `limit` due jobs. First, jobs whose lease has run out become due again.
    pub(crate) async fn lease(
        &self,
        priority: Priority,
        token: &Arc<str>,
        limit: usize,
    ) -> Result<Vec<LeasedJob>, Error> {
        on!(self, lease(priority, token, limit))
    }

    /// Ends leases. Those that are no longer held are skipped.
    pub(crate) async fn settle(&self, priority: Priority, settlements: &[Settlement]) -> Result<(), Error> {
        on!(self, settle(priority, settlements))
    }

    /// Renews leases. Returns the ids that another process has leased meanwhile, or that are due again.
    pub(crate) async fn renew(&self, priority: Priority, held: &[(String, Arc<str>)]) -> Result<Vec<String>, Error> {
        on!(self, renew(priority, held))
    }

    /// The number of the tenant's dead jobs, and the latest `limit` of them as (died at, id), the latest first.
    pub(crate) async fn dead(
        &self,
        priority: Priority,
        tenant_id: TenantId,
        limit: usize,
    ) -> Result<(u64, Vec<(i64, String)>), Error> {
        on!(self, dead(priority, tenant_id, limit))
    }

    /// A dead job; `None` when it was retried or dropped meanwhile.
    pub(crate) async fn dead_one(&self, priority: Priority, id: &str) -> Result<Option<DeadRecord>, Error> {
        on!(self, dead_one(priority, id))
    }

    /// Makes a dead job of the tenant due at once, with its attempts reset to 0. Returns it as it was; `None` when the
    /// tenant has no such dead job.
    pub(crate) async fn revive(
        &self,
        priority: Priority,
        tenant_id: TenantId,
        id: &str,
    ) -> Result<Option<DeadRecord>, Error> {
        // A stored job keeps its tenants, so this check still holds at the next step.
        let dead = self.dead_one(priority, id).await?;
        if !dead.is_some_and(|dead| dead.tenants.include(tenant_id)) {
            return Ok(None);
        }
        on!(self, revive(priority, id))
    }

    pub(crate) async fn depth(&self, priority: Priority) -> Result<Depth, Error> {
        on!(self, depth(priority))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, TimeDelta};
    use tollgate_domain::Clock;
    use uuid::Uuid;

    use super::*;
    use crate::{
        Options,
        record::{Tenants, Verdict},
    };

    const A: TenantId = TenantId(Uuid::from_u128(0xa));
    const B: TenantId = TenantId(Uuid::from_u128(0xb));

    /// Random-looking numbers that are the same in every run of a seed (xorshift64).
    struct Dice(u64);

    impl Dice {
        fn roll(&mut self, sides: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % sides
        }
    }

    fn some_jobs(dice: &mut Dice, now: i64) -> Vec<NewJob> {
        (0..=dice.roll(3))
            .map(|_| NewJob {
                id: format!("job-{}", dice.roll(12)),
                body: format!("body {}", dice.roll(1_000)).into_bytes(),
                max_attempts: dice.roll(4) as u32,
                tenants: Tenants([A, B].iter().filter(|_| dice.roll(2) == 0).map(|id| format!("{id} ")).collect()),
                run_at: (dice.roll(2) == 0).then(|| now - 50 + dice.roll(100) as i64),
            })
            .collect()
    }

    /// Ends of leases that are held now, were held once, or never existed.
    fn some_ends(dice: &mut Dice, seen: &[LeasedJob]) -> Vec<Settlement> {
        let verdict = |dice: &mut Dice| match dice.roll(6) {
            0 => Verdict::Done,
            1 => Verdict::Abort { cause: format!("cause {}", dice.roll(9)) },
            2 => Verdict::GiveBack,
            roll => {
                // Either a backoff of a moment, or a time of up to a day that the job asked for.
                let most = if roll == 3 { 86_400_000 } else { 60 };
                let after = Duration::from_millis(dice.roll(most));
                Verdict::Retry { after, cause: format!("cause {}", dice.roll(9)) }
            }
        };
        let recent = seen.iter().rev().take(24).collect::<Vec<_>>();
        (0..=dice.roll(6))
            .filter_map(|_| {
                let job = recent.get(dice.roll(24) as usize)?;
                let token = if dice.roll(8) == 0 { "never-given".into() } else { Arc::clone(&job.token) };
                Some(Settlement { id: job.id.clone(), token, verdict: verdict(dice) })
            })
            .collect()
    }

    #[tokio::test]
    async fn memory_and_redis_do_the_same() {
        let server = tollgate_test_servers::redis::Redis::start();
        for seed in 1..=4_u64 {
            let clock = Clock::manual(DateTime::from_timestamp_millis(1_700_000_000_000).unwrap());
            let options = Options {
                lease: Duration::from_secs(600),
                dead_kept: 4,
                namespace: format!("seed-{seed}"),
                ..Options::default()
            };
            let memory = Store::Memory(Arc::new(Memory::new(&options, clock.clone())));
            let redis = Store::Redis(Arc::new(RedisStore::new(&server.url(), &options, clock.clone()).unwrap()));
            let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ seed);
            let mut seen: Vec<LeasedJob> = Vec::new();
            let (mut leases, mut deaths, mut lost) = (0, 0, 0);
            for step in 0..2_000 {
                let at = format!("seed {seed}, step {step}");
                let priority = Priority::ALL[dice.roll(2) as usize];
                /// Both answers, which must be equal.
                macro_rules! both {
                    ($method:ident($($argument:expr),*)) => {{
                        let (ours, theirs) =
                            (memory.$method($($argument),*).await.unwrap(), redis.$method($($argument),*).await.unwrap());
                        assert_eq!(format!("{ours:?}"), format!("{theirs:?}"), "{at}: {}", stringify!($method));
                        ours
                    }};
                }
                match dice.roll(10) {
                    0..=2 => {
                        let jobs = some_jobs(&mut dice, clock.micros() / 1_000);
                        both!(push(priority, jobs.clone()));
                    }
                    3 | 4 => {
                        let token: Arc<str> = format!("token-{step}").into();
                        let limit = dice.roll(4) as usize;
                        let leased = both!(lease(priority, &token, limit));
                        leases += leased.len();
                        seen.extend(leased);
                    }
                    5..=7 => {
                        let ends = some_ends(&mut dice, &seen);
                        both!(settle(priority, &ends));
                    }
                    8 => {
                        let held: Vec<_> =
                            seen.iter().rev().take(8).map(|job| (job.id.clone(), Arc::clone(&job.token))).collect();
                        lost += both!(renew(priority, &held)).len();
                    }
                    _ => {
                        let id = format!("job-{}", dice.roll(12));
                        both!(dead_one(priority, &id));
                        let tenant_id = if dice.roll(2) == 0 { A } else { B };
                        both!(revive(priority, tenant_id, &id));
                        clock.advance(TimeDelta::milliseconds(dice.roll(80) as i64));
                    }
                }
                both!(depth(priority));
                let limit = dice.roll(6) as usize;
                deaths += both!(dead(priority, A, limit)).0 + both!(dead(priority, B, limit)).0;
            }
            assert!(leases > 100 && deaths > 100 && lost > 20, "seed {seed} tried little: {leases} {deaths} {lost}");
        }
    }
}
