//! How the lab drives, times and shows things, whatever the experiment.
//!
//! Nothing here knows a service. A load generator on the machine of the servers that it loads takes
//! processor time from them, so the hot path is one `write`, one `read` and no allocation a request.

pub(crate) mod connection;
pub(crate) mod figures;
pub(crate) mod files;
pub(crate) mod http;
pub(crate) mod kept;
pub(crate) mod latencies;
pub(crate) mod load;
pub(crate) mod machine;
pub(crate) mod metrics;
pub(crate) mod open_loop;
pub(crate) mod own_thread;
pub(crate) mod panel;
pub(crate) mod postgres;
pub(crate) mod redis;
pub(crate) mod response;
pub(crate) mod statistics;
pub(crate) mod svg;
pub(crate) mod table;
pub(crate) mod tally;
pub(crate) mod unfinished;
pub(crate) mod zipf;
