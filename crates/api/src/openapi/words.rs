//! The bounds and examples of members and parameters by name. A name means the same everywhere, so its bounds are
//! written here once, from the rules that the service checks.

use serde_json::{Value, json};
use tollgate_domain::text::{self, TextBounds};
use utoipa::openapi::{
    Components, KnownFormat, RefOr, Schema, SchemaFormat,
    schema::{ArrayItems, Object, SchemaType, Type},
};

/// The owner of a parameter, which is no component's member.
pub(super) const QUERY: &str = "a query";
pub(super) const PATH: &str = "a path";

/// No control characters (see [`text::is_plain`]).
const PLAIN: &str = r"^[^\x00-\x1F\x7F-\x9F]*$";
/// No control characters, and not blank.
const NAME: &str = r"^[^\x00-\x1F\x7F-\x9F]*[^\s\x00-\x1F\x7F-\x9F][^\x00-\x1F\x7F-\x9F]*$";
const SLUG: &str = "^[a-z0-9_-]{1,64}$";
const LIMIT_NAME: &str = "^(?!(quota|overage|spend-cap)$)[A-Za-z0-9_.-]{1,64}$";
/// Also what is no limit of a plan or key.
const ANY_LIMIT_NAME: &str = "^[A-Za-z0-9_.-]{1,64}$";
const COUNTRY: &str = "^[A-Za-z]{2}$";
const CURRENCY: &str = "^[A-Z]{3}$";
const PRICE: &str = r"^[0-9]{1,12}(\.[0-9]{1,6})?$";
const RATE: &str = r"^[0-9]{1,12}(\.[0-9]{1,12})?$";
const MONTH: &str = "^[0-9]{4}-(0[1-9]|1[0-2])$";
const TIME_ZONE: &str = "^[A-Za-z0-9_+-]{1,32}(/[A-Za-z0-9_+-]{1,32}){0,2}$";
const CURSOR: &str = "^([0-9a-f]{2})+$";
/// A date, or a time.
const DAY_OR_TIME: &str = concat!(
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}",
    r"([Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,12})?([Zz]|[+-][0-9]{2}:[0-9]{2}))?$"
);

macro_rules! ipv4 {
    () => {
        r"((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
    };
}
/// RFC 4291, section 2.2, with an IPv4 address at the end only after `::ffff:`.
macro_rules! ipv6 {
    () => {
        concat!(
            "(([0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}|([0-9A-Fa-f]{1,4}:){1,7}:|([0-9A-Fa-f]{1,4}:){1,6}:[0-9A-Fa-f]{1,4}|",
            "([0-9A-Fa-f]{1,4}:){1,5}(:[0-9A-Fa-f]{1,4}){1,2}|([0-9A-Fa-f]{1,4}:){1,4}(:[0-9A-Fa-f]{1,4}){1,3}|",
            "([0-9A-Fa-f]{1,4}:){1,3}(:[0-9A-Fa-f]{1,4}){1,4}|([0-9A-Fa-f]{1,4}:){1,2}(:[0-9A-Fa-f]{1,4}){1,5}|",
            "[0-9A-Fa-f]{1,4}:(:[0-9A-Fa-f]{1,4}){1,6}|:(:[0-9A-Fa-f]{1,4}){1,7}|::)"
        )
    };
}
const ADDRESS: &str = concat!("^(", ipv4!(), "|", ipv6!(), "|::[Ff]{4}:", ipv4!(), ")$");
const NETWORK: &str = concat!(
    "^(",
    ipv4!(),
    "(/(3[0-2]|[12]?[0-9]))?|",
    ipv6!(),
    "(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?|::[Ff]{4}:",
    ipv4!(),
    "(/(12[0-8]|1[01][0-9]|9[6-9]))?)$"
);

