//! `lab booking faults`: what is refused, one real cell of each kind, and how a run is interrupted.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::process::Signal;
use serde_json::Value;

use crate::programs::{Folder, Running, is_alive, lab, run, wait_for};

/// The service's binary: built with the whole workspace it lies beside the lab's; alone, it is built now.
fn booking_api() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let path = Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name("booking-api");
        if !path.is_file() {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Command::new(cargo);
            build.args(["build", "--quiet", "--locked", "-p", "booking-api"]);
            if !cfg!(debug_assertions) {
                build.arg("--release");
            }
            let status = build.status().expect("cargo runs");
            assert!(status.success() && path.is_file(), "cannot build booking-api for the tests of the lab");
        }
        path
    })
}

/// A small run into `folder`.
fn faults(folder: &Folder, more: &[&str]) -> Command {
    let mut command = lab(&["booking", "faults", "--bookings", "60", "--out", folder.as_str()]);
    command.args(more).env("LAB_BOOKING_API", booking_api());
    command
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

fn report(folder: &Folder) -> Value {
    read(&folder.path().join("booking-faults.json"))
}

/// The cell of a strategy, of a run with one fault.
fn cell<'a>(report: &'a Value, strategy: &str) -> &'a Value {
    let cells = report["cells"].as_array().expect("cells");
    cells.iter().find(|cell| cell["strategy"] == strategy).expect("the cell")
}

/// A process that comes from another one, and the first letter of its state.
fn descendants(of: u32) -> Vec<(u32, char)> {
    let output = Command::new("ps").args(["-A", "-o", "pid=,ppid=,stat="]).output().expect("ps");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let all: Vec<(u32, u32, char)> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let mut number = || words.next()?.parse().ok();
            Some((number()?, number()?, words.next()?.chars().next()?))
        })
        .collect();
    let mut family = vec![(of, 'R')];
    let mut at = 0;
    while let Some(&(parent, _)) = family.get(at) {
        family.extend(all.iter().filter(|(_, of, _)| *of == parent).map(|&(pid, _, state)| (pid, state)));
        at += 1;
    }
    family.split_off(1)
}

#[test]
fn wrong_flags_are_one_line_each_and_the_status_is_64() {
    let said = run(lab(&[
        "booking",
        "faults",
        "--faults",
        "fire",
        "--strategies",
        "hope",
        "--bookings",
        "1",
        "--rounds",
        "0",
        "--replicas",
        "1",
    ]));
    assert_eq!(said.code, Some(64), "{said:?}");
    assert_eq!(said.stderr.lines().count(), 5, "{said:?}");
    for (flag, known) in [
        ("--faults", "holder-stopped"),
        ("--strategies", "redis-fenced"),
        ("--bookings", "20"),
        ("--rounds", "1..=100"),
        ("--replicas", "2..=8"),
    ] {
        let line = said.stderr.lines().find(|line| line.contains(flag));
        assert!(line.is_some_and(|line| line.contains(known)), "{flag}: {said:?}");
    }
    let said = run(lab(&["booking", "faults", "--strategies", "k8s-lease"]));
    assert_eq!((said.code, said.stderr.lines().count()), (Some(64), 1), "{said:?}");
    assert!(said.stderr.contains("needs a cluster"), "{said:?}");
}

#[test]
fn a_stopped_holder_oversells_without_a_fence_and_not_with_one() {
    let folder = Folder::new("faults-stopped");
    let command =
        faults(&folder, &["--faults", "holder-stopped", "--strategies", "redis,redis-fenced", "--rounds", "2"]);
    let said = run(command);
    assert_eq!(said.code, Some(0), "{said:?}");
    let report = report(&folder);
    assert_eq!((&report["complete"], &report["broken"]), (&Value::Bool(true), &Value::Array(vec![])), "{said:?}");
    // The victim's four seats, in each of two rounds.
    assert_eq!(cell(&report, "redis")["judged"]["oversold"], 8, "{said:?}");
    let fenced = cell(&report, "redis-fenced");
    assert_eq!(fenced["judged"]["oversold"], 0, "{said:?}");
    assert!(fenced["judged"]["bookings"].as_u64() >= Some(60), "{fenced}");
    for round in fenced["rounds"].as_array().expect("rounds") {
        assert!(round["injected"].as_str().is_some_and(|seen| seen.contains("state T")), "{round}");
        assert!(round["victim"].as_str().is_some_and(|told| told.starts_with("sold out")), "{round}");
    }
    let picture = std::fs::read_to_string(folder.path().join("booking-faults.svg")).expect("a picture");
    assert!(picture.contains("holder-stopped") && picture.contains("+8"), "{picture}");
}

#[test]
fn an_interrupted_run_leaves_nothing_behind_and_goes_on_where_it_was() {
    let folder = Folder::new("faults-interrupted");
    let which = ["--faults", "holder-stopped", "--strategies", "redis-fenced", "--rounds", "1"];
    let mut first = Running::start(faults(&folder, &which));
    // The control is done; and in the cell after it a process is stopped.
    first.until_said("holder-stopped x none");
    let mut family = Vec::new();
    let stopped = || {
        family = descendants(first.pid());
        family.iter().any(|(_, state)| *state == 'T')
    };
    wait_for(stopped, || format!("a stopped process; it said {}", first.said()));
    first.signal(Signal::INT);
    assert_eq!(first.ended().code(), Some(130), "{}", first.said());
    assert!(first.said().contains("--resume"), "{}", first.said());
    wait_for(|| !family.iter().any(|(pid, _)| is_alive(*pid)), || format!("the end of {family:?}"));
    assert_eq!(report(&folder)["complete"], false);

    let cells = folder.path().join("booking-faults-cells.json");
    let before = read(&cells);
    assert_eq!(before.as_array().map(Vec::len), Some(1), "{before}");
    let said = run(faults(&folder, &[&which[..], &["--resume"]].concat()));
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(!said.stderr.contains("holder-stopped x none"), "it ran a second time: {said:?}");
    let after = read(&cells);
    assert_eq!((after.as_array().map(Vec::len), &after[0]), (Some(2), &before[0]));
    assert_eq!(report(&folder)["complete"], true);
}
