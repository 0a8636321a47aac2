//! What the services answer when they are asked for their metrics, after every kind of request has been made.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::programs::PATIENCE;

/// Labels of each metric, and the values of each label.
#[derive(Debug, Default)]
pub(crate) struct Scraped(BTreeMap<String, BTreeMap<String, BTreeSet<String>>>);

impl Scraped {
    /// Adds one answer in Prometheus' text format.
    pub(crate) fn add(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let end = line.find(['{', ' ']).expect("a value");
            let labels = self.0.entry(line[..end].to_owned()).or_default();
            let Some(inside) = line[end..].strip_prefix('{') else { continue };
            let mut rest = inside;
            while let Some((name, after)) = rest.split_once("=\"") {
                // No value of ours has a quotation mark in it.
                let (value, after) = after.split_once('"').expect("a closed value");
                labels.entry(name.trim_start_matches(',').to_owned()).or_default().insert(value.to_owned());
                if after.starts_with('}') {
                    break;
                }
                rest = after;
            }
        }
    }

    pub(crate) fn has(&self, metric: &str) -> bool {
        self.0.contains_key(metric)
    }

    pub(crate) fn labels(&self, metric: &str) -> BTreeSet<&str> {
        self.0.get(metric).into_iter().flat_map(BTreeMap::keys).map(String::as_str).collect()
    }

    pub(crate) fn has_value(&self, metric: &str, label: &str, value: &str) -> bool {
        self.0.get(metric).and_then(|labels| labels.get(label)).is_some_and(|values| values.contains(value))
    }

    /// The first words of all names.
    pub(crate) fn families(&self) -> BTreeSet<String> {
        self.0.keys().filter_map(|name| Some(name.split_once('_')?.0.to_owned())).collect()
    }
}

/// One request on a connection of its own; the status, the head and the body.
pub(crate) fn request(base: &str, method: &str, path: &str, more: &str, body: &str) -> (u16, String, String) {
    let address = base.strip_prefix("http://").expect("a base URL");
    let mut stream = TcpStream::connect(address).expect("the replica listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let length = body.len();
    let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n{kind}content-length: {length}\r\n{more}\r\n"
    );
    stream.write_all((head + body).as_bytes()).expect("the request is taken");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head.to_owned(), body.to_owned())
}

#[track_caller]
fn expect(expected: u16, (status, head, body): (u16, String, String)) -> (String, String) {
    assert_eq!(status, expected, "{head}\n{body}");
    (head, body)
}

fn number(body: &str) -> i64 {
    let document: Value = serde_json::from_str(body).expect("JSON");
    document["id"].as_i64().expect("an id")
}

fn header(head: &str, name: &str) -> String {
    let found = head.lines().find_map(|line| line.split_once(": ").filter(|(key, _)| key.eq_ignore_ascii_case(name)));
    found.unwrap_or_else(|| panic!("no {name} in {head}")).1.to_owned()
}

/// Every route that the service describes, with an id that is there in place of each parameter, and no body.
pub(crate) fn every_route(base: &str) {
    let (_, document) = expect(200, request(base, "GET", "/openapi.json", "", ""));
    let document: Value = serde_json::from_str(&document).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 3, "{document}");
    for (path, methods) in paths {
        let path = path.replace("{id}", "1").replace("{name}", "author-0001").replace("{strategy}", "tags");
        for method in methods.as_object().expect("methods").keys() {
            request(base, &method.to_uppercase(), &path, "", "");
        }
    }
    request(base, "GET", "/no/such/route", "", "");
}

/// What a blog is for: posts that are written, read, changed, commented on, listed, removed.
pub(crate) fn blog(base: &str) {
    let post = r#"{"author":"author-0001","title":"T","body":"B","tags":["rust"]}"#;
    let (head, body) = expect(201, request(base, "POST", "/posts", "", post));
    let path = format!("/posts/{}", number(&body));
    let mut tag = header(&head, "etag");
    for _ in 0..2 {
        expect(200, request(base, "GET", &path, "", ""));
    }
    expect(304, request(base, "GET", &path, &format!("if-none-match: {tag}\r\n"), ""));
    let comment = r#"{"author":"author-0001","body":"C"}"#;
    expect(201, request(base, "POST", &format!("{path}/comments"), "", comment));
    (_, tag) = {
        let (head, body) = expect(200, request(base, "GET", &path, "", ""));
        (body, header(&head, "etag"))
    };
    expect(200, request(base, "PUT", &path, &format!("if-match: {tag}\r\n"), post));
    for _ in 0..2 {
        expect(200, request(base, "GET", "/posts?author=author-0001", "", ""));
        expect(200, request(base, "GET", "/posts/popular", "", ""));
        expect(404, request(base, "GET", "/posts/999999999", "", ""));
    }
    expect(412, request(base, "PUT", &path, "if-match: \"0\"\r\n", post));
    let (head, _) = expect(200, request(base, "GET", &path, "", ""));
    expect(204, request(base, "DELETE", &path, &format!("if-match: {}\r\n", header(&head, "etag")), ""));
}

