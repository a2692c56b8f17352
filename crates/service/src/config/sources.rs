//! The layers of settings, each over the previous one: the defaults, a file, the environment; and
//! secrets in files of their own.
//!
//! A setting's default determines its type. A value in a file must have that type. Text from the environment is parsed
//! only as that type: a key of 32 digits is not a number.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;
use toml::{Table, Value};

use super::{ConfigError, LogFormat};

const DEFAULTS: &str = include_str!("../../../../configs/default.toml");
const PREFIX: &str = "TOLLGATE__";
/// Settings whose values no message shows. Each may also be given as the name of a file that
/// holds it, such as `url_file`.
const SECRETS: [(&str, &str); 5] =
    [("database", "url"), ("database", "replica_url"), ("limiter", "url"), ("limiter", "hash_key"), ("queue", "url")];

/// All settings, each with a value of its type, with secrets read from their files.
pub(super) fn merged(
    file: Option<PathBuf>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Table, ConfigError> {
    let mut layers = Layers { defaults: parsed(DEFAULTS, "configs/default.toml")?, given: Table::new() };
    if let Some(file) = file {
        layers.add_file(&file)?;
    }
    for (name, text) in environment {
        layers.add_variable(&name.to_string_lossy(), text)?;
    }
    layers.read_secrets()?;
    Ok(layers.merged())
}

/// See [`super::Config::log_format`].
pub(super) fn log_format(file: Option<PathBuf>, variable: Option<OsString>) -> LogFormat {
    let in_file = || {
        let table: Table = fs::read_to_string(file?).ok()?.parse().ok()?;
        Some(table.get("log")?.get("format")?.clone())
    };
    let given = variable.and_then(|text| text.into_string().ok()).map(Value::String).or_else(in_file);
    given.and_then(|value| LogFormat::deserialize(value).ok()).unwrap_or(LogFormat::Pretty)
}

/// A secret that is given directly or as a file. Removes the newline at the end of files and mounted secrets.
pub(super) fn secret(key: &str, text: Option<OsString>, file: Option<PathBuf>) -> Result<Option<String>, ConfigError> {
    let text = match (text, file) {
        (Some(text), Some(_)) if !text.is_empty() => {
            return Err(ConfigError::Twice { key: key.to_owned(), file: file_of(key) });
        }
        (_, Some(file)) => read(&file, &file_of(key))?,
        (Some(text), None) => unicode(key, text)?,
        (None, None) => return Ok(None),
    };
    Ok(Some(without_newline(&text).to_owned()))
}

/// The setting, or the variable, that names a file with the secret.
pub(super) fn file_of(key: &str) -> String {
    let is_variable = key.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    format!("{key}{}", if is_variable { "_FILE" } else { "_file" })
}

struct Layers {
    defaults: Table,
    /// The given values of any type.
    given: Table,
}

impl Layers {
    fn add_file(&mut self, file: &Path) -> Result<(), ConfigError> {
        let named = format!("{} (TOLLGATE_CONFIG)", file.display());
        let table = parsed(&read(file, "TOLLGATE_CONFIG")?, &named)?;
        for (section, values) in table {
            let Value::Table(values) = values else {
                return Err(ConfigError::not_allowed(section.clone(), "…", format!("a section, [{section}]")));
            };
            for (key, value) in values {
                let default = self.default(&section, &key, &format!("{section}.{key}"))?;
                let Some(value) = as_type_of(default, value.clone()) else {
                    return Err(wrong_type(&section, &key, &value.to_string(), default));
                };
                self.give(section.clone(), key, value);
            }
        }
        Ok(())
    }

    /// Ignores variables that are no settings.
    fn add_variable(&mut self, name: &str, text: OsString) -> Result<(), ConfigError> {
        let upper = name.to_ascii_uppercase();
        let Some(path) = upper.strip_prefix(PREFIX) else { return Ok(()) };
        let path = path.to_ascii_lowercase();
        let (section, key) = path.split_once("__").unwrap_or((&path, ""));
        let default = self.default(section, key, &format!("{} ({name})", path.replace("__", ".")))?;
        let text = unicode(name, text)?;
        let text = without_newline(&text);
        let value = read_as(default, text).ok_or_else(|| wrong_type(section, key, &format!("{text:?}"), default))?;
        self.give(section.to_owned(), key.to_owned(), value);
        Ok(())
    }

    fn default(&self, section: &str, key: &str, given: &str) -> Result<&Value, ConfigError> {
        let names = |table: &Table| table.keys().cloned().collect::<Vec<_>>().join(", ");
        let unknown = |known| ConfigError::Unknown { key: given.to_owned(), known };
        let Some(Value::Table(values)) = self.defaults.get(section) else {
            return Err(unknown(format!("the sections are {}", names(&self.defaults))));
        };
        values.get(key).ok_or_else(|| unknown(format!("[{section}] has {}", names(values))))
    }

    fn give(&mut self, section: String, key: String, value: Value) {
        let values = self.given.entry(section).or_insert_with(|| Value::Table(Table::new()));
        if let Value::Table(values) = values {
            values.insert(key, value);
        }
    }

    fn read_secrets(&mut self) -> Result<(), ConfigError> {
        for (section, key) in SECRETS {
            let given = |key: &str| Some(self.given.get(section)?.get(key)?.as_str()?.to_owned());
            let file = given(&file_of(key)).filter(|file| !file.is_empty());
            let text = given(key).map(OsString::from);
            if let Some(text) = secret(&format!("{section}.{key}"), text, file.map(PathBuf::from))? {
                self.give(section.to_owned(), key.to_owned(), Value::String(text));
            }
        }
        Ok(())
    }

    /// Leaves out the names of files, whose secrets have been read.
    fn merged(self) -> Table {
        let mut merged = self.defaults;
        for (section, values) in self.given {
            if let (Some(Value::Table(into)), Value::Table(values)) = (merged.get_mut(&section), values) {
                into.extend(values);
            }
        }
        for (section, key) in SECRETS {
            if let Some(Value::Table(values)) = merged.get_mut(section) {
                values.remove(&file_of(key));
            }
        }
        merged
    }
}

/// None when the value has another type than the default.
fn as_type_of(default: &Value, value: Value) -> Option<Value> {
    match (default, value) {
        (Value::Array(_), Value::Array(items)) => {
            let texts = items.iter().map(Value::as_str).collect::<Option<Vec<_>>>()?;
            Some(list(texts))
        }
        (_, value) => default.same_type(&value).then_some(value),
    }
}

/// None when the text cannot be parsed as the default's type.
fn read_as(default: &Value, text: &str) -> Option<Value> {
    match default {
        Value::Integer(_) => text.parse().ok().map(Value::Integer),
        Value::Boolean(_) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some(Value::Boolean(true)),
            "false" | "no" | "off" | "0" => Some(Value::Boolean(false)),
            _ => None,
        },
        Value::Array(_) => Some(list(text.split(','))),
        _ => Some(Value::String(text.to_owned())),
    }
}

