//! Buyers at a scripted shop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::measure::own_thread::on_own_thread;
use crate::pressure::booking::press;
use crate::pressure::failure::Kind;
use crate::pressure::log::Log;
use crate::pressure::pressed::Pressed;
use crate::pressure::{Addresses, Allowed, BookingConfig, Replica};

const CAPACITY: u32 = 5;

/// A shop that books under a key once, and that answers not every request.
#[derive(Debug, Default)]
struct Shop {
    events: i64,
    /// Event and booking of each key.
    keys: HashMap<String, (i64, usize)>,
    requests: usize,
}

impl Shop {
    /// `None`: what was asked is done, and the connection closed.
    fn answer(&mut self, head: &str) -> Option<String> {
        self.requests += 1;
        if head.starts_with("POST /events HTTP") {
            self.events += 1;
            let body = format!(r#"{{"id":{},"booked":0}}"#, self.events);
            return Some(format!("201 Created\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
        }
        let event: i64 = head["POST /events/".len()..].split('/').next().unwrap().parse().unwrap();
        let key = head.lines().find_map(|line| line.strip_prefix("idempotency-key: ")).unwrap().to_owned();
        let sold = self.keys.values().filter(|(of, _)| *of == event).count();
        let id = match self.keys.get(&key) {
            Some((of, id)) => {
                assert_eq!(*of, event, "a key belongs to one event");
                *id
            }
            None if sold >= CAPACITY as usize => {
                return Some("409 Conflict\r\ncontent-length: 15\r\n\r\n{\"remaining\":0}".to_owned());
            }
            None if self.requests.is_multiple_of(7) => {
                return Some("423 Locked\r\ncontent-length: 0\r\n\r\n".to_owned());
            }
            None => {
                let id = self.keys.len() + 1;
                self.keys.insert(key, (event, id));
                id
            }
        };
        match self.requests % 11 {
            0 => None,
            5 => Some("503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_owned()),
            _ => Some(format!("201 Created\r\nlocation: /bookings/{id}\r\ncontent-length: 0\r\n\r\n")),
        }
    }
}

async fn serve(mut stream: TcpStream, shop: Arc<Mutex<Shop>>) {
    let mut input = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut input).await {
        if !input.ends_with(b"}") {
            continue;
        }
        let text = String::from_utf8(std::mem::take(&mut input)).unwrap();
        let answer = shop.lock().unwrap().answer(&text);
        let Some(answer) = answer else { return };
        if stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn buyers_sell_out_one_event_after_the_other_and_know_what_they_have() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shop = Arc::new(Mutex::new(Shop { events: 1, ..Shop::default() }));
    let serving = shop.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, serving.clone()));
        }
    });
    let (_send, receive) = watch::channel([Replica { name: "a".to_owned(), address, ready: true }].into());
    let (log, stopping) = (Arc::new(Log::new()), CancellationToken::new());
    let config = BookingConfig {
        capacity: CAPACITY,
        buyers: 4,
        pause: Duration::from_millis(1),
        work: Duration::ZERO,
        ..BookingConfig::default()
    };
    let load = {
        let (addresses, log, stopping) = (Addresses::new(None, receive), log.clone(), stopping.clone());
        on_own_thread("test", move || press(config, addresses, log, stopping, 1))
    };
    let enough = async {
        while log.progress().answered < 100 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stopping.cancel();
    };
    let (ledgers, ()) =
        tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(load, enough) }).await.unwrap();
    let ledgers = ledgers.unwrap();

    let shop = shop.lock().unwrap();
    assert!(ledgers.len() > 3, "{} events", ledgers.len());
    let booked = ledgers.iter().flat_map(|(event, ledger)| {
        ledger.booked.iter().map(|booked| (ledger.key(booked.order), (*event, usize::try_from(booked.id).unwrap())))
    });
    let booked: HashMap<String, (i64, usize)> = booked.collect();
    assert!(booked.iter().all(|(key, told)| shop.keys.get(key) == Some(told)), "all that was told is so");
    let open: usize = ledgers.iter().map(|(_, ledger)| ledger.open.len()).sum();
    assert!(shop.keys.len() - booked.len() <= open, "nobody has a booking that he does not know of");
    let refused = ledgers.iter().flat_map(|(_, ledger)| ledger.refused.iter().map(|&order| ledger.key(order)));
    assert!(refused.clone().count() > 0 && refused.clone().all(|key| !shop.keys.contains_key(&key)));

    let pressed = Pressed::of(&log, None, &[]);
    assert!(pressed.counts.waited > 0 && pressed.counts.retried_ok > 0, "{:?}", pressed.counts);
    assert_eq!(pressed.counts.never, 0);
    let kinds: Vec<Kind> = pressed.failed_by_kind.keys().copied().collect();
    assert_eq!(kinds, [Kind::Closed, Kind::Status]);
    assert!(!pressed.broken(&Allowed::nothing()).is_empty());
}
