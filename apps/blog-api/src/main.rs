//! See the library of this package.

use std::process::ExitCode;

fn main() -> ExitCode {
    blog_api::main()
}
