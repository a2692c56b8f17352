//! The permissions of admin tokens.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! scopes {
    ($($variant:ident = $text:literal),+ $(,)?) => {
        /// One permission. [`Scope::Admin`] includes all others.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Scope { $(#[doc = $text] #[serde(rename = $text)] $variant),+ }

        impl Scope {
            /// Every scope.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name used in tokens and error messages.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

scopes! {
    KeysRead = "keys:read", KeysWrite = "keys:write",
    LimitsCheck = "limits:check", LimitsWrite = "limits:write",
    UsageRead = "usage:read",
    BillingRead = "billing:read", BillingWrite = "billing:write",
    AlertsRead = "alerts:read", AlertsWrite = "alerts:write",
    Admin = "admin",
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.iter().copied().find(|s| s.as_str() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|s| s.as_str()).collect();
            format!("unknown scope {text:?}; known are {}", known.join(", "))
        })
    }
}

/// The scopes of one token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ScopeSet(pub Vec<Scope>);

impl ScopeSet {
    /// Every scope.
    pub fn all() -> Self {
        Self(Scope::ALL.to_vec())
    }

    /// Whether `scope` is granted.
    pub fn allows(&self, scope: Scope) -> bool {
        self.0.contains(&scope) || self.0.contains(&Scope::Admin)
    }
}
