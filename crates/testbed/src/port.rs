//! Ports on the loopback interface.

use std::net::{Ipv4Addr, TcpListener};

use crate::error::TestbedError;

/// Below the ports that Linux (32768 and up) and macOS (49152 and up) hand out to outgoing connections, and below those
/// of Kubernetes' NodePorts (30000 and up): the port of a server that was killed is still free when it starts again.
const FIRST: u16 = 20_000;
const LAST: u16 = 29_999;

/// A port that is free now. Somebody else can take it before the server does; whoever starts a server tries again then.
pub(crate) fn free() -> Result<u16, TestbedError> {
    (0..200)
        .map(|_| fastrand::u16(FIRST..=LAST))
        .find(|port| is_free(*port))
        .ok_or(TestbedError::PortTaken { port: LAST })
}

/// Whether a server could listen on the port now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Whether a server's log says that somebody else has its port.
pub(crate) fn conflict(log: &str) -> bool {
    log.contains("Address already in use")
}
