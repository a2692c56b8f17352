//! Figures of other billing systems' own tests (`tests/data/price_cases.json` names the source of each), asked of the preview,
//! which is what closes a period. `ours` says where our rule gives another figure than theirs.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tollgate_tests::app::{App, on_every_stack};

const CASES: &str = include_str!("../../data/price_cases.json");
/// Parts of one that amounts are compared in, because they are written with different places.
const ONE: i128 = 1_000_000_000_000;

fn text<'a>(of: &'a Value, member: &str) -> Option<&'a str> {
    of[member].as_str()
}

fn parts(text: &str) -> i128 {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    sign * format!("{whole}{fraction:0<12.12}").parse::<i128>().unwrap()
}

/// Units are whole here: where a case has parts of a unit, units and bounds are multiplied and rates divided.
fn units(text: &str, scale: i128) -> u64 {
    u64::try_from(parts(text) * scale / ONE).unwrap()
}

fn rate(text: &str, scale: i128) -> String {
    let number = parts(text) / scale;
    format!("{}.{:012}", number / ONE, number % ONE)
}

/// Prices as the API takes them.
fn prices(model: &Value, scale: i128) -> Value {
    let mut prices = json!({"currency": text(model, "currency").unwrap_or("USD"),
        "base": text(model, "base").unwrap_or("0"), "included_units": 0, "proration": "time"});
    for bound in ["minimum", "maximum"] {
        prices[bound] = model[bound].clone();
    }
    match text(model, "model") {
        Some(tiered @ ("graduated" | "volume")) => {
            prices["model"] = json!(tiered);
            let tier = |tier: &Value| {
                let up_to = text(tier, "up_to").map(|bound| units(bound, scale));
                json!({"up_to": up_to, "unit_amount": rate(text(tier, "unit").unwrap(), scale), "flat_amount": tier["flat"]})
            };
            prices["tiers"] = model["tiers"].as_array().unwrap().iter().map(tier).collect();
        }
        Some("package") => {
            prices["model"] = json!("package");
            prices["package_size"] = json!(units(text(model, "package_size").unwrap(), scale));
            prices["package_amount"] = model["amount"].clone();
            prices["included_units"] = json!(units(text(model, "free_units").unwrap_or("0"), scale));
        }
        _ => prices["unit_amount"] = json!(text(model, "unit_amount").unwrap_or("0")),
    }
    if let Some(included) = text(model, "included") {
        prices["included_units"] = json!(units(included, scale));
    }
    prices
}

async fn preview(app: &App, body: Value) -> Value {
    app.admin.post("/api/v1/billing/preview", &body).await.expect(200).data().clone()
}

/// The bill of a whole period.
async fn whole(app: &App, prices: &Value, units: u64) -> Value {
    preview(app, json!({"plan": {"prices": prices}, "units": units, "period": "2026-11"})).await
}

fn total(bill: &Value) -> i128 {
    parts(bill["total"].as_str().unwrap())
}

fn line(bill: &Value, kind: &str) -> String {
    let lines = bill["lines"].as_array().unwrap();
    lines.iter().find(|line| line["kind"] == kind).map_or("0".into(), |line| text(line, "amount").unwrap().into())
}

/// What a figure should be: ours where it differs.
fn expected<'a>(case: &'a Value, figure: &str) -> Option<&'a str> {
    text(&case["ours"], figure).or_else(|| text(&case["expected"], figure))
}

fn same(case: &Value, figure: &str, found: i128) {
    if let Some(wanted) = expected(case, figure) {
        assert_eq!(found, parts(wanted), "{}: {figure}", case["id"]);
    }
}

async fn by_units(app: &App, case: &Value) {
    let scale = if case["applies"] == "scaled" { 1_000 } else { 1 };
    let used = units(text(&case["input"], "units").unwrap(), scale);
    let bill = whole(app, &prices(&case["model"], scale), used).await;
    same(case, "amount", total(&bill));
    same(case, "true_up", parts(&line(&bill, "minimum_true_up")));
    same(case, "discount", -parts(&line(&bill, "maximum_discount")));
    same(case, "overage", parts(&bill["overage_units"].to_string()));
}

/// What is missing to the share of a minimum. The case says what was billed: units of a cent.
async fn true_up(app: &App, case: &Value) {
    let (input, mut prices) = (&case["input"], prices(&case["model"], 1));
    prices["unit_amount"] = json!("0.01");
    let (days, of) = text(input, "share").unwrap().split_once('/').unwrap_or(("30", "30"));
    let month = match of {
        "31" => "2026-12",
        "28" => "2026-02",
        _ => "2026-11",
    };
    let after: u32 = days.parse::<u32>().unwrap() + 1;
    let end = if days == of { Value::Null } else { json!(format!("{month}-{after:02}T00:00:00Z")) };
    let used = units(text(input, "billed").unwrap(), 100);
    let segment = json!({"end": end, "plan": {"prices": prices}, "units": used});
    let bill = preview(app, json!({"segments": [segment], "period": month})).await;
    same(case, "true_up", parts(&line(&bill, "minimum_true_up")));
}

