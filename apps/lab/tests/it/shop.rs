//! The shop's experiments on real replicas of shop-api and real workers.

use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::programs::{Folder, Running, Said, lab, run};

/// `lab up` with replicas of shop-api, whose TTL is two seconds.
struct System {
    folder: Folder,
    lab: Running,
}

impl System {
    fn start(name: &str, replicas: &str, more: &[&str]) -> Self {
        let folder = Folder::new(name);
        let args = ["up", "--only", "shop", "--no-experiments", "--products", "1000", "--data", folder.as_str()];
        let mut command = lab(&[&args[..], &["--replicas", replicas], more].concat());
        command.env("CACHE_TTL", "2s");
        let mut lab = Running::start(command);
        lab.until_said("Ctrl-C stops everything");
        Self { folder, lab }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `lab shop strategies` on it, or on what `more` names, with its files in its folder.
    fn strategies(&self, more: &[&str]) -> Command {
        let (json, svg) = (self.file("found.json"), self.file("found.svg"));
        let files = ["--json", json.to_str().unwrap(), "--svg", svg.to_str().unwrap()];
        let small = ["--products", "100", "--rate", "100", "--writes", "15", "--seconds", "3", "--bulks", "1"];
        lab(&[&["shop", "strategies"][..], &files, &small, more].concat())
    }

    fn found(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.file("found.json")).unwrap()).unwrap()
    }

    fn state(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.file("state.json")).unwrap()).unwrap()
    }

    fn stop(mut self) {
        self.lab.signal(Signal::TERM);
        assert_eq!(self.lab.ended().code(), Some(0), "{}", self.lab.said());
    }
}

fn row<'a>(found: &'a Value, strategy: &str) -> &'a Value {
    found["rows"].as_array().unwrap().iter().find(|row| row["strategy"] == strategy).unwrap()
}

#[track_caller]
fn assert_said(said: &Said, texts: &[&str]) {
    for text in texts {
        assert!(said.stdout.contains(text) || said.stderr.contains(text), "{text:?} is not in {said:?}");
    }
}

#[test]
fn all_strategies_are_measured_and_the_control_is_seen_stale() {
    let system = System::start("shop-strategies", "2", &[]);
    let said = run(system.strategies(&["--data", system.folder.as_str()]));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_said(&said, &["STALE AFTER A WRITE", "Every invariant that was checked held."]);
    let found = system.found();
    assert_eq!(found["rows"].as_array().unwrap().len(), 7, "{found}");
    for strategy in ["explicit", "write-through", "tags", "combined"] {
        let row = row(&found, strategy);
        assert_eq!((&row["counts"]["behind"], &row["probes_behind"]), (&0.into(), &0.into()), "{row}");
        assert!(row["applied"].as_u64() >= Some(40) && row["hit_ratio"].as_f64() > Some(0.5), "{row}");
        // What is put is not loaded again.
        assert!(strategy == "write-through" || row["loads_per_second"].as_f64() > Some(0.0), "{row}");
    }
    let control = row(&found, "ttl");
    assert!(control["counts"]["behind"].as_u64() > Some(0), "{control}");
    assert!(control["staleness"]["max_us"].as_f64() > Some(1_000_000.0), "{control}");
    // One read is one command without tags; new prices for a category are one for each product, or for each tag.
    let commands = |strategy: &str, of: &str| row(&found, strategy)["quiet"]["commands"][of].as_f64().unwrap();
    assert!((0.9..1.5).contains(&commands("explicit", "hit")), "{}", commands("explicit", "hit"));
    assert!(commands("explicit", "bulk") > 100.0 && commands("tags", "bulk") < 10.0, "{found}");
    assert!(std::fs::read_to_string(system.file("found.svg")).unwrap().contains("write-through"));
    system.stop();
}

#[test]
fn replicas_that_do_not_hear_of_each_other_are_found_out() {
    let system = System::start("shop-heard", "1", &[]);
    let state = system.state();
    let database = state["database_url"].as_str().unwrap();
    // The same rows, and another Redis: what one invalidates the other has still got.
    let deaf = System::start("shop-deaf", "1", &["--database-url", database]);
    let api = |system: &System| system.state()["shop"]["replicas"][0]["api"].as_str().unwrap().to_owned();
    let (one, other) = (api(&system), api(&deaf));
    let redis = state["cache_redis_url"].as_str().unwrap();
    let targets = ["--target", &one, "--target", &other, "--database-url", database, "--cache-redis-url", redis];
    let said = run(system.strategies(&[&targets[..], &["--strategies", "explicit"]].concat()));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert_said(&said, &["explicit: ", "reads showed what was before an applied write; product "]);
    assert!(!said.stdout.contains("Every invariant"), "{said:?}");
    let found = system.found();
    let row = row(&found, "explicit");
    assert!(row["counts"]["behind"].as_u64() > Some(0) && row["unconverged"].as_u64() > Some(0), "{row}");
    deaf.stop();
    system.stop();
}

