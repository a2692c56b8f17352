//! Usage that other systems metered.

use chrono::TimeDelta;
use tollgate_domain::{Invalid, TenantId, UsageEvent, text};

use super::Metering;
use crate::{Error, check::MAX_REQUESTS};

/// Most events of one call.
pub const MAX_EVENTS: usize = 1_000;

impl Metering<'_> {
    /// Records usage that other systems metered. Each answer is true when the event was counted now, and false when
    /// its id had been counted before.
    pub async fn record_events(self, tenant_id: TenantId, events: &[UsageEvent]) -> Result<Vec<bool>, Error> {
        self.validate_events(events)?;
        for event in events {
            self.0.checks().known_key(tenant_id, event.api_key_id).await.map_err(|error| match error {
                Error::NotFound(_) => {
                    let index = events.iter().position(|e| e.api_key_id == event.api_key_id).unwrap_or(0);
                    Invalid::field(format!("/events/{index}/api_key_id"), "no such API key").into()
                }
                other => other,
            })?;
        }
        Ok(self.0.repository().usage().insert_events(tenant_id, events).await?)
    }

    fn validate_events(self, events: &[UsageEvent]) -> Result<(), Invalid> {
        let mut invalid = Invalid::none();
        let many = (1..=MAX_EVENTS).contains(&events.len());
        invalid.require(many, "/events", format!("from 1 to {MAX_EVENTS}"));
        let now = self.0.clock().now();
        let oldest = now - TimeDelta::days(i64::from(self.0.config().retention.usage_events_days.min(35)));
        for (index, event) in events.iter().enumerate().take(MAX_EVENTS) {
            let at = |member: &str| format!("/events/{index}/{member}");
            invalid.require(text::EVENT_ID.fit(&event.id), &at("id"), text::EVENT_ID);
            invalid.require(
                (1..=i64::from(MAX_REQUESTS)).contains(&event.units),
                &at("units"),
                format!("from 1 to {MAX_REQUESTS}"),
            );
            let timely = event.at >= oldest && event.at <= now + TimeDelta::minutes(5);
            invalid.require(timely, &at("timestamp"), format!("from {} to now", oldest.format("%Y-%m-%dT%H:%M:%SZ")));
            let endpoint = event.endpoint.as_deref();
            invalid.require(text::ENDPOINT.fit_any(endpoint), &at("endpoint"), text::ENDPOINT);
        }
        invalid.finish()
    }
}
