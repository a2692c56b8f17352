//! Invalid input: every wrong field with its allowed values, not only the first one.

use std::{fmt::Display, str::FromStr};

use serde::{Deserialize, Serialize};

/// One wrong field of a request body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// JSON Pointer (RFC 6901) to the field, such as `/limits/0/window`.
    pub pointer: String,
    /// What is wrong and what is allowed.
    pub detail: String,
}

/// Everything that is wrong with one request.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{}", .errors.iter().map(|e| format!("{}: {}", e.pointer, e.detail)).collect::<Vec<_>>().join("; "))]
pub struct Invalid {
    /// The wrong fields, in the order of their validation.
    pub errors: Vec<FieldError>,
}

impl Invalid {
    /// No errors yet.
    pub fn none() -> Self {
        Self::default()
    }

    /// One wrong field.
    pub fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        let mut invalid = Self::none();
        invalid.push(pointer, detail);
        invalid
    }

    /// Adds a wrong field.
    pub fn push(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        self.errors.push(FieldError { pointer: pointer.into(), detail: detail.into() });
    }

    /// Adds a wrong field unless `holds`. The detail is formatted only then.
    pub fn require(&mut self, holds: bool, pointer: &str, detail: impl Display) {
        if !holds {
            self.push(pointer, detail.to_string());
        }
    }

    /// The same about a body of which this is the member at `pointer`.
    #[must_use]
    pub fn within(mut self, pointer: &str) -> Self {
        self.errors.iter_mut().for_each(|error| error.pointer.insert_str(0, pointer));
        self
    }

    /// `Ok` when nothing was wrong.
    pub fn finish(self) -> Result<(), Self> {
        if self.errors.is_empty() { Ok(()) } else { Err(self) }
    }
}

/// Parses every text and adds an error for each wrong one. Parses nothing when the list has more than `most`.
pub(crate) fn read_each<T: FromStr<Err: Display>>(
    texts: &[String],
    most: usize,
    pointer: &str,
    invalid: &mut Invalid,
) -> Vec<T> {
    invalid.require(texts.len() <= most, pointer, format_args!("at most {most}"));
    let mut read = Vec::new();
    for (index, text) in texts.iter().take(most).enumerate() {
        match text.parse::<T>() {
            Ok(item) => read.push(item),
            Err(wrong) => invalid.push(format!("{pointer}/{index}"), wrong.to_string()),
        }
    }
    read
}
