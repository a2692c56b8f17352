//! The last claimed tick of each periodic job, so that each tick runs once, however many workers there are. This data
//! belongs to the installation and to no tenant.

use chrono::{DateTime, Utc};

use super::Schedules;
use crate::{Error, core::time::micros};

impl Schedules<'_> {
    /// The last tick that was claimed; `None` when none ever was.
    pub async fn last_tick(self, name: &str) -> Result<Option<DateTime<Utc>>, Error> {
        let text = "select last_tick from schedules where name = $1";
        self.0
            .read(|db| async move { on!(&db, pool => sqlx::query_scalar(text).bind(name).fetch_optional(pool).await) })
            .await
    }

    /// True for exactly one caller per tick, and never for a tick before the last claimed one.
    pub async fn claim_tick(self, name: &str, tick: DateTime<Utc>) -> Result<bool, Error> {
        let text = "
            insert into schedules (name, last_tick) values ($1, $2)
            on conflict (name) do update set last_tick = excluded.last_tick
            where schedules.last_tick < excluded.last_tick";
        self.0
            .write(|| async {
                let mut tx = self.0.begin().await?;
                let taken = on!(&mut tx, t =>
                sqlx::query(text).bind(name).bind(micros(tick)).execute(&mut **t).await?.rows_affected());
                tx.commit().await?;
                Ok(taken > 0)
            })
            .await
    }
}
