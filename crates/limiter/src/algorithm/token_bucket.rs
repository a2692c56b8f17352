//! Token bucket, as GCRA: a bucket of `burst` tokens that refills evenly, exact in integers. Cell: `a` the moment of
//! the last roll (µs), `b` what is missing from a full bucket, in parts of a token, `c` the parts of a token.
use super::{Cell, Numbers, Rolled, ceil_div, take_from};

/// Parts in a full bucket stay below this, so that sums of two stay exact in a Lua double.
const MAX_PARTS: i128 = 1 << 52;

/// `limit` tokens flow in per `window` µs; at most `burst` are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenBucket {
    pub(crate) limit: i64,
    pub(crate) window: i64,
    pub(crate) burst: i64,
    /// Parts per token.
    pub(crate) token: i64,
    /// Parts that flow in per µs.
    pub(crate) flow: i64,
}

impl TokenBucket {
    /// The bucket fills within 2^50 µs: see [`crate::quota::MAX_WINDOW`]. When no whole number of parts
    /// gives the exact rate, a token has up to one part too many, so the bucket is slower by less than one
    /// part in `flow * window / limit`.
    pub(crate) fn new(limit: i64, window: i64, burst: i64) -> Self {
        let divisor = greatest_common_divisor(limit, window);
        let exact = (window / divisor, limit / divisor);
        let parts = |token: i128| token * i128::from(burst);
        let (token, flow) = if parts(i128::from(exact.0)) <= MAX_PARTS {
            exact
        } else {
            let token = |flow: i64| (i128::from(window) * i128::from(flow) + i128::from(limit) - 1) / i128::from(limit);
            let flow = (0..52).map(|power| 1 << power).take_while(|flow| parts(token(*flow)) <= MAX_PARTS).last();
            let flow = flow.unwrap_or(1);
            (i64::try_from(token(flow)).unwrap_or(i64::MAX), flow)
        };
        Self { limit, window, burst, token, flow }
    }

    #[inline(always)]
    pub(super) fn roll(&self, cell: Option<&Cell>, now: i64) -> Rolled {
        let Some(Cell { numbers: Numbers { a, b, c }, .. }) = cell.copied() else {
            return self.rolled(now, 0, false);
        };
        let missing = self.in_parts(b, c);
        if now >= a {
            self.rolled(now, (missing - (now - a).saturating_mul(self.flow)).max(0), false)
        } else if a - now <= self.window {
            self.rolled(a, missing, false)
        } else {
            self.rolled(now, missing, true)
        }
    }

    /// What is missing, in this quota's parts. Tokens taken under another size stay taken, and a partial token counts
    /// as a whole one; but no more is missing than a full bucket holds.
    fn in_parts(&self, missing: i64, token: i64) -> i64 {
        let missing = if token == self.token || token <= 0 {
            missing
        } else {
            let begun = if missing % token > 0 { self.token } else { 0 };
            (missing / token).min(self.burst) * self.token + begun
        };
        missing.min(self.burst * self.token)
    }

    #[inline(always)]
    fn rolled(&self, at: i64, missing: i64, moved: bool) -> Rolled {
        Rolled { numbers: Numbers { a: at, b: missing, c: self.token }, at, end: at, moved }
    }

    /// The moment at which the bucket is full.
    pub(super) fn full_at(&self, rolled: &Rolled) -> i64 {
        rolled.numbers.a + ceil_div(rolled.numbers.b, self.flow)
    }

    #[inline(always)]
    pub(super) fn used(&self, numbers: &Numbers) -> i64 {
        ceil_div(numbers.b, self.token)
    }

    /// A bucket with enough room gains the full amount; only an overflow needs a calculation.
    #[inline(always)]
    pub(super) fn consume(&self, numbers: &mut Numbers, cost: i64) -> i64 {
        let (before, full) = (*numbers, self.burst * self.token);
        numbers.b = (before.b + cost.min(self.burst) * self.token).min(full);
        if numbers.b - before.b == cost.saturating_mul(self.token) {
            cost
        } else {
            self.used(numbers) - self.used(&before)
        }
    }

    pub(super) fn give_back(&self, numbers: &mut Numbers, amount: i64) -> bool {
        take_from(&mut numbers.b, amount.min(self.burst) * self.token)
    }

    pub(super) fn fits_at(&self, rolled: &Rolled, cost: i64) -> i64 {
        if cost > self.burst {
            return i64::MAX;
        }
        let short = rolled.numbers.b + cost * self.token - self.burst * self.token;
        rolled.at + ceil_div(short.max(0), self.flow)
    }
}

fn greatest_common_divisor(mut left: i64, mut right: i64) -> i64 {
    while right != 0 {
        (left, right) = (right, left % right);
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400_000_000;

    #[test]
    fn common_rates_are_exact() {
        for (limit, window, burst) in [(10, 1_000_000, 20), (1_000, 3_600_000_000, 1_000), (100_000, DAY, 5_000)] {
            let bucket = TokenBucket::new(limit, window, burst);
            assert_eq!(i128::from(bucket.token) * i128::from(limit), i128::from(bucket.flow) * i128::from(window));
        }
    }

    #[test]
    fn an_awkward_rate_is_slower_by_less_than_a_millionth() {
        let bucket = TokenBucket::new(999_999_937, 30 * DAY, 10_000_000);
        let [token, flow] = [bucket.token, bucket.flow].map(|parts| parts as f64);
        let slower = token / flow * 999_999_937.0 / (30 * DAY) as f64;
        assert!((1.0..1.000_001).contains(&slower), "{bucket:?}: {slower}");
        assert!(i128::from(bucket.token) * i128::from(bucket.burst) <= MAX_PARTS);
    }
}
