//! The load on a scripted blog.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::measure::own_thread::on_own_thread;
use crate::pressure::blog::ground::{Ground, Hunted};
use crate::pressure::blog::press;
use crate::pressure::pressed::Pressed;
use crate::pressure::{Addresses, Allowed, BlogConfig, Replica};

/// Version and title of each post.
type Posts = Arc<Mutex<HashMap<i64, (u64, String)>>>;

/// A replica. One that lies shows each post for ever as it saw it first.
async fn replica(posts: Posts, lies: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Posts::default();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, posts.clone(), lies.then(|| seen.clone())));
        }
    });
    address
}

async fn serve(mut stream: TcpStream, posts: Posts, seen: Option<Posts>) {
    let mut input = Vec::new();
    while let Ok(1..) = stream.read_buf(&mut input).await {
        let text = String::from_utf8(input.clone()).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        if head.starts_with("PUT") && !body.ends_with('}') {
            continue;
        }
        input.clear();
        let (head, body) = answer(head, body, &posts, seen.as_ref());
        let whole = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(whole.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn answer(head: &str, body: &str, posts: &Posts, seen: Option<&Posts>) -> (String, String) {
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let shown = |id: i64| {
        let mut posts = posts.lock().unwrap();
        let (mut version, mut title) = posts.entry(id).or_insert((1, String::new())).clone();
        if let Some(seen) = seen {
            (version, title) = seen.lock().unwrap().entry(id).or_insert((version, title)).clone();
        }
        (version, json!({ "id": id, "version": version, "title": title, "comment_count": 0 }))
    };
    if path.starts_with("/posts?tag=lab&") {
        let items: Vec<_> = HOT.into_iter().map(|id| shown(id).1).collect();
        return ("200 OK".to_owned(), json!({ "items": items }).to_string());
    }
    let Some(id) = path.strip_prefix("/posts/").and_then(|id| id.parse().ok()) else {
        return ("200 OK".to_owned(), "{}".to_owned());
    };
    if method == "PUT" {
        let draft: serde_json::Value = serde_json::from_str(body).unwrap();
        let mut posts = posts.lock().unwrap();
        let post = posts.entry(id).or_insert((1, String::new()));
        *post = (post.0 + 1, draft["title"].as_str().unwrap().to_owned());
        let document = json!({ "id": id, "version": post.0, "title": post.1, "comment_count": 0 });
        return ("200 OK\r\nX-Cache-Write: applied".to_owned(), document.to_string());
    }
    let (version, document) = shown(id);
    if head.contains(&format!("If-None-Match: \"{version}\"")) {
        return (format!("304 Not Modified\r\nETag: \"{version}\""), String::new());
    }
    (format!("200 OK\r\nX-Cache: HIT\r\nETag: \"{version}\""), document.to_string())
}

const HOT: [i64; 2] = [1, 2];

/// Presses until so many writes are acknowledged.
async fn found(service: SocketAddr, replicas: Vec<SocketAddr>) -> (Pressed, Hunted) {
    let replicas: Vec<Replica> = replicas
        .into_iter()
        .zip(["a", "b", "c"])
        .map(|(address, name)| Replica { name: name.to_owned(), address, ready: true })
        .collect();
    let (_send, receive) = watch::channel(replicas.into());
    let ground = Arc::new(Ground::scripted((1..=100).collect(), HOT.to_vec()));
    let stopping = CancellationToken::new();
    let config = BlogConfig {
        rate: 2_000.0,
        connections: 8,
        hunt: Duration::from_millis(1),
        answer: Duration::from_secs(20),
        ..BlogConfig::default()
    };
    let addresses = Addresses::new(Some(service), receive);
    let load = {
        let (ground, stopping) = (ground.clone(), stopping.clone());
        on_own_thread("test", move || press(config, ground, addresses, stopping))
    };
    let enough = async {
        while ground.log.progress().writes < 100 || ground.log.progress().direct_reads < 100 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stopping.cancel();
    };
    let (ended, ()) =
        tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(load, enough) }).await.unwrap();
    ended.unwrap();
    let hunted = ground.found(Vec::new());
    let mut pressed = Pressed::of(&ground.log, Some(service), &[]);
    pressed.blog = Some(hunted.clone());
    (pressed, hunted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_tell_the_truth_pass() {
    let posts = Posts::default();
    let (one, other) = (replica(posts.clone(), false).await, replica(posts, false).await);
    let (pressed, hunted) = found(one, vec![one, other]).await;
    assert_eq!(pressed.broken(&Allowed::nothing()), Vec::<String>::new());
    assert!(hunted.writes.applied >= 100 && hunted.judged >= 100, "{hunted:?}");
    assert!(pressed.direct_reads["a"] > 0 && pressed.direct_reads["b"] > 0, "{:?}", pressed.direct_reads);
    assert_eq!(pressed.counts.sent, pressed.counts.answered);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_replica_that_shows_old_posts_is_found_although_no_client_is_led_to_it() {
    let posts = Posts::default();
    let (honest, liar) = (replica(posts.clone(), false).await, replica(posts, true).await);
    let (pressed, hunted) = found(honest, vec![honest, liar]).await;
    assert!(hunted.stale > 0 && hunted.stale_lists > 0, "{hunted:?}");
    assert!(hunted.told.iter().all(|told| told.contains(&format!("read from b at {liar}"))), "{:?}", hunted.told);
    let broken = pressed.broken(&Allowed::nothing());
    assert!(broken.len() == 1 && broken[0].contains("stale reads after acknowledged writes"), "{broken:?}");
}
