//! What is refused, and how.

use crate::programs::{Folder, lab, run};

#[test]
fn every_wrong_setting_is_one_line_and_the_status_is_64() {
    let said = run(lab(&["up", "--posts", "0", "--replicas", "17", "--only", "shoes", "--postgres-port", "x"]));
    assert_eq!(said.code, Some(64), "{said:?}");
    assert_eq!(said.stderr.lines().count(), 4, "{said:?}");
    let line = said.stderr.lines().find(|line| line.contains("--posts")).expect("a line about --posts");
    assert!(line.contains("'0'") && line.contains("1000..=5000000"), "{line}");
    assert_eq!(said.stdout, "");
}

#[test]
fn settings_from_the_environment_are_named_too() {
    let mut command = lab(&["blog", "seed"]);
    command.env("DATABASE_URL", "mysql://root@localhost/blog");
    let said = run(command);
    assert_eq!(said.code, Some(64), "{said:?}");
    assert!(said.stderr.contains("--database-url") && said.stderr.contains("postgres://"), "{said:?}");
}

#[test]
fn what_does_not_exist_is_refused() {
    for args in [&["down"][..], &["up", "--post", "5"], &["blog", "seed", "extra"], &["blog"]] {
        let said = run(lab(args));
        assert_eq!(said.code, Some(64), "{args:?}: {said:?}");
    }
    let said = run(lab(&["up", "--post", "5"]));
    assert_eq!(said.stderr.lines().count(), 1, "{said:?}");
}

#[test]
fn help_goes_to_stdout_and_names_the_exit_codes() {
    for args in [&["--help"][..], &["up", "--help"], &["blog", "seed", "--help"], &["booking", "concurrent", "--help"]]
    {
        let said = run(lab(args));
        assert_eq!(said.code, Some(0), "{args:?}: {said:?}");
        assert!(said.stdout.contains("Exit status:"), "{args:?}: {said:?}");
    }
}

#[test]
fn an_experiment_without_a_system_says_where_to_get_one() {
    let folder = Folder::new("nothing-runs");
    let said = run(lab(&["blog", "performance", "--data", folder.as_str()]));
    assert_eq!(said.code, Some(64), "{said:?}");
    assert!(said.stderr.contains("start.sh") && said.stderr.contains("--target"), "{said:?}");
}

#[test]
fn targets_come_with_their_stores_or_not_at_all() {
    let said = run(lab(&["blog", "performance", "--target", "http://127.0.0.1:1"]));
    assert_eq!(said.code, Some(64), "{said:?}");
    assert!(said.stderr.contains("DATABASE_URL") && said.stderr.contains("CACHE_REDIS_URL"), "{said:?}");
}

#[test]
fn the_bookings_experiments_refuse_what_makes_no_sense() {
    for (args, lines) in [
        (
            &["booking", "concurrent", "--strategies", "hope", "--buyers", "1", "--turn-ms", "1", "--work-ms", "x"][..],
            4,
        ),
        (&["booking", "contention", "--replicas", "0", "--rate", "0", "--strategies", "none,hope"], 3),
        (&["booking", "contention", "--lock-redis-url", "http://x"], 1),
        (
            &[
                "booking",
                "contention",
                "--rate",
                "10000",
                "--seconds",
                "600",
                "--database-url",
                "postgres://x/x",
                "--lock-redis-url",
                "redis://x",
            ],
            1,
        ),
        (&["booking", "concurrent", "--target", "http://127.0.0.1:1"], 2),
        (&["booking", "concurrent", "--target", "http://x", "--admin", "http://x", "--admin", "http://y"], 3),
        (&["booking", "contention", "--lock-redis-url", "redis://x"], 1),
        (&["booking", "faith"], 1),
    ] {
        let said = run(lab(args));
        assert_eq!(said.code, Some(64), "{args:?}: {said:?}");
        assert_eq!(said.stderr.lines().count(), lines, "{args:?}: {said:?}");
    }
}
