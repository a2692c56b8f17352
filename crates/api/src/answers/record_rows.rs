//! Records and lines as rows of a file: CSV (RFC 4180), JSON, or a JSON object per line.

use std::{collections::BTreeMap, io};

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tollgate_domain::{
    Currency, Money, RecordId,
    billing::{Record, RecordLine, record::hex},
};

use crate::answers::{bill::LineView, record::RecordView};

/// What a row is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    #[default]
    Records,
    Lines,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    #[default]
    Csv,
    Json,
    Ndjson,
}

impl Format {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
            Self::Ndjson => "ndjson",
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
        }
    }
}

const RECORD_COLUMNS: [&str; 30] = [
    "row",
    "number",
    "id",
    "revision",
    "status",
    "payment_status",
    "api_key_id",
    "api_key_name",
    "owner_id",
    "environment",
    "tier",
    "period_start",
    "period_end",
    "currency",
    "units",
    "overage_units",
    "subtotal",
    "credits_applied",
    "rounding",
    "total",
    "amount_due",
    "amount_due_minor",
    "amount_paid",
    "closed_at",
    "due_at",
    "paid_at",
    "voided_at",
    "void_reason",
    "complete",
    "digest",
];
const LINE_COLUMNS: [&str; 21] = [
    "row",
    "record_number",
    "record_id",
    "status",
    "api_key_id",
    "owner_id",
    "currency",
    "position",
    "kind",
    "description",
    "tier_name",
    "tier",
    "segment_start",
    "segment_end",
    "share",
    "period_start",
    "period_end",
    "quantity",
    "unit_amount",
    "amount",
    "corrects_record_id",
];

/// Writes an export and adds up what it wrote.
pub(crate) struct Rows {
    kind: Kind,
    format: Format,
    begun: bool,
    /// Rows and amounts by currency, of records that count.
    totals: BTreeMap<Currency, (u64, i128)>,
    rows: u64,
}

#[derive(Serialize)]
struct LineOfRecord<'a> {
    record_id: RecordId,
    record_number: &'a str,
    #[serde(flatten)]
    line: LineView,
}

#[derive(Serialize)]
struct Sum {
    currency: Currency,
    count: u64,
    amount: String,
}

impl Rows {
    pub(crate) fn new(kind: Kind, format: Format) -> Self {
        Self { kind, format, begun: false, totals: BTreeMap::new(), rows: 0 }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The rows of some records. None: there are no more.
    pub(crate) fn records(&mut self, records: Vec<Record>) -> io::Result<Option<Bytes>> {
        if records.is_empty() {
            return Ok(None);
        }
        let mut out = self.begin()?;
        for record in records {
            self.count(&record, record.amount_due);
            match self.format {
                Format::Csv => csv(&mut out, &record_cells(&record))?,
                Format::Json | Format::Ndjson => self.object(&mut out, &RecordView::from(record))?,
            }
        }
        Ok(Some(out.into()))
    }

    /// The rows of the lines of some records. None: there are no more.
    pub(crate) fn lines(&mut self, records: Vec<(Record, Vec<RecordLine>)>) -> io::Result<Option<Bytes>> {
        if records.is_empty() {
            return Ok(None);
        }
        let mut out = self.begin()?;
        for (record, lines) in records {
            for line in lines {
                self.count(&record, line.amount);
                match self.format {
                    Format::Csv => csv(&mut out, &line_cells(&record, &line))?,
                    Format::Json | Format::Ndjson => {
                        let line = LineView::new(line, record.currency);
                        let row = LineOfRecord { record_id: record.id, record_number: &record.number, line };
                        self.object(&mut out, &row)?;
                    }
                }
            }
        }
        Ok(Some(out.into()))
    }

    /// What shows that the export is whole: how many rows there are, and per currency the sum of what counts.
    pub(crate) fn end(&mut self) -> io::Result<Bytes> {
        let mut out = self.begin()?;
        let sum = |(currency, (count, amount)): (&Currency, &(u64, i128))| Sum {
            currency: *currency,
            count: *count,
            amount: i64::try_from(*amount)
                .map_or_else(|_| amount.to_string(), |amount| Money(amount).in_currency(*currency)),
        };
        let sums: Vec<Sum> = self.totals.iter().map(sum).collect();
        match self.format {
            Format::Csv => {
                let (columns, amount_at): (&[&str], _) = match self.kind {
                    Kind::Records => (&RECORD_COLUMNS, "amount_due"),
                    Kind::Lines => (&LINE_COLUMNS, "amount"),
                };
                for sum in sums {
                    let cell = |column: &&str| match *column {
                        "row" => "total".to_owned(),
                        "revision" | "position" => sum.count.to_string(),
                        "currency" => sum.currency.to_string(),
                        column if column == amount_at => sum.amount.clone(),
                        _ => String::new(),
                    };
                    csv(&mut out, &columns.iter().map(cell).collect::<Vec<_>>())?;
                }
                let cell = |column: &&str| match *column {
                    "row" => "end".to_owned(),
                    "revision" | "position" => self.rows.to_string(),
                    _ => String::new(),
                };
                csv(&mut out, &columns.iter().map(cell).collect::<Vec<_>>())?;
            }
            Format::Json => {
                out.extend_from_slice(b"],\"end\":");
                serde_json::to_writer(&mut out, &json!({"count": self.rows, "totals": sums}))?;
                out.extend_from_slice(b"}");
            }
            Format::Ndjson => {
                serde_json::to_writer(&mut out, &json!({"end": {"count": self.rows, "totals": sums}}))?;
                out.push(b'\n');
            }
        }
        Ok(out.into())
    }

    fn begin(&mut self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            match (self.format, self.kind) {
                (Format::Csv, Kind::Records) => csv(&mut out, &RECORD_COLUMNS)?,
                (Format::Csv, Kind::Lines) => csv(&mut out, &LINE_COLUMNS)?,
                (Format::Json, _) => out.extend_from_slice(b"{\"data\":["),
                (Format::Ndjson, _) => {}
            }
        }
        Ok(out)
    }

