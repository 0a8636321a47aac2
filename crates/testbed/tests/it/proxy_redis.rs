//! The proxy in front of a real Redis.

use std::time::{Duration, Instant};

use testbed::Direction::{ClientToServer, ServerToClient};
use testbed::{Cut, FaultProxy, RedisServer};
use tokio::time::timeout;

use crate::resp::{Client, command};

/// Long enough for an answer that is not held back, on a busy machine.
const SOON: Duration = Duration::from_secs(10);
/// How long it is worth to look for an answer that must not come. It cannot make a test fail that should pass.
const NEVER: Duration = Duration::from_millis(100);

struct Setup {
    redis: RedisServer,
    proxy: FaultProxy,
    /// Through the proxy.
    client: Client,
    /// Past it.
    direct: Client,
}

async fn setup() -> Setup {
    let redis = testbed::redis().await;
    let proxy = FaultProxy::start(redis.url()).await.unwrap();
    assert_eq!(proxy.url(), proxy.redis_url());
    let mut client = Client::connect(proxy.addr()).await;
    assert_eq!(client.call(&["PING"]).await.unwrap(), "PONG");
    let direct = Client::local(redis.port()).await;
    Setup { redis, proxy, client, direct }
}

#[tokio::test]
async fn without_faults_it_only_passes_on() {
    let Setup { proxy, mut client, redis: _redis, .. } = setup().await;
    let large = "x".repeat(3_000_000);
    assert_eq!(client.call(&["SET", "large", &large]).await.unwrap(), "OK");
    assert_eq!(client.call(&["GET", "large"]).await.unwrap(), large);
    assert!(proxy.bytes(ClientToServer) > 3_000_000 && proxy.bytes(ServerToClient) > 3_000_000);
    assert_eq!((proxy.connections(), proxy.accepted()), (1, 1));

    let pipeline: Vec<u8> = (0..5_000).flat_map(|number| command(&["ECHO", &number.to_string()])).collect();
    client.send(&pipeline).await.unwrap();
    for number in 0..5_000 {
        assert_eq!(client.receive().await.unwrap(), number.to_string());
    }

    drop(client);
    let closed = async {
        while proxy.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, closed).await.expect("a client that closes ends the connection to the server as well");
}

#[tokio::test]
async fn delay_is_per_direction_and_can_be_lifted() {
    let Setup { redis: _redis, proxy, mut client, mut direct } = setup().await;
    for direction in [ClientToServer, ServerToClient] {
        proxy.delay(direction, Duration::from_millis(150));
        let start = Instant::now();
        assert_eq!(client.call(&["PING"]).await.unwrap(), "PONG");
        assert!(start.elapsed() >= Duration::from_millis(150));
        proxy.delay(direction, Duration::ZERO);
    }
    // Only the reply waits, and a shorter delay holds also for it.
    proxy.delay(ServerToClient, Duration::from_secs(3_600));
    let replied = proxy.wait_for(ServerToClient, "+OK");
    client.send(&command(&["SET", "k", "v"])).await.unwrap();
    replied.await;
    assert_eq!(direct.call(&["GET", "k"]).await.unwrap(), "v");
    assert!(timeout(NEVER, client.receive()).await.is_err());
    proxy.delay(ServerToClient, Duration::from_millis(1));
    assert_eq!(timeout(SOON, client.receive()).await.unwrap().unwrap(), "OK");
}

#[tokio::test]
async fn held_commands_reach_the_server_only_after_the_release() {
    let Setup { redis: _redis, proxy, mut client, mut direct } = setup().await;
    proxy.hold(ClientToServer);
    let arrived = proxy.wait_for(ClientToServer, "held-value");
    client.send(&command(&["SET", "k", "held-value"])).await.unwrap();
    arrived.await;
    assert_eq!(direct.call(&["GET", "k"]).await.unwrap(), "(nil)");
    assert!(timeout(NEVER, client.receive()).await.is_err());
    proxy.release(ClientToServer);
    assert_eq!(timeout(SOON, client.receive()).await.unwrap().unwrap(), "OK");
    assert_eq!(direct.call(&["GET", "k"]).await.unwrap(), "held-value");
}

