//! A client that holds every answer against the OpenAPI document.

use std::net::SocketAddr;
use std::time::Duration;

use ::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::contract;

/// Longer than anything may take here.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn cache(&self) -> &str {
        self.header("x-cache")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The status, for a comparison that shows the whole answer when it fails.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// A problem with this status, and its document.
    #[track_caller]
    pub(crate) fn problem(self, status: u16) -> Value {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
        let problem = answer.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["request_id"], answer.header("x-request-id"), "{problem}");
        problem
    }

    /// A problem that names exactly these fields.
    #[track_caller]
    pub(crate) fn wrong_fields(self, status: u16, pointers: &[&str]) {
        let problem = self.problem(status);
        let named: Vec<&str> = problem["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|field| field["pointer"].as_str().unwrap())
            .collect();
        assert_eq!(named, pointers, "{problem}");
    }
}

/// A request under construction.
#[derive(Debug)]
#[must_use]
pub(crate) struct Request {
    address: SocketAddr,
    builder: ::http::request::Builder,
    method: Method,
    path: String,
    body: Bytes,
}

impl Request {
    pub(crate) fn new(address: SocketAddr, method: Method, path: &str) -> Self {
        let builder = ::http::Request::builder()
            .method(method.clone())
            .uri(path)
            .header("host", address.to_string())
            .header("connection", "close");
        Self { address, builder, method, path: path.to_owned(), body: Bytes::new() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it and checks the answer against the document.
    pub(crate) async fn send(self) -> Answer {
        let (method, path) = (self.method.clone(), self.path.clone());
        let answer = self.try_send().await.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        contract::check(&method, &path, &answer);
        answer
    }

    /// Sends it, to a replica that may be gone.
    pub(crate) async fn try_send(self) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let Self { address, builder, body, .. } = self;
        let request = builder.body(Full::new(body))?;
        let exchange = async {
            let stream = TcpStream::connect(address).await?;
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let connection = tokio::spawn(connection);
            let (head, body) = sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            connection.abort();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Answer {
                status: head.status,
                headers: head.headers,
                body,
            })
        };
        timeout(PATIENCE, exchange).await.map_err(|_| "no answer in 30 s")?
    }
}
