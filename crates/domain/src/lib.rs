//! Types and rules of Tollgate: keys, plans, prices, usage and the clock. No I/O, no async.
//!
//! Reading order: [`clock`] (the only caller of the system clock), [`id`], [`secret`] (the form of keys and tokens),
//! [`limit`] and [`plan`] (what a key may do), [`api_key`], [`usage`] (what it did), [`money`] (what that costs),
//! [`scope`] and [`token`] (who may manage it); [`text`], [`network`], [`country`] and [`rfc3339`] (how input is
//! parsed), [`invalid`] (its errors), [`outage`] (when to log that a store is down).

pub mod api_key;
pub mod clock;
pub mod country;
pub mod expiry;
pub mod id;
pub mod idempotency;
pub mod invalid;
pub mod key_filter;
pub mod limit;
pub mod money;
pub mod network;
pub mod outage;
pub mod page;
pub mod period;
pub mod plan;
pub mod rfc3339;
pub mod scope;
pub mod secret;
pub mod text;
pub mod token;
pub mod usage;
pub mod violation_cursor;

pub use api_key::{ApiKey, Environment, KeyStatus, Suspension};
pub use clock::Clock;
pub use country::Country;
pub use id::{ApiKeyId, BootId, PlanId, TenantId, TokenId};
pub use idempotency::{Idempotency, StoredResponse};
pub use invalid::{FieldError, Invalid};
pub use key_filter::{KeyFilter, KeyOrder};
pub use limit::{Algorithm, CalendarSpec, CalendarUnit, LimitSpec, OnFailure, Per};
pub use money::{Currency, Money};
pub use network::Network;
pub use outage::Outage;
pub use page::{Order, Page, Paged};
pub use period::BillingPeriod;
pub use plan::{Overage, Plan, Prices, QuotaSpec};
pub use rfc3339::Rfc3339;
pub use scope::{Scope, ScopeSet};
pub use secret::{KeySecret, SecretHash, TokenSecret};
pub use token::{AdminToken, Excess, Lasts};
pub use usage::{Counts, Granularity, JournalStream, UsageEvent, UsageStats};
pub use violation_cursor::{InvalidCursor, ViolationCursor};
