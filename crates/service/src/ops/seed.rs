//! Demonstration data: keys of every tier and state with months of plausible usage, violations and records.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Datelike, Months, TimeDelta, Timelike, Utc, Weekday};
use tollgate_domain::{
    ApiKey, ApiKeyId, BillingPeriod, BootId, Currency, Environment, KeyFilter, KeyStatus, Money, Order, Page, TenantId,
    billing::{PaymentStatus, RecordFilter},
    usage::{
        Counts, EndpointUsage, JournalSpan, KeyUsage, MinuteUsage, UsageBatch, ViolationBatch, ViolationRow, pack,
    },
};

use crate::{
    Error, Service,
    billing::{credits::NewGrant, records::PaymentChange},
    keys::{ApiKeyChange, NewApiKey},
};

/// Marks the demonstration's keys, so that they are made only once.
const TAG: &str = "demo";
/// Three whole months and what is gone of the present one.
const MONTHS: u32 = 3;
/// Requests of the busiest key's busiest hour, by tier.
const TIERS: [(&str, i64); 4] = [("free", 60), ("standard", 400), ("pro", 4_000), ("enterprise", 30_000)];
const ENDPOINTS: [&str; 5] = ["/v1/search", "/v1/orders", "/v1/customers", "/v1/reports", "/v1/webhooks"];
const OWNERS: [&str; 5] = ["acme", "globex", "initech", "umbrella", "hooli"];

/// The result of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seeded {
    /// Data was made.
    Made {
        /// Keys.
        keys: usize,
        /// Rows of usage.
        minutes: usize,
    },
    /// An earlier run made the data.
    Already,
}

/// Fills `tenant_id` with demonstration data, unless it already has some.
pub async fn run(service: &Service, tenant_id: TenantId) -> Result<Seeded, Error> {
    let filter = KeyFilter { tag: Some(TAG.into()), ..KeyFilter::default() };
    if service.keys().list(tenant_id, &filter, Page { page: 1, limit: 1 }).await?.total > 0 {
        return Ok(Seeded::Already);
    }
    let now = service.clock().now();
    let mut keys = Vec::new();
    for (tier, busiest) in TIERS {
        for (place, owner) in OWNERS.into_iter().enumerate() {
            let key = make_key(service, tenant_id, tier, owner, place).await?;
            keys.push((key.id, busiest / (i64::try_from(place).unwrap_or(0) + 1)));
        }
    }
    // First, or their usage would be late.
    let accounts: Vec<_> = keys.iter().map(|(id, _)| (tenant_id, *id)).collect();
    service.repository().billing().begin_with(&accounts, first_month(now)).await?;
    let minutes = make_history(service, tenant_id, &keys, now).await?;
    for part in service.metering().waiting_parts().await? {
        service.metering().fold(part).await?;
    }
    make_records(service, tenant_id, &keys, now).await?;
    Ok(Seeded::Made { keys: keys.len(), minutes })
}

async fn make_key(
    service: &Service,
    tenant_id: TenantId,
    tier: &str,
    owner: &str,
    place: usize,
) -> Result<ApiKey, Error> {
    let now = service.clock().now();
    let new = NewApiKey {
        name: format!("{owner} {tier}"),
        tier: tier.into(),
        description: Some(format!("Demonstration key of {owner} on {tier}")),
        environment: if place == 4 { Environment::Test } else { Environment::Live },
        owner_id: Some(owner.into()),
        tags: vec![TAG.into(), if place == 4 { "sandbox".into() } else { "production".into() }],
        expires_at: (place == 3).then(|| now + TimeDelta::days(90)),
        ..NewApiKey::default()
    };
    let (detail, _) = service.keys().create(tenant_id, new).await?;
    let id = detail.key.id;
    // One key of each tier in each state that an operator meets.
    Ok(match (tier, place) {
        ("free", 4) => {
            service.keys().suspend(tenant_id, id, Some(86_400), Some("unpaid invoice".into()), None).await?.key
        }
        ("standard", 4) => service.keys().suspend(tenant_id, id, None, Some("under review".into()), None).await?.key,
        ("pro", 4) => {
            let change = ApiKeyChange { status: Some(KeyStatus::Revoked), ..ApiKeyChange::default() };
            service.keys().update(tenant_id, id, &change, None).await?.key
        }
        ("enterprise", 4) => {
            let change = ApiKeyChange { expires_at: Some(Some(now - TimeDelta::days(1))), ..ApiKeyChange::default() };
            service.keys().update(tenant_id, id, &change, None).await?.key
        }
        _ => detail.key,
    })
}

