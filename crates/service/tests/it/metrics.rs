//! What `/metrics` says.

use axum::Router;
use axum::routing::get;

use crate::client::{Client, eventually};
use crate::server::TestServer;

#[tokio::test]
async fn requests_are_counted_by_template_and_never_by_path() {
    let routes = Router::new()
        .nest("/metrics-test", Router::new().route("/{id}", get(async || "found")))
        .merge(service::noop_router());
    let server = TestServer::start(routes).await;
    for path in ["/metrics-test/1", "/metrics-test/2?x=secret", "/metrics-test/3", "/secret/path"] {
        server.get(path).await;
    }
    let answer = server.ask_admin("/metrics").await;
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text();
    for line in [
        r#"http_requests_total{method="GET",route="/metrics-test/{id}",status="200"} 3"#,
        r#"http_request_duration_seconds_count{method="GET",route="/metrics-test/{id}",status_class="2xx"} 3"#,
        r#"http_request_duration_seconds_bucket{method="GET",route="/metrics-test/{id}",status_class="2xx",le="10"} 3"#,
        r#"http_handler_panics_total{route="/metrics-test/{id}"} 0"#,
        r#"http_handler_timeouts_total{route="/metrics-test/{id}"} 0"#,
        r#"build_info{service="it",version="1.2.3"} 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
    }
    assert!(text.contains(r#"http_requests_total{method="GET",route="unmatched",status="404"}"#), "{text}");
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn the_process_and_the_runtime_are_in_the_same_answer() {
    let server = TestServer::start(Router::new()).await;
    let text = server.ask_admin("/metrics").await.text().to_owned();
    let mut names = vec!["tokio_workers", "tokio_alive_tasks", "tokio_global_queue_depth", "http_requests_in_flight"];
    if cfg!(target_os = "linux") {
        names.extend(["process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"]);
    }
    for name in names {
        assert!(text.lines().any(|line| line.starts_with(&format!("{name} "))), "{name} is missing in\n{text}");
        assert_eq!(text.matches(&format!("# TYPE {name} ")).count(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_histogram_has_the_buckets_that_its_owner_set() {
    let server = TestServer::start(Router::new()).await;
    metrics::histogram!("it_sizes_bytes").record(50.0);
    let text = server.ask_admin("/metrics").await.text().to_owned();
    assert!(text.contains("it_sizes_bytes_bucket{le=\"10\"} 0"), "{text}");
    assert!(
        text.contains("it_sizes_bytes_bucket{le=\"100\"} 1") && !text.contains("it_sizes_bytes_bucket{le=\"0.5\"}")
    );
}

#[tokio::test]
async fn checks_are_metrics_and_gate_readiness() {
    let server = TestServer::start(Router::new()).await;
    let postgres = server.health.critical("it-postgres");
    let redis = server.health.informative("it-redis");
    redis.fail("connection refused");
    eventually("started", async || server.ask_admin("/startupz").await.status == 200).await;
    let answer = server.ask_admin("/readyz").await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json()["checks"]["it-postgres"]["status"], "unknown");
    postgres.pass();
    let answer = server.ask_admin("/readyz").await;
    assert_eq!(answer.status, 200);
    let document = answer.json();
    assert_eq!(document["status"], "ready");
    assert_eq!(document["checks"]["it-redis"]["status"], "fail");
    assert_eq!(document["checks"]["it-redis"]["detail"], "connection refused");
    let text = server.ask_admin("/metrics").await.text().to_owned();
    assert!(text.contains(r#"service_check_up{check="it-postgres"} 1"#), "{text}");
    assert!(text.contains(r#"service_check_up{check="it-redis"} 0"#), "{text}");
}

#[tokio::test]
async fn the_noop_route_answers_with_as_many_bytes_as_asked_for() {
    let server = TestServer::start(service::noop_router()).await;
    let mut client = Client::connect(server.api).await;
    for (query, size) in [("", 1600), ("?bytes=0", 0), ("?bytes=1", 1), ("?bytes=65536", 65536)] {
        let answer = client.get(&format!("/noop{query}")).await;
        assert_eq!((answer.status, answer.body.len()), (200, size), "{query}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert!(!answer.header("x-request-id").is_empty(), "through the same middleware");
    }
    for query in ["bytes=65537", "bytes=-1", "bytes=x", "byte=1"] {
        assert_eq!(client.get(&format!("/noop?{query}")).await.status, 400, "{query}");
    }
}
