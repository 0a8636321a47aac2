//! The requests beside the buying.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use super::super::api;
use super::super::strategy::Strategy;
use crate::measure::connection::Line;
use crate::measure::http::{fetch, resolve};

/// How long one answer may take.
const WITHIN: Duration = Duration::from_secs(12);

/// Makes an event. Tried again: a replica may need a moment for its stores after the fault before.
pub(crate) async fn create(replica: SocketAddr, name: &str, capacity: u32, strategy: Strategy) -> anyhow::Result<i64> {
    let deadline = Instant::now() + WITHIN;
    loop {
        match api::create_event(replica, name, capacity, strategy).await {
            Ok(made) => return made.map_err(|reason| anyhow::anyhow!("no event with {strategy}: {reason}")),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Whether the replica takes requests.
pub(crate) async fn ready(admin: &str) -> bool {
    let Ok(address) = resolve(admin).await else { return false };
    fetch(address, "/readyz").await.is_ok_and(|(status, _)| status == 200)
}

/// Cancels a booking. Repeated until it is known to be cancelled: 409 is what a repetition of an unanswered success gets.
pub(crate) async fn cancel(replica: SocketAddr, booking: i64, within: Duration) -> anyhow::Result<()> {
    let request = format!("DELETE /bookings/{booking} HTTP/1.1\r\nhost: lab\r\n\r\n");
    let deadline = Instant::now() + within;
    let mut line = Line::new(replica, WITHIN);
    loop {
        let said = match line.exchange(request.as_bytes()).await {
            Ok(response) if matches!(response.status, 204 | 409) => return Ok(()),
            Ok(response) if matches!(response.status, 423 | 503) => response.status.to_string(),
            Ok(response) => {
                bail!("DELETE /bookings/{booking}: {} {}", response.status, String::from_utf8_lossy(response.body))
            }
            Err(error) => error.to_string(),
        };
        ensure!(Instant::now() < deadline, "DELETE /bookings/{booking}: {said}, for {within:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