/// Stores one batch per day in the same way as real usage.
async fn make_history(
    service: &Service,
    tenant_id: TenantId,
    keys: &[(ApiKeyId, i64)],
    now: DateTime<Utc>,
) -> Result<usize, Error> {
    let boot = BootId(service.clock().new_id());
    let (mut position, mut rows) = (0, 0);
    let mut day = first_month(now);
    while day < now {
        let (mut usage, mut violations) = (Vec::new(), Vec::new());
        for (id, busiest) in keys {
            let (mut minutes, mut endpoints) = (Vec::new(), BTreeMap::new());
            for quarter in 0..96 {
                let minute = day + TimeDelta::minutes(15 * quarter);
                if minute >= now {
                    break;
                }
                let allowed = plausible(*id, *busiest, minute);
                // Only the busiest quarters of an hour reach the limit.
                let rate_limited = if allowed > busiest / 5 { allowed / 12 } else { 0 };
                let counts = Counts { allowed, rate_limited, ..Counts::default() };
                minutes.push(MinuteUsage { minute, counts, last_at: minute });
                let which = usize::try_from(noise(*id, minute) % 7).unwrap_or(0) % ENDPOINTS.len();
                let endpoint = ENDPOINTS.get(which).copied().unwrap_or_default();
                *endpoints.entry(endpoint).or_insert(0) += allowed;
                if rate_limited > 0 {
                    violations.push(violation(tenant_id, *id, minute, endpoint, rate_limited));
                }
            }
            rows += minutes.len();
            let named = |(endpoint, allowed)| EndpointUsage { day, endpoint: Arc::from(endpoint), allowed };
            let endpoints = endpoints.into_iter().map(named).collect();
            usage.push(KeyUsage { tenant_id, api_key_id: *id, minutes, endpoints });
        }
        let span = JournalSpan { boot, from: position, to: position + 1 };
        position += 1;
        service.metering().apply(&UsageBatch { span, chunks: pack(&usage) }).await?;
        service.metering().record_violations(&ViolationBatch { span, rows: violations }).await?;
        day += TimeDelta::days(1);
    }
    Ok(rows)
}

fn first_month(now: DateTime<Utc>) -> DateTime<Utc> {
    let present = BillingPeriod::containing(now).start;
    present.checked_sub_months(Months::new(MONTHS)).unwrap_or(present)
}

/// Closes the months that are over, and has their records in every state that an operator meets.
async fn make_records(
    service: &Service,
    tenant_id: TenantId,
    keys: &[(ApiKeyId, i64)],
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let keys: Vec<_> = keys.iter().map(|(id, _)| (tenant_id, *id)).collect();
    let mut period = BillingPeriod::containing(first_month(now));
    while period.end <= now {
        service.billing().close_keys(&keys, period).await?;
        period = BillingPeriod::containing(period.end);
    }
    let filter = RecordFilter { order: Order::Asc, ..RecordFilter::default() };
    let records = service.billing().records(tenant_id, &filter, Page { page: 1, limit: 100 }).await?.items;
    let newest = records.last().map(|record| record.period.start);
    for (place, record) in records.iter().enumerate().filter(|(_, record)| record.amount_due > Money::ZERO) {
        let pay = async |status| {
            let change = PaymentChange { status, amount_paid: None, paid_at: record.due_at, reference: None };
            service.billing().change_payment(tenant_id, record.id, change, None).await
        };
        match place % 8 {
            // The newest month is not paid yet.
            _ if Some(record.period.start) == newest => {}
            1 => drop(service.billing().void(tenant_id, record.id, "billed to the wrong plan", true).await?),
            2 => drop(service.billing().void(tenant_id, record.id, "a gift", false).await?),
            3 => drop(pay(PaymentStatus::Failed).await?),
            // The next sweep finds it overdue.
            4 => {}
            5 => {
                pay(PaymentStatus::Paid).await?;
                pay(PaymentStatus::Refunded).await?;
            }
            _ => drop(pay(PaymentStatus::Paid).await?),
        }
    }
    let grant = NewGrant {
        owner_id: Some("acme".into()),
        api_key_id: None,
        amount: Money(250_000_000),
        currency: Currency::USD,
        priority: 50,
        effective_at: None,
        expires_at: Some(now + TimeDelta::days(180)),
        reason: Some("welcome".into()),
        prepaid: false,
    };
    service.billing().grant(tenant_id, grant).await?;
    Ok(())
}

fn violation(tenant_id: TenantId, id: ApiKeyId, minute: DateTime<Utc>, endpoint: &str, count: i64) -> ViolationRow {
    ViolationRow {
        tenant_id,
        api_key_id: id,
        limit_name: "per-hour".into(),
        endpoint: endpoint.into(),
        minute,
        // An address for documentation (RFC 5737).
        ip_address: format!("192.0.2.{}", noise(id, minute) % 254 + 1),
        count,
        first_at: minute,
        last_at: minute + TimeDelta::seconds(50),
    }
}

/// Requests of a quarter of an hour: a daily curve with its peak in the afternoon, quiet weekends, some noise.
fn plausible(id: ApiKeyId, busiest: i64, at: DateTime<Utc>) -> i64 {
    let hours_from_peak = (i64::from(at.hour()) - 15).abs();
    let curve = 100 - hours_from_peak * hours_from_peak / 3;
    let weekend = if matches!(at.weekday(), Weekday::Sat | Weekday::Sun) { 35 } else { 100 };
    let noise = 70 + i64::try_from(noise(id, at) % 60).unwrap_or(0);
    busiest / 4 * curve.max(15) * weekend * noise / 1_000_000
}

/// The same for the same key and minute, so that two runs on two machines make the same data.
fn noise(id: ApiKeyId, at: DateTime<Utc>) -> u64 {
    let low = u64::try_from(id.0.as_u128() & u128::from(u32::MAX)).unwrap_or(0);
    let mixed = (low ^ at.timestamp().unsigned_abs()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed >> 33
}