    fn count(&mut self, record: &Record, amount: Money) {
        self.rows += 1;
        if record.voided_at.is_none() {
            let (count, sum) = self.totals.entry(record.currency).or_default();
            (*count, *sum) = (*count + 1, *sum + i128::from(amount.0));
        }
    }

    fn object(&mut self, out: &mut Vec<u8>, row: &impl Serialize) -> io::Result<()> {
        if self.format == Format::Json && self.rows > 1 {
            out.push(b',');
        }
        serde_json::to_writer(&mut *out, row)?;
        if self.format == Format::Ndjson {
            out.push(b'\n');
        }
        Ok(())
    }
}

fn csv<T: AsRef<str>>(out: &mut Vec<u8>, cells: &[T]) -> io::Result<()> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(out);
    writer.write_record(cells.iter().map(AsRef::as_ref))?;
    writer.flush()
}

/// A text that a spreadsheet takes for no formula.
fn guarded(text: &str) -> String {
    let mark = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("{mark}{text}")
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn record_cells(record: &Record) -> Vec<String> {
    let amount = |amount: Money| amount.in_currency(record.currency);
    let optional = |at: Option<DateTime<Utc>>| at.map(time).unwrap_or_default();
    let text = |text: &Option<String>| text.as_deref().map(guarded).unwrap_or_default();
    vec![
        "record".into(),
        record.number.clone(),
        record.id.to_string(),
        record.revision.to_string(),
        record.status.as_str().into(),
        record.payment_status.map(|status| status.as_str().to_owned()).unwrap_or_default(),
        record.api_key_id.to_string(),
        guarded(&record.api_key_name),
        text(&record.owner_id),
        record.environment.as_str().into(),
        guarded(&record.tier),
        time(record.period.start),
        time(record.period.end),
        record.currency.to_string(),
        record.units.to_string(),
        record.overage_units.to_string(),
        amount(record.subtotal),
        amount(record.credits_applied),
        amount(record.rounding),
        amount(record.total),
        amount(record.amount_due),
        record.amount_due_minor.to_string(),
        amount(record.amount_paid),
        optional(record.closed_at),
        optional(record.due_at),
        optional(record.paid_at),
        optional(record.voided_at),
        text(&record.void_reason),
        record.complete.to_string(),
        format!("sha256:{}", hex(&record.digest)),
    ]
}

fn line_cells(record: &Record, line: &RecordLine) -> Vec<String> {
    let segment = line.segment.as_ref();
    vec![
        "line".into(),
        record.number.clone(),
        record.id.to_string(),
        record.status.as_str().into(),
        record.api_key_id.to_string(),
        record.owner_id.as_deref().map(guarded).unwrap_or_default(),
        record.currency.to_string(),
        line.position.to_string(),
        line.kind.as_str().into(),
        line.description().into(),
        line.tier_name.as_deref().map(guarded).unwrap_or_default(),
        line.tier.map(|tier| tier.to_string()).unwrap_or_default(),
        segment.map(|segment| time(segment.start)).unwrap_or_default(),
        segment.map(|segment| time(segment.end)).unwrap_or_default(),
        segment.map(|segment| segment.share.clone()).unwrap_or_default(),
        time(line.period.start),
        time(line.period.end),
        line.quantity.to_string(),
        line.unit_amount.map(|unit| unit.in_currency(record.currency)).unwrap_or_default(),
        line.amount.in_currency(record.currency),
        line.corrects_record_id.map(|id| id.to_string()).unwrap_or_default(),
    ]
}
