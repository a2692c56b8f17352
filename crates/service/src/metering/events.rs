//! Usage that other systems metered.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use sha2::{Digest, Sha256};
use tollgate_domain::{ApiKeyId, EventOutcome, Invalid, TenantId, UsageEvent, text};

use super::Metering;
use crate::{Error, check::MAX_REQUESTS};

/// Most events of one call.
pub const MAX_EVENTS: usize = 1_000;
/// How long ago an event may have happened. Its id is kept longer (`retention.usage_events_days`), so that none that was
/// counted is taken for new.
const OLDEST: TimeDelta = TimeDelta::days(35);
/// How far the sender's clock may be ahead of ours.
const AHEAD: TimeDelta = TimeDelta::minutes(5);

/// An event as it was sent: what was not given stays absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentEvent {
    /// Who sent it; empty: not named.
    pub source: String,
    /// The sender's id of the event.
    pub id: String,
    /// The key that was used.
    pub api_key_id: ApiKeyId,
    /// When it was used; now unless given.
    pub at: Option<DateTime<Utc>>,
    /// The number of units; 1 unless given.
    pub units: Option<i64>,
    /// The endpoint, as the sender names it.
    pub endpoint: Option<String>,
    /// What counts nothing and yet tells one event from another: the other attributes of a CloudEvent.
    pub attributes: BTreeMap<String, String>,
}

/// What became of an event that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It was counted now or before, or another one was.
    Known(EventOutcome),
    /// It was not counted, for what is wrong with these members.
    Rejected(Invalid),
}

/// What may be done with an event.
enum Verdict {
    Count,
    /// Nothing, unless it was counted before: its sender may send it again for ever.
    Recall(Invalid),
    /// Nothing: its texts may not even be looked for.
    Reject(Invalid),
}

impl Metering<'_> {
    /// Records usage that other systems metered, and says for each event in order what became of it. One that is wrong
    /// never fails the others.
    pub async fn record_events(self, tenant_id: TenantId, sent: &[&SentEvent]) -> Result<Vec<Recorded>, Error> {
        let now = self.0.clock().now();
        let keys: BTreeSet<_> = sent.iter().map(|event| (tenant_id, event.api_key_id)).collect();
        let known = self.0.checks().known_keys(&keys.into_iter().collect::<Vec<_>>()).await?;
        let known: BTreeSet<_> = known.iter().map(|known_key| known_key.key.id).collect();

        let verdicts: Vec<_> = sent.iter().map(|event| event.verdict(&known, now)).collect();
        let chosen = |is_chosen: fn(&Verdict) -> bool| -> Vec<UsageEvent> {
            let both = sent.iter().zip(&verdicts).filter(|(_, verdict)| is_chosen(verdict));
            both.map(|(event, _)| event.to_usage(now)).collect()
        };
        let to_count = chosen(|verdict| matches!(verdict, Verdict::Count));
        let to_recall = chosen(|verdict| matches!(verdict, Verdict::Recall(_)));
        let usage = self.0.repository().usage();
        let (mut counted, mut recalled) = (Vec::new(), Vec::new());
        if !to_count.is_empty() {
            counted = usage.insert_events(tenant_id, &to_count, now).await?;
        }
        if !to_recall.is_empty() {
            recalled = usage.repeated_events(tenant_id, &to_recall, now).await?;
        }
        let (mut counted, mut recalled) = (counted.into_iter(), recalled.into_iter());
        let recorded = |verdict: Verdict| match verdict {
            Verdict::Count => counted.next().map(Recorded::Known),
            Verdict::Recall(wrong) => {
                recalled.next().map(|known| known.map_or(Recorded::Rejected(wrong), Recorded::Known))
            }
            Verdict::Reject(wrong) => Some(Recorded::Rejected(wrong)),
        };
        let recorded: Vec<_> = verdicts.into_iter().filter_map(recorded).collect();
        if recorded.len() != sent.len() {
            return Err(Error::Internal("the database has not answered for every event".to_owned()));
        }
        Ok(recorded)
    }
}

impl SentEvent {
    fn verdict(&self, known: &BTreeSet<ApiKeyId>, now: DateTime<Utc>) -> Verdict {
        let mut wrong = Invalid::none();
        wrong.require(text::EVENT_ID.fit(&self.id), "/id", text::EVENT_ID);
        wrong.require(text::EVENT_SOURCE.fit(&self.source), "/source", text::EVENT_SOURCE);
        if !wrong.errors.is_empty() {
            return Verdict::Reject(wrong);
        }
        wrong.require(known.contains(&self.api_key_id), "/api_key_id", "no such API key");
        let units = self.units.unwrap_or(1);
        wrong.require(
            (1..=i64::from(MAX_REQUESTS)).contains(&units),
            "/units",
            format_args!("from 1 to {MAX_REQUESTS}"),
        );
        wrong.require(text::ENDPOINT.fit_any(self.endpoint.as_deref()), "/endpoint", text::ENDPOINT);
        let (oldest, newest) = (now - OLDEST, now + AHEAD);
        let is_timely = self.at.is_none_or(|at| (oldest..=newest).contains(&at));
        let shown = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        wrong.require(is_timely, "/timestamp", format_args!("from {} to {}", shown(oldest), shown(newest)));
        if wrong.errors.is_empty() { Verdict::Count } else { Verdict::Recall(wrong) }
    }

