//! Exact fractions: what an amount is before it is rounded. Every operation says when it left the range of 128 bits.

use num_rational::Ratio;
use num_traits::{CheckedAdd, CheckedMul, CheckedSub};

use super::TooLarge;
use crate::{Money, Rate};

/// Parts of the currency's unit that [`Money`] counts in one of [`Rate`]'s.
const RATES_PER_MICRO: i128 = 1_000_000;

/// A fraction, of units or of [`Rate`]'s 1e-12 of the currency's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Exact(Ratio<i128>);

impl Exact {
    pub(super) const ZERO: Self = Self(Ratio::new_raw(0, 1));
    pub(super) const ONE: Self = Self(Ratio::new_raw(1, 1));

    pub(super) fn whole(number: impl Into<i128>) -> Self {
        Self(Ratio::from_integer(number.into()))
    }

    /// `part` of `of`, which is positive.
    pub(super) fn fraction(part: i64, of: i64) -> Self {
        Self(Ratio::new(part.into(), of.into()))
    }

    /// The unit fraction of a whole number; of none, all.
    pub(super) fn one_of(number: u64) -> Self {
        Self(Ratio::new(1, i128::from(number.max(1))))
    }

    pub(super) fn plus(self, other: Self) -> Result<Self, TooLarge> {
        self.0.checked_add(&other.0).map(Self).ok_or(TooLarge)
    }

    pub(super) fn minus(self, other: Self) -> Result<Self, TooLarge> {
        self.0.checked_sub(&other.0).map(Self).ok_or(TooLarge)
    }

    pub(super) fn times(self, other: Self) -> Result<Self, TooLarge> {
        self.0.checked_mul(&other.0).map(Self).ok_or(TooLarge)
    }

    /// The next whole number at or above.
    pub(super) fn ceiling(self) -> Self {
        Self(self.0.ceil())
    }

    /// The whole number at or below.
    pub(super) fn floor(self) -> i128 {
        self.0.floor().to_integer()
    }

    /// To the nearest whole number; a half goes to the even one.
    pub(super) fn half_even(self) -> i128 {
        let (numerator, denominator) = (*self.0.numer(), *self.0.denom());
        let (below, rest) = (numerator.div_euclid(denominator), numerator.rem_euclid(denominator));
        match rest.cmp(&(denominator - rest)) {
            std::cmp::Ordering::Less => below,
            std::cmp::Ordering::Equal => below + below.rem_euclid(2),
            std::cmp::Ordering::Greater => below + 1,
        }
    }

    /// An amount in [`Rate`]'s unit, rounded once: a line of a bill.
    pub(super) fn to_money(self) -> Result<Money, TooLarge> {
        let micros = self.0 / RATES_PER_MICRO;
        i64::try_from(Self(micros).half_even()).map(Money).map_err(|_| TooLarge)
    }

    pub(super) fn numerator(self) -> i128 {
        *self.0.numer()
    }

    pub(super) fn denominator(self) -> i128 {
        *self.0.denom()
    }
}

impl From<Money> for Exact {
    fn from(money: Money) -> Self {
        Self::whole(i128::from(money.0) * RATES_PER_MICRO)
    }
}

impl From<Rate> for Exact {
    fn from(rate: Rate) -> Self {
        Self::whole(rate.0)
    }
}
