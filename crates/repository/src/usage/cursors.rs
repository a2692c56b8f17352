//! How far the database has each boot's journal. The cursor moves in the transaction that adds the rows before it,
//! so a batch that comes twice, late or out of order adds nothing. Cursors belong to the installation, because a
//! journal has rows of all tenants.

use tollgate_domain::{BootId, JournalStream, usage::JournalSpan};

use super::Usage;
use crate::{Error, core::database::Tx};

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

const POSITION: &str = "select position from journal_cursors where boot_id = $1 and stream = $2";

/// Moves the cursor over `span` if it is at the span's start. The row stays locked until the transaction ends.
pub(crate) async fn advance(tx: &mut Tx, span: &JournalSpan, stream: JournalStream) -> Result<Applied, Error> {
    if span.to <= span.from {
        return Ok(Applied::Already);
    }
    let (from, to) = (bound(span.from)?, bound(span.to)?);
    let update = "update journal_cursors set position = $4 where boot_id = $1 and stream = $2 and position = $3";
    let insert = "
        insert into journal_cursors (boot_id, stream, position) values ($1, $2, $3)
        on conflict (boot_id, stream) do nothing";
    let (boot, stream) = (span.boot.0, stream.as_str());
    let mut moved = on!(&mut *tx, t => sqlx::query(update)
        .bind(boot).bind(stream).bind(from).bind(to).execute(&mut **t).await?.rows_affected());
    if moved == 0 && from == 0 {
        moved = on!(&mut *tx, t =>
            sqlx::query(insert).bind(boot).bind(stream).bind(to).execute(&mut **t).await?.rows_affected());
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
