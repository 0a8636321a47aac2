//! Request ids and trace context, in and out.

use axum::Router;
use axum::routing::get;
use service::RequestContext;

use crate::client::Client;
use crate::server::TestServer;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

#[tokio::test]
async fn a_request_id_is_taken_over_or_made() {
    let server =
        TestServer::start(Router::new().route("/", get(async |me: RequestContext| me.request_id().to_owned()))).await;
    let mut client = Client::connect(server.api).await;
    let mut with = async |id: &str| {
        let answer = client.exchange(&format!("GET / HTTP/1.1\r\nhost: test\r\nx-request-id: {id}\r\n\r\n")).await;
        assert_eq!(answer.text(), answer.header("x-request-id"), "the handler's is the one that is sent");
        answer.text().to_owned()
    };
    assert_eq!(with("order-42/retry:1").await, "order-42/retry:1");
    for odd in ["two words", "", &"x".repeat(65)] {
        let made = with(odd).await;
        assert!(made.len() == 32 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "{made}");
    }
    assert_ne!(client.get("/").await.text(), client.get("/").await.text());
    let unmatched = client.exchange("GET /nowhere HTTP/1.1\r\nhost: test\r\nx-request-id: mine\r\n\r\n").await;
    assert_eq!(unmatched.header("x-request-id"), "mine", "also where no route is");
}

#[tokio::test]
async fn a_trace_is_continued_for_outgoing_calls() {
    let show = async |me: RequestContext| {
        let state = me.trace().tracestate().map(|state| state.to_str().unwrap().to_owned());
        format!("{} {}", me.trace().traceparent(), state.unwrap_or_default())
    };
    let server = TestServer::start(Router::new().route("/", get(show))).await;
    let mut client = Client::connect(server.api).await;
    let mut with = async |headers: &str| {
        client.exchange(&format!("GET / HTTP/1.1\r\nhost: test\r\n{headers}\r\n")).await.text().to_owned()
    };
    let own = with(&format!("traceparent: 00-{TRACE}-b7ad6b7169203331-01\r\ntracestate: a=1\r\n")).await;
    assert!(own.starts_with(&format!("00-{TRACE}-")) && own.ends_with("-01 a=1"), "{own}");
    assert!(!own.contains("b7ad6b7169203331"), "a new span");
    let begun = with(&format!("traceparent: 00-{TRACE}-0000000000000000-01\r\ntracestate: a=1\r\n")).await;
    assert!(!begun.contains(TRACE) && begun.ends_with("-00 "), "{begun}");
}

#[tokio::test]
async fn the_context_follows_into_detached_tasks_and_not_into_other_requests() {
    let server = TestServer::start_with(Default::default(), |server| {
        let tasks = server.tasks();
        let detached = async move || {
            let inside = tasks.detached(async {
                tokio::task::yield_now().await;
                RequestContext::current().map(|me| me.request_id().to_owned())
            });
            inside.await.unwrap_or_default()
        };
        let spawned = async || {
            let inside = tokio::spawn(async { RequestContext::current().is_some() }).await.unwrap();
            inside.to_string()
        };
        Router::new().route("/detached", get(detached)).route("/spawned", get(spawned))
    })
    .await;
    let answer = server.get("/detached").await;
    assert_eq!(answer.text(), answer.header("x-request-id"));
    assert_eq!(server.get("/spawned").await.text(), "false");
}
