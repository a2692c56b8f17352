//! Identifiers, one type each, so that none can be used for another.

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
            /// Does not use uuid's error text, which repeats part of the input.
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
    /// The owner of data. It comes from the caller's credential, never from the request.
    TenantId
);
id!(
    /// The id of an API key's record. It stays when the secret is rotated.
    ApiKeyId
);
id!(
    /// The id of a plan's record. Keys refer to their plan by its slug (`tier`).
    PlanId
);
id!(
    /// A version of a plan's prices. Made from the plan and the terms: equal terms of a plan have one id.
    PriceId
);
id!(
    /// A record of what a key owes for a period.
    RecordId
);
id!(
    /// A grant of credit.
    GrantId
);
id!(
    /// An admin token's record.
    TokenId
);
id!(
    /// One start of one process. It names the process's journal.
    BootId
);

impl TenantId {
    /// The tenant that the first start makes.
    pub const DEFAULT: Self = Self(Uuid::from_u128(1));
}