/// The rule of a text.
enum Rule {
    /// Plain text.
    Text(TextBounds),
    /// This form, which bounds its length itself or has these bounds.
    Form(&'static str, Option<TextBounds>),
    /// Only in answers, where nothing is promised about it.
    Any,
}

/// Rule and example of a text by its name, and by its owner if a name has two meanings.
fn text_of(owner: &str, name: &str) -> Option<(Rule, &'static str)> {
    use Rule::{Any, Form, Text};
    Some(match (owner, name) {
        ("Limit", "name") => (Form(LIMIT_NAME, None), "per-hour"),
        ("LimitState" | "PreviewLimit", "name") | (_, "limit_name" | "violated-policies") => {
            (Form(ANY_LIMIT_NAME, None), "per-hour")
        }
        ("CreatePlan", "name") => (Form(SLUG, None), "startup"),
        ("PlanView", "name") => (Form(SLUG, None), "standard"),
        ("DeadJobView", "name") => (Any, "usage_apply"),
        (_, "name") => (Form(NAME, Some(text::NAME)), "Checkout service"),
        (QUERY, "tier") => (Text(text::FILTER), "standard"),
        (QUERY, "owner_id") => (Text(text::FILTER), "acme"),
        (QUERY, "tag") => (Text(text::FILTER), "web"),
        (QUERY, "search") => (Text(text::FILTER), "checkout"),
        (PATH, "id") => (Text(text::JOB_ID), "01a20a9e-85ea-7c36-a9d2-d95b58943f68"),
        (_, "tier") => (Form(SLUG, None), "standard"),
        ("Event" | "CloudEvent", "id") => (Text(text::EVENT_ID), "order-4711"),
        ("Event", "source") => (Text(text::EVENT_SOURCE), "/checkout"),
        ("CloudEvent", "source") => (Text(TextBounds { least: 1, ..text::EVENT_SOURCE }), "/checkout"),
        // As they were sent, whatever they were.
        ("EventTaken", "id") => (Any, "order-4711"),
        ("EventTaken", "source") => (Any, "/checkout"),
        ("DeadJobView" | "Retried", "id") => (Text(text::JOB_ID), "usage_apply:01a20a9e-85ea-7c36-a9d2-d95b58943f68:0"),
        (_, "description") => (Text(text::DESCRIPTION), "The web shop's checkout"),
        ("Status", "reason") => (Any, "the database is not there yet"),
        (_, "reason") => (Text(text::DESCRIPTION), "unusual traffic"),
        (_, "owner_id") => (Text(text::OWNER_ID), "acme"),
        (_, "tags") => (Text(text::TAG), "web"),
        (_, "features") => (Text(text::FEATURE), "email support"),
        (_, "endpoint") => (Text(text::ENDPOINT), "/v1/orders"),
        (_, "method") => (Text(text::METHOD), "GET"),
        (_, "user_agent") => (Text(text::USER_AGENT), "checkout/2.1"),
        (_, "country" | "allowed_countries") => (Form(COUNTRY, None), "DE"),
        (_, "ip_address") => (Form(ADDRESS, None), "192.0.2.7"),
        (_, "allowed_ips") => (Form(NETWORK, None), "192.0.2.0/24"),
        (_, "currency") => (Form(CURRENCY, None), "USD"),
        ("PlanPrices" | "PlanPricesView" | "PriceTier" | "PriceTierView", "unit_amount")
        | (_, "overage_unit" | "overage_rate") => (Form(RATE, None), "0.0005"),
        ("DueView" | "RecordView" | "LineView" | "VoidedView" | "Projected" | "SummaryView", _) if is_amount(name) => {
            (Any, "44.00")
        }
        (
            _,
            "base" | "minimum" | "maximum" | "spend_cap" | "package_amount" | "flat_amount" | "amount" | "amount_paid",
        ) => (Form(PRICE, None), "29.00"),
        ("CloseRequest" | "PreviewRequest", "period") => (Form(MONTH, None), "2026-10"),
        (QUERY, "period" | "start" | "end") => (Form(MONTH, None), "2026-10"),
        (_, "plan") => (Form(SLUG, None), "standard"),
        ("Acknowledgement", "note") | (_, "reference") => (Text(text::DESCRIPTION), "ch_4711"),
        (_, "timezone") => (Form(TIME_ZONE, Some(text::TIME_ZONE)), "Europe/Berlin"),
        (_, "cursor" | "next_cursor") => (Form(CURSOR, Some(text::CURSOR)), "31373636303930343930"),
        (_, "start_date" | "end_date") => (Form(DAY_OR_TIME, None), "2026-11-24"),
        (_, "key" | "api_key") => (Text(text::SECRET), "tg_live_4fQzB1vXo8tN5yRk2cJw7hLs9dGm3aW1aBcD"),
        (_, "token") => (Text(text::SECRET), "tgt_admin_4fQzB1vXo8tN5yRk2cJw7hLs9dGm3aW1aBcD"),
        (_, "cause") => (Any, "the database is unavailable: pool timed out"),
        (_, "instance") => (Any, "01a20a9e-85ea-7c36-a9d2-d95b58943f68"),
        ("WrongField", "detail") => (Any, "no such plan; there are free, standard, pro, enterprise"),
        _ => return None,
    })
}

/// Whether a member of an answer is an amount, which may be negative and has the places of its currency.
fn is_amount(name: &str) -> bool {
    const AMOUNTS: [&str; 11] = [
        "subtotal",
        "credits_applied",
        "rounding",
        "total",
        "amount",
        "amount_due",
        "amount_paid",
        "unit_amount",
        "paid",
        "outstanding",
        "overdue",
    ];
    AMOUNTS.contains(&name)
}

/// A plausible time for a member of this name.
fn time_of(name: &str) -> &'static str {
    match name {
        "start" => "2026-11-01T00:00:00Z",
        "end" | "period_end" => "2026-12-01T00:00:00Z",
        "created_at" => "2026-10-01T08:30:00Z",
        "expires_at" => "2035-01-01T00:00:00Z",
        "window_start" | "date" => "2026-11-24T10:00:00Z",
        "window_end" | "reset_time" => "2026-11-24T11:00:00Z",
        _ => "2026-11-24T10:30:00Z",
    }
}

