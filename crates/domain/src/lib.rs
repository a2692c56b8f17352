//! Types and rules of Tollgate: keys, plans, prices, usage and the clock. No I/O, no async.
//!
//! Reading order: [`clock`] (the only caller of the system clock), [`id`], [`secret`] (what a key looks like),
//! [`limit`] and [`plan`] (what a key may do), [`api_key`], [`usage`] (what it did), [`money`], [`currency`] and [`price`] (what that costs),
//! [`scope`] and [`token`] (who may manage it), [`text`], [`network`], [`country`] and [`rfc3339`] (how texts, networks, countries and times are read), [`invalid`] (how bad input is named), [`outage`] (when to say that a store is away).

pub mod api_key;
pub mod billing;
pub mod clock;
pub mod country;
pub mod currency;
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
pub mod price;
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
pub use currency::Currency;
pub use id::{ApiKeyId, BootId, GrantId, PlanId, PriceId, RecordId, TenantId, TokenId};
pub use idempotency::{Idempotency, StoredResponse};
pub use invalid::{FieldError, Invalid};
pub use key_filter::{KeyFilter, KeyOrder};
pub use limit::{Algorithm, CalendarSpec, CalendarUnit, LimitSpec, OnFailure, Per};
pub use money::{Money, Rate};
pub use network::Network;
pub use outage::Outage;
pub use page::{Order, Page, Paged};
pub use period::BillingPeriod;
pub use plan::{Effective, Overage, Plan, QuotaSpec, Throttle};
pub use price::{Model, PriceTerms, Prices, Proration, Tier, Timeline, TooLarge};
pub use rfc3339::Rfc3339;
pub use scope::{Scope, ScopeSet};
pub use secret::{KeySecret, SecretHash, TokenSecret};
pub use token::{AdminToken, Excess, Lasts};
pub use usage::{Counts, EventOutcome, EventResult, Granularity, JournalStream, UsageEvent, UsageStats};
pub use violation_cursor::{InvalidCursor, ViolationCursor};
