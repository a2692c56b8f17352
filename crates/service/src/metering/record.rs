//! Records the outcome of a check.

use chrono::{DateTime, Utc};
use tollgate_journal::Position;

use super::Metering;
use crate::{
    CheckRequest, Error, KnownKey,
    metering::{
        event::{Event, MAX_RECORD, Refusal},
        refusals::Refused,
    },
};

impl Metering<'_> {
    pub(crate) async fn durable(self, position: Position) -> Result<(), Error> {
        let synced = self.0.journal()?.durable(position).await;
        Ok(synced.inspect_err(|_| self.0.metrics().journal_errors.inc())?)
    }

    /// When this returns, the kernel has the record and the answer may leave. None when there is nothing to bill.
    pub(crate) fn record_usage(
        self,
        known_key: &KnownKey,
        request: &CheckRequest,
        now: DateTime<Utc>,
    ) -> Result<Option<Position>, Error> {
        if request.requests == 0 {
            return Ok(None);
        }
        let event = Event::Admitted {
            tenant_id: known_key.key.tenant_id,
            api_key_id: known_key.key.id,
            at: now,
            units: request.requests,
            endpoint: request.endpoint.as_deref().unwrap_or_default(),
        };
        let mut buffer = [0; MAX_RECORD];
        let record = event.encode(&mut buffer).ok_or_else(|| Error::Internal("a record is too long".into()))?;
        let written = self.0.journal()?.append(record).inspect_err(|_| self.0.metrics().journal_errors.inc())?;
        self.0.metrics().units.inc_by(u64::from(request.requests));
        Ok(Some(written))
    }

    pub(crate) fn record_refusal(
        self,
        known_key: &KnownKey,
        request: &CheckRequest,
        now: DateTime<Utc>,
        refusal: Refusal,
        limit_name: &str,
    ) {
        self.0.refusals().add(&Refused {
            tenant_id: known_key.key.tenant_id,
            api_key_id: known_key.key.id,
            at: now,
            units: request.requests,
            refusal,
            limit_name,
            endpoint: request.endpoint.as_deref().unwrap_or_default(),
            ip: request.ip,
        });
    }
}
