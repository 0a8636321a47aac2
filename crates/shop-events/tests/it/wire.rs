//! What is on the wire. The golden files are what the first release wrote: a change of one is a change of the protocol.

use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use outbox::events::{Event, Message};
use shop_events::{MAX_BYTES, ShopEvent, Unreadable, decode, encode};

const CHANGED: &str = include_str!("../golden/product_changed.json");

fn line(file: &str) -> Bytes {
    Bytes::copy_from_slice(file.trim_end().as_bytes())
}

#[test]
fn events_are_written_and_read_as_in_the_golden_files() {
    let (product_id, category_id) = (42, 7);
    for (event, golden) in [
        (
            ShopEvent::ProductCreated { product_id, category_id, version: 1 },
            include_str!("../golden/product_created.json"),
        ),
        (ShopEvent::ProductChanged { product_id, category_id, version: 3 }, CHANGED),
        (
            ShopEvent::ProductDeleted { product_id, category_id, version: 4 },
            include_str!("../golden/product_deleted.json"),
        ),
        (ShopEvent::CategoryRepriced { category_id }, include_str!("../golden/category_repriced.json")),
    ] {
        assert_eq!(event.to_payload(), line(golden));
        assert_eq!(ShopEvent::parse(&line(golden)), Ok(event));
    }
}

#[test]
fn envelopes_are_written_and_read_as_in_the_golden_files() {
    let event = Message::Event(Event {
        number: 17,
        payload: line(CHANGED),
        recorded_at: UNIX_EPOCH + Duration::from_micros(1_767_225_600_123_456),
    });
    for (message, golden) in [
        (event, include_str!("../golden/envelope_event.json")),
        (Message::Heartbeat { last: 17 }, include_str!("../golden/envelope_heartbeat.json")),
    ] {
        assert_eq!(encode(&message), Some(line(golden)));
        assert_eq!(decode(&line(golden)), Ok(message));
    }
}

/// A payload of a release to come goes through the envelope as it was written, spaces and all.
#[test]
fn an_envelope_does_not_touch_its_payload() {
    for payload in ["{\"v\": 2,  \"colour\":\"blue\"}", "[1, 2]", "null", "\"text\"", "1e3"] {
        let event = Event { number: 1, payload: Bytes::from(payload), recorded_at: UNIX_EPOCH };
        let message = Message::Event(event);
        assert_eq!(decode(&encode(&message).unwrap()), Ok(message), "{payload}");
    }
    let no_json = Event { number: 1, payload: Bytes::from_static(b"\xff no JSON"), recorded_at: UNIX_EPOCH };
    assert_eq!(encode(&Message::Event(no_json)), None, "readers find it in the table");
}

#[test]
fn fields_that_are_not_known_are_ignored() {
    let later = r#"{"colour":"blue","v":1,"type":"product_changed","version":3,"category_id":7,"product_id":42}"#;
    assert_eq!(ShopEvent::parse(later.as_bytes()), ShopEvent::parse(CHANGED.as_bytes()));
    let later = r#"{"kind":"heartbeat","sent_by":"x","v":1,"number":5}"#;
    assert_eq!(decode(later.as_bytes()), Ok(Message::Heartbeat { last: 5 }));
}

#[test]
fn what_is_not_understood_says_why() {
    let event = |text: &str| ShopEvent::parse(text.as_bytes()).unwrap_err();
    assert_eq!(event(r#"{"v":2,"type":"product_changed","product_id":42}"#), Unreadable::Version(2));
    assert_eq!(event(r#"{"v":2}"#), Unreadable::Version(2));
    assert_eq!(event(r#"{"v":1,"type":"product_painted"}"#), Unreadable::Kind("product_painted".into()));
    let message = |text: &str| decode(text.as_bytes()).unwrap_err();
    assert_eq!(message(r#"{"v":9,"kind":"event","number":3,"event":{}}"#), Unreadable::Version(9));
    assert_eq!(message(r#"{"v":1,"kind":"shout","number":3}"#), Unreadable::Kind("shout".into()));
    let long = format!("{{\"v\":1,\"type\":\"{}\"}}", "x".repeat(MAX_BYTES));
    assert_eq!(event(&long), Unreadable::TooLong(long.len()));
    assert_eq!(message(&long).as_str(), "too_long");

    for odd in [
        "",
        "{",
        "x",
        "null",
        "[]",
        "{}",
        r#"{"v":"1"}"#,
        r#"{"v":-1}"#,
        r#"{"v":1}"#,
        r#"{"v":1,"type":7}"#,
        r#"{"v":1,"type":"product_changed"}"#,
        r#"{"v":1,"type":"product_changed","product_id":0,"category_id":7,"version":3}"#,
        r#"{"v":1,"type":"product_changed","product_id":42,"category_id":-7,"version":3}"#,
        r#"{"v":1,"type":"product_changed","product_id":42,"category_id":7,"version":-3}"#,
        r#"{"v":1,"type":"product_changed","product_id":4.2,"category_id":7,"version":3}"#,
        r#"{"v":1,"type":"product_changed","product_id":99999999999999999999,"category_id":7,"version":3}"#,
        r#"{"v":1,"type":"category_repriced","category_id":0}"#,
    ] {
        assert_eq!(event(odd).as_str(), "malformed", "{odd}");
    }
    for odd in [
        "",
        "\0",
        "null",
        "{}",
        r#"{"v":1,"kind":"event"}"#,
        r#"{"v":1,"kind":"event","number":3}"#,
        r#"{"v":1,"kind":"event","number":0,"event":{}}"#,
        r#"{"v":1,"kind":"event","number":-3,"event":{}}"#,
        r#"{"v":1,"kind":"event","number":9223372036854775808,"event":{}}"#,
        r#"{"v":1,"kind":"event","number":3,"event":{}"#,
        r#"{"v":1,"kind":"heartbeat","number":"3"}"#,
    ] {
        assert_eq!(message(odd).as_str(), "malformed", "{odd}");
    }
    assert_eq!(decode(b"\xff\xfe").unwrap_err().as_str(), "malformed");
}
