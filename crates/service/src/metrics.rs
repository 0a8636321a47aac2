//! Every metric of this crate: its name, labels, unit and meaning.
//!
//! Counters end in `_total`, times are in seconds. No id, key or raw path is ever a label: `route` is the template that the
//! router matched (`/posts/{id}`), or [`UNMATCHED`].

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Requests answered. Labels: `method`, `route`, `status` (the code; [`CLIENT_GONE`] when the client hung up first).
pub const HTTP_REQUESTS: &str = "http_requests_total";
/// Time from the request's head to the response's head. Labels: `method`, `route`, `status_class` (`2xx` … `5xx`).
pub const HTTP_DURATION: &str = "http_request_duration_seconds";
/// Requests that are being handled.
pub const HTTP_IN_FLIGHT: &str = "http_requests_in_flight";
/// Open connections to the API port.
pub const HTTP_CONNECTIONS: &str = "http_connections";
/// Handlers that panicked, each answered with a 500. Label: `route`.
pub const HTTP_PANICS: &str = "http_handler_panics_total";
/// Handlers that were given up after the request timeout, each answered with a 503. Label: `route`.
pub const HTTP_TIMEOUTS: &str = "http_handler_timeouts_total";

/// 1 while the replica is ready, else 0.
pub const READY: &str = "service_ready";
/// 1 while a named check passes, else 0. Label: `check`.
pub const CHECK_UP: &str = "service_check_up";
/// Always 1. Labels: `service`, `version`.
pub const BUILD_INFO: &str = "build_info";

/// Connections of the database pool. Labels: `pool`, `state` (`used`, `idle`).
pub const DB_CONNECTIONS: &str = "db_pool_connections";
/// Most connections that the pool may have. Label: `pool`.
pub const DB_CONNECTIONS_MAX: &str = "db_pool_connections_max";

/// Worker threads of the runtime.
pub const TOKIO_WORKERS: &str = "tokio_workers";
/// Tasks that are alive.
pub const TOKIO_ALIVE_TASKS: &str = "tokio_alive_tasks";
/// Tasks that wait in the runtime's global queue.
pub const TOKIO_QUEUE_DEPTH: &str = "tokio_global_queue_depth";

/// The label `route` of a request that no route matched.
pub const UNMATCHED: &str = "unmatched";
/// The label `status` of a request whose client hung up before the answer; not a status that is ever sent.
pub const CLIENT_GONE: &str = "499";

/// Upper bounds of the request durations' buckets, in seconds. Also the default of every histogram without its own.
pub const DURATION_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Tells the recorder units and meanings; called once when it is installed.
pub(crate) fn describe() {
    describe_counter!(HTTP_REQUESTS, Unit::Count, "Requests answered; status 499: the client hung up first");
    describe_histogram!(HTTP_DURATION, Unit::Seconds, "From the request's head to the response's head");
    describe_gauge!(HTTP_IN_FLIGHT, Unit::Count, "Requests that are being handled");
    describe_gauge!(HTTP_CONNECTIONS, Unit::Count, "Open connections to the API port");
    describe_counter!(HTTP_PANICS, Unit::Count, "Handlers that panicked, each answered with a 500");
    describe_counter!(
        HTTP_TIMEOUTS,
        Unit::Count,
        "Handlers given up after the request timeout, each answered with a 503"
    );
    describe_gauge!(READY, "1 while the replica is ready, else 0");
    describe_gauge!(CHECK_UP, "1 while the check passes, else 0");
    describe_gauge!(BUILD_INFO, "Always 1; the labels say what runs");
    describe_gauge!(DB_CONNECTIONS, Unit::Count, "Connections of the database pool, used or idle");
    describe_gauge!(DB_CONNECTIONS_MAX, Unit::Count, "Most connections that the database pool may have");
    describe_gauge!(TOKIO_WORKERS, Unit::Count, "Worker threads of the runtime");
    describe_gauge!(TOKIO_ALIVE_TASKS, Unit::Count, "Tasks that are alive");
    describe_gauge!(TOKIO_QUEUE_DEPTH, Unit::Count, "Tasks that wait in the runtime's global queue");
}
