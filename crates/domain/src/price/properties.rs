//! What holds of every price, whatever its figures.

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;

use super::{
    Model, PriceTerms, Prices, Proration, Share, Tier,
    lines::price,
    segment::{Lifetime, segments},
    total, units_within,
};
use crate::{BillingPeriod, Currency, Money, Overage, PlanId, QuotaSpec, Rate, TenantId};

fn november() -> BillingPeriod {
    BillingPeriod::containing("2026-11-10T00:00:00Z".parse().unwrap())
}

fn rates() -> impl Strategy<Value = Rate> {
    prop_oneof![Just(Rate(0)), (0..2_000_000_000_000_i128).prop_map(Rate)]
}

fn amounts() -> impl Strategy<Value = Money> {
    prop_oneof![Just(Money(0)), (0..500_000_000_i64).prop_map(Money)]
}

fn tiers() -> impl Strategy<Value = Vec<Tier>> {
    let bounds = prop::collection::btree_set(1..5_000_u64, 0..6);
    (bounds, prop::collection::vec((rates(), amounts()), 7)).prop_map(|(bounds, prices)| {
        let bounds = bounds.into_iter().map(Some).chain([None]);
        let tier = |(up_to, (unit_amount, flat_amount))| Tier { up_to, unit_amount, flat_amount };
        bounds.zip(prices).map(tier).collect()
    })
}

fn models() -> impl Strategy<Value = Model> {
    prop_oneof![
        rates().prop_map(|unit_amount| Model::PerUnit { unit_amount }),
        tiers().prop_map(|tiers| Model::Graduated { tiers }),
        tiers().prop_map(|tiers| Model::Volume { tiers }),
        (1..500_u64, amounts())
            .prop_map(|(package_size, package_amount)| Model::Package { package_size, package_amount }),
    ]
}

fn terms(models: impl Strategy<Value = Model>) -> impl Strategy<Value = PriceTerms> {
    let bounds = (prop::option::of(amounts()), prop::option::of(amounts()));
    (amounts(), models, 0..3_000_u64, bounds).prop_map(|(base, model, included, (minimum, maximum))| PriceTerms {
        base,
        model,
        included_units: Some(included),
        minimum,
        maximum: maximum.map(|maximum| maximum.max(base).max(minimum.unwrap_or_default())),
        ..PriceTerms::of(&Prices::per_unit(Currency::USD, base, Rate(0)), None)
    })
}

/// Micro-units of a period with these terms and units.
fn cost(terms: &PriceTerms, share: Share, units: u64) -> i64 {
    price(terms, share, units).unwrap().iter().map(|line| line.amount.0).sum()
}

fn is_package(terms: &PriceTerms) -> bool {
    matches!(terms.model, Model::Package { .. })
}

fn lines_of(terms: &PriceTerms, units: u64) -> i64 {
    i64::try_from(price(terms, Share::WHOLE, units).unwrap().len()).unwrap()
}

