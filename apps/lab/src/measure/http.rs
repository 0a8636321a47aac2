//! Single requests: the questions around a measurement, whose time does not matter.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;

use super::connection::Line;

/// How long one request may take anywhere in the lab.
pub(crate) const REQUEST: Duration = Duration::from_secs(10);

/// The address of a base URL (`http://host:port`).
pub(crate) async fn resolve(url: &str) -> anyhow::Result<SocketAddr> {
    let uri: http::Uri = url.parse().with_context(|| format!("{url} is no URL"))?;
    let host = uri.host().with_context(|| format!("{url} has no host"))?;
    let port = uri.port_u16().unwrap_or(80);
    tokio::net::lookup_host((host.trim_matches(['[', ']']), port))
        .await
        .with_context(|| format!("cannot resolve {url}"))?
        .next()
        .with_context(|| format!("{url} has no address"))
}

/// The services' own no-op route, answering a body of that size.
pub(crate) fn noop_path(bytes: u64) -> String {
    // The route takes at most so much.
    format!("/noop?bytes={}", bytes.min(65_536))
}

/// One GET with a new connection.
pub(crate) async fn fetch(address: SocketAddr, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    exchange(address, format!("GET {path} HTTP/1.1\r\nhost: lab\r\n\r\n").as_bytes()).await
}

/// One POST of a JSON document with a new connection.
pub(crate) async fn post(
    address: SocketAddr,
    path: &str,
    document: &impl serde::Serialize,
) -> anyhow::Result<(u16, Vec<u8>)> {
    let body = serde_json::to_string(document)?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: lab\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    exchange(address, request.as_bytes()).await
}

async fn exchange(address: SocketAddr, request: &[u8]) -> anyhow::Result<(u16, Vec<u8>)> {
    let mut line = Line::new(address, REQUEST);
    let response = line.exchange(request).await?;
    Ok((response.status, response.body.to_vec()))
}
