//! The load against scripted servers, and, by hand, against real replicas.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::addresses::Route;
use super::client::{Client, Target, Wear};
use super::failure::{Kind, Method};
use super::log::Log;
use super::pressed::Pressed;
use super::sender::{Reply, Sender};
use super::{Addresses, Allowed, Replica};

mod blog;
mod booking;

/// What a scripted server does with the next request of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    /// 200.
    Answer,
    /// 200 with `Connection: close`.
    AnswerAndClose,
    /// 200, and the connection is closed without a word.
    AnswerAndLeave,
    /// 503.
    Refuse,
    /// Reads the request and closes.
    Swallow,
    /// Reads the request and says nothing.
    Sleep,
}

/// A server whose `n`th request, counted over all connections, meets the `n`th act; then the last one for ever.
async fn server(acts: &'static [Act]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, acts, Arc::clone(&next)));
        }
    });
    address
}

async fn serve(mut stream: TcpStream, acts: &[Act], next: Arc<std::sync::atomic::AtomicUsize>) {
    let mut input = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut input).await {
        if !input.ends_with(b"\r\n\r\n") {
            continue;
        }
        input.clear();
        let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let act = acts[at.min(acts.len() - 1)];
        let answer = match act {
            Act::Answer | Act::AnswerAndLeave => "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1",
            Act::AnswerAndClose => "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\n1",
            Act::Refuse => "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy",
            Act::Swallow => return,
            Act::Sleep => std::future::pending().await,
        };
        if stream.write_all(answer.as_bytes()).await.is_err() || act == Act::AnswerAndLeave {
            return;
        }
    }
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";

fn client(address: SocketAddr) -> Client {
    Client::new(Target::One(address), Duration::from_secs(5), Duration::from_secs(60), 0)
}

fn sender(address: SocketAddr, deadline: Duration) -> Sender {
    Sender {
        client: client(address),
        log: Arc::new(Log::new()),
        deadline,
        pause: Duration::from_millis(1),
        stopping: CancellationToken::new(),
    }
}

/// 200 is good, anything else is not.
async fn get(sender: &mut Sender) -> Option<()> {
    let due = Instant::now();
    let sent = sender.send(Method::Get, due, REQUEST, |response| match response.status {
        200 => Reply::Good(()),
        423 => Reply::Wait,
        _ => Reply::Bad,
    });
    sent.await.answer
}

fn pressed(sender: &Sender) -> Pressed {
    Pressed::of(&sender.log, None, &[])
}

#[tokio::test]
async fn a_connection_that_the_server_ends_in_order_costs_nothing() {
    let mut sender = sender(server(&[Act::Answer, Act::AnswerAndClose, Act::Answer]).await, Duration::from_secs(5));
    for _ in 0..3 {
        assert_eq!(get(&mut sender).await, Some(()));
    }
    let found = pressed(&sender);
    let counts = found.counts;
    assert_eq!((counts.sent, counts.answered, counts.opened, counts.failed_tries), (3, 3, 2, 0));
    assert_eq!((counts.closed_idle, counts.closed_meeting), (0, 0));
    assert_eq!(found.broken(&Allowed::nothing()), Vec::<String>::new());
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_replaced_and_counted() {
    let address = server(&[Act::AnswerAndLeave, Act::Answer]).await;
    let mut client = client(address);
    client.exchange(REQUEST, |_| ()).await.unwrap();
    // Until the closing has arrived: before the next request, or while it is on its way.
    let answered = client.exchange(REQUEST, |response| response.status).await.unwrap();
    assert_eq!(answered.value, 200);
    let Wear { opened, closed_idle, closed_meeting } = client.wear;
    assert_eq!((opened, closed_idle + closed_meeting), (2, 1));
}

#[tokio::test]
async fn a_request_that_meets_the_closing_was_not_read_and_is_sent_again() {
    // The closing arrives after the client has looked, because nobody lets it look again: the same task does both.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut client = client(address);
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1";
    let serve_one = move |listener: std::net::TcpListener| {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 64];
        let read = stream.read(&mut request).unwrap();
        assert_eq!(&request[..read], REQUEST);
        stream.write_all(answer).unwrap();
        (listener, stream)
    };
    let first = tokio::task::spawn_blocking(move || serve_one(listener));
    client.exchange(REQUEST, |_| ()).await.unwrap();
    let (listener, stream) = first.await.unwrap();
    // Closed by this thread, on which the runtime has not looked at the socket since.
    drop(stream);
    let second = std::thread::spawn(move || drop(serve_one(listener)));
    client.exchange(REQUEST, |_| ()).await.unwrap();
    second.join().unwrap();
    assert_eq!(client.wear, Wear { opened: 2, closed_idle: 0, closed_meeting: 1 });
}

