//! The service's own OpenAPI document, read as a list of operations that a story can drive.

use serde_json::{Map, Value, json};

use crate::answer::{Answer, Client};

/// What stands for a scope where a client asks about its own key.
const OWN_KEY: &str = "own key";
/// Deeper than any body here; a schema that refers to itself ends there.
const MAX_DEPTH: usize = 12;

/// Headers that every answer may carry, and of which no operation speaks.
const COMMON_HEADERS: [&str; 10] = [
    "cache-control",
    "connection",
    "content-length",
    "transfer-encoding",
    "content-security-policy",
    "content-type",
    "date",
    "referrer-policy",
    "x-content-type-options",
    "x-frame-options",
];

/// The document of a running service.
pub struct Document(pub Value);

/// One route and method.
#[derive(Clone, Debug)]
pub struct Operation {
    /// In upper case.
    pub method: String,
    /// With `{names}`.
    pub path: String,
    /// The scope that a token needs, if the operation is not for everyone.
    pub scope: Option<String>,
    /// Schema of the JSON body, if it takes one.
    pub body: Option<Value>,
    /// As it stands in the document.
    pub value: Value,
}

/// Which members an example has.
#[derive(Clone, Copy, PartialEq)]
enum Members {
    /// Those that are required, or have an example of their own.
    Told,
    All,
}

impl Document {
    /// Asks the service for it.
    pub async fn of(client: &Client) -> Self {
        Self(client.get("/openapi.json").await.expect(200).body)
    }

