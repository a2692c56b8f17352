//! The subjects of a shard that have at most this many cells, open-addressed by their hash. Heads and cells
//! are in two arrays at the same place, which follows from the hash alone, so a check waits for both at
//! once and for nothing before them.
#![expect(clippy::indexing_slicing, reason = "every place is below the length of both arrays")]
use std::hint::black_box;
use std::num::NonZeroU32;
use std::ops::Range;

use crate::algorithm::{Cell, NO_CELL};
use crate::state::{Change, Lists, StateRef};

/// Places of the smallest table that is not empty.
const SMALLEST: usize = 8;

/// The subject at a place. It keeps 96 of the 128 bits of the hash: the probability that any two of a million
/// subjects share them is 2^-57.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) hash: u64,
    /// Determines the subject's home.
    pub(super) tag: u32,
    /// The shard's count of writes when this subject was last written.
    pub(super) written: NonZeroU32,
}

/// The reservations and logs of a subject. Few subjects have any.
pub(super) type Boxed = Option<Box<Lists>>;

#[derive(Debug)]
pub(super) struct Table {
    /// Cells per subject.
    width: usize,
    /// At most three quarters are taken.
    heads: Vec<Option<Head>>,
    cells: Vec<Cell>,
    /// Empty until the first of these subjects has a reservation or a log.
    lists: Vec<Boxed>,
    held: usize,
}

impl Head {
    pub(super) fn new(hash: [u64; 2]) -> Self {
        Self { hash: hash[0], tag: tag(hash), written: NonZeroU32::MIN }
    }

    /// The part of the subject's hash that is kept.
    pub(super) fn hash(&self) -> [u64; 2] {
        [self.hash, u64::from(self.tag)]
    }
}

impl Table {
    pub(super) fn new(width: usize) -> Self {
        Self { width, heads: Vec::new(), cells: Vec::new(), lists: Vec::new(), held: 0 }
    }

    /// The number of places.
    pub(super) fn len(&self) -> usize {
        self.heads.len()
    }

    /// The subject at a place.
    pub(super) fn head(&self, at: usize) -> Option<&Head> {
        self.heads[at].as_ref()
    }

