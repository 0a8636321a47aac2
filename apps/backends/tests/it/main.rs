//! The program, called by names.

#![expect(
    clippy::unwrap_used,
    reason = "clippy takes the functions beside the tests for no tests; a test that cannot go on fails"
)]

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

const SERVICES: [&str; 4] = ["blog-api", "booking-api", "shop-api", "shop-worker"];

fn called(name: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_backends")).arg0(format!("/somewhere/{name}")).arg("--version").output().unwrap()
}

#[test]
fn it_is_the_service_by_whose_name_it_is_called() {
    for name in SERVICES {
        let output = called(name);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn under_another_name_it_says_which_there_are() {
    let output = called("blog");
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(SERVICES.iter().all(|name| said.contains(name)), "{said}");
    assert_eq!(said.lines().count(), 1);
}
