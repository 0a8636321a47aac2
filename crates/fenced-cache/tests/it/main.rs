//! One integration binary: the protocol on a real Redis, and its model.

mod model;
mod network;
mod outage;
mod reading;
mod scripts;
mod support;
mod trust;
mod typed;
mod waking;
mod writing;
