//! API keys: the record behind a secret, and whether the key may be used now.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    ApiKeyId, Country, Invalid, LimitSpec, Money, Network, Plan, TenantId, limit::MAX_LIMITS, price::MAX_AMOUNT, text,
};

/// The message for a plan name that no plan has.
pub const NO_SUCH_PLAN: &str = "no such plan";
/// Enough to group keys by; more would make lists of keys slow.
const MAX_TAGS: usize = 20;
/// Most members of a key's metadata. They are stored, listed and sent with the key, so their
/// bytes as JSON are bounded, too.
const MAX_METADATA: usize = 50;
const MAX_METADATA_BYTES: usize = 8_192;

/// What a key is for. It is part of the secret's text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// Real traffic.
    #[default]
    Live,
    /// For tests by the client.
    Test,
}

impl Environment {
    /// Both environments.
    pub const ALL: [Self; 2] = [Self::Live, Self::Test];

    /// How the text of a key of this environment begins.
    pub fn key_prefix(self) -> &'static str {
        match self {
            Self::Live => "tg_live_",
            Self::Test => "tg_test_",
        }
    }

    /// The name that is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }
}

/// Whether a key may be used. `Expired` follows from `expires_at` and is never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyStatus {
    /// The key may be used.
    Active,
    /// The key may not be used until it is resumed, or until the suspension ends by itself.
    Suspended,
    /// The key may never be used again.
    Revoked,
    /// Past its `expires_at`.
    Expired,
}

impl KeyStatus {
    /// The name that is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
        }
    }
}

/// The end and the reason of a suspension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspension {
    /// None when only an operator resumes the key.
    pub until: Option<DateTime<Utc>>,
    /// A text for people.
    pub reason: Option<String>,
}

/// The facts that decide whether a key may be used at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The stored status, never `Expired`.
    pub status: KeyStatus,
    /// When a suspension ends by itself; None when it does not.
    pub suspended_until: Option<DateTime<Utc>>,
    /// When the key expires; None when it never does.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Validity {
    /// The status in force at `now`.
    pub fn status_at(&self, now: DateTime<Utc>) -> KeyStatus {
        let lapsed = self.suspended_until.is_some_and(|until| until <= now);
        match self.status {
            KeyStatus::Revoked => KeyStatus::Revoked,
            _ if self.expires_at.is_some_and(|at| at <= now) => KeyStatus::Expired,
            KeyStatus::Suspended if !lapsed => KeyStatus::Suspended,
            _ => KeyStatus::Active,
        }
    }
}

/// A revoked key cannot get another status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a revoked key stays revoked; make a new one")]
pub struct StaysRevoked;

/// A key's record. Only hashes of its secrets are stored, in another table.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKey {
    /// The key's id. It stays when the secret is rotated.
    pub id: ApiKeyId,
    /// The tenant that owns the key.
    pub tenant_id: TenantId,
    /// The start of the current secret, which may be shown.
    pub key_prefix: String,
    /// A name for people, 1 to 255 characters.
    pub name: String,
    /// A text for people, at most 500 characters.
    pub description: Option<String>,
    /// The plan's slug.
    pub tier: String,
    /// Whether it is for real traffic or for tests.
    pub environment: Environment,
    /// The stored status; see [`ApiKey::status_at`] for the one in force.
    pub status: KeyStatus,
    /// Set while `status` is `Suspended`.
    pub suspension: Option<Suspension>,
    /// The tenant's own id of the customer who holds the key.
    pub owner_id: Option<String>,
    /// The tenant's labels, at most 20.
    pub tags: Vec<String>,
    /// The tenant's own members, at most 50.
    pub metadata: Map<String, Value>,
    /// Addresses that may use it; empty for any.
    pub allowed_ips: Vec<Network>,
    /// Countries from which it may be used; empty for any.
    pub allowed_countries: Vec<Country>,
    /// When it expires; None when it never does.
    pub expires_at: Option<DateTime<Utc>>,
    /// Limits that replace the plan's of the same name, or add to them.
    pub limits: Vec<LimitSpec>,
    /// The most that the key may cost in a period, in the plan's currency. None: what the plan says.
    pub spend_cap: Option<Money>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// Counts changes, from 1; `If-Match` compares it.
    pub version: i64,
}

