//! An example for every successful answer, made of its members' own examples.

use serde_json::{Map, Value, json};
use utoipa::openapi::{
    Components, RefOr, Schema,
    schema::{AdditionalProperties, ArrayItems, Object, SchemaType, Type},
};

use super::words::number_of;

/// Members that are null in a typical answer.
const NULL: [&str; 4] = ["suspension", "rejection", "next_cursor", "deleted_at"];
/// The member name in the example of an object with arbitrary names.
const ANY_NAME: &str = "database";

/// The example of a member called `name` with this schema.
pub(super) fn of(components: &Components, name: &str, schema: &RefOr<Schema>) -> Value {
    let schema = match schema {
        RefOr::T(schema) => schema,
        RefOr::Ref(reference) => {
            let component = reference.ref_location.rsplit('/').next().unwrap_or_default();
            return components.schemas.get(component).map_or(Value::Null, |schema| of(components, name, schema));
        }
    };
    let first =
        |items: &[RefOr<Schema>]| items.iter().map(|item| of(components, name, item)).find(|value| !value.is_null());
    match schema {
        _ if NULL.contains(&name) => Value::Null,
        Schema::Object(object) => of_object(components, name, object),
        Schema::Array(array) => {
            array.example.clone().or_else(|| array.examples.first().cloned()).unwrap_or_else(|| {
                let ArrayItems::RefOrSchema(items) = &array.items else { return json!([]) };
                json!([of(components, name, items)])
            })
        }
        Schema::OneOf(one) => first(&one.items).unwrap_or_default(),
        Schema::AnyOf(any) => first(&any.items).unwrap_or_default(),
        Schema::AllOf(all) => {
            let parts = all.items.iter().filter_map(|part| match of(components, name, part) {
                Value::Object(members) => Some(members),
                _ => None,
            });
            Value::Object(parts.flatten().collect())
        }
        _ => Value::Null,
    }
}

fn of_object(components: &Components, name: &str, object: &Object) -> Value {
    let chosen = object.enum_values.iter().flatten().find(|value| !value.is_null());
    let given = object.example.as_ref().or_else(|| object.examples.first()).or(chosen);
    if let Some(given) = given {
        return given.clone();
    }
    let types = match &object.schema_type {
        SchemaType::Type(one) => std::slice::from_ref(one),
        SchemaType::Array(several) => several,
        SchemaType::AnyValue => &[],
    };
    match types.iter().find(|one| **one != Type::Null) {
        Some(Type::Object) => Value::Object(members(components, object)),
        Some(Type::Integer) => json!(number_of(name).unwrap_or(0)),
        Some(Type::Number) => json!(0.5),
        Some(Type::Boolean) => json!(!["degraded", "duplicate"].contains(&name)),
        Some(Type::String) => json!("text"),
        _ => Value::Null,
    }
}

/// The members that are always present.
fn members(components: &Components, object: &Object) -> Map<String, Value> {
    let required = object.properties.iter().filter(|(name, _)| object.required.contains(name));
    let mut members: Map<_, _> = required.map(|(name, schema)| (name.clone(), of(components, name, schema))).collect();
    if let Some(AdditionalProperties::RefOr(any)) = object.additional_properties.as_deref() {
        members.insert(ANY_NAME.into(), of(components, ANY_NAME, any));
    }
    members
}
