//! Closing months: what is due, and the work on some of it.

use chrono::{DateTime, TimeDelta, Utc};
use tollgate_domain::{
    ApiKeyId, BillingPeriod, Invalid, RecordId, TenantId,
    billing::{DuePeriod, Record, RecordStatus},
};
use tollgate_jobs::{
    Job, Push,
    job::billing_close::{NAME, Payload},
};
use tollgate_repository::{CloseTerms, Voided};

use super::{Billing, RECORD};
use crate::Error;

/// Keys of one job: a second or two of work.
const RANGE: i64 = 2_000;
/// Keys closed in one transaction: some tens of milliseconds in which SQLite lets nobody else write.
const BATCH: i64 = 100;
/// A period is closed after this long although a node has not brought its usage: the record says that it is not complete.
const PATIENCE: TimeDelta = TimeDelta::hours(24);

impl Billing<'_> {
    /// Queues a job for every range of keys whose period is to be closed, and marks payments that are overdue.
    pub async fn sweep(self) -> Result<(), Error> {
        let now = self.0.clock().now();
        let billing = self.0.repository().billing();
        billing.reopen(BillingPeriod::containing(now).start).await?;
        while billing.mark_overdue(now).await? > 0 {}
        let closable = BillingPeriod::containing(now - self.grace()).start;
        let mut after = None;
        loop {
            let due = billing.due(closable, after, RANGE).await?;
            let (Some(first), Some(last)) = (due.first(), due.last()) else { return Ok(()) };
            after = Some(*last);
            // A range is of one period.
            for range in due.chunk_by(|a, b| a.period_start == b.period_start) {
                let period = BillingPeriod::containing(range.first().unwrap_or(first).period_start);
                if let (Some(first), Some(last)) = (range.first(), range.last())
                    && self.may_close(period, now).await?
                {
                    self.push(*first, *last).await?;
                }
            }
        }
    }

    /// Closes the period of the keys in a range that have it next, and then those after it that are over too. Returns the number
    /// of records.
    pub async fn close_range(self, first: DuePeriod, last: DuePeriod) -> Result<usize, Error> {
        let (mut period, now) = (BillingPeriod::containing(first.period_start), self.0.clock().now());
        let (mut records, mut is_folded) = (0, false);
        while self.may_close(period, now).await? {
            if !is_folded {
                self.fold_all().await?;
                is_folded = true;
            }
            let of = |due: DuePeriod| DuePeriod { period_start: period.start, ..due };
            records += self.close_period(of(first), of(last), period).await?;
            period = BillingPeriod::containing(period.end);
        }
        Ok(records)
    }

    async fn close_period(self, mut first: DuePeriod, last: DuePeriod, period: BillingPeriod) -> Result<usize, Error> {
        let (terms, mut records) = (self.terms(period, self.0.clock().now()).await?, 0);
        loop {
            let due = self.0.repository().billing().due_between(first, last, BATCH).await?;
            let keys: Vec<_> = due.iter().map(|due| (due.tenant_id, due.api_key_id)).collect();
            let Some(newest) = due.last() else { return Ok(records) };
            let closed = self.0.repository().billing().close(&keys, terms).await?;
            records += closed.records;
            self.0.metrics().billing_records.inc_by(u64::try_from(closed.records).unwrap_or(u64::MAX));
            for left in &closed.unbillable {
                let api_key_id = left.api_key_id;
                tracing::error!(%api_key_id, "an amount is too large to be billed; the period stays open");
            }
            if *newest == last {
                return Ok(records);
            }
            // Those that stay open are not met again.
            first = *newest;
            if due.len() == closed.unbillable.len() {
                return Ok(records);
            }
        }
    }

    /// Closes a month of these keys at once, whatever the time: for demonstration data and benchmarks.
    pub async fn close_keys(self, keys: &[(TenantId, ApiKeyId)], period: BillingPeriod) -> Result<usize, Error> {
        let terms = CloseTerms { complete: true, ..self.terms(period, self.0.clock().now()).await? };
        let (batch, mut records) = (usize::try_from(BATCH).unwrap_or(1), 0);
        for keys in keys.chunks(batch) {
            records += self.0.repository().billing().close(keys, terms).await?.records;
        }
        Ok(records)
    }

    /// Queues the closing of a month: of one key, or of all that have it next. Returns the id of the job; what is closed already
    /// stays as it is.
    ///
    /// # Errors
    /// [`Error::Conflict`] before the month has ended and its last usage is in.
    pub async fn close_now(
        self,
        tenant_id: TenantId,
        period: BillingPeriod,
        key: Option<ApiKeyId>,
    ) -> Result<String, Error> {
        let now = self.0.clock().now();
        if now < period.end + self.grace() {
            let at = (period.end + self.grace()).format("%Y-%m-%dT%H:%M:%SZ");
            return Err(Error::Conflict(format!("the period is not over and in: it can be closed from {at} on")));
        }
        if !self.may_close(period, now).await? {
            return Err(Error::Conflict("a node has not brought all usage of the period yet".into()));
        }
        if let Some(key) = key {
            self.0.keys().get_even_deleted(tenant_id, key).await.map_err(|error| match error {
                Error::NotFound(_) => Invalid::field("/api_key_id", "no such API key").into(),
                other => other,
            })?;
        }
        let of = |id: uuid::Uuid| DuePeriod { period_start: period.start, tenant_id, api_key_id: ApiKeyId(id) };
        let (first, last) = match key {
            Some(key) => (of(key.0), of(key.0)),
            None => (of(uuid::Uuid::nil()), of(uuid::Uuid::max())),
        };
        self.push(first, last).await
    }

    async fn push(self, first: DuePeriod, last: DuePeriod) -> Result<String, Error> {
        let id = format!("{NAME}:{}:{}:{}", first.period_start.timestamp(), first.tenant_id, first.api_key_id);
        let push = Push { id: Some(id.clone()), ..Push::default() };
        self.0.queue().push(&Job::BillingClose(Payload { first, last }), push).await?;
        Ok(id)
    }

    /// Takes a closed record back. With `rebill`, one with the present figures takes its place.
    ///
    /// # Errors
    /// [`Error::Conflict`] while money is paid for it.
    pub async fn void(self, tenant_id: TenantId, id: RecordId, reason: &str, rebill: bool) -> Result<Voided, Error> {
        let now = self.0.clock().now();
        let (record, _) = self.0.repository().billing().record(tenant_id, id).await?.ok_or(Error::NotFound(RECORD))?;
        let terms = match rebill {
            true => {
                self.fold_all().await?;
                Some(self.terms(record.period, now).await?)
            }
            false => None,
        };
        let check = |record: &Record| match (record.status, record.amount_paid.0) {
            (RecordStatus::Void, _) => Ok(false),
            (_, 1..) if record.payment_status != Some(tollgate_domain::billing::PaymentStatus::Refunded) => {
                Err(Error::Conflict("the record is paid: refund it first".into()))
            }
            _ => Ok(true),
        };
        let voided = self.0.repository().billing().void(tenant_id, id, reason, terms, now, check).await?;
        voided.ok_or(Error::NotFound(RECORD))
    }

    /// Whether the period's end and the grace are past and all nodes' usage of it is in, or has been waited for long enough.
    async fn may_close(self, period: BillingPeriod, now: DateTime<Utc>) -> Result<bool, Error> {
        let ended = now >= period.end + self.grace();
        Ok(ended && (now >= period.end + PATIENCE || self.0.repository().usage().is_complete(period.end).await?))
    }

    async fn terms(self, period: BillingPeriod, now: DateTime<Utc>) -> Result<CloseTerms, Error> {
        Ok(CloseTerms {
            period,
            grace: self.grace(),
            due_after: TimeDelta::days(self.0.config().billing.due_days.into()),
            complete: self.0.repository().usage().is_complete(period.end).await?,
            now,
        })
    }

    /// Adds all pending usage to the tables, of which bills are made.
    async fn fold_all(self) -> Result<(), Error> {
        for part in self.0.metering().waiting_parts().await? {
            self.0.metering().fold(part).await?;
        }
        Ok(())
    }

    fn grace(self) -> TimeDelta {
        TimeDelta::seconds(self.0.config().billing.grace_seconds.into())
    }
}
