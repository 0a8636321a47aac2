//! The booking's experiments on real replicas of booking-api.

use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};

use crate::programs::{Folder, Running, Said, lab, run};

/// `lab up` with two replicas of booking-api.
struct System {
    folder: Folder,
    lab: Running,
}

impl System {
    fn start(name: &str) -> Self {
        let folder = Folder::new(name);
        let args = ["up", "--only", "booking", "--no-experiments", "--replicas", "2", "--data", folder.as_str()];
        let mut lab = Running::start(lab(&args));
        lab.until_said("Ctrl-C stops everything");
        Self { folder, lab }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An experiment on it, whose files lie in its folder.
    fn experiment(&self, name: &str, more: &[&str]) -> Command {
        let (json, svg) = (self.file("found.json"), self.file("found.svg"));
        let files = ["--json", json.to_str().unwrap(), "--svg", svg.to_str().unwrap()];
        lab(&[&["booking", name, "--data", self.folder.as_str()], &files[..], more].concat())
    }

    fn found(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.file("found.json")).unwrap()).unwrap()
    }

    async fn database(&self) -> PgConnection {
        let state: Value = serde_json::from_slice(&std::fs::read(self.file("state.json")).unwrap()).unwrap();
        PgConnection::connect(state["database_url"].as_str().unwrap()).await.unwrap()
    }

    fn stop(mut self) {
        self.lab.signal(Signal::TERM);
        assert_eq!(self.lab.ended().code(), Some(0), "{}", self.lab.said());
    }
}

/// The row of a strategy in what `concurrent` found.
fn row<'a>(found: &'a Value, strategy: &str) -> &'a Value {
    found["rows"].as_array().unwrap().iter().find(|row| row["strategy"] == strategy).unwrap()
}

#[track_caller]
fn assert_said(said: &Said, texts: &[&str]) {
    for text in texts {
        assert!(said.stdout.contains(text) || said.stderr.contains(text), "{text:?} is not in {said:?}");
    }
}

#[tokio::test]
async fn a_short_sale_is_measured_and_judged() {
    let system = System::start("booking");
    let strategies = ["--strategies", "none,redis-fenced,pg-row,k8s-lease,pg-conditional"];
    let small = ["--buyers", "16", "--seats", "40", "--rounds", "1", "--turn-ms", "400"];
    let said = run(system.experiment("concurrent", &[&strategies[..], &small].concat()));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_said(&said, &["seats OVERSOLD", "k8s-lease is left out", "Every invariant that was checked held."]);

    let found = system.found();
    assert!(row(&found, "none")["small"]["rows"]["oversold"].as_i64().unwrap() > 0, "{found}");
    let mut db = system.database().await;
    for strategy in ["redis-fenced", "pg-row", "pg-conditional"] {
        let row = row(&found, strategy);
        let small = &row["small"];
        assert_eq!((&small["rows"]["seats_sold"], &small["rows"]["oversold"]), (&40.into(), &0.into()), "{row}");
        assert_eq!((&small["lost"], &small["doubled"], &row["schema_refusals"]), (&0.into(), &0.into(), &0.0.into()));
        assert_eq!(row["sale"]["booked"], 40, "{row}");
        assert!(row["per_second"][0].as_f64().unwrap() > 0.0, "{row}");
        assert!(row["counted"]["statements"].as_f64().unwrap() >= 1.0, "{row}");
        let query = format!(
            "select sum(seats) from booking.bookings where event_id = {} and cancelled_at is null",
            row["sale"]["event"]
        );
        let sold: i64 = sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&mut db).await.unwrap();
        assert_eq!(sold, 40, "{strategy}");
    }
    // Two scripts a booking; a lock of PostgreSQL's own sends none.
    let sent = |strategy: &str| row(&found, strategy)["counted"]["redis_sent"].as_f64().unwrap();
    assert!((1.5..10.0).contains(&sent("redis-fenced")), "{}", sent("redis-fenced"));
    assert!(sent("pg-row") < 0.5, "{}", sent("pg-row"));
    assert_eq!(row(&found, "k8s-lease")["small"], Value::Null);
    assert!(std::fs::read_to_string(system.file("found.svg")).unwrap().contains("OVERSOLD"));

    a_sale_that_goes_wrong(&system, &mut db).await;
    system.stop();
}

