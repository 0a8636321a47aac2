//! Reading the command line: everything that is wrong with it is said at once.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::builder::OsStringValueParser;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory as _, FromArgMatches as _};

use super::Cli;
use crate::exit::Failure;

/// Why there is nothing to run.
#[derive(Debug)]
pub(crate) enum Refused {
    /// `--help` or `--version`: the text that was asked for.
    Shown(clap::Error),
    /// One line per wrong setting.
    Wrong(Failure),
}

impl Refused {
    /// Prints it, and picks the exit status.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Shown(text) => {
                // Nothing sensible is left to do when stdout is closed.
                let _ = text.print();
                ExitCode::SUCCESS
            }
            Self::Wrong(failure) => crate::exit::report(&failure.into()),
        }
    }
}

/// Parses the command line and the environment.
///
/// # Errors
/// All wrong values at once: clap itself stops at the first, so the setting at fault is relaxed to
/// any text and the parse is repeated until nothing new is wrong.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, Refused> {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut command = Cli::command();
    let mut wrong = Vec::new();
    loop {
        let error = match command.clone().try_get_matches_from(&args) {
            Ok(matches) if wrong.is_empty() => match Cli::from_arg_matches(&matches) {
                Ok(cli) => return Ok(cli),
                Err(error) => error,
            },
            Ok(_) => return Err(Refused::Wrong(Failure::Usage(wrong))),
            Err(error) => error,
        };
        match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
                return Err(Refused::Shown(error));
            }
            ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
                wrong.push(one_line(&error));
                let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else {
                    return Err(Refused::Wrong(Failure::Usage(wrong)));
                };
                let (relaxed, found) = relax(command, shown);
                if !found {
                    return Err(Refused::Wrong(Failure::Usage(wrong)));
                }
                command = relaxed;
            }
            _ => {
                wrong.push(one_line(&error));
                return Err(Refused::Wrong(Failure::Usage(wrong)));
            }
        }
    }
}

/// Lets the argument that clap calls `shown` (as `--posts <N>`) take any text, in every subcommand.
/// The second value is false when there is none left to relax, which would otherwise loop for ever.
fn relax(mut command: clap::Command, shown: &str) -> (clap::Command, bool) {
    let mut found = false;
    let any_text = clap::builder::ValueParser::from(OsStringValueParser::new());
    let flag = shown.split(' ').next().unwrap_or_default();
    let at_fault: Vec<_> = command
        .get_arguments()
        .filter(|arg| {
            let long = arg.get_long().map(|long| format!("--{long}"));
            long.as_deref() == Some(flag) && arg.get_value_parser().type_id() != any_text.type_id()
        })
        .map(|arg| arg.get_id().clone())
        .collect();
    for id in at_fault {
        found = true;
        command = command.mut_arg(id, |arg| arg.value_parser(any_text.clone()));
    }
    let names: Vec<_> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        command = command.mut_subcommand(name, |sub| {
            let (sub, found_below) = relax(sub, shown);
            found |= found_below;
            sub
        });
    }
    (command, found)
}

/// clap's message without its usage and hints: the first paragraph, on one line.
pub(crate) fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let first = text.trim_start_matches("error: ").split("\n\n").next().unwrap_or_default();
    first.split_whitespace().collect::<Vec<_>>().join(" ")
}
