//! One question to a replica's admin port.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long one answer may take; a replica that starts on a busy machine is asked again.
const ANSWER: Duration = Duration::from_secs(2);

/// How often a replica that is not ready is asked.
const EVERY: Duration = Duration::from_millis(25);

/// Waits until `/readyz` on the port answers 200. Never gives up: the caller sets the deadline.
pub(crate) async fn ready(port: u16) {
    loop {
        if let Ok(Ok(true)) = tokio::time::timeout(ANSWER, is_ready(port)).await {
            return;
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn is_ready(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n\r\n").await?;
    let mut status = [0; 12];
    stream.read_exact(&mut status).await?;
    Ok(&status[8..] == b" 200")
}
