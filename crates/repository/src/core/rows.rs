//! Statements over many rows, `values ($1, $2), ($3, $4), …`. There is one text per size, so that an engine prepares
//! each once and not for every batch.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{LazyLock, Mutex, PoisonError},
};

use crate::core::database::Engine;

/// Rows of the largest statement: with nine values each they are far below PostgreSQL's 65,535 binds.
const POSTGRES_ROWS: usize = 256;
/// SQLite runs on this process's cores, some 2 µs a row. Between two statements, other tasks may run.
const SQLITE_ROWS: usize = 64;

/// A statement's text before and after its rows.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Rows {
    /// Up to `values`, without it.
    pub(crate) head: &'static str,
    /// Values of each row.
    pub(crate) width: usize,
    /// After the last row.
    pub(crate) tail: &'static str,
}

/// Texts by statement and number of rows: a handful of statements of nine sizes each.
static TEXTS: LazyLock<Mutex<HashMap<(Rows, usize), &'static str>>> = LazyLock::new(Mutex::default);

impl Rows {
    /// The text for this number of rows.
    pub(crate) fn text(self, rows: usize) -> &'static str {
        let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
        texts.entry((self, rows)).or_insert_with(|| self.write(rows).leak())
    }

    fn write(self, rows: usize) -> String {
        let mut text = format!("{} ", self.head);
        for row in 0..rows {
            text.push_str(if row == 0 { "values (" } else { ", (" });
            for value in 1..=self.width {
                let comma = if value == 1 { "" } else { ", " };
                // Writing to a String cannot fail.
                let _ = write!(text, "{comma}${}", row * self.width + value);
            }
            text.push(')');
        }
        text.push_str(self.tail);
        text
    }
}

/// Splits `rows` into parts for one statement each. The sizes are powers of two, the largest
/// first, so there are few texts.
pub(crate) fn parts<'a, T, S, P>(
    engine: &Engine<S, P>,
    rows: &'a [T],
) -> impl Iterator<Item = &'a [T]> + use<'a, T, S, P> {
    let max = match engine {
        Engine::Sqlite(_) => SQLITE_ROWS,
        Engine::Postgres(_) => POSTGRES_ROWS,
    };
    let mut rest = rows;
    std::iter::from_fn(move || {
        let size = 1_usize << rest.len().min(max).checked_ilog2()?;
        let (part, after) = rest.split_at_checked(size)?;
        rest = after;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_powers_of_two_and_leave_nothing_out() {
        for count in [0, 1, 2, 3, 255, 256, 257, 1_000] {
            let rows: Vec<_> = (0..count).collect();
            for (engine, max) in [(Engine::Sqlite(()), SQLITE_ROWS), (Engine::Postgres(()), POSTGRES_ROWS)] {
                let parts: Vec<_> = parts(&engine, &rows).collect();
                assert!(parts.iter().all(|part| part.len().is_power_of_two() && part.len() <= max));
                assert_eq!(parts.concat(), rows);
            }
        }
    }

    #[test]
    fn a_text_numbers_its_binds() {
        let rows = Rows { head: "insert into t (a, b)", width: 2, tail: " on conflict do nothing" };
        assert_eq!(rows.text(2), "insert into t (a, b) values ($1, $2), ($3, $4) on conflict do nothing");
        assert!(std::ptr::eq(rows.text(2), rows.text(2)));
    }
}
