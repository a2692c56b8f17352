//! What the queue promises, each promise on every store.

#![cfg(test)]

mod delivery;
mod failure;
mod redis_faults;
mod support;
mod workers;
