//! shop-api as a client sees it: requests as bytes, and what its answers say.

use serde::Deserialize;

use super::strategy::Strategy;
use crate::measure::connection::Response;

/// How a read was answered, as `X-Cache` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cached {
    /// From the memory of the replica.
    NearHit,
    Hit,
    /// From the cache, although a newer one may be there.
    Stale,
    Miss,
    /// By the load of another reader.
    Coalesced,
    /// From the database, past the cache.
    Bypass,
}

impl Cached {
    fn parse(value: &[u8]) -> Option<Self> {
        Some(match value {
            b"NEAR_HIT" => Self::NearHit,
            b"HIT" => Self::Hit,
            b"STALE" => Self::Stale,
            b"MISS" => Self::Miss,
            b"COALESCED" => Self::Coalesced,
            b"BYPASS" => Self::Bypass,
            _ => return None,
        })
    }

    /// Whether nobody had to wait for the database.
    pub(crate) fn is_hit(self) -> bool {
        matches!(self, Self::NearHit | Self::Hit | Self::Stale)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NearHit => "near hit",
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Miss => "miss",
            Self::Coalesced => "coalesced",
            Self::Bypass => "bypass",
        }
    }
}

/// How a write stands with the cache, as `X-Cache-Write` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acknowledged {
    /// The cache knows.
    Applied,
    /// Committed, and the cache is being told.
    Pending,
    /// By its strategy, the write leaves the cache to a TTL or an event.
    Deferred,
}

impl Acknowledged {
    fn parse(value: &[u8]) -> Option<Self> {
        Some(match value {
            b"applied" => Self::Applied,
            b"pending" => Self::Pending,
            b"deferred" => Self::Deferred,
            _ => return None,
        })
    }
}

/// A product, as a read shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) version: u64,
    pub(crate) cached: Cached,
}

impl Seen {
    /// `None` if the answer shows no product.
    pub(crate) fn of(response: &Response<'_>) -> Option<Self> {
        if response.status != 200 {
            return None;
        }
        Some(Self { version: version(response)?, cached: Cached::parse(response.header("x-cache")?)? })
    }
}

/// A write that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wrote {
    /// Of the product as it is now; absent for a bulk.
    pub(crate) version: Option<u64>,
    pub(crate) acknowledged: Acknowledged,
}

impl Wrote {
    /// `None` if it was not acknowledged.
    pub(crate) fn of(response: &Response<'_>) -> Option<Self> {
        if response.status != 200 {
            return None;
        }
        let acknowledged = Acknowledged::parse(response.header("x-cache-write")?)?;
        Some(Self { version: version(response), acknowledged })
    }
}

/// The version in `ETag: "7"`.
fn version(response: &Response<'_>) -> Option<u64> {
    let tag = std::str::from_utf8(response.header("etag")?).ok()?;
    tag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

/// The seconds for which a cached answer stays fresh, as `Cache-Status` says: `shop-redis; hit; ttl=9`.
pub(crate) fn fresh_for(response: &Response<'_>) -> Option<u64> {
    let status = std::str::from_utf8(response.header("cache-status")?).ok()?;
    status.split(';').find_map(|part| part.trim().strip_prefix("ttl="))?.parse().ok()
}

/// What a strategy says of itself.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Described {
    pub(crate) name: String,
    /// What its keys in Redis begin with.
    pub(crate) prefix: String,
}

/// The answer of `GET /strategies`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Strategies {
    pub(crate) items: Vec<Described>,
}

/// `GET` of a product.
pub(crate) fn read(strategy: Strategy, product: i64) -> Vec<u8> {
    format!("GET /s/{strategy}/products/{product} HTTP/1.1\r\nhost: lab\r\n\r\n").into_bytes()
}

/// A new price for a product, in the currency that it has.
pub(crate) fn set_price(strategy: Strategy, product: i64, amount: i64, currency: &str) -> Vec<u8> {
    let body = format!(r#"{{"price":{{"amount":{amount},"currency":"{currency}"}}}}"#);
    send("PATCH", &format!("/s/{strategy}/products/{product}/price"), &body)
}

/// New prices for all products of a category.
pub(crate) fn reprice(strategy: Strategy, category: i64, percent: i64) -> Vec<u8> {
    send("POST", &format!("/s/{strategy}/categories/{category}/reprice"), &format!(r#"{{"percent":{percent}}}"#))
}

fn send(method: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: lab\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Acknowledged, Cached, Seen, Wrote, fresh_for};
    use crate::measure::connection::Connection;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// A connection to a server that answers its first request with this.
    pub(crate) async fn answering(text: &'static str) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1_024];
            let _ = stream.read(&mut request).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            // Until the client goes.
            let _ = stream.read(&mut request).await;
        });
        Connection::open(address).await.unwrap()
    }

    #[tokio::test]
    async fn a_read_has_a_version_and_an_outcome() {
        let text = "HTTP/1.1 200 OK\r\nETag: \"17\"\r\nX-Cache: HIT\r\nCache-Status: shop-redis; hit; ttl=9\r\n\
                    content-length: 0\r\n\r\n";
        let mut connection = answering(text).await;
        let response = connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!(Seen::of(&response), Some(Seen { version: 17, cached: Cached::Hit }));
        assert_eq!((Wrote::of(&response), fresh_for(&response)), (None, Some(9)));
    }

    #[tokio::test]
    async fn a_write_says_how_it_stands_with_the_cache() {
        for (header, expected) in [("applied", Some(Acknowledged::Applied)), ("unknown", None)] {
            let text =
                format!("HTTP/1.1 200 OK\r\nETag: \"3\"\r\nX-Cache-Write: {header}\r\ncontent-length: 0\r\n\r\n");
            let mut connection = answering(text.leak()).await;
            let response = connection.exchange(b"PATCH / HTTP/1.1\r\n\r\n").await.unwrap();
            let wrote = expected.map(|acknowledged| Wrote { version: Some(3), acknowledged });
            assert_eq!(Wrote::of(&response), wrote);
        }
    }

    #[tokio::test]
    async fn a_refusal_shows_no_product() {
        let mut connection =
            answering("HTTP/1.1 503 Service Unavailable\r\nX-Cache-Write: unknown\r\ncontent-length: 0\r\n\r\n").await;
        let response = connection.exchange(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert_eq!((Seen::of(&response), Wrote::of(&response), fresh_for(&response)), (None, None, None));
    }
}
