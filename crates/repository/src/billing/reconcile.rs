//! What must agree, and does not: units of journals, periods, segments, minutes and records, and the digests of records. Reads
//! only; a difference is a row, which names what differs.

use chrono::{DateTime, Utc};
use tollgate_domain::{
    ApiKeyId, Page, Paged, RecordId, TenantId,
    billing::{
        Record,
        finding::{Finding, FindingFilter, FindingKind, FindingStatus},
        record::hex,
    },
};
use uuid::Uuid;

use super::{Billing, rows};
use crate::{
    Error,
    core::{database::Tx, text::storable, time::micros},
};

/// Records whose digests are computed in one snapshot.
const PAGE: i64 = 500;

/// A difference as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Whose. None: the installation's.
    pub tenant_id: Option<TenantId>,
    /// What was compared.
    pub kind: FindingKind,
    /// The key or the record; empty: all journals.
    pub subject: String,
    /// The period's start, where there is one.
    pub period_start: Option<DateTime<Utc>>,
    /// What it should be.
    pub expected: String,
    /// What it is.
    pub actual: String,
}

type UnitsRow = (Uuid, Uuid, DateTime<Utc>, i64, i64);

impl Billing<'_> {
    /// Compares units: of all journals with all periods, and of each key and period with its segments, minutes, hours, days and
    /// records. Usage that waits to be added to the tables counts to the journals' side.
    pub async fn compare_units(self, minutes_since: DateTime<Utc>) -> Result<Vec<Difference>, Error> {
        let segments = "
            select p.tenant_id, p.api_key_id, p.period_start, p.allowed, cast(coalesce(sum(s.units), 0) as bigint)
            from usage_periods p left join usage_segments s
                on s.tenant_id = p.tenant_id and s.api_key_id = p.api_key_id and s.period_start = p.period_start
            group by p.tenant_id, p.api_key_id, p.period_start, p.allowed
            having p.allowed <> coalesce(sum(s.units), 0)";
        let orphans = "
            select s.tenant_id, s.api_key_id, s.period_start, cast(0 as bigint), cast(sum(s.units) as bigint)
            from usage_segments s where not exists (select 1 from usage_periods p where p.tenant_id = s.tenant_id
                and p.api_key_id = s.api_key_id and p.period_start = s.period_start)
            group by s.tenant_id, s.api_key_id, s.period_start";
        let records = "
            select r.tenant_id, r.api_key_id, u.period_start, cast(coalesce(max(p.allowed), 0) as bigint),
                cast(sum(u.units) as bigint)
            from billing_records r
            join billing_units u on u.tenant_id = r.tenant_id and u.record_id = r.id
            left join usage_periods p
                on p.tenant_id = r.tenant_id and p.api_key_id = r.api_key_id and p.period_start = u.period_start
            where r.status <> 'void' and not exists (select 1 from billing_due d where d.tenant_id = r.tenant_id
                and d.api_key_id = r.api_key_id and d.period_start = u.period_start)
            group by r.tenant_id, r.api_key_id, u.period_start
            having coalesce(max(p.allowed), 0) <> sum(u.units)";
        let units: Vec<(FindingKind, Vec<UnitsRow>)> = self
            .0
            .snapshot(|mut tx| async move {
                Ok(on!(&mut tx, t => vec![
                    (FindingKind::Segments, sqlx::query_as(segments).fetch_all(&mut **t).await?),
                    (FindingKind::Segments, sqlx::query_as(orphans).fetch_all(&mut **t).await?),
                    (FindingKind::RecordUnits, sqlx::query_as(records).fetch_all(&mut **t).await?),
                ]))
            })
            .await?;
        let mut found: Vec<Difference> =
            units.into_iter().flat_map(|(kind, rows)| rows.into_iter().map(move |row| difference(kind, row))).collect();
        found.extend(self.compare_buckets(minutes_since).await?);
        Ok(found)
    }

    /// Days with their hours and minutes, and periods with their days.
    async fn compare_buckets(self, minutes_since: DateTime<Utc>) -> Result<Vec<Difference>, Error> {
        let hours = "
            select d.tenant_id, d.api_key_id, d.day, d.allowed, cast(coalesce(sum(h.allowed), 0) as bigint)
            from usage_days d left join usage_hours h
                on h.tenant_id = d.tenant_id and h.api_key_id = d.api_key_id and h.hour >= d.day and h.hour < $2
            where d.day = $1 group by d.tenant_id, d.api_key_id, d.day, d.allowed
            having d.allowed <> coalesce(sum(h.allowed), 0)";
        let minutes = "
            select d.tenant_id, d.api_key_id, d.day, d.allowed, cast(coalesce(sum(m.allowed), 0) as bigint)
            from usage_days d left join usage_minutes m
                on m.tenant_id = d.tenant_id and m.api_key_id = d.api_key_id and m.minute >= d.day and m.minute < $2
            where d.day = $1 group by d.tenant_id, d.api_key_id, d.day, d.allowed
            having d.allowed <> coalesce(sum(m.allowed), 0)";
        let days = "select distinct day from usage_days order by day";
        let months = "select distinct period_start from usage_periods order by period_start";
        let periods = "
            select p.tenant_id, p.api_key_id, p.period_start, p.allowed, cast(coalesce(sum(d.allowed), 0) as bigint)
            from usage_periods p left join usage_days d
                on d.tenant_id = p.tenant_id and d.api_key_id = p.api_key_id and d.day >= p.period_start and d.day < $2
            where p.period_start = $1 group by p.tenant_id, p.api_key_id, p.period_start, p.allowed
            having p.allowed <> coalesce(sum(d.allowed), 0)";
        let mut found = Vec::new();
        let list = async |text: &'static str| -> Result<Vec<DateTime<Utc>>, Error> {
            self.0.read(|db| async move { on!(&db, pool => sqlx::query_scalar(text).fetch_all(pool).await) }).await
        };
        let compare =
            async |text: &'static str, from: DateTime<Utc>, to: DateTime<Utc>| -> Result<Vec<UnitsRow>, Error> {
                self.0
                    .read(|db| async move {
                        on!(&db, pool => sqlx::query_as(text).bind(from).bind(to).fetch_all(pool).await)
                    })
                    .await
            };
        for day in list(days).await? {
            let end = day + chrono::TimeDelta::days(1);
            found.extend(compare(hours, day, end).await?.into_iter().map(|row| difference(FindingKind::Hours, row)));
            if day >= minutes_since {
                let rows = compare(minutes, day, end).await?;
                found.extend(rows.into_iter().map(|row| difference(FindingKind::Minutes, row)));
            }
        }
        for month in list(months).await? {
            let end = tollgate_domain::BillingPeriod::containing(month).end;
            found.extend(compare(periods, month, end).await?.into_iter().map(|row| difference(FindingKind::Days, row)));
        }
        Ok(found)
    }

    /// Compares the units that all journals have brought with what all periods hold and what waits to be added. None: they agree.
    pub async fn compare_journals(self) -> Result<Option<Difference>, Error> {
        let (expected, actual) = self.journal_units().await?;
        Ok((expected != actual).then(|| Difference {
            tenant_id: None,
            kind: FindingKind::Journal,
            subject: String::new(),
            period_start: None,
            expected: expected.to_string(),
            actual: actual.to_string(),
        }))
    }

    /// The units that all journals have brought, and those that all periods hold or will hold, in one snapshot.
    pub(crate) async fn journal_units(self) -> Result<(i64, i64), Error> {
        let journals = "select cast(coalesce(sum(units), 0) as bigint) from journal_cursors where stream = 'usage'";
        let before = "select cast(coalesce(sum(units), 0) as bigint) from journal_baseline";
        let periods = "select cast(coalesce(sum(allowed - coalesce(event_units, 0)), 0) as bigint) from usage_periods";
        let waiting = "select rows from usage_pending";
        let (expected, stored, waiting): (i64, i64, Vec<Vec<u8>>) = self
            .0
            .snapshot(|mut tx| async move {
                on!(&mut tx, t => {
                    let journals: i64 = sqlx::query_scalar(journals).fetch_one(&mut **t).await?;
                    let before: i64 = sqlx::query_scalar(before).fetch_one(&mut **t).await?;
                    let periods: i64 = sqlx::query_scalar(periods).fetch_one(&mut **t).await?;
                    let waiting = sqlx::query_scalar(waiting).fetch_all(&mut **t).await?;
                    Ok((journals.saturating_add(before), periods, waiting))
                })
            })
            .await?;
        let mut actual = stored;
        for rows in waiting {
            for usage in crate::usage::pending::unpacked(rows, |_| true)? {
                let minutes = usage.minutes.iter();
                actual = minutes.fold(actual, |sum, row| sum.saturating_add(row.counts.allowed));
            }
        }
        Ok((expected, actual))
    }

    /// Computes the digests of stored records again, from behind `after` on, and compares sums with lines. Returns the differences
    /// and where to go on; None at the end.
    pub async fn compare_digests(
        self,
        after: (TenantId, RecordId),
    ) -> Result<(Vec<Difference>, Option<(TenantId, RecordId)>), Error> {
        let text = "
            select tenant_id, id from billing_records where (tenant_id, id) > ($1, $2) order by tenant_id, id limit $3";
        self.0
            .snapshot(|mut tx| async move {
                let compared = async {
                    let ids: Vec<(Uuid, Uuid)> = on!(&mut tx, t => sqlx::query_as(text)
                        .bind(after.0.0).bind(after.1.0).bind(PAGE).fetch_all(&mut **t).await)?;
                    let mut found = Vec::new();
                    for (tenant, id) in &ids {
                        found.extend(digest_of(&mut tx, TenantId(*tenant), RecordId(*id)).await?);
                    }
                    Ok((found, ids.last().map(|(tenant, id)| (TenantId(*tenant), RecordId(*id)))))
                };
                Ok(compared.await)
            })
            .await?
    }

    /// Stores what was found; what is known already stays as it is. Returns how many are new.
    pub async fn store_findings(
        self,
        found: &[Difference],
        now: DateTime<Utc>,
        id: impl Fn() -> Uuid,
    ) -> Result<u64, Error> {
        let text = "
            insert into reconciliation_findings (tenant_id, id, kind, subject, period_start, expected, actual, found_at, status)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            on conflict (tenant_id, kind, subject, period_start, expected, actual) do nothing";
        let id = &id;
        self.0
            .write(|| async {
                let mut tx = self.0.begin().await?;
                let mut new = 0;
                for one in found {
                    let tenant = one.tenant_id.unwrap_or(TenantId::DEFAULT);
                    new += on!(&mut tx, t => sqlx::query(text)
                        .bind(tenant.0).bind(id()).bind(one.kind.as_str()).bind(storable(&one.subject))
                        .bind(one.period_start.unwrap_or(DateTime::UNIX_EPOCH)).bind(&one.expected).bind(&one.actual)
                        .bind(micros(now)).bind(FindingStatus::Open.as_str())
                        .execute(&mut **t).await?.rows_affected());
                }
                tx.commit().await?;
                Ok(new)
            })
            .await
    }

    /// A page of findings, the newest first.
    pub async fn findings(
        self,
        tenant_id: TenantId,
        filter: FindingFilter,
        page: Page,
    ) -> Result<Paged<Finding>, Error> {
        let text = "
            select id, kind, subject, period_start, expected, actual, found_at, status, note from reconciliation_findings
            where tenant_id = $1 and ($2 is null or kind = $2) and ($3 is null or status = $3)
            order by found_at desc, id desc limit $4 offset $5";
        let count = "
            select count(*) from reconciliation_findings
            where tenant_id = $1 and ($2 is null or kind = $2) and ($3 is null or status = $3)";
        let (kind, status) = (filter.kind.map(FindingKind::as_str), filter.status.map(FindingStatus::as_str));
        let (rows, total): (Vec<FindingRow>, i64) = self
            .0
            .read(|db| async move {
                on!(&db, pool => {
                    let rows = sqlx::query_as(text).bind(tenant_id.0).bind(kind).bind(status)
                        .bind(page.rows()).bind(page.offset()).fetch_all(pool).await?;
                    let total = sqlx::query_scalar(count)
                        .bind(tenant_id.0).bind(kind).bind(status).fetch_one(pool).await?;
                    Ok((rows, total))
                })
            })
            .await?;
        Ok(Paged { items: rows.into_iter().map(Finding::try_from).collect::<Result<_, _>>()?, total })
    }

    /// Says that somebody has seen a finding. None when there is none.
    pub async fn acknowledge_finding(
        self,
        tenant_id: TenantId,
        id: Uuid,
        note: Option<&str>,
    ) -> Result<Option<Finding>, Error> {
        let text = "
            update reconciliation_findings set status = $3, note = $4 where tenant_id = $1 and id = $2
            returning id, kind, subject, period_start, expected, actual, found_at, status, note";
        let row: Option<FindingRow> = self
            .0
            .write(|| async {
                let mut tx = self.0.begin().await?;
                let row = on!(&mut tx, t => sqlx::query_as(text)
                    .bind(tenant_id.0).bind(id).bind(FindingStatus::Acknowledged.as_str()).bind(note)
                    .fetch_optional(&mut **t).await?);
                tx.commit().await?;
                Ok(row)
            })
            .await?;
        row.map(Finding::try_from).transpose()
    }

    /// Findings that nobody has seen yet, over all tenants.
    pub async fn open_findings(self) -> Result<i64, Error> {
        let text = "select count(*) from reconciliation_findings where status = 'open'";
        self.0.read_lagging(|db| async move { on!(&db, pool => sqlx::query_scalar(text).fetch_one(pool).await) }).await
    }
}