#[tokio::test]
async fn held_replies_come_in_order_after_the_release() {
    let Setup { redis: _redis, proxy, mut client, .. } = setup().await;
    proxy.hold(ServerToClient);
    let arrived = proxy.wait_for(ServerToClient, ":3\r\n");
    client.send(&[command(&["INCR", "n"]), command(&["INCR", "n"]), command(&["INCR", "n"])].concat()).await.unwrap();
    arrived.await;
    assert!(timeout(NEVER, client.receive()).await.is_err());
    proxy.release(ServerToClient);
    for expected in ["1", "2", "3"] {
        assert_eq!(timeout(SOON, client.receive()).await.unwrap().unwrap(), expected);
    }
}

#[tokio::test]
async fn one_push_is_lost_and_nothing_else() {
    let Setup { redis: _redis, proxy, mut client, mut direct } = setup().await;
    client.call(&["HELLO", "3"]).await.unwrap();
    assert_eq!(client.call(&["CLIENT", "TRACKING", "ON"]).await.unwrap(), "OK");
    assert_eq!(client.call(&["MGET", "k0", "k1", "k2"]).await.unwrap(), "[(nil) (nil) (nil)]");
    let lost = proxy.drop_next(ServerToClient, "invalidate\r\n*1\r\n$2\r\nk1\r\n");
    // One round of the server's loop: its three pushes come in one piece.
    let writes = [command(&["SET", "k0", "v"]), command(&["SET", "k1", "v"]), command(&["SET", "k2", "v"])];
    direct.send(&writes.concat()).await.unwrap();
    lost.reached().await;
    assert_eq!(client.receive().await.unwrap(), "[invalidate [k0]]");
    assert_eq!(client.receive().await.unwrap(), "[invalidate [k2]]");
    assert_eq!(client.call(&["GET", "k1"]).await.unwrap(), "v");
    for _ in 0..3 {
        assert_eq!(direct.receive().await.unwrap(), "OK");
    }
    assert_eq!(direct.call(&["SET", "k1", "w"]).await.unwrap(), "OK");
    assert_eq!(client.receive().await.unwrap(), "[invalidate [k1]]", "only the first one was lost");
    assert_eq!(lost.count(), 1);
}

#[tokio::test]
async fn a_predicate_loses_messages_until_it_is_disarmed() {
    let Setup { redis: _redis, proxy, mut client, mut direct } = setup().await;
    client.call(&["HELLO", "3"]).await.unwrap();
    assert_eq!(client.call(&["CLIENT", "TRACKING", "ON", "BCAST"]).await.unwrap(), "OK");
    let lost = proxy.drop_matching(ServerToClient, |message| message.starts_with(b">"));
    for number in ["1", "2", "3"] {
        direct.call(&["SET", "k", number]).await.unwrap();
    }
    assert_eq!(client.call(&["GET", "k"]).await.unwrap(), "3", "the pushes came before this reply");
    assert_eq!(lost.count(), 3);
    lost.disarm();
    direct.call(&["SET", "k", "4"]).await.unwrap();
    assert_eq!(client.receive().await.unwrap(), "[invalidate [k]]");
}

#[tokio::test]
async fn cut_resets_what_is_open_and_nothing_later() {
    let Setup { redis: _redis, proxy, mut client, mut direct } = setup().await;
    let mut other = Client::connect(proxy.addr()).await;
    assert_eq!(other.call(&["PING"]).await.unwrap(), "PONG");
    proxy.cut();
    assert_eq!(proxy.connections(), 0);
    assert!(timeout(SOON, client.call(&["SET", "k", "v"])).await.unwrap().is_err());
    assert!(timeout(SOON, other.receive()).await.unwrap().is_err());
    assert_eq!(direct.call(&["EXISTS", "k"]).await.unwrap(), "0");
    let mut next = Client::connect(proxy.addr()).await;
    assert_eq!(next.call(&["PING"]).await.unwrap(), "PONG");
    assert_eq!((proxy.connections(), proxy.accepted()), (1, 3));
}

