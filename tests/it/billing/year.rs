//! A year of 200 keys on all models and in currencies of 0, 2 and 3 places, with changes of plans, late usage, records that are
//! taken back, and credits: every record is what an independent calculation gives, to the last millionth.

use std::collections::BTreeMap;

use chrono::{DateTime, Months, TimeDelta, Utc};
use serde_json::{Value, json};
use tollgate_tests::{
    app::{App, on_every_stack},
    wait::{HANGS_AFTER, eventually},
};

use super::records::go_to;

const KEYS: usize = 200;
const MONTHS: usize = 12;
const CURRENCIES: [(&str, u32); 3] = [("USD", 2), ("JPY", 0), ("KWD", 3)];
/// Of a millionth, in which rates count.
const PICO: i128 = 1_000_000;

/// A generator of the same numbers in every run (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

/// The prices of a plan: amounts in millionths, rates in 1e-12.
#[derive(Clone)]
struct Plan {
    name: String,
    currency: usize,
    base: i128,
    included: i128,
    minimum: Option<i128>,
    maximum: Option<i128>,
    model: Model,
}

#[derive(Clone)]
enum Model {
    PerUnit(i128),
    /// Last unit, rate and flat amount.
    Graduated(Vec<(Option<i128>, i128, i128)>),
    Volume(Vec<(Option<i128>, i128, i128)>),
    Package(i128, i128),
}

/// A plan's part of a month, in minutes.
#[derive(Clone, Copy)]
struct Part {
    minutes: i128,
    of: i128,
    plan: usize,
}

fn decimal(number: i128, places: u32) -> String {
    let one = 10_i128.pow(places);
    format!("{}.{:0width$}", number / one, number % one, width = places as usize)
}

/// Half to even.
fn rounded(number: i128, by: i128) -> i128 {
    let (below, rest) = (number.div_euclid(by), number.rem_euclid(by));
    below + i128::from(rest * 2 > by || (rest * 2 == by && below % 2 != 0))
}

impl Plan {
    fn body(&self) -> Value {
        let amount = |amount: i128| decimal(amount, 6);
        let tiers = |tiers: &[(Option<i128>, i128, i128)]| -> Value {
            let tier = |(up_to, rate, flat): &(Option<i128>, i128, i128)| json!({"up_to": up_to.map(|up_to| up_to as u64), "unit_amount": decimal(*rate, 12), "flat_amount": amount(*flat)});
            tiers.iter().map(tier).collect()
        };
        let mut prices = json!({"currency": CURRENCIES[self.currency].0, "base": amount(self.base),
            "included_units": self.included as u64, "minimum": self.minimum.map(amount), "maximum": self.maximum.map(amount)});
        match &self.model {
            Model::PerUnit(rate) => prices["unit_amount"] = json!(decimal(*rate, 12)),
            Model::Graduated(of) => (prices["model"], prices["tiers"]) = (json!("graduated"), tiers(of)),
            Model::Volume(of) => (prices["model"], prices["tiers"]) = (json!("volume"), tiers(of)),
            Model::Package(size, price) => {
                prices["model"] = json!("package");
                (prices["package_size"], prices["package_amount"]) = (json!(*size as u64), json!(amount(*price)));
            }
        }
        let limits = json!([{"name": "per-hour", "limit": 1_000_000, "window": 3600}]);
        json!({"name": self.name, "limits": limits, "prices": prices})
    }

    /// What a part of a month with so many units costs, in millionths. Everything is counted in parts of a minute of the month, so
    /// that all of it is whole until it is rounded.
    fn cost(&self, Part { minutes, of, .. }: Part, units: i128) -> i128 {
        let per_period = |amount: i128| rounded(amount * minutes, of);
        let line = |units: i128, rate: i128| rounded(units * rate, of * PICO);
        let billed = (units * of - self.included * minutes).max(0);
        let mut lines = vec![per_period(self.base)];
        match &self.model {
            Model::PerUnit(rate) => lines.push(line(billed, *rate)),
            Model::Package(size, price) => lines.push((billed + size * of - 1).div_euclid(size * of) * price),
            Model::Graduated(tiers) => {
                let mut from = 0;
                for (index, (up_to, rate, flat)) in tiers.iter().enumerate() {
                    if index > 0 && billed <= from {
                        break;
                    }
                    let to = up_to.map_or(billed, |up_to| (up_to * minutes).min(billed));
                    lines.extend([per_period(*flat), line(to - from, *rate)]);
                    from = to;
                }
            }
            Model::Volume(tiers) => {
                let tier =
                    tiers.iter().find(|(up_to, ..)| up_to.is_none_or(|up_to| billed <= up_to * minutes)).unwrap();
                lines.extend([per_period(tier.2), line(billed, tier.1)]);
            }
        }
        let sum: i128 = lines.iter().sum();
        let at_least = self.minimum.map_or(sum, |minimum| sum.max(per_period(minimum)));
        self.maximum.map_or(at_least, |maximum| at_least.min(per_period(maximum)))
    }
}

