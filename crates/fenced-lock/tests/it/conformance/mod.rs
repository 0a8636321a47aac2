//! The same questions to every backend, and a table of the answers.
//!
//! A backend that fails what it should pass fails the run; so does one that passes what it should fail, because then
//! the check has shown nothing.

mod checks;
mod helper;
mod recovery;
mod servers;
mod stores;

use std::path::Path;

use fenced_lock::Kind;

use self::checks::{
    Checked, again, cancelled, exclusion, expiry, fences, forgotten, killed, late_release, lost_wake_up, order,
    paused_in_write, pointless, stopped,
};
use self::servers::Bed;

const CHECKS: [&str; 12] = [
    "exclusion",
    "expiry",
    "paused in its write",
    "stopped holder",
    "killed holder",
    "lost wake-up",
    "cancelled",
    "late release",
    "again",
    "order",
    "fences",
    "forgotten",
];

/// What each backend must fail. Everything else it must pass.
fn must_fail(kind: Kind, check: &str) -> bool {
    match kind {
        Kind::None => !matches!(check, "again"),
        Kind::Redis => matches!(check, "paused in its write" | "stopped holder" | "order" | "fences" | "forgotten"),
        Kind::Redlock => matches!(check, "paused in its write" | "order" | "fences"),
        Kind::K8sLease => check == "order",
        _ => false,
    }
}

async fn ask(bed: &Bed, check: &str) -> Checked {
    match check {
        "exclusion" => exclusion(bed).await,
        "expiry" => expiry(bed).await,
        "paused in its write" => paused_in_write(bed).await,
        "stopped holder" => stopped(bed).await,
        "killed holder" => killed(bed).await,
        "lost wake-up" => lost_wake_up(bed).await,
        "cancelled" => cancelled(bed).await,
        "late release" => late_release(bed).await,
        "again" => again(bed).await,
        "order" => order(bed).await,
        "fences" => fences(bed).await,
        _ => forgotten(bed).await,
    }
}

/// Runs all checks on one backend and compares its line of the table with the one in the documentation.
async fn conforms(kind: Kind) {
    let bed = Bed::start(kind).await;
    let mut line = format!("| `{kind}` |");
    let mut wrong = Vec::new();
    for check in CHECKS {
        let cell = if pointless(kind, check).is_some() {
            "–"
        } else {
            let answer = ask(&bed, check).await;
            match (&answer, must_fail(kind, check)) {
                (Ok(()), true) => wrong.push(format!("{check}: passed, which shows that the check shows nothing")),
                (Err(reason), false) => wrong.push(format!("{check}: {reason}")),
                _ => {}
            }
            if answer.is_ok() { "yes" } else { "**no**" }
        };
        line.push_str(&format!(" {cell} |"));
    }
    assert!(wrong.is_empty(), "{kind}:\n{}", wrong.join("\n"));
    documented(&line);
}

/// The table is part of the crate's documentation; `UPDATE_CONFORMANCE=1` writes the lines of the backends that ran.
fn documented(line: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("CONFORMANCE.md");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let begin = &line[..=line[2..].find('|').unwrap() + 1];
    if std::env::var_os("UPDATE_CONFORMANCE").is_some() {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        match lines.iter_mut().find(|known| known.starts_with(begin)) {
            Some(known) => line.clone_into(known),
            None => lines.push(line.to_owned()),
        }
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        return;
    }
    let known = text.lines().find(|known| known.starts_with(begin)).unwrap_or("(missing)");
    assert_eq!(known, line, "CONFORMANCE.md is out of date: run with UPDATE_CONFORMANCE=1");
}

macro_rules! conformance {
    ($($test:ident: $kind:expr;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                conforms($kind).await;
            }
        )*
    };
}

conformance! {
    none: Kind::None;
    redis: Kind::Redis;
    redis_fenced: Kind::RedisFenced;
    redlock: Kind::Redlock;
    pg_advisory: Kind::PgAdvisory;
    pg_row: Kind::PgRow;
}

#[cfg(feature = "k8s")]
conformance! {
    k8s_lease: Kind::K8sLease;
}

#[test]
fn the_table_has_a_line_for_every_backend_and_a_column_for_every_check() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("CONFORMANCE.md")).unwrap();
    for kind in Kind::ALL {
        assert!(text.contains(&format!("| `{kind}` |")), "{kind}");
    }
    assert!(text.contains(&format!("| | {} |", CHECKS.join(" | "))));
}
