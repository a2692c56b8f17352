//! Identifiers, one type each so that none can stand for another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl<'de> Deserialize<'de> for $name {
            /// What is wrong with the text is not said in uuid's words: they repeat a part of it.
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Uuid::deserialize(deserializer).map(Self).map_err(|_| de::Error::custom("must be a UUID"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    };
}

id!(
    /// Whose data it is. Comes from the caller's credential, never from the request.
    TenantId
);
id!(
    /// An API key's record; it stays when the secret is rotated.
    ApiKeyId
);
id!(
    /// A plan's record. Keys name their plan by its slug (`tier`).
    PlanId
);
id!(
    /// An admin token's record.
    TokenId
);
id!(
    /// One start of one process: the name of its journal.
    BootId
);

impl TenantId {
    /// The tenant of a fresh installation.
    pub const DEFAULT: Self = Self(Uuid::from_u128(1));
}