/// Later figures for a period less what was billed for it before.
async fn corrections(app: &App, case: &Value) {
    let prices = prices(&case["model"], 1);
    let used = case["input"]["cumulative_units"].as_array().unwrap();
    let deltas = case["ours"]["deltas"].as_array().or(case["expected"]["deltas"].as_array()).unwrap();
    let mut before = 0;
    for (used, delta) in used.iter().zip(deltas) {
        let total = total(&whole(app, &prices, used.as_str().unwrap().parse().unwrap()).await);
        assert_eq!(total - before, parts(delta.as_str().unwrap()), "{}: {used}", case["id"]);
        before = total;
    }
}

/// An amount is one unit's price here. A negative one cannot be asked for: halves go to the even neighbour on both sides.
async fn rounding(app: &App, case: &Value) {
    let amount = text(&case["input"], "amount").unwrap().trim_start_matches('-');
    let currency = text(&case["model"], "currency").unwrap_or("USD");
    let prices = json!({"currency": currency, "base": "0", "included_units": 0, "unit_amount": amount});
    let bill = whole(app, &prices, 1).await;
    same(case, "amount_due_minor", parts(&bill["amount_due_minor"].to_string()));
    same(case, "amount_due", parts(text(&bill, "amount_due").unwrap()));
    if let Some(rounded) = expected(case, "amount") {
        assert_eq!(parts(&line(&bill, "usage")), parts(rounded).abs(), "{bill}");
    }
}

/// A period with a change of plans, or a part of one.
async fn proration(app: &App, case: &Value) {
    let (model, input) = (&case["model"], &case["input"]);
    let bounds = input["period"].as_array().unwrap();
    let (start, end) = (bounds[0].as_str().unwrap(), bounds[1].as_str().unwrap());
    let base = |base: &str| {
        let base = if base.is_empty() { "0" } else { base };
        json!({"prices": {"currency": "USD", "base": base, "unit_amount": "0", "proration": "time"}})
    };
    let (segments, figures) = if let Some(at) = text(input, "change_at") {
        let (old, new) = (text(model, "old_base").unwrap(), text(model, "new_base").unwrap());
        let segments =
            json!([{"end": at, "plan": base(old), "units": 0}, {"start": at, "plan": base(new), "units": 0}]);
        let figures = if old.is_empty() { vec!["new_segment"] } else { vec!["old_segment", "new_segment"] };
        (segments, figures)
    } else {
        let from = text(input, "from").or(text(input, "start")).unwrap_or(start);
        let to = text(input, "to").or(text(input, "end")).unwrap_or(end);
        let used = text(input, "units").map_or(0, |used| units(used, 1));
        let plan = json!({"prices": prices(model, 1)});
        (json!([{"start": from, "end": to, "plan": plan, "units": used}]), vec!["amount"])
    };
    let bill = preview(app, json!({"segments": segments, "period": &start[..7]})).await;
    if figures == ["amount"] {
        return same(case, "amount", total(&bill));
    }
    let lines = bill["lines"].as_array().unwrap();
    assert_eq!(lines.len(), figures.len(), "{bill}");
    for (figure, line) in figures.into_iter().zip(lines) {
        same(case, figure, parts(text(line, "amount").unwrap()));
    }
}

#[tokio::test]
async fn the_figures_of_other_systems_tests_hold() {
    on_every_stack(async |app| {
        let cases: Vec<Value> = serde_json::from_str(CASES).unwrap();
        let mut held: BTreeMap<&str, u32> = BTreeMap::new();
        for case in &cases {
            let (area, input) = (text(case, "area").unwrap(), &case["input"]);
            match area {
                "min_max" if input["billed"].is_string() => true_up(app, case).await,
                "per_unit" | "graduated" | "volume" | "package" | "min_max" => by_units(app, case).await,
                "quota_overage" if input["units"].is_string() => by_units(app, case).await,
                "corrections" => corrections(app, case).await,
                "rounding" if input["weights"].is_null() => rounding(app, case).await,
                "proration" if input["period"].is_array() => proration(app, case).await,
                // Held elsewhere, or of what the preview is not asked.
                _ => continue,
            }
            *held.entry(area).or_default() += 1;
        }
        let expected = [
            ("corrections", 10),
            ("graduated", 18),
            ("min_max", 10),
            ("package", 12),
            ("per_unit", 4),
            ("proration", 7),
            ("quota_overage", 3),
            ("rounding", 11),
            ("volume", 12),
        ];
        assert_eq!(held, BTreeMap::from(expected));
    })
    .await;
}