/// Asks again while the answer is that a store cannot be used: replicas are ready before their last connections are.
fn once_there(ask: impl Fn() -> (u16, String, String)) -> (u16, String, String) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask();
        if answer.0 != 503 || Instant::now() > deadline {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What booking is for, under every strategy that can be had here: an event sold out, twice the same order, a booking
/// taken back.
pub(crate) fn booking(base: &str) {
    let strategies = [
        "none",
        "redis",
        "redis-fenced",
        "redlock",
        "pg-advisory",
        "pg-row",
        "pg-conditional",
        "pg-units",
        "redis-reserve",
    ];
    for strategy in strategies {
        let event = format!(r#"{{"name":"E","capacity":2,"strategy":"{strategy}"}}"#);
        let (_, body) = expect(201, request(base, "POST", "/events", "", &event));
        let event = number(&body);
        let path = format!("/events/{event}/bookings?work_ms=1");
        let seat = r#"{"seats":1}"#;
        let key = format!("idempotency-key: {strategy}-{event}\r\n");
        let (head, body) = expect(201, once_there(|| request(base, "POST", &path, &key, seat)));
        let booking = format!("/bookings/{}", number(&body));
        let tag = header(&head, "etag");
        let (again, _, _) = request(base, "POST", &path, &key, seat);
        assert!([200, 201].contains(&again), "{strategy}: {again}");
        expect(201, request(base, "POST", &path, "", seat));
        expect(409, request(base, "POST", &path, "", seat));
        expect(200, request(base, "GET", &format!("/events/{event}"), "", ""));
        expect(200, request(base, "GET", &format!("/events/{event}/audit"), "", ""));
        expect(200, request(base, "GET", &booking, "", ""));
        let (gone, head, body) = request(base, "DELETE", &booking, &format!("if-match: {tag}\r\n"), "");
        assert!([200, 204].contains(&gone), "{head}\n{body}");
    }
}

/// What a shop is for, under every strategy: a product that is added, read, listed, made cheaper with its category, removed.
pub(crate) fn shop(base: &str) {
    for strategy in ["ttl", "explicit", "write-through", "event", "swr", "tags", "combined"] {
        let products = format!("/s/{strategy}/products");
        let category = format!("/s/{strategy}/categories/1");
        let product = r#"{"category_id":1,"name":"N","price":{"amount":5,"currency":"EUR"},"stock":1}"#;
        let (head, _) = expect(201, once_there(|| request(base, "POST", &products, "", product)));
        let path = header(&head, "location");
        let price = r#"{"price":{"amount":4,"currency":"EUR"}}"#;
        for _ in 0..2 {
            let (head, _) = expect(200, request(base, "GET", &path, "", ""));
            let known = format!("if-none-match: {}\r\n", header(&head, "etag"));
            let (again, head, _) = request(base, "GET", &path, &known, "");
            // The change of the turn before may have come through in between.
            let late = ["event", "swr"].contains(&strategy) && again == 200;
            assert!(again == 304 || late, "{strategy}: {head}");
            expect(200, request(base, "PATCH", &format!("{path}/price"), "", price));
            expect(200, request(base, "GET", &format!("{category}/products"), "", ""));
            expect(200, request(base, "GET", &format!("{products}/search?q=oak"), "", ""));
            expect(404, request(base, "GET", &format!("{products}/999999999"), "", ""));
        }
        expect(200, request(base, "POST", &format!("{category}/reprice"), "", r#"{"percent":1}"#));
        expect(204, request(base, "DELETE", &path, "", ""));
    }
}

#[test]
fn the_text_format_is_read() {
    let mut scraped = Scraped::default();
    scraped.add("# HELP a b\na_total{x=\"1\",y=\"2 , {3}\"} 5\na_total{x=\"4\"} 6\nb 1\n");
    assert!(scraped.has("b") && !scraped.has("a"));
    assert_eq!(scraped.labels("a_total").into_iter().collect::<Vec<_>>(), ["x", "y"]);
    assert!(scraped.has_value("a_total", "y", "2 , {3}") && scraped.has_value("a_total", "x", "4"));
    assert_eq!(scraped.families().into_iter().collect::<Vec<_>>(), ["a"]);
}
