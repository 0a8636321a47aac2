//! Judged load: requests that go on while something is done to the services, and what is to be said of them afterwards.
//!
//! [`BlogPressure`] and [`BookingPressure`] do what clients in the cluster do: they send to the address of the service
//! over keep-alive connections that are renewed, and send again what may be sent again. Beside that, readers look at
//! every ready replica directly, because behind one address a stale replica is easily missed. A failed try is noted with
//! its moment, its kind and its address, so that [`Allowed`] can tell what the fault excuses from what it does not.

#![cfg_attr(not(feature = "k8s"), expect(dead_code, reason = "only the faults in a cluster start it"))]

mod addresses;
mod allowed;
mod arrivals;
mod blog;
mod booking;
mod client;
mod database;
mod failure;
mod log;
mod pressed;
mod running;
mod sender;
#[cfg(test)]
mod tests;

#[cfg_attr(not(feature = "k8s"), expect(unused_imports, reason = "only the faults in a cluster start it"))]
pub(crate) use {
    addresses::{Addresses, Replica},
    allowed::{Allowed, Methods},
    blog::{BlogConfig, BlogPressure},
    booking::{BookingConfig, BookingPressure},
    pressed::Pressed,
};
