//! The request metrics of one route, with every handle looked up once and then kept.
//!
//! Looking a metric up by its labels hashes strings and takes a lock; at 100,000 requests a second that is a visible
//! share of the request. A handle is an atomic counter.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Method, StatusCode};
use metrics::{Counter, Histogram, counter, histogram};

use crate::metrics::{CLIENT_GONE, HTTP_DURATION, HTTP_PANICS, HTTP_REQUESTS, HTTP_TIMEOUTS};

const METHODS: usize = 8;

/// The statuses that have a kept handle; any other one is looked up each time.
const STATUSES: [u16; 20] =
    [200, 201, 202, 204, 303, 304, 400, 404, 405, 408, 409, 412, 413, 415, 422, 423, 429, 500, 503, 504];

/// The metrics of one route template.
#[derive(Debug)]
pub(crate) struct RouteMetrics {
    route: Arc<str>,
    methods: [OnceLock<Box<MethodMetrics>>; METHODS],
    panics: Counter,
    timeouts: Counter,
}

#[derive(Debug)]
struct MethodMetrics {
    by_status: [OnceLock<Counter>; STATUSES.len()],
    by_class: [OnceLock<Histogram>; 5],
}

impl RouteMetrics {
    pub(crate) fn new(route: Arc<str>) -> Self {
        // Registered before the first one happens: from a counter that appears as 1, nobody sees an increase.
        let panics = counter!(HTTP_PANICS, "route" => route.clone());
        let timeouts = counter!(HTTP_TIMEOUTS, "route" => route.clone());
        Self { route, methods: Default::default(), panics, timeouts }
    }

    pub(crate) fn route(&self) -> &str {
        &self.route
    }

    /// Counts one answer and its duration.
    pub(crate) fn answered(&self, method: &Method, status: StatusCode, duration: Duration) {
        let (index, method) = method_label(method);
        let cell = &self.methods[index];
        let metrics = cell.get_or_init(Box::default);
        metrics.count(method, &self.route, status.as_u16());
        metrics.histogram(method, &self.route, status).record(duration.as_secs_f64());
    }

    /// Counts a request whose client hung up; its duration says nothing about the service.
    pub(crate) fn client_gone(&self, method: &Method) {
        let (_, method) = method_label(method);
        counter!(HTTP_REQUESTS, "method" => method, "route" => self.route.clone(), "status" => CLIENT_GONE)
            .increment(1);
    }

    pub(crate) fn panicked(&self) {
        self.panics.increment(1);
    }

    pub(crate) fn timed_out(&self) {
        self.timeouts.increment(1);
    }
}

impl Default for MethodMetrics {
    fn default() -> Self {
        Self { by_status: [const { OnceLock::new() }; STATUSES.len()], by_class: Default::default() }
    }
}

impl MethodMetrics {
    fn count(&self, method: &'static str, route: &Arc<str>, status: u16) {
        let look_up =
            || counter!(HTTP_REQUESTS, "method" => method, "route" => route.clone(), "status" => status.to_string());
        match STATUSES.iter().position(|&known| known == status) {
            Some(index) => self.by_status[index].get_or_init(look_up).increment(1),
            None => look_up().increment(1),
        }
    }

    fn histogram(&self, method: &'static str, route: &Arc<str>, status: StatusCode) -> &Histogram {
        let class = usize::from((status.as_u16() / 100).clamp(1, 5)) - 1;
        self.by_class[class].get_or_init(|| {
            let class = ["1xx", "2xx", "3xx", "4xx", "5xx"][class];
            histogram!(HTTP_DURATION, "method" => method, "route" => route.clone(), "status_class" => class)
        })
    }
}

/// A method that a client made up must not become a label value.
fn method_label(method: &Method) -> (usize, &'static str) {
    match *method {
        Method::GET => (0, "GET"),
        Method::POST => (1, "POST"),
        Method::PUT => (2, "PUT"),
        Method::DELETE => (3, "DELETE"),
        Method::PATCH => (4, "PATCH"),
        Method::HEAD => (5, "HEAD"),
        Method::OPTIONS => (6, "OPTIONS"),
        _ => (7, "other"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;

    #[test]
    fn labels_are_bounded_whatever_the_client_sends() {
        let recorder = PrometheusBuilder::new().set_buckets(&[0.1, 1.0]).unwrap().build_recorder();
        let text = metrics::with_local_recorder(&recorder, || {
            let route = RouteMetrics::new("/posts/{id}".into());
            for _ in 0..3 {
                route.answered(&Method::GET, StatusCode::OK, Duration::from_millis(50));
            }
            let made_up = Method::from_bytes(b"BREW").unwrap();
            route.answered(&made_up, StatusCode::IM_A_TEAPOT, Duration::from_secs(2));
            route.client_gone(&Method::PUT);
            recorder.handle().render()
        });
        for line in [
            r#"http_requests_total{method="GET",route="/posts/{id}",status="200"} 3"#,
            r#"http_requests_total{method="other",route="/posts/{id}",status="418"} 1"#,
            r#"http_requests_total{method="PUT",route="/posts/{id}",status="499"} 1"#,
            r#"http_request_duration_seconds_bucket{method="GET",route="/posts/{id}",status_class="2xx",le="0.1"} 3"#,
            r#"http_request_duration_seconds_bucket{method="other",route="/posts/{id}",status_class="4xx",le="1"} 0"#,
            r#"http_request_duration_seconds_count{method="other",route="/posts/{id}",status_class="4xx"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("BREW"));
    }
}