fn list<'a>(items: impl IntoIterator<Item = &'a str>) -> Value {
    let items = items.into_iter().map(str::trim).filter(|item| !item.is_empty());
    Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
}

fn wrong_type(section: &str, key: &str, value: &str, default: &Value) -> ConfigError {
    let allowed = match default {
        Value::Integer(_) => "a whole number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "a list of texts",
        _ => "a text in quotes",
    };
    let value = if SECRETS.contains(&(section, key)) { "…" } else { value };
    ConfigError::not_allowed(format!("{section}.{key}"), value, allowed)
}

/// The message has the line number and not the line, which may contain a password.
fn parsed(text: &str, file: &str) -> Result<Table, ConfigError> {
    text.parse::<Table>().map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        ConfigError::File { file: file.to_owned(), reason: format!("line {line}: {}", error.message()) }
    })
}

fn read(file: &Path, named_by: &str) -> Result<String, ConfigError> {
    fs::read_to_string(file).map_err(|error| ConfigError::File {
        file: format!("{} ({named_by})", file.display()),
        reason: error.to_string(),
    })
}

fn unicode(name: &str, text: OsString) -> Result<String, ConfigError> {
    text.into_string().map_err(|_| ConfigError::not_allowed(name, "…", "text in UTF-8"))
}

fn without_newline(text: &str) -> &str {
    text.trim_end_matches(['\r', '\n'])
}
