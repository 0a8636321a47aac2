//! Every service in one program, for the image: what they share is in it once.
//!
//! It is the service by whose name it is called: `blog-api serve`, where `blog-api` is a link to it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

/// What the command line was wrong about (`EX_USAGE`).
const USAGE: u8 = 64;

/// What a service is started by.
type Main = fn() -> ExitCode;

const SERVICES: [(&str, Main); 4] = [
    ("blog-api", blog_api::main),
    ("booking-api", booking_api::main),
    ("shop-api", shop_api::main),
    ("shop-worker", shop_worker::main),
];

fn main() -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    if let Some(service) = service(Path::new(&called).file_name().unwrap_or_default()) {
        return service();
    }
    let names = SERVICES.map(|(name, _)| name).join(", ");
    eprintln!("this program is called by the name of a service, as a link to it: {names}");
    ExitCode::from(USAGE)
}

fn service(name: &OsStr) -> Option<Main> {
    SERVICES.iter().find(|(known, _)| name == *known).map(|(_, service)| *service)
}
