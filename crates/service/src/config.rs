//! Configuration from flags and environment variables, checked as a whole before anything starts.
//!
//! clap stops at the first wrong value. An operator who mends one value per rollout is not helped by that, so
//! [`load`] reports **one line for every wrong setting, all at once**, and exits with status [`EX_USAGE`]. Settings stay
//! ordinary clap derive structs; the value parsers of this module state what is allowed in their errors.

mod args;
mod parse;
mod redact;
mod values;

use std::ffi::OsString;
use std::fmt;
use std::io::Write as _;

pub use args::{DatabaseArgs, LogArgs, MigrateArgs, ServerArgs};
pub use redact::redacted;
pub use values::{DatabaseUrl, LogFilter, RedisUrl, address, bytes, duration, number};

/// The exit status of a process whose configuration is wrong: `EX_USAGE` of `sysexits.h`.
pub const EX_USAGE: u8 = 64;

/// The settings of one process.
///
/// ```
/// use service::config::{Mistakes, ServerArgs, Settings};
///
/// #[derive(clap::Parser, Debug)]
/// struct Args {
///     #[command(flatten)]
///     server: ServerArgs,
///     /// How many posts a page may have
///     #[arg(long, env = "PAGE_SIZE", default_value = "20", value_parser = service::config::number(1..=100))]
///     page_size: u32,
/// }
///
/// impl Settings for Args {}
///
/// let exit = service::config::load_from::<Args, _>(["blog-api", "--page-size", "0", "--drain", "soon"]).unwrap_err();
/// assert_eq!(exit.code, 64);
/// assert_eq!(exit.text.lines().count(), 2);
/// ```
pub trait Settings: clap::Parser {
    /// Checks what no single value shows: values that do not go together. Called when each value by itself is right.
    fn check(&self, mistakes: &mut Mistakes) {
        let _none = mistakes;
    }
}

/// Collects what is wrong with the settings.
#[derive(Debug, Default)]
pub struct Mistakes {
    found: Vec<Mistake>,
}

#[derive(Debug)]
struct Mistake {
    setting: String,
    env: Option<String>,
    value: Option<String>,
    expected: String,
}

impl Mistakes {
    /// Adds one: the flag (`--drain`), the value that it has, and what is allowed. Passwords in the value are masked.
    pub fn add(&mut self, flag: &str, value: impl fmt::Display, allowed: impl fmt::Display) {
        self.found.push(Mistake {
            setting: flag.to_owned(),
            env: None,
            value: Some(redacted(&value.to_string())),
            expected: allowed.to_string(),
        });
    }

    /// Adds one if the URL of a Redis is none that the clients here can use: they speak plain TCP.
    pub fn add_unless_plain(&mut self, flag: &str, url: &RedisUrl) {
        if !url.expose().starts_with("redis://") {
            self.add(flag, url, "must begin with redis:// (TLS and sockets are not built in yet)");
        }
    }

    /// Whether nothing was found.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.found.iter().try_for_each(|mistake| writeln!(f, "error: {mistake}"))
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.setting)?;
        if let Some(env) = &self.env {
            write!(f, " (env {env})")?;
        }
        if let Some(value) = &self.value {
            // Debug escapes line breaks: a value must not be able to make a second line.
            write!(f, " {value:?}")?;
        }
        write!(f, ": {}", self.expected)
    }
}

/// How a process ends whose command line is not one to run with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The status: 0 after `--help` and `--version`, else [`EX_USAGE`].
    pub code: u8,
    /// What to print: the help, or one line per mistake.
    pub text: String,
}

impl Exit {
    /// Prints the text (help to standard output, mistakes to standard error) and ends the process.
    pub fn exit(&self) -> ! {
        // Nobody is left to be told that the terminal is gone.
        let _ = if self.code == 0 {
            std::io::stdout().write_all(self.text.as_bytes())
        } else {
            std::io::stderr().write_all(self.text.as_bytes())
        };
        std::process::exit(i32::from(self.code))
    }
}

/// Reads the settings of this process, or prints what is wrong with them and ends it.
#[must_use]
pub fn load<T: Settings>() -> T {
    load_from(std::env::args_os()).unwrap_or_else(|exit: Exit| exit.exit())
}

/// The arguments with `serve` put in, if they say nothing or begin with a flag: a program of several commands serves unless
/// told otherwise. `args` begins with the program's name.
///
/// Not clap's way (flags beside subcommands), with which `migrate` would want the settings of `serve`.
pub fn serve_unless_told(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let is_of_serve = |arg: &OsString| {
        let text = arg.to_string_lossy();
        text.starts_with('-') && !matches!(&*text, "-h" | "--help" | "-V" | "--version")
    };
    if args.len() < 2 || is_of_serve(&args[1]) {
        args.insert(args.len().min(1), "serve".into());
    }
    args
}

/// Like [`load`], from these arguments (the first one is the program's name) and this process' environment.
///
/// # Errors
/// The text and status to end with.
pub fn load_from<T: Settings, I>(args: I) -> Result<T, Exit>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let args: Vec<OsString> = args.into_iter().map(Into::into).collect();
    let settings: T = parse::parse(&args)?;
    let mut mistakes = Mistakes::default();
    settings.check(&mut mistakes);
    if mistakes.is_empty() {
        return Ok(settings);
    }
    for mistake in &mut mistakes.found {
        mistake.env = parse::env_of(&T::command(), &mistake.setting);
    }
    Err(Exit { code: EX_USAGE, text: mistakes.to_string() })
}