    fn to_usage(&self, now: DateTime<Utc>) -> UsageEvent {
        UsageEvent {
            source: self.source.clone(),
            id: self.id.clone(),
            api_key_id: self.api_key_id,
            at: self.at.unwrap_or(now),
            units: self.units.unwrap_or(1),
            endpoint: self.endpoint.clone(),
            payload_hash: self.payload_hash(),
        }
    }

    /// SHA-256 of what was sent, each part with its name and both with their lengths before them. The same for the same
    /// values however they were written, and for ever: rows of earlier versions have it.
    fn payload_hash(&self) -> [u8; 32] {
        let time = self.at.map(|at| at.to_rfc3339_opts(SecondsFormat::Nanos, true));
        // An attribute's name has no slash.
        let own = [
            ("/source", Some(self.source.clone())),
            ("/id", Some(self.id.clone())),
            ("/api_key_id", Some(self.api_key_id.0.to_string())),
            ("/timestamp", time),
            ("/units", self.units.map(|units| units.to_string())),
            ("/endpoint", self.endpoint.clone()),
        ];
        let own = own.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        let attributes = self.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut hash = Sha256::new();
        for part in own.chain(attributes).flat_map(|(name, value)| [name, value]) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn event() -> SentEvent {
        SentEvent {
            source: "meter".into(),
            id: "order-4711".into(),
            api_key_id: ApiKeyId(Uuid::from_u128(7)),
            at: None,
            units: None,
            endpoint: None,
            attributes: BTreeMap::new(),
        }
    }

    #[test]
    fn a_hash_tells_what_was_sent_from_what_was_not() {
        let at = DateTime::from_timestamp_nanos(1_900_000_000_000_000_001);
        let attribute = |name: &str, value: &str| SentEvent {
            attributes: BTreeMap::from([(name.into(), value.into())]),
            ..event()
        };
        let events = [
            event(),
            SentEvent { source: String::new(), ..event() },
            SentEvent { id: "order-471".into(), ..event() },
            SentEvent { api_key_id: ApiKeyId(Uuid::nil()), ..event() },
            SentEvent { at: Some(at), ..event() },
            SentEvent { at: Some(at + TimeDelta::nanoseconds(1)), ..event() },
            SentEvent { units: Some(1), ..event() },
            SentEvent { endpoint: Some(String::new()), ..event() },
            attribute("type", "a"),
            attribute("type", "b"),
            attribute("typ", "ea"),
            attribute("units", "1"),
        ];
        let distinct: BTreeSet<_> = events.iter().map(SentEvent::payload_hash).collect();
        assert_eq!(distinct.len(), events.len());
    }

    #[test]
    fn a_hash_is_the_same_in_every_version() {
        let full = SentEvent {
            at: Some(DateTime::from_timestamp_nanos(1_900_000_000_000_000_000)),
            units: Some(3),
            endpoint: Some("/a".into()),
            attributes: BTreeMap::from([("type".into(), "order".into())]),
            ..event()
        };
        let shown =
            |event: &SentEvent| event.payload_hash().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(shown(&event()), "4fbe8854c5819dee7916e780b9b8fa8251b580d28d602a20c7e18166cb20fb70");
        assert_eq!(shown(&full), "08f6739f67b2a21e4f633aacf054a52157400c4b402f15b591038e1c3b37bd00");
    }

    #[test]
    fn an_event_is_35_days_old_at_most_and_5_minutes_ahead_and_both_are_included() {
        let now = DateTime::from_timestamp_nanos(1_900_000_000_000_000_000);
        let known = BTreeSet::from([event().api_key_id]);
        for (offset, is_timely) in [
            (-OLDEST, true),
            (-OLDEST - TimeDelta::microseconds(1), false),
            (AHEAD, true),
            (AHEAD + TimeDelta::microseconds(1), false),
        ] {
            let verdict = SentEvent { at: Some(now + offset), ..event() }.verdict(&known, now);
            assert_eq!(matches!(verdict, Verdict::Count), is_timely, "{offset}");
        }
    }
}