/// What nobody ordered is sold, behind the service's back.
async fn a_sale_that_goes_wrong(system: &System, db: &mut PgConnection) {
    sqlx::raw_sql(
        "create function booking.sell_again() returns trigger language plpgsql as $$
         begin
             insert into booking.bookings (event_id, seats, buyer) values (new.event_id, 1, 'ghost');
             return null;
         end $$;
         create trigger sell_again after insert on booking.bookings for each row
             when (new.buyer <> 'ghost' and new.id % 10 = 0) execute function booking.sell_again()",
    )
    .execute(db)
    .await
    .unwrap();
    let small = ["--strategies", "pg-row", "--buyers", "4", "--seats", "30", "--rounds", "0"];
    let said = run(system.experiment("concurrent", &small));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_said(&said, &["seats oversold", "bookings that nobody ordered", "the service counts 30 seats, and 3"]);
    assert!(!said.stdout.contains("Every invariant"), "{said:?}");
    let found = system.found();
    assert!(row(&found, "pg-row")["small"]["rows"]["oversold"].as_i64().unwrap() > 0, "{found}");
}

#[test]
fn a_signal_ends_a_sale_with_what_was_measured() {
    let system = System::start("booking-signal");
    let long = ["--strategies", "pg-conditional", "--buyers", "4", "--turn-ms", "60000"];
    let mut sale = Running::start(system.experiment("concurrent", &long));
    // In a log a step is told every five seconds, so this is a turn.
    sale.until_said("measuring: pg-conditional: making events");
    std::thread::sleep(std::time::Duration::from_secs(8));
    sale.signal(Signal::INT);
    assert_eq!(sale.ended().code(), Some(130), "{}", sale.said());
    assert!(sale.said().contains("ended before all was measured"), "{}", sale.said());
    assert!(sale.said().contains("SQL statements a booking"), "{}", sale.said());
    assert!(!sale.said().contains("Every invariant"), "{}", sale.said());
    system.stop();
}

#[test]
fn contention_is_measured_on_replicas_of_its_own() {
    let system = System::start("booking-contention");
    let small = ["--replicas", "2", "--seconds", "2", "--rate", "10", "--events", "3", "--strategies", "redis-fenced"];
    let said = run(system.experiment("contention", &small));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_said(
        &said,
        &["redis-fenced, ONE EVENT", "redis-fenced, 3 EVENTS", "Every invariant that was checked held."],
    );
    let found = system.found();
    let points = found["points"].as_array().unwrap();
    let seen: Vec<_> = points.iter().map(|point| (point["replicas"].as_u64(), point["hot"].as_bool())).collect();
    let some = |replicas, hot| (Some(replicas), Some(hot));
    assert_eq!(seen, [some(1, true), some(1, false), some(2, true), some(2, false)]);
    for point in points {
        assert_eq!((&point["arrived"], &point["other"]), (&20.into(), &0.into()), "{point}");
        assert!(point["booked"].as_u64().unwrap() > 0, "{point}");
    }
    assert!(std::fs::read_to_string(system.file("found.svg")).unwrap().contains("3 events"));
    system.stop();
}

#[test]
fn a_lab_without_the_booking_says_so() {
    let folder = Folder::new("booking-without");
    let args =
        ["up", "--only", "blog", "--posts", "1000", "--no-experiments", "--replicas", "1", "--data", folder.as_str()];
    let mut blog = Running::start(lab(&args));
    blog.until_said("Ctrl-C stops everything");
    for name in ["concurrent", "contention"] {
        let said = run(lab(&["booking", name, "--data", folder.as_str()]));
        assert_eq!(said.code, Some(64), "{said:?}");
        assert!(said.stderr.contains("--only booking"), "{said:?}");
    }
    blog.signal(Signal::TERM);
    assert_eq!(blog.ended().code(), Some(0), "{}", blog.said());
}
