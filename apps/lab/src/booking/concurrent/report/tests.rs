//! The report of runs that were made up.

use std::time::{Duration, Instant};

use clap::Parser as _;

use super::{Report, Row};
use crate::booking::concurrent::ConcurrentArgs;
use crate::booking::concurrent::counters::Counted;
use crate::booking::concurrent::sales::{Sale, Turn};
use crate::booking::judge::{Judgement, Rows};
use crate::booking::ledger::{Booked, Ledger, Order};
use crate::booking::strategy::Strategy;
use crate::booking::system::Versions;
use crate::measure::unfinished::Findings as _;

#[derive(Debug, clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: ConcurrentArgs,
}

pub(crate) fn nothing() -> Report {
    let versions = Versions {
        lab: "0",
        lab_is_optimized: true,
        service: "0".to_owned(),
        postgresql: "15".to_owned(),
        redis: "7".to_owned(),
    };
    Report::new(versions, 3, &Cli::parse_from(["lab"]).args)
}

fn turn(bookings: u32) -> Turn {
    let mut ledger = Ledger::new("r".to_owned(), 64, 3);
    let start = Instant::now();
    for number in 0..bookings {
        let buyer = usize::try_from(number).unwrap() % 64;
        let ended = start + Duration::from_secs(1) / bookings * number;
        let order = Order { buyer, number };
        ledger.booked.push(Booked { order, replica: buyer % 3, id: 1, sent: start, ended });
    }
    Turn { window: ledger.window(start, start + Duration::from_secs(1)), locked: 3, unavailable: 0 }
}

/// A run in which everything was found, and `none` oversold.
pub(crate) fn full() -> Report {
    let mut report = nothing();
    for (strategy, rate) in Strategy::ALL.into_iter().zip((1..).map(|number| number * 200)) {
        let mut row = Row::new(strategy);
        if strategy == Strategy::K8sLease {
            row.missing = Some("needs a cluster".to_owned());
            report.rows.push(row);
            continue;
        }
        row.add(turn(rate));
        row.add(turn(rate + 20));
        let waits = row.waits;
        let counted = Counted { bookings: 9, redis_sent: Some(2.0), redis_executed: Some(9.1), statements: None };
        row.counted = Some(counted);
        row.sale = Some(Sale {
            event: 1,
            seconds: 1.5,
            booked: 200,
            per_second: 200.0,
            waits,
            fairness_of_buyers: Some(0.99),
            locked: 1,
            unavailable: 2,
        });
        let oversold = if strategy == Strategy::None { 1_234 } else { 0 };
        let rows = Rows { capacity: 200, seats_sold: 200 + oversold, oversold, ..Rows::default() };
        row.small = Some(Judgement { rows, ..Judgement::default() });
        row.schema_refusals = Some(0.0);
        report.rows.push(row);
    }
    report.floor = vec![800.0, 820.0];
    report.floor_of_few = vec![1_600.0, 1_640.0];
    report.finish();
    report
}

#[test]
fn locked_and_unlocked_stand_side_by_side() {
    let text = full().text();
    let line = |start: &str| text.lines().find(|line| line.trim_start().starts_with(start)).unwrap().to_owned();
    let cells =
        |start: &str| line(start).trim_start()[start.len()..].split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(cells("64 BUYERS, 200 SEATS, 2 ms OF PAYMENT"), Strategy::ALL.map(Strategy::as_str));
    assert_eq!(cells("seats OVERSOLD"), ["1234", "0", "0", "0", "0", "0", "-", "0", "0", "0"]);
    assert_eq!(cells("of pg-row over the same HTTP")[5], "1.00x");
    assert_eq!(cells("of it with 8 clients only")[3], "0.50x");
    assert!(text.contains("with 64 clients it is no floor here: pg-row over HTTP sold 1.49 times as much"), "{text}");
    assert!(text.contains("k8s-lease is left out: needs a cluster"), "{text}");
    assert!(text.contains("820/s") || text.contains("810/s"), "{text}");
    assert!(text.contains("Every invariant that was checked held."), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 175), "{text}");
}

#[test]
fn figures_are_of_the_floor_of_the_same_round() {
    let report = full();
    let of = |what: &str| report.figures.iter().find(|figure| figure.what.contains(what)).unwrap();
    // redis-fenced had 800 and 820 of 800 and 820.
    assert_eq!(
        (of("redis-fenced: bookings").measured.as_str(), of("redis-fenced: bookings").mark()),
        ("1x", "reached")
    );
    assert_eq!(of("pg-conditional").mark(), "reached");
    assert_eq!((of("lost, doubled").mark(), of("by none").mark()), ("reached", "reached"));
}

#[test]
fn a_run_that_was_cut_off_claims_nothing() {
    let mut report = full();
    report.rows[0].small = None;
    assert!(!report.text().contains("Every invariant"));
    report = full();
    report.broken.push("oversold".to_owned());
    assert!(!report.text().contains("Every invariant"));
    let text = nothing().text();
    assert!(!text.contains("64 BUYERS") && !text.contains("Every invariant"), "{text}");
}

#[test]
fn the_json_has_every_strategy() {
    let json = serde_json::to_value(full()).unwrap();
    assert_eq!(json["rows"].as_array().unwrap().len(), 10);
    assert_eq!(json["rows"][0]["small"]["rows"]["oversold"], 1_234);
    assert_eq!(json["rows"][3]["strategy"], "redis-fenced");
}
