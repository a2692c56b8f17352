//! How far the database has each boot's journal. The cursor moves in the transaction that adds the rows before it,
//! so a batch that comes twice, late or out of order adds nothing. Cursors belong to the installation, because a
//! journal has rows of all tenants.

use chrono::{DateTime, Utc};
use tollgate_domain::{BootId, JournalStream, usage::JournalSpan};

use super::Usage;
use crate::{
    Error,
    core::{database::Tx, time::micros},
};

/// The result of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The batch was added and the cursor moved.
    Moved,
    /// The batch had been added before.
    Already,
    /// The cursor is not at the batch's start: send again from [`Usage::journal_cursor`].
    Gap,
}

impl Usage<'_> {
    /// The position up to which the database has the journal; 0 at first.
    pub async fn journal_cursor(self, boot: BootId, stream: JournalStream) -> Result<u64, Error> {
        let position: Option<i64> = self.0.read(|db| async move {
                on!(&db, pool => sqlx::query_scalar(POSITION).bind(boot.0).bind(stream.as_str()).fetch_optional(pool).await)
            })
            .await?;
        stored_position(position)
    }
}

/// The watermark of a boot whose journal is stored to its end.
const FINISHED: DateTime<Utc> = DateTime::from_timestamp_micros(253_402_300_799_000_000).unwrap();

impl Usage<'_> {
    /// Notes that all decisions of the boot before `until` are in the database; with `None`, that there will be no more. It never
    /// goes back.
    pub async fn note_watermark(self, boot: BootId, until: Option<DateTime<Utc>>) -> Result<(), Error> {
        let text = "
            insert into journal_cursors (boot_id, stream, position, watermark) values ($1, $2, 0, $3)
            on conflict (boot_id, stream) do update set watermark = excluded.watermark
            where journal_cursors.watermark is null or journal_cursors.watermark < excluded.watermark";
        let until = micros(until.unwrap_or(FINISHED));
        self.0
            .write(|| async {
                let mut tx = self.0.begin().await?;
                on!(&mut tx, t => sqlx::query(text)
                    .bind(boot.0).bind(JournalStream::Usage.as_str()).bind(until).execute(&mut **t).await.map(|_| ()))?;
                tx.commit().await
            })
            .await
    }

    /// Whether every boot's decisions before `until` are in the database.
    pub async fn is_complete(self, until: DateTime<Utc>) -> Result<bool, Error> {
        let text = "select count(*) from journal_cursors where stream = $1 and watermark < $2";
        let behind: i64 = self
            .0
            .read(|db| async move {
                on!(&db, pool => sqlx::query_scalar(text)
                    .bind(JournalStream::Usage.as_str()).bind(until).fetch_one(pool).await)
            })
            .await?;
        Ok(behind == 0)
    }
}

const POSITION: &str = "select position from journal_cursors where boot_id = $1 and stream = $2";

/// Moves the cursor over `span` if it is at the span's start. The row stays locked until the transaction ends.
/// `units` are those that the span brings.
pub(crate) async fn advance(
    tx: &mut Tx,
    span: &JournalSpan,
    stream: JournalStream,
    units: i64,
) -> Result<Applied, Error> {
    if span.to <= span.from {
        return Ok(Applied::Already);
    }
    let (from, to) = (bound(span.from)?, bound(span.to)?);
    let update = "
        update journal_cursors set position = $4, units = coalesce(units, 0) + $5
        where boot_id = $1 and stream = $2 and position = $3";
    let insert = "
        insert into journal_cursors (boot_id, stream, position, units) values ($1, $2, $3, $4)
        on conflict (boot_id, stream) do nothing";
    let (boot, stream) = (span.boot.0, stream.as_str());
    let mut moved = on!(&mut *tx, t => sqlx::query(update)
        .bind(boot).bind(stream).bind(from).bind(to).bind(units).execute(&mut **t).await?.rows_affected());
    if moved == 0 && from == 0 {
        moved = on!(&mut *tx, t =>
            sqlx::query(insert).bind(boot).bind(stream).bind(to).bind(units).execute(&mut **t).await?.rows_affected());
    }
    if moved > 0 {
        return Ok(Applied::Moved);
    }
    let position: Option<i64> = on!(&mut *tx, t =>
        sqlx::query_scalar(POSITION).bind(boot).bind(stream).fetch_optional(&mut **t).await)?;
    Ok(if stored_position(position)? >= span.to { Applied::Already } else { Applied::Gap })
}

fn stored_position(position: Option<i64>) -> Result<u64, Error> {
    u64::try_from(position.unwrap_or(0)).map_err(|e| Error::Corrupt(format!("journal_cursors.position: {e}")))
}

pub(crate) fn bound(position: u64) -> Result<i64, Error> {
    i64::try_from(position).map_err(|e| Error::Corrupt(format!("a journal position: {e}")))
}