    #[inline(always)]
    pub(super) fn state(&self, at: usize) -> StateRef<'_> {
        StateRef { cells: &self.cells[self.cells_at(at)], lists: self.lists(at) }
    }

    #[inline(always)]
    fn lists(&self, at: usize) -> Option<&Lists> {
        self.lists.get(at).and_then(|lists| lists.as_deref())
    }

    /// The first `count` cells of a subject without reservations and logs.
    #[inline(always)]
    pub(super) fn cells_mut(&mut self, at: usize, count: usize) -> Option<&mut [Cell]> {
        let first = at * self.width;
        let reserves = self.lists(at).is_some_and(|lists| !lists.reservations.is_empty());
        if reserves { None } else { self.cells.get_mut(first..first + count) }
    }

    /// Every subject held.
    pub(super) fn subjects(&self) -> impl Iterator<Item = (&Head, StateRef<'_>)> {
        self.heads.iter().enumerate().filter_map(|(at, head)| Some((head.as_ref()?, self.state(at))))
    }

    #[inline(always)]
    pub(super) fn find(&self, hash: [u64; 2]) -> Option<usize> {
        let mut at = self.home(tag(hash));
        // Most subjects are at home or next to it, so this fetches the cells while the head is fetched.
        black_box(self.cells.get(at * self.width).map(|cell| cell.id));
        while let Some(head) = self.heads.get(at)? {
            if head.hash == hash[0] && head.tag == tag(hash) {
                return Some(at);
            }
            at = self.after(at);
        }
        None
    }

    /// Records when the subject at a place was last written.
    #[inline]
    pub(super) fn mark(&mut self, at: usize, written: NonZeroU32) {
        if let Some(head) = &mut self.heads[at] {
            head.written = written;
        }
    }

    /// Writes a cell, and looks for it at `guess` first. A new one replaces an expired one; false when there is none.
    #[inline(always)]
    pub(super) fn write(&mut self, at: usize, guess: usize, cell: &Cell, now: i64) -> bool {
        let range = self.cells_at(at);
        let cells = &mut self.cells[range];
        if let Some(held) = cells.get_mut(guess).filter(|held| held.id == cell.id) {
            *held = *cell;
            return true;
        }
        write_anywhere(cells, cell, now)
    }

    /// Writes a cell in place of the one that ends first.
    pub(super) fn overwrite(&mut self, at: usize, cell: &Cell) {
        let range = self.cells_at(at);
        if let Some(ends_first) = self.cells[range].iter_mut().min_by_key(|held| held.until) {
            *ends_first = *cell;
        }
    }

    /// Changes a subject's reservations or logs.
    pub(super) fn change(&mut self, at: usize, change: Change, now: i64) {
        let lists = self.lists_mut(at).get_or_insert_default();
        lists.apply(change, now);
        if lists.is_empty() {
            *self.lists_mut(at) = None;
        }
    }

    /// A subject's reservations and logs, to be changed.
    pub(super) fn lists_mut(&mut self, at: usize) -> &mut Boxed {
        self.lists.resize_with(self.heads.len(), Boxed::default);
        &mut self.lists[at]
    }

    /// Adds an unknown subject without cells. This may move other subjects.
    pub(super) fn insert(&mut self, head: Head) -> usize {
        if (self.held + 1) * 4 > self.heads.len() * 3 {
            self.grow();
        }
        self.held += 1;
        self.place(head)
    }

    /// Removes a subject, and moves up those that it had displaced, so that no search ends early.
    /// Returns its reservations and logs.
    pub(super) fn remove(&mut self, at: usize) -> Boxed {
        let lists = self.lists.get_mut(at).and_then(Option::take);
        self.held -= 1;
        let (mut hole, mut next) = (at, self.after(at));
        self.heads[hole] = None;
        while let Some(head) = &self.heads[next] {
            if self.distance(self.home(head.tag), next) >= self.distance(hole, next) {
                self.heads.swap(hole, next);
                let (from, to) = (self.cells_at(next), self.cells_at(hole));
                self.cells.copy_within(from, to.start);
                if !self.lists.is_empty() {
                    self.lists.swap(hole, next);
                }
                hole = next;
            }
            next = self.after(next);
        }
        let vacant = self.cells_at(hole);
        self.cells[vacant].fill(NO_CELL);
        lists
    }

    /// By a quarter, because a table that doubled would be half empty. Homes keep their order, so everything
    /// is copied from front to back.
    fn grow(&mut self) {
        let places = (self.len() / 4 * 5).max(self.len() + SMALLEST);
        let heads = std::mem::replace(&mut self.heads, vec![None; places]);
        let cells = std::mem::replace(&mut self.cells, vec![NO_CELL; places * self.width]);
        let mut lists = std::mem::take(&mut self.lists);
        for (before, (head, cells)) in heads.into_iter().zip(cells.chunks_exact(self.width)).enumerate() {
            if let Some(head) = head {
                let at = self.place(head);
                let range = self.cells_at(at);
                self.cells[range].copy_from_slice(cells);
                if let Some(listed) = lists.get_mut(before).and_then(Option::take) {
                    *self.lists_mut(at) = Some(listed);
                }
            }
        }
    }

    /// Puts a subject into the first vacant place at or after its home.
    fn place(&mut self, head: Head) -> usize {
        let mut at = self.home(head.tag);
        while self.heads[at].is_some() {
            at = self.after(at);
        }
        self.heads[at] = Some(head);
        at
    }

    fn cells_at(&self, at: usize) -> Range<usize> {
        at * self.width..(at + 1) * self.width
    }

    /// Below the number of places, or 0.
    fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.len() as u64) >> 32) as usize
    }

    fn after(&self, at: usize) -> usize {
        if at + 1 == self.len() { 0 } else { at + 1 }
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.len() - from }
    }
}

/// The hash is random and keyed, so any 32 bits of it are evenly spread.
fn tag(hash: [u64; 2]) -> u32 {
    hash[1] as u32
}

#[inline(never)]
fn write_anywhere(cells: &mut [Cell], cell: &Cell, now: i64) -> bool {
    let known = cells.iter().position(|held| held.id == cell.id);
    let at = known.or_else(|| cells.iter().position(|held| held.until <= now));
    if let Some(held) = at.and_then(|at| cells.get_mut(at)) {
        *held = *cell;
    }
    at.is_some()
}
