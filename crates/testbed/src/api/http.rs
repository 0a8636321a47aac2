//! A client of an API.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Contract;

/// Longer than anything may take here.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The header of this name; empty if there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Panics, and shows the whole answer, if it has another status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }

    /// A problem with this status, and its document.
    #[track_caller]
    pub fn problem(self, status: u16) -> Value {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
        let problem = answer.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["request_id"], answer.header("x-request-id"), "{problem}");
        problem
    }

    /// A problem that names exactly these fields.
    #[track_caller]
    pub fn wrong_fields(self, status: u16, pointers: &[&str]) {
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
pub struct Request {
    address: SocketAddr,
    builder: http::request::Builder,
    method: Method,
    path: String,
    body: Bytes,
    contract: Option<&'static Contract>,
}

impl Request {
    /// A request to this address, on a connection of its own.
    pub fn new(address: SocketAddr, method: Method, path: &str) -> Self {
        let builder = http::Request::builder()
            .method(method.clone())
            .uri(path)
            .header("host", address.to_string())
            .header("connection", "close");
        Self { address, builder, method, path: path.to_owned(), body: Bytes::new(), contract: None }
    }

    /// With this header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    /// With this JSON as its body.
    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    /// With this body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Whose answer is held against the document when it is [sent](Self::send).
    pub fn under(mut self, contract: &'static Contract) -> Self {
        self.contract = Some(contract);
        self
    }

    /// Sends it; panics if there is no answer, or one that the document does not describe.
    pub async fn send(self) -> Answer {
        let (method, path, contract) = (self.method.clone(), self.path.clone(), self.contract);
        let answer = self.try_send().await.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        if let Some(contract) = contract {
            contract.check(&method, &path, &answer);
        }
        answer
    }

    /// Sends it, to a replica that may be gone; the answer is held against nothing.
    ///
    /// # Errors
    /// When no answer comes.
    pub async fn try_send(self) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
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