fn plans(random: &mut Random) -> Vec<Plan> {
    let mut plans = Vec::new();
    for currency in 0..CURRENCIES.len() {
        for model in 0..4 {
            let mut rate = || i128::from(random.below(2_000_000_000)) * 7;
            let tiers = |rates: [i128; 3]| {
                vec![(Some(300), rates[0], 1_250_000), (Some(900), rates[1], 700_001), (None, rates[2], 333_333)]
            };
            let model = match model {
                0 => Model::PerUnit(rate()),
                1 => Model::Graduated(tiers([rate(), rate(), rate()])),
                2 => Model::Volume(tiers([rate(), rate(), rate()])),
                _ => Model::Package(70, rate() / 1_000 + 1),
            };
            let number = plans.len();
            plans.push(Plan {
                name: format!("plan-{number}"),
                currency,
                base: 3_000_000 + i128::from(random.below(9_000_000)),
                included: i128::from(random.below(200)),
                minimum: (number % 3 == 1).then_some(14_000_000),
                maximum: (number % 4 == 2).then_some(25_000_000),
                model,
            });
        }
    }
    plans
}

/// What the test knows of a key.
struct Key {
    id: String,
    /// From which moment it is on which plan.
    plans: Vec<(DateTime<Utc>, usize)>,
    events: Vec<(DateTime<Utc>, i128)>,
    /// By month: what its records that count say of it in all.
    billed: BTreeMap<DateTime<Utc>, i128>,
    waived: Vec<DateTime<Utc>>,
    /// Months with usage that came late.
    late: Vec<DateTime<Utc>>,
    /// What the newest record has corrected: the month, and what was billed for it before.
    corrected: Vec<(DateTime<Utc>, i128)>,
    credit: i128,
    credit_used: BTreeMap<DateTime<Utc>, i128>,
}

impl Key {
    /// The plans of a month, each with its part and its units.
    fn month(&self, start: DateTime<Utc>) -> Vec<(Part, i128)> {
        let end = start + Months::new(1);
        let of = i128::from((end - start).num_minutes());
        let mut changes: Vec<(DateTime<Utc>, usize)> = Vec::new();
        for (at, plan) in self.plans.iter().filter(|(at, _)| *at < end) {
            changes.pop_if(|(last, _)| *last >= *at || *at <= start);
            if changes.last().is_none_or(|(_, last)| last != plan) {
                changes.push(((*at).max(start), *plan));
            }
        }
        changes[0].0 = start;
        let ends: Vec<_> = changes.iter().skip(1).map(|(at, _)| *at).chain([end]).collect();
        let part = |((from, plan), to): (&(DateTime<Utc>, usize), DateTime<Utc>)| {
            let within = self.events.iter().filter(|(at, _)| (*from..to).contains(at));
            (
                Part { minutes: i128::from((to - *from).num_minutes()), of, plan: *plan },
                within.map(|(_, units)| units).sum(),
            )
        };
        changes.iter().zip(ends).map(part).collect()
    }

    fn cost(&self, plans: &[Plan], start: DateTime<Utc>) -> i128 {
        self.month(start).into_iter().map(|(part, units)| plans[part.plan].cost(part, units)).sum()
    }

