//! All records or lines of some months, in their order and as one moment saw them, however many they are.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use tollgate_domain::{
    RecordId, TenantId,
    billing::{Record, RecordLine},
};
use uuid::Uuid;

use super::{
    Billing,
    rows::{LineRow, RecordRow, line_columns, record_columns},
};
use crate::{
    Error,
    core::{database::Tx, time::micros},
};

/// Rows read at a time: some hundred kilobytes.
const PAGE: i64 = 500;

/// What is exported.
#[derive(Clone, Debug)]
pub struct ExportRange {
    /// The first month's start.
    pub from: DateTime<Utc>,
    /// The start of the first month that is left out.
    pub to: DateTime<Utc>,
    /// Of one owner only.
    pub owner_id: Option<String>,
}

/// Reads an export page by page in one snapshot, which ends with it.
pub struct Export {
    tx: Tx,
    tenant_id: TenantId,
    range: ExportRange,
    /// The record read last.
    after: (DateTime<Utc>, Uuid, i32),
}

impl Billing<'_> {
    /// Begins an export. It holds a connection until it is dropped.
    pub async fn export(self, tenant_id: TenantId, range: ExportRange) -> Result<Export, Error> {
        let tx = self.0.begin_snapshot().await?;
        Ok(Export { tx, tenant_id, range, after: (DateTime::UNIX_EPOCH, Uuid::nil(), 0) })
    }
}

impl Export {
    /// The next records, by month, key and revision. Empty at the end.
    pub async fn records(&mut self) -> Result<Vec<Record>, Error> {
        let text = concat!(
            "select ",
            record_columns!(),
            " from billing_records r
             where r.tenant_id = $1 and r.period_start >= $2 and r.period_start < $3
                and (r.period_start, r.api_key_id, r.revision) > ($4, $5, $6) and ($7 is null or r.owner_id = $7)
             order by r.period_start, r.api_key_id, r.revision limit $8"
        );
        let (start, key, revision) = self.after;
        let rows: Vec<RecordRow> = on!(&mut self.tx, t => sqlx::query_as(text)
            .bind(self.tenant_id.0).bind(micros(self.range.from)).bind(micros(self.range.to))
            .bind(start).bind(key).bind(revision).bind(self.range.owner_id.clone()).bind(PAGE)
            .fetch_all(&mut **t).await)?;
        let records = rows.into_iter().map(Record::try_from).collect::<Result<Vec<_>, _>>()?;
        if let Some(last) = records.last() {
            let revision = i32::try_from(last.revision).unwrap_or(i32::MAX);
            self.after = (last.period.start, last.api_key_id.0, revision);
        }
        Ok(records)
    }

    /// The next records with the lines of each. Empty at the end.
    pub async fn lines(&mut self) -> Result<Vec<(Record, Vec<RecordLine>)>, Error> {
        let text = concat!(
            "select l.record_id, ",
            line_columns!(),
            " from billing_lines l join billing_records r on r.tenant_id = l.tenant_id and r.id = l.record_id
             where r.tenant_id = $1 and (r.period_start, r.api_key_id, r.revision) > ($2, $3, $4)
                and (r.period_start, r.api_key_id, r.revision) <= ($5, $6, $7)
             order by r.period_start, r.api_key_id, r.revision, l.position"
        );
        let (start, key, revision) = self.after;
        let records = self.records().await?;
        let (last_start, last_key, last_revision) = self.after;
        let rows: Vec<OfRecord> = on!(&mut self.tx, t => sqlx::query_as(text)
            .bind(self.tenant_id.0).bind(start).bind(key).bind(revision)
            .bind(last_start).bind(last_key).bind(last_revision).fetch_all(&mut **t).await)?;
        // With those of other owners in between.
        let mut lines: HashMap<RecordId, Vec<RecordLine>> = HashMap::new();
        for row in rows {
            lines.entry(RecordId(row.record_id)).or_default().push(row.line.try_into()?);
        }
        let with_lines = |record: Record| {
            let lines = lines.remove(&record.id).unwrap_or_default();
            (record, lines)
        };
        Ok(records.into_iter().map(with_lines).collect())
    }
}

#[derive(sqlx::FromRow)]
struct OfRecord {
    record_id: Uuid,
    #[sqlx(flatten)]
    line: LineRow,
}
