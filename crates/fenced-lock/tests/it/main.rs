//! Every backend on real servers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bed;
#[cfg(feature = "k8s")]
mod cluster;
#[cfg(feature = "postgres")]
mod conformance;
mod granted;
mod model;
mod network;
mod orphans;
mod scripts;
#[cfg(feature = "postgres")]
mod sections;
