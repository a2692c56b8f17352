//! The limiter's promises, on every store there is.
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod history;
#[cfg(test)]
mod leases;
#[cfg(test)]
mod memory;
#[cfg(test)]
mod outage;
#[cfg(test)]
mod parallel;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod raises;
#[cfg(test)]
mod topology;
#[cfg(test)]
#[cfg(feature = "tower")]
mod tower;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod windows;
