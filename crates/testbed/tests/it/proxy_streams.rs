//! The proxy on a protocol that it does not know, and on more than it can keep.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use testbed::Direction::{ClientToServer, ServerToClient};
use testbed::{Cut, FaultProxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(10);

/// A client and the server's end of its connection, with the proxy between them.
async fn pair() -> (FaultProxy, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = FaultProxy::start(listener.local_addr().unwrap()).await.unwrap();
    let client = TcpStream::connect(proxy.addr()).await.unwrap();
    client.set_nodelay(true).unwrap();
    let (server, _) = listener.accept().await.unwrap();
    (proxy, client, server)
}

fn read_to_end(mut stream: TcpStream) -> JoinHandle<(Vec<u8>, bool)> {
    tokio::spawn(async move {
        let mut bytes = Vec::new();
        let clean = stream.read_to_end(&mut bytes).await.is_ok();
        (bytes, clean)
    })
}

/// Sends the pieces so that the proxy gets each in a chunk of its own.
async fn send_apart(proxy: &FaultProxy, client: &mut TcpStream, pieces: &[&str]) {
    let mut sent = proxy.bytes(ClientToServer);
    for piece in pieces {
        client.write_all(piece.as_bytes()).await.unwrap();
        sent += u64::try_from(piece.len()).unwrap();
        let passed = async {
            while proxy.bytes(ClientToServer) < sent {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SOON, passed).await.unwrap();
    }
}

#[tokio::test]
async fn a_needle_may_straddle_chunks() {
    let (proxy, mut client, server) = pair().await;
    let received = read_to_end(server);
    let seen = proxy.wait_for(ClientToServer, "hello world");
    send_apart(&proxy, &mut client, &["first hel", "lo", " wor", "ld"]).await;
    timeout(SOON, seen).await.unwrap();

    let cut = proxy.cut_when(ClientToServer, "needle", Cut::Before);
    send_apart(&proxy, &mut client, &["; nee"]).await;
    client.write_all(b"dle and more").await.unwrap();
    cut.reached().await;
    let (bytes, clean) = timeout(SOON, received).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), "first hello world; nee");
    assert!(!clean, "a cut is a reset");
}

#[tokio::test]
async fn in_one_chunk_the_fault_strikes_at_the_needle() {
    let (proxy, mut client, mut server) = pair().await;
    let held = proxy.hold_when(ClientToServer, "needle");
    client.write_all(b"before needle after").await.unwrap();
    held.reached().await;
    let mut bytes = [0; 7];
    server.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"before ");
    assert_eq!(proxy.bytes(ClientToServer), 7);
    held.release();
    let mut bytes = [0; 12];
    timeout(SOON, server.read_exact(&mut bytes)).await.unwrap().unwrap();
    assert_eq!(&bytes, b"needle after");
}

#[tokio::test]
async fn cut_after_gives_the_receiver_all_and_the_sender_nothing() {
    let (proxy, mut client, mut server) = pair().await;
    let cut = proxy.cut_when(ClientToServer, "needle", Cut::After);
    client.write_all(b"before needle").await.unwrap();
    let mut bytes = Vec::new();
    assert_eq!(
        timeout(SOON, server.read_to_end(&mut bytes)).await.unwrap().unwrap(),
        13,
        "it is told that no more comes"
    );
    server.write_all(b"an answer").await.unwrap();
    assert_eq!(cut.count(), 0, "the server is not done yet");
    drop(server);
    cut.reached().await;
    let mut answer = Vec::new();
    assert!(timeout(SOON, client.read_to_end(&mut answer)).await.unwrap().is_err());
    assert!(answer.is_empty());
    assert_eq!(proxy.bytes(ServerToClient), 0);
}

#[tokio::test]
async fn each_side_can_close_on_its_own() {
    let (_proxy, mut client, mut server) = pair().await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut question = String::new();
    timeout(SOON, server.read_to_string(&mut question)).await.unwrap().unwrap();
    server.write_all(question.to_uppercase().as_bytes()).await.unwrap();
    drop(server);
    let mut answer = String::new();
    timeout(SOON, client.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, "QUESTION");
}

#[tokio::test]
async fn a_reset_is_passed_on() {
    let (proxy, client, mut server) = pair().await;
    client.set_zero_linger().unwrap();
    drop(client);
    assert!(timeout(SOON, server.read_u8()).await.unwrap().is_err());
    assert_eq!(proxy.connections(), 0);
}

#[tokio::test]
async fn a_long_hold_slows_the_sender_down_and_loses_nothing() {
    let (proxy, mut client, server) = pair().await;
    proxy.hold(ClientToServer);
    let total = 128 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let sender = tokio::spawn({
        let sent = Arc::clone(&sent);
        async move {
            let chunk: Vec<u8> = (0..1u32 << 18).flat_map(u32::to_le_bytes).collect();
            for _ in 0..total / chunk.len() {
                client.write_all(&chunk).await.unwrap();
                sent.fetch_add(chunk.len(), Ordering::SeqCst);
            }
        }
    });
    let stalled = async {
        let mut before = 0;
        loop {
            sleep(Duration::from_millis(500)).await;
            let now = sent.load(Ordering::SeqCst);
            if now > 0 && now == before {
                return now;
            }
            before = now;
        }
    };
    let stalled = timeout(Duration::from_secs(60), stalled).await.unwrap();
    assert!(stalled < total, "the proxy does not keep everything that it is sent");
    proxy.release(ClientToServer);
    let (bytes, clean) = timeout(Duration::from_secs(60), read_to_end(server)).await.unwrap().unwrap();
    sender.await.unwrap();
    assert_eq!((bytes.len(), clean), (total, true));
    let expected = (0..1u32 << 18).cycle();
    let intact = bytes.chunks_exact(4).zip(expected).all(|(found, number)| found == number.to_le_bytes());
    assert!(intact);
}