    /// Every operation there is.
    pub fn operations(&self) -> Vec<Operation> {
        let paths = self.0["paths"].as_object().expect("paths");
        let methods = |(path, item): (&String, &Value)| {
            let known = ["get", "put", "post", "delete", "patch"].into_iter();
            let one = |method: &str| Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                scope: item[method]["x-required-scope"].as_str().filter(|scope| *scope != OWN_KEY).map(str::to_owned),
                body: item[method].pointer("/requestBody/content/application~1json/schema").cloned(),
                value: item[method].clone(),
            };
            known.filter(|method| item.get(method).is_some()).map(one).collect::<Vec<_>>()
        };
        paths.iter().flat_map(methods).collect()
    }

    /// What a `$ref` stands for; the schema itself when it is none.
    pub fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
            Some(pointer) => self.0.pointer(pointer).unwrap_or_else(|| panic!("nothing at {pointer}")),
            None => schema,
        }
    }

    /// The schema's example: its own, or one made of its members' where it has none.
    pub fn example(&self, schema: &Value) -> Value {
        self.example_at(schema, Members::Told, 0)
    }

    /// The same with every member that there may be, and something in those that may hold anything.
    pub fn full_example(&self, schema: &Value) -> Value {
        self.example_at(schema, Members::All, 0)
    }

    fn example_at(&self, schema: &Value, members: Members, depth: usize) -> Value {
        assert!(depth < MAX_DEPTH, "a schema without end: {schema}");
        let given = schema.get("example").or_else(|| schema["examples"].get(0)).or_else(|| schema.get("default"));
        if let Some(given) = given.filter(|given| members == Members::Told || !given.is_null()) {
            return given.clone();
        }
        let resolved = self.resolve(schema);
        if resolved != schema {
            return self.example_at(resolved, members, depth + 1);
        }
        if let Some(first) = schema["enum"].get(0) {
            return first.clone();
        }
        for choice in ["oneOf", "anyOf"] {
            let real = |one: &&Value| one["type"] != "null";
            if let Some(first) = schema[choice].as_array().and_then(|all| all.iter().find(real)) {
                return self.example_at(first, members, depth + 1);
            }
        }
        self.example_of_type(schema, members, depth)
    }

    fn example_of_type(&self, schema: &Value, members: Members, depth: usize) -> Value {
        match first_type(schema) {
            "object" => {
                let required = schema["required"].as_array().cloned().unwrap_or_default();
                let Some(properties) = schema["properties"].as_object() else {
                    return if members == Members::All {
                        json!({"text": "text", "deep": {"list": [{"text": "text"}]}})
                    } else {
                        json!({})
                    };
                };
                let mut object = Map::new();
                for (name, member) in properties {
                    let told = self.resolve(member).get("example").is_some() || member["format"] == "uuid";
                    if members == Members::All || told || required.contains(&json!(name)) {
                        object.insert(name.clone(), self.example_at(member, members, depth + 1));
                    }
                }
                Value::Object(object)
            }
            "array" => json!([self.example_at(&schema["items"], members, depth + 1)]),
            "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(1)),
            "boolean" => json!(true),
            _ => match schema["format"].as_str() {
                Some("uuid") => json!(uuid::Uuid::nil()),
                Some("date-time") => json!("2031-05-15T10:00:00Z"),
                _ => json!("text"),
            },
        }
    }

    /// Panics unless the operation's document says so of an answer: its status, its headers, its type and its body.
    #[track_caller]
    pub fn expect_described(&self, operation: &Operation, answer: &Answer) {
        let name = format!("{} {}: {}", operation.method, operation.path, answer.status);
        let described = self.resolve(&operation.value["responses"][answer.status.to_string()]);
        assert!(described.is_object(), "{name} is not described: {}", answer.text);
        for header in answer.headers.keys().map(|name| name.as_str()).filter(|name| !COMMON_HEADERS.contains(name)) {
            let headers = described["headers"].as_object().into_iter().flatten();
            let named = headers.map(|(name, _)| name.to_lowercase()).any(|name| name == header);
            assert!(named, "{name}: {header} is not described");
        }
        let media_type = answer.header("content-type").split(';').next().unwrap_or_default();
        let content = described["content"].as_object().and_then(|all| all.get(media_type));
        assert!(content.is_some() || media_type.is_empty(), "{name}: {media_type} is not described");
        if let Some(schema) = content.map(|content| &content["schema"]).filter(|_| media_type.ends_with("json")) {
            let differences = self.differences(schema, &answer.body);
            assert!(differences.is_empty(), "{name}: {differences:#?}\n{}", answer.text);
        }
    }

    /// Adds every part of `schema` that a client could make as large as it likes.
    pub fn unbounded(&self, schema: &Value, at: &str, found: &mut Vec<String>) {
        let schema = self.resolve(schema);
        for choice in ["oneOf", "anyOf", "allOf"] {
            schema[choice].as_array().into_iter().flatten().for_each(|part| self.unbounded(part, at, found));
        }
        let has = |name: &str| schema.get(name).is_some();
        let bounded = match first_type(schema) {
            _ if has("enum") => true,
            "string" => has("format") || has("pattern") && (has("maxLength") || is_short(&schema["pattern"])),
            "integer" | "number" => has("minimum") && has("maximum"),
            "array" => has("maxItems"),
            "object" => has("maxProperties") || schema["additionalProperties"] == false,
            _ => true,
        };
        if !bounded {
            found.push(format!("{at}: {schema}"));
        }
        for (name, member) in schema["properties"].as_object().into_iter().flatten() {
            self.unbounded(member, &format!("{at}/{name}"), found);
        }
        if let Some(items) = schema.get("items") {
            self.unbounded(items, &format!("{at}/0"), found);
        }
    }

    /// How `value` differs from `schema`; empty when it conforms. Types, required members, enums and choices.
    pub fn differences(&self, schema: &Value, value: &Value) -> Vec<String> {
        let mut found = Vec::new();
        self.compare(schema, value, "", &mut found);
        found
    }

    fn compare(&self, schema: &Value, value: &Value, at: &str, found: &mut Vec<String>) {
        let schema = self.resolve(schema);
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.compare(part, value, at, found);
        }
        for choice in ["oneOf", "anyOf"] {
            let fits = |one: &Value| self.differences(one, value).is_empty();
            if schema[choice].as_array().is_some_and(|all| !all.iter().any(fits)) {
                found.push(format!("{at}: none of {choice} fits {value}"));
            }
        }
        if !type_fits(&schema["type"], value) {
            found.push(format!("{at}: {value} is not of type {}", schema["type"]));
        }
        if schema["enum"].as_array().is_some_and(|all| !all.contains(value)) {
            found.push(format!("{at}: {value} is not one of {}", schema["enum"]));
        }
        if let Some(members) = value.as_object() {
            for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !members.contains_key(name) {
                    found.push(format!("{at}/{name}: missing"));
                }
            }
            for (name, member) in schema["properties"].as_object().into_iter().flatten() {
                if let Some(value) = members.get(name) {
                    self.compare(member, value, &format!("{at}/{name}"), found);
                }
            }
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            if let Some(items) = schema.get("items") {
                self.compare(items, item, &format!("{at}/{index}"), found);
            }
        }
    }
}

/// Whether a pattern repeats nothing without end.
fn is_short(pattern: &Value) -> bool {
    let pattern = pattern.as_str().unwrap_or("*").replace("\\*", "");
    // What stands in brackets is a set of characters.
    let outside = pattern.split('[').map(|part| part.split_once(']').map_or(part, |(_, rest)| rest));
    !outside.collect::<String>().contains(['*', '+'])
}

fn first_type(schema: &Value) -> &str {
    let real = |types: &'_ Vec<Value>| types.iter().position(|one| one != "null");
    match &schema["type"] {
        Value::Array(types) => real(types).and_then(|at| types[at].as_str()).unwrap_or_default(),
        one => one.as_str().unwrap_or_default(),
    }
}

fn type_fits(wanted: &Value, value: &Value) -> bool {
    match wanted {
        Value::Array(types) => types.iter().any(|one| type_fits(one, value)),
        Value::String(name) => match name.as_str() {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            _ => false,
        },
        _ => true,
    }
}
