//! Raises counters to durable totals. Nearly every counter is high enough already, and a read costs Redis a tenth of a
//! decision. So it reads values first, many at a time, and runs the script only for counters that are behind.
use futures_util::future::try_join_all;
use redis::{FromRedisValue, Value};

use super::{RedisStore, answer::State, call::key, reply::read_value, request::Terms, unavailable};
use crate::{
    check::{Check, Raise},
    error::Error,
    time::Timestamp,
};

/// Values read by one command, and counters raised together: about as much as one call of checks, so that
/// checks get through in between.
const AT_ONCE: usize = 64;

impl RedisStore {
    pub(crate) async fn raise(&self, raises: &[Raise<'_>], now: Timestamp) -> Result<(), Error> {
        let mut raises: Vec<&Raise<'_>> = raises.iter().collect();
        // A command in a cluster may use the keys of one partition only.
        raises.sort_by_key(|raise| raise.subject.partition());
        let partitions = raises.chunk_by(|one, next| one.subject.partition() == next.subject.partition());
        for some in partitions.flat_map(|partition| partition.chunks(AT_ONCE)) {
            let asked = self.behind(some).await?.map(|raise| async {
                let floors = raise.floors();
                let look = Check::new(raise.subject, raise.limits).with_cost(0).with_floors(&floors);
                self.ask(&look, Terms::default(), now).await.map(drop).ok_or_else(unavailable)
            });
            try_join_all(asked).await?;
        }
        Ok(())
    }

    /// Those of `raises`, all of one partition, whose counters are below their totals.
    async fn behind<'r>(&self, raises: &'r [&'r Raise<'r>]) -> Result<impl Iterator<Item = &'r Raise<'r>>, Error> {
        let mut command = redis::cmd("MGET");
        for raise in raises {
            command.arg(key(&raise.subject));
        }
        let values = self.connection.call(&command).await.map_err(|_| unavailable())?;
        let values = Vec::<Value>::from_redis_value(values).map_err(|_| unavailable())?;
        let of_each = raises.iter().copied().zip(values);
        Ok(of_each.filter(|(raise, value)| !is_met(raise, value)).map(|(raise, _)| raise))
    }
}

/// Whether the counter in Redis has reached the total.
fn is_met(raise: &Raise<'_>, value: &Value) -> bool {
    let Value::BulkString(value) = value else { return false };
    let state = read_value(value).unwrap_or_default();
    let limit = raise.limits.get(raise.limit_index);
    let cell = limit.and_then(|limit| State::as_ref(&state).cell(limit.id(), raise.limit_index));
    cell.is_some_and(|cell| {
        cell.numbers.a == raise.period_start.clamped() && cell.numbers.b.unsigned_abs() >= raise.used
    })
}
