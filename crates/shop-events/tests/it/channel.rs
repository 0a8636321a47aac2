//! The channel on a real Redis.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use outbox::events::{Event, Message, Publish as _};
use shop_events::{Heard, Publisher, Subscription, decode};
use testbed::{Direction, FaultProxy};
use tokio::time::timeout;

/// Ends a test that waits in vain.
const LIMIT: Duration = Duration::from_secs(30);

async fn heard(subscription: &mut Subscription) -> Heard {
    timeout(LIMIT, subscription.next()).await.unwrap()
}

async fn open(url: &str) -> Subscription {
    Subscription::open(&Subscription::config(url).unwrap()).await.unwrap()
}

fn event(number: u64) -> Message {
    Message::Event(Event { number, payload: Bytes::from(format!("{{\"n\":{number}}}")), recorded_at: UNIX_EPOCH })
}

#[tokio::test]
async fn what_is_published_is_heard_in_order() {
    let redis = testbed::redis().await;
    let mut subscription = open(&redis.url()).await;
    let publisher = Publisher::new(&redis.url()).unwrap();
    for first in [1, 501, 1_001] {
        let mut messages: Vec<Message> = (first..first + 500).map(event).collect();
        messages.push(Message::Heartbeat { last: first + 499 });
        publisher.publish(messages.clone()).await.unwrap();
        for message in messages {
            let Heard::Message(bytes) = heard(&mut subscription).await else { panic!("it is connected") };
            assert_eq!(decode(&bytes), Ok(message));
        }
    }
    publisher.publish(Vec::new()).await.unwrap();
}

/// What cannot be put into an envelope is left out, and the others are published.
#[tokio::test]
async fn a_payload_that_is_no_json_holds_up_nothing() {
    let redis = testbed::redis().await;
    let mut subscription = open(&redis.url()).await;
    let publisher = Publisher::new(&redis.url()).unwrap();
    let odd = Message::Event(Event { number: 2, payload: Bytes::from_static(b"{"), recorded_at: UNIX_EPOCH });
    publisher.publish(vec![event(1), odd, event(3)]).await.unwrap();
    for number in [1, 3] {
        let Heard::Message(bytes) = heard(&mut subscription).await else { panic!("it is connected") };
        assert_eq!(decode(&bytes), Ok(event(number)));
    }
}

#[tokio::test]
async fn messages_that_are_not_taken_are_dropped_and_that_is_told() {
    let redis = testbed::redis().await;
    let mut subscription = open(&redis.url()).await;
    let publisher = Publisher::new(&redis.url()).unwrap();
    for first in (1..20_000).step_by(1_000) {
        publisher.publish((first..first + 1_000).map(event).collect()).await.unwrap();
    }
    // The last one is there at the end, and before it, somewhere, that some are not.
    let mut lagged = false;
    loop {
        match heard(&mut subscription).await {
            Heard::Lagged => lagged = true,
            Heard::Message(bytes) if decode(&bytes) == Ok(event(20_000)) => break,
            Heard::Message(_) => {}
            Heard::Lost => panic!("it is connected"),
        }
    }
    assert!(lagged);
}

#[tokio::test]
async fn a_publisher_connects_again_when_redis_is_back() {
    let redis = testbed::redis().await;
    let publisher = Publisher::new(&redis.url()).unwrap();
    publisher.publish(vec![event(1)]).await.unwrap();
    redis.kill().await;
    timeout(LIMIT, async { while publisher.publish(vec![event(2)]).await.is_ok() {} }).await.unwrap();
    redis.start_again().await.unwrap();
    let mut subscription = open(&redis.url()).await;
    timeout(LIMIT, async {
        while publisher.publish(vec![event(3)]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .unwrap();
    let Heard::Message(bytes) = heard(&mut subscription).await else { panic!("it is connected") };
    assert_eq!(decode(&bytes), Ok(event(3)));
}

#[tokio::test]
async fn a_subscription_says_that_it_is_lost() {
    let redis = testbed::redis().await;
    let proxy = FaultProxy::start(redis.url()).await.unwrap();
    let mut cut = open(&proxy.url()).await;
    proxy.cut();
    assert_eq!(heard(&mut cut).await, Heard::Lost);
    assert_eq!(heard(&mut cut).await, Heard::Lost, "and goes on saying so");
    // A server that has vanished from the network: nothing comes back, and nothing says so.
    let mut silent = open(&proxy.url()).await;
    proxy.half_open();
    assert_eq!(heard(&mut silent).await, Heard::Lost);
    proxy.heal();
    // One that answers, and publishes nothing, is not lost.
    let mut quiet = open(&proxy.url()).await;
    let pinged = proxy.wait_for(Direction::ClientToServer, "PING");
    tokio::select! {
        heard = quiet.next() => panic!("{heard:?}"),
        () = pinged => {}
    }
    Publisher::new(&redis.url()).unwrap().publish(vec![event(1)]).await.unwrap();
    assert!(matches!(heard(&mut quiet).await, Heard::Message(_)));
    redis.kill().await;
    assert_eq!(heard(&mut quiet).await, Heard::Lost);
}

#[tokio::test]
async fn a_subscription_that_is_refused_is_an_error() {
    let redis =
        testbed::RedisServer::builder().setting("user", "default on nopass ~* &none +@all").start().await.unwrap();
    let config = Subscription::config(&redis.url()).unwrap();
    // The refusal comes before the next answer, or instead of it.
    for _ in 0..10 {
        let refused = Subscription::open(&config).await.unwrap_err().to_string();
        assert!(refused.contains("NOPERM") || refused.contains("does not let this user"), "{refused}");
    }
    let refused = Publisher::new(&redis.url()).unwrap().publish(vec![event(1)]).await.unwrap_err();
    assert!(refused.to_string().contains("NOPERM"), "{refused}");
}

#[test]
fn only_plain_redis_urls_are_taken() {
    for wrong in ["rediss://u:secret@h", "http://h", "h:6379", ""] {
        let error = Publisher::new(wrong).unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
        assert!(Subscription::config(wrong).is_err());
    }
}
