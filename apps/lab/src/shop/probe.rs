//! After a write was acknowledged: how long a replica still answers with what was before it.

use std::time::{Duration, Instant};

use super::api::{Cached, Seen};
use super::line_pool::LinePool;

/// Between two probes: a sixteenth of the time since the acknowledgement, so that a staleness is known within a sixteenth of
/// itself however long it is; and within these.
const BETWEEN: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_millis(250);

/// What the probes of one replica saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Probed {
    /// From the acknowledgement to the last answer that was behind; `None` if none was.
    pub(crate) stale: Option<Duration>,
    /// The same to when that was asked for: whatever a bound counts from the acknowledgement, the answer is at least so old.
    pub(crate) asked: Option<Duration>,
    /// From the acknowledgement to the last answer that was behind, or not to be had.
    pub(crate) unserved: Option<Duration>,
    /// Whether it came to answer with the new version.
    pub(crate) converged: bool,
    pub(crate) probes: u64,
    /// Probes that were behind, but for the next.
    pub(crate) behind: u64,
    /// The same, from the replica's own memory.
    pub(crate) behind_near: u64,
    /// Probes without an answer.
    pub(crate) failed: u64,
}

/// Reads until the replica answers with `version` or a later one, or `patience` is over.
pub(crate) async fn probe(
    replica: &LinePool,
    request: &[u8],
    version: u64,
    acknowledged: Instant,
    patience: Duration,
) -> Probed {
    let mut probed = Probed::default();
    loop {
        probed.probes += 1;
        let asked = acknowledged.elapsed();
        match replica.exchange(request, Seen::of).await {
            Ok(Some(seen)) if seen.version >= version => {
                probed.converged = true;
                return probed;
            }
            Ok(Some(Seen { cached, .. })) => {
                probed.stale = Some(acknowledged.elapsed());
                probed.unserved = probed.stale;
                probed.asked = Some(asked);
                *if cached == Cached::NearHit { &mut probed.behind_near } else { &mut probed.behind } += 1;
            }
            Ok(None) | Err(_) => {
                probed.unserved = Some(acknowledged.elapsed());
                probed.failed += 1;
            }
        }
        let since = acknowledged.elapsed();
        if since > patience {
            return probed;
        }
        tokio::time::sleep((since / 16).clamp(*BETWEEN.start(), *BETWEEN.end())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// A replica that learns of version 2 with its `learns`th answer.
    async fn replica(learns: u64) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicU64::new(0));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let asked = asked.clone();
                tokio::spawn(async move {
                    let mut request = [0; 512];
                    while let Ok(1..) = stream.read(&mut request).await {
                        let version = if asked.fetch_add(1, Ordering::SeqCst) + 1 >= learns { 2 } else { 1 };
                        let answer = format!(
                            "HTTP/1.1 200 OK\r\nETag: \"{version}\"\r\nX-Cache: HIT\r\ncontent-length: 0\r\n\r\n"
                        );
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        address
    }

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

    #[tokio::test]
    async fn a_replica_that_is_behind_is_seen_until_it_is_not() {
        let patience = Duration::from_secs(20);
        let pool = LinePool::new(replica(1).await);
        let probed = probe(&pool, REQUEST, 2, Instant::now(), patience).await;
        assert_eq!(probed, Probed { converged: true, probes: 1, ..Probed::default() });
        let pool = LinePool::new(replica(6).await);
        let probed = probe(&pool, REQUEST, 2, Instant::now(), patience).await;
        assert_eq!((probed.converged, probed.probes, probed.behind), (true, 6, 5));
        // Four pauses of a millisecond at least lie before the last one that was behind.
        assert!(probed.stale.unwrap() >= Duration::from_millis(4), "{probed:?}");
        assert!(probed.asked >= Some(Duration::from_millis(4)) && probed.asked <= probed.stale, "{probed:?}");
    }

    #[tokio::test]
    async fn one_that_stays_behind_is_given_up() {
        let pool = LinePool::new(replica(u64::MAX).await);
        let probed = probe(&pool, REQUEST, 2, Instant::now(), Duration::from_millis(30)).await;
        assert!(!probed.converged && probed.stale >= Some(Duration::from_millis(30)), "{probed:?}");
    }
}