    /// What the record of a month must say: units, all lines but credits, credits, and what is due.
    fn close(&mut self, plans: &[Plan], start: DateTime<Utc>) -> [i128; 4] {
        let own = self.cost(plans, start);
        let mut subtotal = own;
        self.corrected.clear();
        for month in std::mem::take(&mut self.late) {
            if month == start || self.waived.contains(&month) {
                continue;
            }
            let now = self.cost(plans, month);
            let before = self.billed.insert(month, now).unwrap_or(0);
            self.corrected.push((month, before));
            subtotal += now - before;
        }
        self.billed.insert(start, own);
        let credit = self.credit.min(subtotal.max(0));
        self.credit -= credit;
        self.credit_used.insert(start, credit);
        let left_over = (-subtotal).max(0);
        self.credit += left_over;
        let step = 10_i128.pow(6 - CURRENCIES[plans[self.plans[0].1].currency].1);
        let due = rounded(subtotal - credit + left_over, step) * step;
        [self.month(start).iter().map(|(_, units)| units).sum(), subtotal, credit, due]
    }
}

/// Notes usage of a key, and gives it as the API takes it.
fn used(key: &mut Key, events: Vec<(DateTime<Utc>, i128)>, number: &mut u32) -> Vec<Value> {
    let event = |(at, units): &(DateTime<Utc>, i128)| {
        *number += 1;
        json!({"id": format!("e{number}"), "api_key_id": key.id, "timestamp": at, "units": *units as u64})
    };
    let bodies = events.iter().map(event).collect();
    key.events.extend(events);
    bodies
}

async fn post(app: &App, events: &[Value]) {
    for some in events.chunks(500) {
        app.admin.post("/api/v1/usage/events", &json!({"events": some})).await.expect(200);
    }
}

/// All records of a month that count, by key.
async fn records(app: &App, month: DateTime<Utc>) -> BTreeMap<String, Value> {
    let path = format!("/api/v1/billing/records?status=closed&period={}&limit=100", month.format("%Y-%m"));
    eventually("all keys have a record", HANGS_AFTER * 2, async || {
        app.advance(31);
        let mut found = BTreeMap::new();
        for page in 1..=KEYS.div_ceil(100) {
            let list = app.admin.get(&format!("{path}&page={page}")).await.expect(200).data().clone();
            found.extend(
                list.as_array().unwrap().iter().map(|r| (r["api_key_id"].as_str().unwrap().to_owned(), r.clone())),
            );
        }
        (found.len() == KEYS).then_some(found)
    })
    .await
}

fn micros(text: &Value) -> i128 {
    let text = text.as_str().unwrap();
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    sign * format!("{whole}{fraction:0<6}").parse::<i128>().unwrap()
}

#[track_caller]
fn agrees(record: &Value, expected: [i128; 4]) {
    let found = [
        record["units"].as_i64().unwrap().into(),
        micros(&record["subtotal"]),
        micros(&record["credits_applied"]),
        micros(&record["amount_due"]),
    ];
    assert_eq!(found, expected, "{record}");
    assert_eq!(micros(&record["total"]) + micros(&record["rounding"]), found[3]);
}

async fn void(app: &App, record: &Value, rebill: bool) -> Value {
    let path = format!("/api/v1/billing/records/{}/void", record["id"].as_str().unwrap());
    app.admin.post(&path, &json!({"reason": "a story", "rebill": rebill})).await.expect(200).data().clone()
}

async fn make_keys(app: &App, random: &mut Random, plans: &[Plan]) -> Vec<Key> {
    for plan in plans {
        app.admin.post("/api/v1/plans", &plan.body()).await.expect(201);
    }
    let mut keys = Vec::with_capacity(KEYS);
    for number in 0..KEYS {
        let plan = number % plans.len();
        let id = app.key(&plans[plan].name).await.id;
        let credit = if number % 20 == 3 { 20_000_000 + i128::from(random.below(50_000_000)) } else { 0 };
        if credit > 0 {
            let currency = CURRENCIES[plans[plan].currency].0;
            let grant = json!({"api_key_id": id, "amount": decimal(credit, 6), "currency": currency});
            app.admin.post("/api/v1/credits/grants", &grant).await.expect(201);
        }
        let (events, billed, waived, late, corrected) =
            (Vec::new(), BTreeMap::new(), Vec::new(), Vec::new(), Vec::new());
        let from = vec![(app.clock.now(), plan)];
        keys.push(Key {
            id,
            plans: from,
            events,
            billed,
            waived,
            late,
            corrected,
            credit,
            credit_used: BTreeMap::new(),
        });
    }
    keys
}

