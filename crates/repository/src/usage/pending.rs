//! Usage before it is in the tables. A batch is stored packed, in the transaction that moves its journal's cursor. A
//! fold takes the pending rows of some keys from all batches and adds their sums to the tables.
//!
//! So the tables are written once per key and fold, however many batches came meanwhile, and 50,000 batches of one key
//! are one addition. Reads add the pending rows to the tables' figures, in one snapshot.

use chrono::{DateTime, Utc};
use tollgate_domain::{
    ApiKeyId, JournalStream, TenantId,
    period::month_of,
    usage::{ALL_BUCKETS, FoldPart, KeyUsage, PackedUsage, UsageBatch, bucket_of},
};

use super::Usage;
use crate::{
    Applied, Error, PeriodTotal,
    core::{
        database::Tx,
        rows::{Rows, parts},
    },
    usage::{cursors, upsert::Additions},
};

const INSERT: Rows = Rows { head: "insert into usage_pending (bucket, boot_id, position, rows)", width: 4, tail: "" };

impl Usage<'_> {
    /// Moves the journal's cursor over the batch and stores its rows, in one transaction. A batch that was
    /// applied before changes nothing.
    pub async fn apply(self, batch: &UsageBatch) -> Result<Applied, Error> {
        let (boot, position) = (batch.span.boot.0, cursors::bound(batch.span.to)?);
        let units = batch.units().map_err(|error| Error::Corrupt(format!("a batch of usage: {error}")))?;
        self.0
            .write(|| async {
                let mut tx = self.0.begin().await?;
                let applied = cursors::advance(&mut tx, &batch.span, JournalStream::Usage, units).await?;
                if applied == Applied::Moved {
                    for part in parts(&tx, &batch.chunks) {
                        on!(&mut tx, t => {
                            let mut query = sqlx::query(INSERT.text(part.len()));
                            for chunk in part {
                                query = query.bind(chunk.bucket).bind(boot).bind(position).bind(chunk.rows.as_bytes());
                            }
                            query.execute(&mut **t).await?;
                        });
                    }
                    tx.commit().await?;
                }
                Ok(applied)
            })
            .await
    }

    /// Adds the pending usage of a part of the keys to the tables. Returns the new period totals of each key that had
    /// any. Several workers may run it at once.
    pub async fn fold(self, part: FoldPart, now: DateTime<Utc>) -> Result<Vec<PeriodTotal>, Error> {
        let text = "delete from usage_pending where bucket >= $1 and bucket <= $2 returning rows";
        self.0
            .write(|| async {
                let mut tx = self.0.begin().await?;
                let taken: Vec<Vec<u8>> = on!(&mut tx, t =>
                sqlx::query_scalar(text).bind(part.first).bind(part.last).fetch_all(&mut **t).await)?;
                if taken.is_empty() {
                    return Ok(Vec::new());
                }
                let mut additions = Additions::default();
                for rows in taken {
                    unpacked(rows, |_| true)?.iter().for_each(|usage| additions.add(usage));
                }
                let totals = additions.write(&mut tx, now).await?;
                tx.commit().await?;
                Ok(totals)
            })
            .await
    }

    /// Admitted units of a key in the period that the tables do not include yet.
    pub(crate) async fn waiting_units(
        self,
        tenant_id: TenantId,
        id: ApiKeyId,
        period_start: DateTime<Utc>,
    ) -> Result<i64, Error> {
        let waiting = self.0.snapshot(|mut tx| async move { of_key(&mut tx, tenant_id, id).await }).await?;
        let minutes = waiting.iter().flat_map(|usage| &usage.minutes);
        let of_period = minutes.filter(|row| month_of(row.minute) == period_start);
        Ok(of_period.fold(0, |sum, row| sum.saturating_add(row.counts.allowed)))
    }

    /// Parts of the keys that have pending usage.
    pub async fn waiting_parts(self) -> Result<Vec<FoldPart>, Error> {
        let text = "select distinct bucket from usage_pending order by bucket";
        let buckets: Vec<i16> =
            self.0.read(|db| async move { on!(&db, pool => sqlx::query_scalar(text).fetch_all(pool).await) }).await?;
        let mut parts: Vec<_> = buckets.into_iter().map(FoldPart::of_bucket).collect();
        parts.dedup();
        Ok(parts)
    }
}

/// Usage of a key that the tables do not include yet, as this transaction sees it.
pub(crate) async fn of_key(tx: &mut Tx, tenant_id: TenantId, id: ApiKeyId) -> Result<Vec<KeyUsage>, sqlx::Error> {
    let text = "select rows from usage_pending where bucket in ($1, $2)";
    let waiting: Vec<Vec<u8>> = on!(tx, t => sqlx::query_scalar(text)
        .bind(bucket_of(id)).bind(ALL_BUCKETS).fetch_all(&mut **t).await)?;
    let mut found = Vec::new();
    for rows in waiting {
        let of_key = unpacked(rows, |key| key == id).map_err(|error| sqlx::Error::Decode(error.into()))?;
        found.extend(of_key.into_iter().filter(|usage| usage.tenant_id == tenant_id));
    }
    Ok(found)
}

pub(crate) fn unpacked(rows: Vec<u8>, wanted: impl Fn(ApiKeyId) -> bool) -> Result<Vec<KeyUsage>, Error> {
    let unpacked = PackedUsage::from_bytes(rows).unpack_where(wanted);
    unpacked.map_err(|error| Error::Corrupt(format!("usage_pending.rows: {error}")))
}