#[test]
fn a_sweep_of_ttls_is_what_the_formula_says() {
    let folder = Folder::new("shop-sweep");
    let (json, svg) = (folder.path().join("found.json"), folder.path().join("found.svg"));
    let files = ["--json", json.to_str().unwrap(), "--svg", svg.to_str().unwrap()];
    let small = ["--ttls", "1,3", "--products", "50", "--rate", "60", "--writes", "10", "--seconds", "15"];
    let said = run(lab(&[&["shop", "ttl-sweep"][..], &files, &small].concat()));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_said(&said, &["Every share is what the formula says."]);
    let found: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let hits = |at: usize| found["points"][at]["hit_ratio"].as_f64().unwrap();
    assert!(hits(0) < hits(1) && found["points"][0]["stale_share"].as_f64() > Some(0.0), "{found}");
    assert!(std::fs::read_to_string(svg).unwrap().contains("line: the formula"));
}

#[test]
fn a_near_cache_is_behind_by_its_bound_at_most_and_is_seen_to_be() {
    let folder = Folder::new("shop-near");
    let (json, svg) = (folder.path().join("found.json"), folder.path().join("found.svg"));
    let files = ["--json", json.to_str().unwrap(), "--svg", svg.to_str().unwrap()];
    let small = ["--replicas", "2", "--products", "20", "--rate", "60", "--connections", "4", "--rounds", "1"];
    let said = run(lab(&[&["shop", "near", "--turn", "1", "--seconds", "8"][..], &files, &small].concat()));
    assert_eq!(said.code, Some(0), "{said:?}");
    let found: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    let phases = found["staleness"].as_array().unwrap();
    assert_eq!(phases.len(), 3, "{found}");
    for (phase, fault) in phases.iter().zip([Value::Null, "cut".into(), "silent".into()]) {
        assert_eq!((&phase["fault"], phase["injected"]["times"].as_u64() > Some(0)), (&fault, !fault.is_null()));
    }
    // It hears nothing, and believes what it has for as long as it may.
    assert!(phases[2]["times"]["max_us"].as_f64() > Some(20_000.0), "{found}");
    assert!(std::fs::read_to_string(svg).unwrap().contains("connections silent"));
}

#[test]
fn a_lost_message_is_repaired_or_stays_lost_and_a_run_goes_on() {
    let folder = Folder::new("shop-faults");
    let faults = |more: &[&str]| lab(&[&["shop", "faults", "--out", folder.as_str()][..], more].concat());
    let said = run(faults(&["--faults", "message-lost", "--products", "5"]));
    assert_eq!(said.code, Some(0), "{said:?}");
    let report = || -> Value {
        serde_json::from_slice(&std::fs::read(folder.path().join("shop-faults.json")).unwrap()).unwrap()
    };
    let found = report();
    assert_eq!((&found["complete"], &found["broken"]), (&true.into(), &Value::Array(Vec::new())), "{said:?}");
    let cells = found["cells"].as_array().unwrap();
    let subjects: Vec<&str> = cells.iter().filter_map(|cell| cell["subject"].as_str()).collect();
    assert_eq!(subjects, ["event-unrepaired", "event"]);
    for (cell, stale) in cells.iter().zip([true, false]) {
        let rounds = cell["rounds"].as_array().unwrap();
        assert_eq!(rounds.len(), 2, "{cell}");
        for round in rounds {
            assert!(round["evidence"].as_str().is_some_and(|seen| seen.contains("was dropped")), "{round}");
            assert_eq!(round["unconverged"].as_u64() > Some(0), stale, "{round}");
        }
    }
    // The same again does nothing; another cell is added to what is there.
    let more = ["--faults", "message-lost,worker-killed", "--products", "5", "--resume"];
    let said = run(faults(&more));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!said.stderr.contains("message-lost x event:"), "it ran a second time: {said:?}");
    assert_said(&said, &["worker-killed x event: 10 products written"]);
    let round = &report()["cells"][0]["rounds"][0];
    assert!(round["evidence"].as_str().is_some_and(|seen| seen.contains("the other one led within")), "{round}");
}

#[test]
fn a_replica_that_stood_still_serves_the_newest_at_once() {
    let folder = Folder::new("shop-paused");
    let args = ["shop", "faults", "--faults", "replica-paused", "--strategies", "write-through", "--rounds", "1"];
    let said = run(lab(&[&args[..], &["--replicas", "2", "--products", "10", "--out", folder.as_str()]].concat()));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_said(&said, &["replica-paused x write-through: ", "Every invariant that was checked held."]);
}

#[test]
fn what_makes_no_sense_is_one_line_each_and_the_status_is_64() {
    for (args, lines) in [
        (&["shop", "strategies", "--strategies", "hope", "--rate", "1", "--category", "0"][..], 3),
        (&["shop", "strategies", "--target", "http://127.0.0.1:1"], 2),
        (&["shop", "ttl-sweep", "--ttls", "0,1"], 1),
        (&["shop", "ttl-sweep", "--ttls", "1,2,3,4,5,6,7,8,9"], 1),
        (&["shop", "near", "--near-grace", "100", "--replicas", "1"], 2),
        (&["shop", "faults", "--faults", "fire", "--replicas", "1", "--rounds", "0"], 3),
        (&["shop", "sale"], 1),
    ] {
        let said = run(lab(args));
        assert_eq!((said.code, said.stderr.lines().count()), (Some(64), lines), "{args:?}: {said:?}");
    }
}