#[tokio::test]
async fn refusal_concerns_new_connections_only() {
    let Setup { redis: _redis, proxy, mut client, .. } = setup().await;
    proxy.refuse(true);
    let mut refused = Client::connect(proxy.addr()).await;
    assert!(timeout(SOON, refused.call(&["PING"])).await.unwrap().is_err());
    assert_eq!(client.call(&["PING"]).await.unwrap(), "PONG");
    proxy.refuse(false);
    assert_eq!(Client::connect(proxy.addr()).await.call(&["PING"]).await.unwrap(), "PONG");
    assert_eq!(proxy.accepted(), 2);
}

#[tokio::test]
async fn a_server_that_is_down_means_a_reset() {
    let Setup { redis, proxy, mut client, .. } = setup().await;
    redis.kill().await;
    assert!(timeout(SOON, client.receive()).await.unwrap().is_err());
    let mut none = Client::connect(proxy.addr()).await;
    assert!(timeout(SOON, none.call(&["PING"])).await.unwrap().is_err());
    redis.start_again().await.unwrap();
    assert_eq!(Client::connect(proxy.addr()).await.call(&["PING"]).await.unwrap(), "PONG");
}

#[tokio::test]
async fn half_open_connections_stay_open_and_silent() {
    let Setup { redis, proxy, mut client, mut direct } = setup().await;
    let mut idle = Client::connect(proxy.addr()).await;
    assert_eq!(idle.call(&["PING"]).await.unwrap(), "PONG");
    // What is held already is lost as well.
    proxy.hold(ServerToClient);
    let replied = proxy.wait_for(ServerToClient, "+OK");
    client.send(&command(&["SET", "before", "v"])).await.unwrap();
    replied.await;
    proxy.half_open();
    proxy.release(ServerToClient);
    let swallowed = proxy.wait_for(ClientToServer, "after");
    client.send(&command(&["SET", "after", "v"])).await.unwrap();
    swallowed.await;
    assert!(timeout(NEVER, client.receive()).await.is_err());
    assert_eq!(direct.call(&["EXISTS", "before"]).await.unwrap(), "1");
    assert_eq!(direct.call(&["EXISTS", "after"]).await.unwrap(), "0");
    // Nobody tells the clients that the server has died.
    redis.kill().await;
    assert!(timeout(NEVER, idle.receive()).await.is_err());
    assert_eq!(proxy.connections(), 2);

    redis.start_again().await.unwrap();
    proxy.heal();
    assert!(timeout(SOON, client.receive()).await.unwrap().is_err(), "a stream with a hole cannot go on");
    assert!(timeout(SOON, idle.receive()).await.unwrap().is_err());
    assert_eq!(Client::connect(proxy.addr()).await.call(&["PING"]).await.unwrap(), "PONG");
}

#[tokio::test]
async fn a_hold_starts_at_its_message_on_its_connection() {
    let Setup { redis: _redis, proxy, mut client, mut direct } = setup().await;
    let mut other = Client::connect(proxy.addr()).await;
    let held = proxy.hold_when(ClientToServer, "needle");
    let pipeline =
        [command(&["SET", "earlier", "v"]), command(&["SET", "needle", "v"]), command(&["SET", "later", "v"])];
    client.send(&pipeline.concat()).await.unwrap();
    held.reached().await;
    assert_eq!(client.receive().await.unwrap(), "OK", "of the earlier command, although it shared a packet");
    assert!(timeout(NEVER, client.receive()).await.is_err());
    assert_eq!(other.call(&["SET", "needle", "from the other connection"]).await.unwrap(), "OK");
    assert_eq!(direct.call(&["EXISTS", "earlier"]).await.unwrap(), "1");
    assert_eq!(direct.call(&["EXISTS", "later"]).await.unwrap(), "0");
    held.release();
    for _ in 0..2 {
        assert_eq!(timeout(SOON, client.receive()).await.unwrap().unwrap(), "OK");
    }
    assert_eq!(direct.call(&["GET", "needle"]).await.unwrap(), "v");
    assert_eq!(client.call(&["GET", "needle"]).await.unwrap(), "v", "a hold works once");
}