#[tokio::test]
async fn a_request_that_was_read_and_not_answered_is_a_failure_also_on_an_old_connection() {
    let mut sender = sender(server(&[Act::Answer, Act::Swallow, Act::Answer]).await, Duration::from_secs(5));
    assert_eq!((get(&mut sender).await, get(&mut sender).await), (Some(()), Some(())));
    let found = pressed(&sender);
    let counts = found.counts;
    assert_eq!((counts.failed_first, counts.retried_ok, counts.never), (1, 1, 0));
    assert_eq!((counts.closed_idle, counts.closed_meeting), (0, 0));
    assert_eq!(found.failed_by_kind.get(&Kind::Closed), Some(&1));
    let broken = found.broken(&Allowed::nothing());
    assert!(broken.len() == 1 && broken[0].starts_with("1 tries failed without an excuse"), "{broken:?}");
}

#[tokio::test]
async fn a_refusal_is_repeated_on_another_connection_until_the_deadline() {
    let address = server(&[Act::Refuse, Act::Refuse, Act::Answer, Act::Refuse]).await;
    let mut sender = sender(address, Duration::from_secs(20));
    assert_eq!(get(&mut sender).await, Some(()));
    sender.deadline = Duration::ZERO;
    assert_eq!(get(&mut sender).await, None);
    let found = pressed(&sender);
    let counts = found.counts;
    assert_eq!((counts.sent, counts.answered, counts.retried_ok, counts.never), (2, 1, 1, 1));
    // The connection that brought the good answer is used once more.
    assert_eq!((counts.failed_first, counts.failed_tries, counts.opened), (2, 3, 3));
    assert_eq!((found.failed[0].status, found.failed[0].earlier, found.failed[1].earlier), (Some(503), 0, 1));
    assert!(found.failed[0].detail.contains("busy"), "{}", found.failed[0]);
    let broken = found.broken(&Allowed::nothing());
    assert!(broken.iter().any(|line| line.contains("1 requests were never answered")), "{broken:?}");
}

#[tokio::test]
async fn who_does_not_answer_and_who_is_not_there() {
    let mut late = sender(server(&[Act::Sleep]).await, Duration::ZERO);
    late.client =
        Client::new(Target::One(server(&[Act::Sleep]).await), Duration::from_millis(30), Duration::from_secs(60), 0);
    assert_eq!(get(&mut late).await, None);
    assert_eq!(pressed(&late).failed[0].kind, Kind::Late);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let mut absent = sender(nobody, Duration::ZERO);
    assert_eq!(get(&mut absent).await, None);
    let found = pressed(&absent);
    assert_eq!((found.failed[0].kind, found.counts.opened), (Kind::Connect, 0));

    let (_keep, empty) = watch::channel(Arc::from(Vec::<Replica>::new()));
    let mut nowhere = sender(nobody, Duration::ZERO);
    let target = Target::Any(Addresses::new(None, empty), Route::Service);
    nowhere.client = Client::new(target, Duration::from_secs(1), Duration::from_secs(60), 0);
    assert_eq!(get(&mut nowhere).await, None);
    assert_eq!(pressed(&nowhere).failed[0].kind, Kind::Nobody);
}

#[tokio::test]
async fn connections_are_renewed_and_follow_the_replicas() {
    let (one, other) = (server(&[Act::Answer]).await, server(&[Act::Answer]).await);
    let replica = |name: &str, address| Replica { name: name.to_owned(), address, ready: true };
    let (send, receive) = watch::channel(Arc::from([replica("one", one)]));
    let target = Target::Any(Addresses::new(None, receive), Route::Replicas);
    // Each connection is too old at once.
    let mut client = Client::new(target, Duration::from_secs(5), Duration::ZERO, 0);
    assert_eq!(client.exchange(REQUEST, |_| ()).await.unwrap().address, one);
    send.send_replace(Arc::from([replica("other", other)]));
    assert_eq!(client.exchange(REQUEST, |_| ()).await.unwrap().address, other);
    assert_eq!(client.wear, Wear { opened: 2, closed_idle: 0, closed_meeting: 0 });
}

#[tokio::test]
async fn marks_divide_the_load_and_the_longest_gap_is_found() {
    let mut sender = sender(server(&[Act::Answer]).await, Duration::from_secs(5));
    get(&mut sender).await;
    let marked = sender.log.mark("fault");
    // The gap is as long as it takes until this is past, however slow the machine.
    while marked.elapsed() < Duration::from_millis(40) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    get(&mut sender).await;
    get(&mut sender).await;
    let found = pressed(&sender);
    let windows: Vec<(&str, u64)> =
        found.windows.iter().map(|window| (window.since.as_str(), window.answered)).collect();
    assert_eq!(windows, [("started", 1), ("fault", 2)]);
    assert_eq!(found.windows[1].latency.unwrap().count, 2);
    assert!(found.longest_gap.ms >= 40.0, "{:?}", found.longest_gap);
    let broken = found.broken(&Allowed::nothing().longest_gap(Duration::from_millis(30)));
    assert!(broken.len() == 1 && broken[0].contains("no good answer for"), "{broken:?}");
    assert_eq!(serde_json::to_value(&found).unwrap()["counts"]["answered"], 3);
}

#[tokio::test]
async fn a_load_that_was_never_answered_proves_nothing() {
    let broken = Pressed::of(&Log::new(), None, &[]).broken(&Allowed::nothing());
    assert_eq!(broken, ["nothing was proved: no request of the load was answered"]);
}