/// A plausible number for a member of this name; None when the least one will do.
pub(super) fn number_of(name: &str) -> Option<i64> {
    Some(match name {
        "requests" | "requests_today" => 120,
        "successful" => 115,
        "rate_limited" | "violations" | "recent_violations" | "count" => 5,
        "requests_this_month" => 12_345,
        "total_requests" => 98_765,
        "limit" => 1_000,
        "used" | "accepted" | "attempts" | "version" => 1,
        "remaining" => 999,
        "window" => 3_600,
        _ => return None,
    })
}

/// Adds bounds and examples to every text in the component `owner`, or to a parameter of an operation.
pub(super) fn apply(owner: &str, name: &str, schema: &mut RefOr<Schema>) {
    let RefOr::T(schema) = schema else { return };
    match schema {
        Schema::Object(object) => {
            bound(owner, name, object);
            for (name, member) in &mut object.properties {
                apply(owner, name, member);
            }
        }
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                apply(owner, name, items);
            }
        }
        Schema::OneOf(one) => one.items.iter_mut().for_each(|item| apply(owner, name, item)),
        Schema::AllOf(all) => all.items.iter_mut().for_each(|item| apply(owner, name, item)),
        Schema::AnyOf(any) => any.items.iter_mut().for_each(|item| apply(owner, name, item)),
        _ => {}
    }
}

/// Adds them to all components.
pub(super) fn apply_all(components: &mut Components) {
    for (component, schema) in &mut components.schemas {
        // A generic type's name ends with the name of its parameter, whose members are inlined.
        let owner = component.rsplit('_').next().unwrap_or(component).to_owned();
        apply(&owner, "", schema);
    }
}

fn bound(owner: &str, name: &str, object: &mut Object) {
    if is_of(object, &Type::Integer) && object.minimum.is_none() {
        object.minimum = Some(0_u64.into());
    }
    if !is_of(object, &Type::String) || object.enum_values.is_some() {
        return;
    }
    let has_example = object.example.is_some() || !object.examples.is_empty();
    let mut example = |value: Value| {
        if !has_example {
            object.example = Some(value);
        }
    };
    match &object.format {
        Some(SchemaFormat::KnownFormat(KnownFormat::Uuid)) => example(json!("01a20a9e-85ea-7c36-a9d2-d95b58943f68")),
        Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)) => example(json!(time_of(name))),
        Some(_) => {}
        None => {
            let Some((rule, text)) = text_of(owner, name) else { return };
            example(json!(text));
            let (pattern, bounds) = match rule {
                Rule::Text(bounds) => (PLAIN, Some(bounds)),
                Rule::Form(pattern, bounds) => (pattern, bounds),
                Rule::Any => return,
            };
            object.pattern = object.pattern.take().or_else(|| Some(pattern.into()));
            if let Some(TextBounds { least, most }) = bounds {
                object.min_length = Some(least).filter(|least| *least > 0);
                object.max_length = Some(most);
            }
        }
    }
}

/// Whether a schema is of this type, or of this type or null.
fn is_of(object: &Object, wanted: &Type) -> bool {
    match &object.schema_type {
        SchemaType::Type(one) => one == wanted,
        SchemaType::Array(several) => several.contains(wanted),
        SchemaType::AnyValue => false,
    }
}