#[derive(sqlx::FromRow)]
struct FindingRow {
    id: Uuid,
    kind: String,
    subject: String,
    period_start: DateTime<Utc>,
    expected: String,
    actual: String,
    found_at: DateTime<Utc>,
    status: String,
    note: Option<String>,
}

impl TryFrom<FindingRow> for Finding {
    type Error = Error;

    fn try_from(row: FindingRow) -> Result<Self, Error> {
        let kind = FindingKind::ALL.into_iter().find(|kind| kind.as_str() == row.kind);
        let status = FindingStatus::ALL.into_iter().find(|status| status.as_str() == row.status);
        Ok(Self {
            id: row.id,
            kind: kind.ok_or_else(|| Error::Corrupt("reconciliation_findings.kind".into()))?,
            subject: row.subject,
            period_start: (row.period_start > DateTime::UNIX_EPOCH).then_some(row.period_start),
            expected: row.expected,
            actual: row.actual,
            found_at: row.found_at,
            status: status.ok_or_else(|| Error::Corrupt("reconciliation_findings.status".into()))?,
            note: row.note,
        })
    }
}

fn difference(kind: FindingKind, (tenant, key, at, expected, actual): UnitsRow) -> Difference {
    Difference {
        tenant_id: Some(TenantId(tenant)),
        kind,
        subject: ApiKeyId(key).to_string(),
        period_start: Some(at),
        expected: expected.to_string(),
        actual: actual.to_string(),
    }
}

/// A record whose digest is not that of what it holds, or whose lines do not add up.
async fn digest_of(tx: &mut Tx, tenant_id: TenantId, id: RecordId) -> Result<Option<Difference>, Error> {
    let Some(record) = rows::get(tx, tenant_id, id).await? else { return Ok(None) };
    let lines = rows::lines(tx, tenant_id, id).await?;
    let of = |kind, expected: String, actual: String| Difference {
        tenant_id: Some(tenant_id),
        kind,
        subject: id.to_string(),
        period_start: Some(record.period.start),
        expected,
        actual,
    };
    let sum: i128 = lines.iter().map(|line| i128::from(line.amount.0)).sum();
    if sum != i128::from(record.total.0) {
        return Ok(Some(of(FindingKind::RecordLines, record.total.0.to_string(), sum.to_string())));
    }
    let digest = Record::digest_of(&record, &lines).map_err(|error| Error::Corrupt(error.to_string()))?;
    Ok((digest != record.digest).then(|| of(FindingKind::Digest, hex(&record.digest), hex(&digest))))
}