proptest! {
    #[test]
    fn graduated_and_flat_prices_never_fall(terms in terms(models()), units in 0..10_000_u64, more in 1..100_u64) {
        prop_assume!(!matches!(terms.model, Model::Volume { .. }));
        prop_assert!(cost(&terms, Share::WHOLE, units + more) >= cost(&terms, Share::WHOLE, units));
    }

    #[test]
    fn half_the_time_with_half_the_use_costs_half(terms in terms(models()), units in 0..5_000_u64) {
        prop_assume!(!is_package(&terms));
        let half = Share::of(november(), "2026-11-16T00:00:00Z".parse().unwrap(), november().end);
        let (whole, part) = (cost(&terms, Share::WHOLE, 2 * units), cost(&terms, half, units));
        // A line is rounded to a millionth: half of it may be half a millionth off, and twice the part is.
        prop_assert!((whole - 2 * part).abs() <= 2 * lines_of(&terms, 2 * units), "{whole} {part}");
    }

    #[test]
    fn a_split_period_sums_to_the_whole(cuts in prop::collection::btree_set(1..43_200_i64, 0..6), base in amounts()) {
        let versions: Vec<(DateTime<Utc>, i64)> = [0].into_iter().chain(cuts)
            .map(|minute| (november().start + TimeDelta::minutes(minute), minute)).collect();
        let always = Lifetime { from: november().start, to: None };
        let split = segments(november(), &versions, always, |_| Proration::Changes);
        let terms = PriceTerms::of(&Prices::per_unit(Currency::USD, base, Rate(0)), None);
        let sum: i64 = split.iter().map(|segment| cost(&terms, segment.share, 0)).sum();
        prop_assert!((sum - base.0).abs() <= i64::try_from(split.len()).unwrap(), "{sum} {}", base.0);
        prop_assert_eq!(split.len(), versions.len());
    }

    #[test]
    fn lines_and_rounding_are_the_amount_due(
        lines in prop::collection::vec(-1_000_000_000..1_000_000_000_i64, 0..20),
        code in prop::sample::select(vec!["USD", "JPY", "KWD", "CLF"]),
    ) {
        let currency: Currency = code.parse().unwrap();
        let total = total(currency, lines.iter().copied().map(Money)).unwrap();
        prop_assert_eq!(lines.iter().sum::<i64>() + total.rounding.0, total.amount_due.0);
        let step = 10_i64.pow(6 - currency.exponent());
        prop_assert_eq!(total.amount_due_minor * step, total.amount_due.0);
        prop_assert!(total.rounding.0.abs() * 2 <= step);
    }

    #[test]
    fn a_cap_stops_before_the_first_unit_that_costs_more(terms in terms(models()), cap in amounts()) {
        let crosses = |units: u64| {
            let (before, after) = (cost(&terms, Share::WHOLE, units), cost(&terms, Share::WHOLE, units + 1));
            after > cap.0 && after > before
        };
        let first = (0..12_000).find(|units| crosses(*units));
        let found = units_within(&terms, Share::WHOLE, cap).unwrap();
        prop_assert_eq!(found.filter(|units| *units < 12_000), first);
    }

    #[test]
    fn what_is_written_is_read_back(terms in terms(models())) {
        let text = serde_json::to_string(&terms).unwrap();
        prop_assert_eq!(serde_json::from_str::<PriceTerms>(&text).unwrap(), terms.clone());
        let id = |terms: &PriceTerms| terms.id(TenantId::DEFAULT, PlanId(uuid::Uuid::nil())).unwrap();
        prop_assert_eq!(id(&serde_json::from_str(&text).unwrap()), id(&terms));
    }

    #[test]
    fn no_figures_make_it_panic(terms in terms(models()), units in any::<u64>(), rate in any::<i64>()) {
        let _ = price(&terms, Share::WHOLE, units);
        let _ = units_within(&terms, Share::WHOLE, Money(rate));
        let steep = PriceTerms { model: Model::PerUnit { unit_amount: super::MAX_RATE }, ..terms };
        let _ = price(&steep, Share::of(november(), november().start, november().end - TimeDelta::microseconds(1)), units);
    }
}

#[test]
fn units_beyond_a_quota_that_blocks_are_not_billed() {
    let quota = |overage| QuotaSpec { limit: 100, overage, throttle: None };
    let mut prices = Prices::per_unit(Currency::USD, Money(0), Rate(1_000_000_000_000));
    prices.included_units = Some(40);
    let of = |overage, units| cost(&PriceTerms::of(&prices, Some(&quota(overage))), Share::WHOLE, units);
    assert_eq!((of(Overage::Block, 90), of(Overage::Block, 200)), (50_000_000, 60_000_000));
    assert_eq!((of(Overage::Throttle, 200), of(Overage::Bill, 200)), (60_000_000, 160_000_000));
}

#[test]
fn a_change_back_makes_three_segments_and_equal_neighbours_are_one() {
    let at = |day: i64| november().start + TimeDelta::days(day);
    let always = Lifetime { from: at(-40), to: None };
    let of = |changes: &[(DateTime<Utc>, char)]| {
        let split = segments(november(), changes, always, |_| Proration::Changes);
        split.iter().map(|s| format!("{}{}", s.terms, s.share)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(of(&[(at(-40), 'a'), (at(10), 'b'), (at(15), 'a')]), "a1/3 b1/6 a1/2");
    assert_eq!(of(&[(at(-40), 'a'), (at(10), 'a'), (at(15), 'b'), (at(15), 'a')]), "a1");
    assert_eq!(of(&[(at(10), 'a')]), "a1");
    assert_eq!(of(&[(at(30), 'a')]), "a1");
    assert_eq!(of(&[(at(10), 'a'), (at(30), 'b')]), "a1");
}

#[test]
fn time_before_a_key_and_after_it_is_free_where_the_terms_say_so() {
    let at = |day: i64| november().start + TimeDelta::days(day);
    let lifetime = Lifetime { from: at(5), to: Some(at(20)) };
    let of = |proration| {
        let split = segments(november(), &[(at(5), 'a'), (at(10), 'b')], lifetime, |_| proration);
        split.iter().map(|s| format!("{}{}", s.terms, s.share)).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(of(Proration::Changes), "a1/3 b2/3");
    assert_eq!(of(Proration::Time), "a1/6 b1/3");
    assert_eq!(of(Proration::None), "a0 b1");
}
