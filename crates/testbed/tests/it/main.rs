//! The servers and the proxy, on real PostgreSQL and Redis processes.
#![expect(clippy::unwrap_used, reason = "clippy sees the functions beside the tests as no tests")]

mod databases;
mod leftovers;
mod proxy_postgres;
mod proxy_redis;
mod proxy_streams;
mod resp;
mod servers;
