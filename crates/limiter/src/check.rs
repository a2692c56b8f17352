//! A check: a cost against every limit of one or several subjects, decided in one atomic step.
use crate::{
    error::InvalidCheck,
    limit::{Limit, Mode},
    quota::Algorithm,
    reservation::{self, ReservationId},
    subject::Subject,
    time::Timestamp,
};

/// Most limits of one part, so that its reply and its status stay small.
const MAX_LIMITS: usize = 32;
/// Most subjects of one check, so that one check cannot hold up a call.
const MAX_PARTS: usize = 8;

/// One subject and the limits it must keep.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The subject that is counted.
    pub subject: Subject,
    /// The limits that it must keep. Names differ within a part.
    pub limits: &'a [Limit],
    /// What durable records show as used; usually empty.
    pub floors: &'a [Floor],
}

/// "At least this much was used in that period", from a durable record. The check first raises the counter of a fixed
/// window to it. A floor for another period, or for another algorithm, has no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// Index into the part's limits.
    pub limit_index: usize,
    /// The start of the period as [`Window::period`](crate::Window::period) gives it.
    pub period_start: Timestamp,
    /// The least that was used.
    pub used: u64,
}

/// A durable total to be pushed into a fixed window's counter: `counter = max(counter, used)`.
#[derive(Debug, Clone, Copy)]
pub struct Raise<'a> {
    /// The subject of the counter.
    pub subject: Subject,
    /// All limits that the subject's checks use: a store finds a counter fastest in that order.
    pub limits: &'a [Limit],
    /// The index of the limit, which must be a fixed window.
    pub limit_index: usize,
    /// The start of the period as [`Window::period`](crate::Window::period) gives it.
    pub period_start: Timestamp,
    /// The total that was used.
    pub used: u64,
}

impl Raise<'_> {
    pub(crate) fn floors(&self) -> [Floor; 1] {
        [Floor { limit_index: self.limit_index, period_start: self.period_start, used: self.used }]
    }
}

/// A cost to take from every limit of every part, or from none.
#[derive(Debug, Clone, Copy)]
pub struct Check<'a> {
    first: Part<'a>,
    others: &'a [Part<'a>],
    cost: u32,
    purpose: Purpose,
}

/// What a check does to its limits. Lives in µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Consumes its cost.
    Consume,
    /// Tells whether its cost fits, for a named reservation or without a name.
    Peek(Option<ReservationId>),
    /// Consumes its cost, and holds it on concurrency limits.
    Acquire(ReservationId),
    /// Holds its cost on all limits.
    Reserve(ReservationId, i64),
    /// Ends a reservation and consumes the cost, whatever the limits say.
    Settle(ReservationId),
    /// Extends a reservation by another life.
    Renew(ReservationId, i64),
    /// Gives back the cost that was consumed at a moment.
    GiveBack(i64),
}

impl Purpose {
    pub(crate) fn reservation(self) -> Option<ReservationId> {
        match self {
            Self::Acquire(id) | Self::Reserve(id, _) | Self::Settle(id) | Self::Renew(id, _) => Some(id),
            Self::Peek(id) => id,
            Self::Consume | Self::GiveBack(_) => None,
        }
    }
}

impl<'a> Check<'a> {
    /// A check of cost 1.
    pub fn new(subject: Subject, limits: &'a [Limit]) -> Self {
        Self { first: Part { subject, limits, floors: &[] }, others: &[], cost: 1, purpose: Purpose::Consume }
    }

    /// Cost 0 only reads: it is always allowed and consumes nothing.
    #[must_use]
    pub fn with_cost(self, cost: u32) -> Self {
        Self { cost, ..self }
    }

    /// Durable records of the first subject's use.
    #[must_use]
    pub fn with_floors(self, floors: &'a [Floor]) -> Self {
        Self { first: Part { floors, ..self.first }, ..self }
    }

    /// Further subjects, such as a key's owner, in the same partition as the first: [`Subject::in_partition_of`].
    #[must_use]
    pub fn with_others(self, others: &'a [Part<'a>]) -> Self {
        Self { others, ..self }
    }

    /// The name under which concurrency slots are held. Without one, a check of such a limit is invalid.
    #[must_use]
    pub fn with_reservation(self, id: ReservationId) -> Self {
        self.with_purpose(Purpose::Acquire(id))
    }

    pub(crate) fn with_purpose(self, purpose: Purpose) -> Self {
        Self { purpose, ..self }
    }

    /// The cost before each limit's weight.
    pub fn cost(&self) -> u32 {
        self.cost
    }

    /// The first subject's part, then the others'.
    pub fn parts(&self) -> impl Iterator<Item = &Part<'a>> + Clone {
        std::iter::once(&self.first).chain(self.others)
    }

    /// The number of limits in all parts.
    pub(crate) fn limits(&self) -> usize {
        self.parts().map(|part| part.limits.len()).sum()
    }

    pub(crate) fn first(&self) -> &Part<'a> {
        &self.first
    }

    pub(crate) fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// The name and the life under which the check holds its price on this limit; None when it consumes the price.
    pub(crate) fn reserving(&self, limit: &Limit) -> Option<(ReservationId, i64)> {
        match self.purpose {
            Purpose::Acquire(id) | Purpose::Peek(Some(id)) => {
                limit.quota().rule().only_reserves().then(|| (id, reservation::life(limit.quota().rule(), 0)))
            }
            Purpose::Reserve(id, life) => Some((id, reservation::life(limit.quota().rule(), life))),
            _ => None,
        }
    }

    pub(crate) fn others(&self) -> &'a [Part<'a>] {
        self.others
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidCheck> {
        let nameless = self.purpose == Purpose::Consume && self.cost > 0;
        self.first.validate(nameless)?;
        if self.others.is_empty() {
            return Ok(());
        }
        if self.others.len() >= MAX_PARTS {
            return Err(InvalidCheck::TooManyParts { most: MAX_PARTS });
        }
        for (index, part) in self.others.iter().enumerate() {
            part.validate(nameless)?;
            if part.subject.partition() != self.first.subject.partition() {
                return Err(InvalidCheck::PartitionsDiffer);
            }
            if self.parts().take(index + 1).any(|earlier| earlier.subject == part.subject) {
                return Err(InvalidCheck::SubjectTwice);
            }
        }
        Ok(())
    }
}

impl Part<'_> {
    fn validate(&self, nameless: bool) -> Result<(), InvalidCheck> {
        if self.limits.len() > MAX_LIMITS {
            return Err(InvalidCheck::TooManyLimits { most: MAX_LIMITS });
        }
        let mut rest = self.limits;
        let mut before = None;
        while let [limit, later @ ..] = rest {
            if limit.mode() == Mode::Beyond && !before.is_some_and(counts_periods) {
                return Err(InvalidCheck::BeyondNothing { name: limit.name().to_owned() });
            }
            if later.iter().any(|other| other.id() == limit.id()) {
                return Err(InvalidCheck::LimitTwice { name: limit.name().to_owned() });
            }
            if nameless && limit.quota().rule().only_reserves() {
                return Err(InvalidCheck::HoldWithoutName);
            }
            rest = later;
            before = Some(limit);
        }
        if self.floors.iter().any(|floor| floor.limit_index >= self.limits.len()) {
            return Err(InvalidCheck::FloorWithoutLimit);
        }
        Ok(())
    }
}

/// Whether another limit may apply beyond this one.
fn counts_periods(limit: &Limit) -> bool {
    limit.mode() == Mode::Count && limit.quota().algorithm() == Algorithm::FixedWindow
}
