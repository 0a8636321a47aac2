//! The tasks of the proxy: one that accepts, and for each direction of each connection one that reads and one that writes.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Direction;
use super::state::{Shared, Step};

/// Accepts until the proxy is dropped.
pub(super) async fn accept(listener: TcpListener, upstream: String, shared: Arc<Shared>, dropped: CancellationToken) {
    loop {
        let client = tokio::select! {
            () = dropped.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => client,
                // The client is gone already, or there are no file descriptors left: that may pass.
                Err(_) => {
                    sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
        };
        let Some(era) = shared.accept() else {
            let _ = client.set_zero_linger();
            continue;
        };
        let (upstream, shared, dropped) = (upstream.clone(), Arc::clone(&shared), dropped.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = dropped.cancelled() => {}
                () = serve(client, era, &upstream, shared, dropped.child_token()) => {}
            }
        });
    }
}

async fn serve(client: TcpStream, era: u64, upstream: &str, shared: Arc<Shared>, closed: CancellationToken) {
    let Ok(server) = TcpStream::connect(upstream).await else {
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (client, server) = (Arc::new(client), Arc::new(server));
    let Some(number) = shared.add(era, Arc::clone(&client), Arc::clone(&server), closed.clone()) else {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
        return;
    };
    let flows = async {
        tokio::join!(
            read(&client, &shared, number, Direction::ClientToServer),
            write(&server, &shared, number, Direction::ClientToServer),
            read(&server, &shared, number, Direction::ServerToClient),
            write(&client, &shared, number, Direction::ServerToClient),
        );
        // Only a reset or an end of both directions ends a connection that fell silent.
        closed.cancelled().await;
    };
    tokio::select! {
        () = closed.cancelled() => {}
        () = flows => {}
    }
}

async fn read(sender: &TcpStream, shared: &Shared, number: u64, direction: Direction) {
    let mut buffer = vec![0; 64 * 1024];
    let mut changes = shared.changes();
    loop {
        if sender.readable().await.is_err() {
            return shared.end(number, direction, true);
        }
        match sender.try_read(&mut buffer) {
            Ok(0) => return shared.end(number, direction, false),
            Ok(length) => {
                let mut room = shared.arrive(number, direction, &buffer[..length]);
                while !room {
                    // Written bytes make room, and the writing task announces them as a change.
                    if changes.changed().await.is_err() {
                        return;
                    }
                    room = shared.has_room(number, direction);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => return shared.end(number, direction, true),
        }
    }
}

async fn write(receiver: &TcpStream, shared: &Shared, number: u64, direction: Direction) {
    let wake = shared.wake(number, direction);
    let mut changes = shared.changes();
    loop {
        // Before the look at the state: a change after it is then not missed.
        changes.mark_unchanged();
        let had_room = shared.has_room(number, direction);
        let step = shared.step(number, direction);
        if !had_room && shared.has_room(number, direction) {
            shared.announce();
        }
        match step {
            Step::Gone => return,
            Step::Wait => tokio::select! {
                () = wake.notified() => {}
                _ = changes.changed() => {}
            },
            Step::Until(due) => tokio::select! {
                () = sleep_until(due) => {}
                _ = changes.changed() => {}
            },
            Step::Full => {
                tokio::select! {
                    _ = receiver.writable() => {}
                    _ = changes.changed() => {}
                }
            }
        }
    }
}
