//! Tells which of many secrets exist, in one statement, to bound what a flood of invented ones costs.

use std::{collections::HashSet, sync::LazyLock};

use tollgate_domain::SecretHash;

use super::Keys;
use crate::Error;

/// Most secrets of one query.
pub const MAX_PROBED: usize = 64;
/// Queries have two sizes, filled up with the last secret: two texts to prepare, and not one per number.
const FEW: usize = 4;

static ASK_FEW: LazyLock<String> = LazyLock::new(|| text(FEW));
static ASK_MANY: LazyLock<String> = LazyLock::new(|| text(MAX_PROBED));

fn text(size: usize) -> String {
    let places: Vec<_> = (1..=size).map(|place| format!("${place}")).collect();
    let places = places.join(", ");
    let tables = ["api_key_secrets", "admin_tokens", "former_token_secrets"];
    tables.map(|table| format!("select hash from {table} where hash in ({places})")).join(" union all ")
}

impl Keys<'_> {
    /// Those of the first [`MAX_PROBED`] `hashes` that a key or token has, or had until recently.
    pub async fn existing_secrets(self, hashes: &[SecretHash]) -> Result<HashSet<SecretHash>, Error> {
        let Some(last) = hashes.last() else { return Ok(HashSet::new()) };
        let (text, places) =
            if hashes.len() <= FEW { (ASK_FEW.as_str(), FEW) } else { (ASK_MANY.as_str(), MAX_PROBED) };
        let found: Vec<Vec<u8>> = self
            .0
            .read(|db| async move {
                let asked = hashes.iter().chain(std::iter::repeat(last)).take(places);
                on!(&db, pool => {
                    let query = sqlx::query_scalar(sqlx::AssertSqlSafe(text));
                    asked.fold(query, |query, hash| query.bind(hash.0.as_slice())).fetch_all(pool).await
                })
            })
            .await?;
        Ok(found.into_iter().filter_map(|hash| hash.try_into().ok().map(SecretHash)).collect())
    }
}