impl ApiKey {
    /// The status in force at `now`: a suspension may have ended by itself, and a key with a
    /// past `expires_at` is expired.
    pub fn status_at(&self, now: DateTime<Utc>) -> KeyStatus {
        self.validity().status_at(now)
    }

    /// The facts that decide whether it may be used.
    pub fn validity(&self) -> Validity {
        let suspended_until = self.suspension.as_ref().and_then(|suspension| suspension.until);
        Validity { status: self.status, suspended_until, expires_at: self.expires_at }
    }

    /// The limits in force: the plan's, each replaced by the key's of the same name, then the key's others.
    pub fn effective_limits(&self, plan: &[LimitSpec]) -> Vec<LimitSpec> {
        let named = |name: &str| self.limits.iter().find(|l| l.name == name);
        let from_plan = plan.iter().map(|limit| named(&limit.name).unwrap_or(limit));
        let own = self.limits.iter().filter(|l| !plan.iter().any(|p| p.name == l.name));
        from_plan.chain(own).cloned().collect()
    }

    /// Changes the status. A suspension without an end lasts until the key is resumed.
    pub fn set_status(&mut self, status: KeyStatus, suspension: Option<Suspension>) -> Result<(), StaysRevoked> {
        if self.status == KeyStatus::Revoked && status != KeyStatus::Revoked {
            return Err(StaysRevoked);
        }
        let open_end = || Suspension { until: None, reason: None };
        self.suspension = (status == KeyStatus::Suspended).then(|| suspension.unwrap_or_else(open_end));
        self.status = status;
        Ok(())
    }

    /// Fails with every wrong member of a key that will be on `plan`, in addition to what is in `invalid`. None
    /// means that there is no such plan.
    pub fn validate(&self, plan: Option<&Plan>, mut invalid: Invalid) -> Result<(), Invalid> {
        invalid.require(text::is_name(&self.name), "/name", text::NAMED);
        invalid.require(text::DESCRIPTION.fit_any(self.description.as_deref()), "/description", text::DESCRIPTION);
        invalid.require(text::OWNER_ID.fit_any(self.owner_id.as_deref()), "/owner_id", text::OWNER_ID);
        invalid.require(self.tags.len() <= MAX_TAGS, "/tags", format_args!("at most {MAX_TAGS}"));
        for (index, tag) in self.tags.iter().enumerate() {
            let is_new = !self.tags.iter().take(index).any(|earlier| earlier == tag);
            let detail = format_args!("{}, each tag once", text::TAG);
            invalid.require(text::TAG.fit(tag) && is_new, &format!("/tags/{index}"), detail);
        }
        let is_small = |json: String| json.len() <= MAX_METADATA_BYTES;
        let fits = self.metadata.len() <= MAX_METADATA && serde_json::to_string(&self.metadata).is_ok_and(is_small);
        let detail = format_args!("at most {MAX_METADATA} members and {MAX_METADATA_BYTES} bytes of JSON");
        invalid.require(fits, "/metadata", detail);
        let is_plain = text::is_plain_object(&self.metadata);
        invalid.require(is_plain, "/metadata", "no control characters in names or values");
        LimitSpec::validate_all(&self.limits, "/limits", &mut invalid);
        let fits = self.spend_cap.is_none_or(|cap| (Money::ZERO..=MAX_AMOUNT).contains(&cap));
        invalid.require(fits, "/spend_cap", format_args!("from 0.00 to {MAX_AMOUNT}"));
        invalid.require(plan.is_some(), "/tier", NO_SUCH_PLAN);
        let limits = plan.map_or(0, |plan| self.effective_limits(&plan.limits).len());
        invalid.require(limits <= MAX_LIMITS, "/limits", format_args!("at most {MAX_LIMITS} together with the plan's"));
        invalid.finish()
    }
}
