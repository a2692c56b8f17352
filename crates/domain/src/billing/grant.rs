//! A grant of credit, as operators see it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{ApiKeyId, Currency, GrantId, Invalid, Money, price::MAX_AMOUNT, text};

/// Who may use a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantHolder {
    /// All keys of an owner.
    Owner(String),
    /// One key.
    Key(ApiKeyId),
}

/// Why there is a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantSource {
    /// Somebody granted it.
    Manual,
    /// Late usage made an earlier period cheaper than the present one could take off.
    Correction,
}

/// Where a grant stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantStatus {
    /// Not yet effective.
    Pending,
    /// It pays.
    Active,
    /// Nothing is left.
    Used,
    /// What is left cannot be used any more.
    Expired,
    /// What was left was taken away.
    Void,
}

/// An amount granted in advance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreditGrant {
    /// Its id.
    pub id: GrantId,
    /// Who may use it.
    pub holder: GrantHolder,
    /// What was granted.
    pub amount: Money,
    /// Of the amounts. It pays records in this currency only.
    pub currency: Currency,
    /// 0 to 255; the lower pays first.
    pub priority: u8,
    /// It pays periods that end after this.
    pub effective_at: DateTime<Utc>,
    /// It pays periods that begin before this. None: it does not expire.
    pub expires_at: Option<DateTime<Utc>>,
    /// For people.
    pub reason: Option<String>,
    /// Whether it was paid for.
    pub prepaid: bool,
    /// Why there is a grant.
    pub source: GrantSource,
    /// When it was granted.
    pub created_at: DateTime<Utc>,
    /// When what was left was taken away.
    pub voided_at: Option<DateTime<Utc>>,
    /// What it paid. What is left is computed, never stored.
    pub applied: Money,
    /// Counts changes.
    pub version: i64,
}

/// Members that are `None` leave all grants in.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the members are those of CreditGrant")]
pub struct GrantFilter {
    pub owner_id: Option<String>,
    pub api_key_id: Option<ApiKeyId>,
    pub status: Option<GrantStatus>,
}

impl GrantHolder {
    /// The owner, if it is one.
    pub fn owner(&self) -> Option<&str> {
        match self {
            Self::Owner(owner) => Some(owner),
            Self::Key(_) => None,
        }
    }

    /// The key, if it is one.
    pub fn key(&self) -> Option<ApiKeyId> {
        match self {
            Self::Key(key) => Some(*key),
            Self::Owner(_) => None,
        }
    }
}

impl GrantSource {
    /// As stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Correction => "correction",
        }
    }
}

impl GrantStatus {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Active, Self::Used, Self::Expired, Self::Void];

    /// As shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Used => "used",
            Self::Expired => "expired",
            Self::Void => "void",
        }
    }
}

impl CreditGrant {
    /// What it can still pay, whatever the time.
    pub fn remaining(&self) -> Money {
        if self.voided_at.is_some() { Money::ZERO } else { Money((self.amount.0 - self.applied.0).max(0)) }
    }

    /// Where it stands at `now`.
    pub fn status_at(&self, now: DateTime<Utc>) -> GrantStatus {
        if self.voided_at.is_some() {
            GrantStatus::Void
        } else if self.applied >= self.amount {
            GrantStatus::Used
        } else if self.expires_at.is_some_and(|end| end <= now) {
            GrantStatus::Expired
        } else if self.effective_at > now {
            GrantStatus::Pending
        } else {
            GrantStatus::Active
        }
    }

    /// Names every wrong member.
    ///
    /// # Errors
    /// When there is one.
    pub fn validate(&self) -> Result<(), Invalid> {
        let mut invalid = Invalid::none();
        let fits = (Money(1)..=MAX_AMOUNT).contains(&self.amount);
        invalid.require(fits, "/amount", format_args!("more than 0 and at most {MAX_AMOUNT}"));
        if let GrantHolder::Owner(owner) = &self.holder {
            invalid.require(text::OWNER_ID.fit(owner), "/owner_id", text::OWNER_ID);
        }
        let ends_later = self.expires_at.is_none_or(|end| end > self.effective_at);
        invalid.require(ends_later, "/expires_at", "after effective_at");
        invalid.require(text::DESCRIPTION.fit_any(self.reason.as_deref()), "/reason", text::DESCRIPTION);
        invalid.finish()
    }
}