#[tokio::test]
async fn a_held_reply_is_late_and_a_held_connection_can_be_cut() {
    let Setup { redis: _redis, proxy, mut client, mut direct } = setup().await;
    direct.call(&["SET", "k", "old-value"]).await.unwrap();
    let held = proxy.hold_when(ServerToClient, "old-value");
    client.send(&command(&["GET", "k"])).await.unwrap();
    held.reached().await;
    direct.call(&["SET", "k", "new-value"]).await.unwrap();
    held.release();
    assert_eq!(timeout(SOON, client.receive()).await.unwrap().unwrap(), "old-value");

    let held = proxy.hold_when(ClientToServer, "INCR");
    client.send(&command(&["INCR", "n"])).await.unwrap();
    held.reached().await;
    held.cut();
    assert!(timeout(SOON, client.receive()).await.unwrap().is_err());
    assert_eq!(direct.call(&["EXISTS", "n"]).await.unwrap(), "0");
}

#[tokio::test]
async fn a_dropped_handle_and_heal_end_a_hold() {
    let Setup { redis: _redis, proxy, mut client, .. } = setup().await;
    drop(proxy.hold_when(ClientToServer, "PING"));
    assert_eq!(timeout(SOON, client.call(&["PING"])).await.unwrap().unwrap(), "PONG");
    let held = proxy.hold_when(ClientToServer, "PING");
    client.send(&command(&["PING"])).await.unwrap();
    held.reached().await;
    drop(held);
    assert_eq!(timeout(SOON, client.receive()).await.unwrap().unwrap(), "PONG");

    let _held = proxy.hold_when(ClientToServer, "PING");
    let _armed = proxy.cut_when(ClientToServer, "ECHO", Cut::Before);
    client.send(&command(&["PING"])).await.unwrap();
    _held.reached().await;
    proxy.heal();
    assert_eq!(timeout(SOON, client.receive()).await.unwrap().unwrap(), "PONG");
    assert_eq!(timeout(SOON, client.call(&["ECHO", "x"])).await.unwrap().unwrap(), "x");
}

#[tokio::test]
async fn cut_before_a_command_means_that_it_never_ran() {
    let Setup { redis: _redis, proxy, mut client, mut direct } = setup().await;
    let cut = proxy.cut_when(ClientToServer, "needle", Cut::Before);
    client.send(&[command(&["INCR", "n"]), command(&["INCRBY", "needle", "1"])].concat()).await.unwrap();
    cut.reached().await;
    assert_eq!(direct.call(&["MGET", "n", "needle"]).await.unwrap(), "[1 (nil)]");
    while timeout(SOON, client.receive()).await.unwrap().is_ok() {}
    let mut next = Client::connect(proxy.addr()).await;
    assert_eq!(next.call(&["INCR", "needle"]).await.unwrap(), "1", "the cut works once");
}

#[tokio::test]
async fn cut_after_a_command_means_that_it_ran_and_nobody_was_told() {
    let Setup { redis: _redis, proxy, mut client, mut direct } = setup().await;
    for round in 1..=20 {
        let cut = proxy.cut_when(ClientToServer, "needle", Cut::After);
        // Half of the command in another packet: it is still passed on whole.
        let bytes = command(&["INCR", "needle"]);
        client.send(&bytes[..8 + round % 18]).await.unwrap();
        client.send(&bytes[8 + round % 18..]).await.unwrap();
        let error = timeout(SOON, client.receive()).await.unwrap();
        assert!(error.is_err(), "{error:?}");
        assert_eq!(cut.count(), 1);
        assert_eq!(
            direct.call(&["GET", "needle"]).await.unwrap(),
            round.to_string(),
            "when the client fails, it has run"
        );
        client = Client::connect(proxy.addr()).await;
    }
}

#[tokio::test]
async fn cut_before_a_reply_leaves_the_client_without_it() {
    let Setup { redis: _redis, proxy, mut client, mut direct } = setup().await;
    let cut = proxy.cut_when(ServerToClient, ":1\r\n", Cut::Before);
    assert!(timeout(SOON, client.call(&["INCR", "n"])).await.unwrap().is_err());
    cut.reached().await;
    assert_eq!(direct.call(&["GET", "n"]).await.unwrap(), "1");
}

#[tokio::test]
async fn dropping_the_proxy_resets_its_connections() {
    let Setup { redis: _redis, proxy, mut client, .. } = setup().await;
    let address = proxy.addr();
    drop(proxy);
    assert!(timeout(SOON, client.receive()).await.unwrap().is_err());
    let closed = async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, closed).await.expect("nobody listens any more");
}