/// Some keys go to another plan of their currency, each at its moment.
async fn change_plans(app: &App, random: &mut Random, keys: &mut [Key], plans: &[Plan], end: DateTime<Utc>) {
    let seconds = u64::try_from((end - app.clock.now()).num_seconds()).unwrap() - 600;
    let mut moments: Vec<_> = (0..KEYS / 5).map(|_| (random.below(seconds), random.below(KEYS as u64))).collect();
    moments.sort_unstable();
    let began = app.clock.now();
    for (after, key) in moments {
        let key = &mut keys[usize::try_from(key).unwrap()];
        app.clock.advance(began + TimeDelta::seconds(i64::try_from(after).unwrap()) - app.clock.now());
        let currency = plans[key.plans[0].1].currency;
        let plan = currency * 4 + usize::try_from(random.below(4)).unwrap();
        app.admin.put(&format!("/api/v1/api-keys/{}", key.id), &json!({"tier": plans[plan].name})).await.expect(200);
        let now = app.clock.now();
        let minute =
            now - TimeDelta::microseconds(now.timestamp_micros().rem_euclid(60_000_000)) + TimeDelta::minutes(1);
        key.plans.retain(|(at, _)| *at < minute);
        key.plans.push((minute, plan));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_year_of_records_is_what_an_independent_calculation_gives() {
    on_every_stack(async |app| {
        let (mut random, mut number) = (Random(2031), 0);
        let plans = plans(&mut random);
        let mut keys = make_keys(app, &mut random, &plans).await;
        let mut start: DateTime<Utc> = "2031-05-01T00:00:00Z".parse().unwrap();
        for month in 0..MONTHS {
            let (began, end) = (app.clock.now().max(start), start + Months::new(1));
            change_plans(app, &mut random, &mut keys, &plans, end).await;
            go_to(app, &(end - TimeDelta::seconds(60)).to_rfc3339());
            let mut bodies = Vec::new();
            for key in &mut keys {
                let span = u64::try_from((end - began).num_microseconds().unwrap()).unwrap();
                let events = (0..3).map(|_| {
                    let at = began + TimeDelta::microseconds(i64::try_from(random.below(span)).unwrap());
                    (at, i128::from(random.below(700) + 1))
                });
                bodies.extend(used(key, events.collect(), &mut number));
            }
            post(app, &bodies).await;
            go_to(app, &(end + TimeDelta::seconds(3_605)).to_rfc3339());
            let found = records(app, start).await;
            for key in &mut keys {
                agrees(&found[&key.id], key.close(&plans, start));
            }
            // Late, in the month that was closed; then some records are taken back.
            let mut bodies = Vec::new();
            for key in keys.iter_mut().skip(month).step_by(9) {
                let at = start + TimeDelta::seconds(i64::try_from(random.below(28 * 86_400)).unwrap());
                let event = vec![(at.max(end - TimeDelta::days(30)), i128::from(random.below(900) + 1))];
                bodies.extend(used(key, event, &mut number));
                key.late.push(start);
            }
            post(app, &bodies).await;
            for (place, key) in keys.iter_mut().enumerate().filter(|(place, _)| place % 40 == month) {
                let record = &found[&key.id];
                let rebill = place % 80 == month;
                let voided = void(app, record, rebill).await;
                key.credit += key.credit_used.remove(&start).unwrap_or(0);
                // What it corrected is corrected again, by what takes its place or by the next.
                for (month, before) in std::mem::take(&mut key.corrected) {
                    key.billed.insert(month, before);
                    key.late.push(month);
                }
                if rebill {
                    let path = format!("/api/v1/billing/records/{}", voided["replacement_id"].as_str().unwrap());
                    let again = app.admin.get(&path).await.expect(200).data().clone();
                    assert_eq!(again["revision"], 2);
                    key.late.retain(|late| *late != start);
                    agrees(&again, key.close(&plans, start));
                } else {
                    key.waived.push(start);
                }
            }
            start = end;
        }
        assert_eq!(app.service.billing().reconcile().await.unwrap(), 0);
    })
    .await;
}
