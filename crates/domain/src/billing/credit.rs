//! Credits: amounts granted in advance, and which of them pay a record.

use chrono::{DateTime, Utc};

use crate::{BillingPeriod, Currency, GrantId, Money};

/// An amount that pays records until it is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// Of the amounts.
    pub currency: Currency,
    /// What is left.
    pub remaining: Money,
    /// 0 to 255; the lower pays first.
    pub priority: u8,
    /// It pays periods that end after this.
    pub effective_at: DateTime<Utc>,
    /// It pays periods that begin before this. None: it does not expire.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was granted.
    pub created_at: DateTime<Utc>,
}

/// Takes from `grants` what pays `total` of a period, and says how much of which. The order is by priority, then by the
/// earliest end, then by age; never more than the total, and never another currency.
pub fn apply(grants: &mut [Grant], period: BillingPeriod, currency: Currency, total: Money) -> Vec<(GrantId, Money)> {
    grants.sort_by_key(|grant| {
        (grant.priority, grant.expires_at.is_none(), grant.expires_at, grant.created_at, grant.id)
    });
    let (mut open, mut applied) = (total.0.max(0), Vec::new());
    for grant in grants {
        let ends_before = grant.expires_at.is_some_and(|end| end <= period.start);
        if grant.currency != currency || grant.effective_at >= period.end || ends_before {
            continue;
        }
        let amount = grant.remaining.0.min(open);
        if amount > 0 {
            (grant.remaining, open) = (Money(grant.remaining.0 - amount), open - amount);
            applied.push((grant.id, Money(amount)));
        }
    }
    applied
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;

    /// Figures of other systems' tests. Their grants are used by the hour, ours by the period: what they use in all is the
    /// total of one.
    #[test]
    fn the_figures_of_other_systems_tests_hold() {
        let cases: Vec<Value> = serde_json::from_str(include_str!("../../../../tests/data/price_cases.json")).unwrap();
        let period = BillingPeriod::parse("2026-11").unwrap();
        let text = |of: &Value| of.as_str().unwrap().to_owned();
        let after = |of: &Value| {
            let text = text(of);
            let (number, unit) = text.split_at(text.len() - 1);
            let number: i64 = number.parse().unwrap();
            period.start + if unit == "d" { TimeDelta::days(number) } else { TimeDelta::hours(number) }
        };
        let mut held = 0;
        for case in cases.iter().filter(|case| case["area"] == "credits") {
            let given = case["model"]["grants"].as_array().unwrap();
            let mut grants: Vec<_> = (0..)
                .zip(given)
                .map(|(index, grant)| Grant {
                    id: GrantId(Uuid::from_u128(index)),
                    currency: Currency::USD,
                    remaining: grant["amount"].to_string().trim_matches('"').parse().unwrap(),
                    priority: u8::try_from(grant["priority"].as_u64().unwrap()).unwrap(),
                    effective_at: after(&grant["effective"]),
                    expires_at: (grant["expires"] != "never").then(|| after(&grant["expires"])),
                    created_at: period.start,
                })
                .collect();
            let input = &case["input"];
            let total: i64 = match input["invoice"].as_str() {
                Some(invoice) => invoice.parse::<Money>().unwrap().0,
                None => input["uses"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|used| text(&used[1]).parse::<Money>().unwrap().0)
                    .sum(),
            };
            // The case that asks in the middle of a period: its grant begins later.
            let period = match case["id"] == "cred-future" {
                true => BillingPeriod { end: period.start + TimeDelta::days(5), ..period },
                false => period,
            };
            let name = |id: GrantId| text(&given[usize::try_from(id.0.as_u128()).unwrap()]["id"]);
            let applied = apply(&mut grants, period, Currency::USD, Money(total));
            let paid: i64 = applied.iter().map(|(_, amount)| amount.0).sum();
            let amount = |text: &Value| text.as_str().unwrap().parse::<Money>().unwrap();
            let expected = &case["expected"];
            for (grant, wanted) in expected["balances"].as_object().into_iter().flatten() {
                let left = grants.iter().find(|found| name(found.id) == *grant).unwrap();
                let left = if left.effective_at >= period.end { Money(0) } else { left.remaining };
                assert_eq!(left, amount(wanted), "{case}");
            }
            for (grant, wanted) in expected["applied"].as_object().into_iter().flatten() {
                let found = applied.iter().find(|(id, _)| name(*id) == *grant).unwrap();
                assert_eq!((found.1, applied.len()), (amount(wanted), 1), "{case}");
            }
            for left in ["overage", "amount_due"] {
                if expected[left].is_string() {
                    assert_eq!(Money(total - paid), amount(&expected[left]), "{case}");
                }
            }
            held += 1;
        }
        assert_eq!(held, 7);
    }

    #[test]
    fn a_grant_pays_its_currency_and_periods_that_it_covers_only() {
        let period = BillingPeriod::parse("2026-11").unwrap();
        let grant = |currency: &str, effective_at, expires_at| Grant {
            id: GrantId(Uuid::nil()),
            currency: currency.parse().unwrap(),
            remaining: Money(10),
            priority: 50,
            effective_at,
            expires_at,
            created_at: period.start,
        };
        let paid = |grant| apply(&mut [grant], period, Currency::USD, Money(7)).len();
        assert_eq!(paid(grant("USD", period.end - TimeDelta::microseconds(1), None)), 1);
        assert_eq!(paid(grant("USD", period.end, None)), 0);
        assert_eq!(paid(grant("USD", period.start, Some(period.start))), 0);
        assert_eq!(paid(grant("USD", period.start, Some(period.start + TimeDelta::microseconds(1)))), 1);
        assert_eq!(paid(grant("EUR", period.start, None)), 0);
        assert!(apply(&mut [grant("USD", period.start, None)], period, Currency::USD, Money(-5)).is_empty());
    }
}
