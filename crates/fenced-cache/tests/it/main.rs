//! One integration binary: the protocol on a real Redis, and its model.

// A test that can not go on ends there.
#![allow(clippy::unwrap_used)]

mod freshness;
mod model;
mod near;
mod near_faults;
mod network;
mod outage;
mod reading;
mod scripts;
mod support;
mod trust;
mod typed;
mod waking;
mod writing;
