//! One question to a replica's admin port.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;

use crate::measure::http::fetch;

/// How long one answer may take; a replica that starts on a busy machine is asked again.
const ANSWER: Duration = Duration::from_secs(2);

/// How often a replica that is not ready is asked.
const EVERY: Duration = Duration::from_millis(25);

/// What a probe reads of the answer.
#[derive(Debug, Deserialize)]
struct Readiness {
    pid: u32,
}

/// Waits until the process `pid` answers 200 to `/readyz` on the port: when another one was faster to take the port, that one's
/// answer is not this one's. Never gives up: the caller sets the deadline.
pub(crate) async fn ready(port: u16, pid: u32) {
    loop {
        if let Ok(Ok(true)) = tokio::time::timeout(ANSWER, is_ready(port, pid)).await {
            return;
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn is_ready(port: u16, pid: u32) -> anyhow::Result<bool> {
    let (status, body) = fetch(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), "/readyz").await?;
    Ok(status == 200 && serde_json::from_slice::<Readiness>(&body)?.pid == pid)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn the_answer_of_another_process_is_not_this_ones() {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let body = r#"{"status":"ready","pid":41,"checks":{}}"#;
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await.unwrap();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        assert!(is_ready(port, 41).await.unwrap());
        assert!(!is_ready(port, 42).await.unwrap());
    }
}
