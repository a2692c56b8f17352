//! The sum of a record's lines, and the one rounding to what can be paid.

use super::{TooLarge, exact::Exact};
use crate::{Currency, Money};

/// What a record comes to: `total + rounding = amount_due`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// Of all lines.
    pub total: Money,
    /// What rounding added or took: less than one of the smallest amount that can be paid.
    pub rounding: Money,
    /// `total`, half to even, to the places of the currency.
    pub amount_due: Money,
    /// The same in the smallest amount that can be paid: cents of USD, whole JPY, fils of KWD.
    pub amount_due_minor: i64,
}

/// Adds up `amounts` and rounds once.
///
/// # Errors
/// When a sum leaves the range of [`Money`].
pub fn total(currency: Currency, amounts: impl IntoIterator<Item = Money>) -> Result<Total, TooLarge> {
    let total = amounts.into_iter().try_fold(Money::ZERO, Money::checked_add).ok_or(TooLarge)?;
    // A currency has at most four places.
    let step = 10_i64.pow(6_u32.saturating_sub(currency.exponent()));
    let amount_due_minor = i64::try_from(Exact::fraction(total.0, step).half_even()).map_err(|_| TooLarge)?;
    let amount_due = amount_due_minor.checked_mul(step).map(Money).ok_or(TooLarge)?;
    Ok(Total { total, rounding: Money(amount_due.0 - total.0), amount_due, amount_due_minor })
}
