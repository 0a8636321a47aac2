//! clap, asked again and again until it has named every mistake.

use std::error::Error as _;
use std::ffi::OsString;

use clap::builder::{OsStringValueParser, StyledStr};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command, Error, Id};

use super::{EX_USAGE, Exit, Mistake, Mistakes, Settings, redacted};

/// More wrong settings than any program has; only there so that a surprise of clap's cannot loop for ever.
const MOST: usize = 256;

/// After each mistake the setting that has it is made to accept anything, and clap parses again: it goes on to the
/// next mistake. The values of the loosened command are never used.
pub(super) fn parse<T: Settings>(args: &[OsString]) -> Result<T, Exit> {
    let mut mistakes = Mistakes::default();
    let mut command = T::command();
    for _ in 0..MOST {
        let error = match command.clone().try_get_matches_from(args) {
            Ok(matches) if mistakes.is_empty() => match T::from_arg_matches(&matches) {
                Ok(settings) => return Ok(settings),
                Err(error) => error,
            },
            Ok(_) => break,
            Err(error) => error,
        };
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            return Err(Exit { code: 0, text: error.to_string() });
        }
        let subjects = subjects(&error);
        for subject in &subjects {
            mistakes.found.push(mistake(&command, &error, subject));
        }
        command = match error.kind() {
            ErrorKind::ValueValidation
            | ErrorKind::InvalidValue
            | ErrorKind::MissingRequiredArgument
            | ErrorKind::InvalidUtf8
            | ErrorKind::ArgumentConflict
                if !subjects.is_empty() =>
            {
                loosened(command, &subjects)
            }
            ErrorKind::UnknownArgument if subjects.iter().all(|subject| subject.starts_with("--")) => {
                subjects.iter().fold(command, |command, subject| accepting(command, subject))
            }
            _ => {
                if subjects.is_empty() {
                    mistakes.found.push(first_line(&error));
                }
                break;
            }
        };
    }
    Err(Exit { code: EX_USAGE, text: mistakes.to_string() })
}

/// The environment variable of the setting that clap or a check calls `--drain` or `--drain <DRAIN>`.
pub(super) fn env_of(command: &Command, setting: &str) -> Option<String> {
    let flag = setting.split([' ', '=']).next()?.strip_prefix("--")?;
    find(command, &|arg| arg.get_long() == Some(flag))?.get_env().map(|env| env.to_string_lossy().into_owned())
}

fn find<'a>(command: &'a Command, is: &dyn Fn(&Arg) -> bool) -> Option<&'a Arg> {
    command
        .get_arguments()
        .find(|arg| is(arg))
        .or_else(|| command.get_subcommands().find_map(|subcommand| find(subcommand, is)))
}

/// The settings that an error is about, as clap writes them: `--listen <LISTEN>`.
fn subjects(error: &Error) -> Vec<String> {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(one)) => vec![one.clone()],
        Some(ContextValue::Strings(several)) => several.clone(),
        _ => Vec::new(),
    }
}

fn mistake(command: &Command, error: &Error, subject: &str) -> Mistake {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    let name = subject.split([' ', '=']).next().unwrap_or(subject).to_owned();
    let value = text(ContextKind::InvalidValue);
    let expected = match error.kind() {
        ErrorKind::ValueValidation => error.source().map_or_else(|| "not allowed".to_owned(), ToString::to_string),
        ErrorKind::InvalidValue => match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(allowed)) if value.as_ref().is_some_and(|value| !value.is_empty()) => {
                format!("must be one of {}", allowed.join(", "))
            }
            Some(ContextValue::Strings(allowed)) => format!("needs a value, one of {}", allowed.join(", ")),
            _ => "needs a value".to_owned(),
        },
        ErrorKind::MissingRequiredArgument => "must be set".to_owned(),
        ErrorKind::InvalidUtf8 => "must be UTF-8".to_owned(),
        ErrorKind::UnknownArgument => match text(ContextKind::SuggestedArg) {
            Some(similar) => format!("there is no such flag; a similar one is {similar}"),
            None => "there is no such flag or argument; --help lists them".to_owned(),
        },
        ErrorKind::ArgumentConflict => match text(ContextKind::PriorArg) {
            Some(prior) if prior != subject => format!("cannot be used together with {prior}"),
            _ => "may be given once".to_owned(),
        },
        _ => return first_line(error),
    };
    // clap says "no value" as an empty one; of a value that was checked the difference matters.
    let shown = |value: &String| !value.is_empty() || error.kind() == ErrorKind::ValueValidation;
    Mistake {
        env: env_of(command, subject),
        setting: name,
        value: value.filter(shown).map(|value| redacted(&value)),
        expected: one_line(&expected),
    }
}

/// What clap says about an error that names no setting, such as a missing subcommand.
fn first_line(error: &Error) -> Mistake {
    let text = match error.get(ContextKind::Custom) {
        Some(ContextValue::StyledStr(custom)) => StyledStr::to_string(custom),
        _ => error.to_string(),
    };
    let line = text.lines().next().unwrap_or_default();
    Mistake {
        setting: "arguments".to_owned(),
        env: None,
        value: None,
        expected: redacted(line.strip_prefix("error: ").unwrap_or(line)),
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

/// Has the named settings accept anything, also nothing.
fn loosened(command: Command, subjects: &[String]) -> Command {
    // How an argument is written is known only once the command has been built.
    let mut built = command.clone();
    built.build();
    let mut ids = Vec::new();
    named(&built, subjects, &mut ids);
    loosen(command, &ids)
}

fn named(command: &Command, subjects: &[String], ids: &mut Vec<Id>) {
    let is_named = |arg: &&Arg| subjects.contains(&arg.to_string());
    ids.extend(command.get_arguments().filter(is_named).map(|arg| arg.get_id().clone()));
    command.get_subcommands().for_each(|subcommand| named(subcommand, subjects, ids));
}

fn loosen(command: Command, ids: &[Id]) -> Command {
    let anything = |arg: Arg| {
        if !ids.contains(arg.get_id()) {
            return arg;
        }
        let arg = arg.action(ArgAction::Append).value_parser(OsStringValueParser::new()).required(false);
        if arg.is_positional() { arg } else { arg.num_args(0..=1) }
    };
    command.mut_args(anything).mut_subcommands(|subcommand| loosen(subcommand, ids))
}

/// Has an unknown flag accepted, with a value or without, so that the settings after it are looked at, too.
fn accepting(command: Command, flag: &str) -> Command {
    // clap wants names that live for ever; the process ends right after this.
    let name: &'static str = String::leak(flag.trim_start_matches('-').to_owned());
    let arg = Arg::new(name).long(name).num_args(0..=1).action(ArgAction::Append).global(true);
    command.arg(arg.value_parser(OsStringValueParser::new()))
}
