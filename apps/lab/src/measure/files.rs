//! Where the figures and the picture of a run go.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::exit::Failure;

/// The folder for files that were given no path.
const FOLDER: &str = "lab-results";

/// Flags of every experiment that writes files.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct FileArgs {
    /// File for all figures [default: lab-results/EXPERIMENT-TIME.json, and ...-latest.json]
    #[arg(long, value_name = "PATH")]
    pub(crate) json: Option<PathBuf>,

    /// File for the picture [default: lab-results/EXPERIMENT-TIME.svg, and ...-latest.svg]
    #[arg(long, value_name = "PATH")]
    pub(crate) svg: Option<PathBuf>,
}

/// Where the files of one run go.
#[derive(Debug)]
pub(crate) struct Files {
    /// Names the experiment, as `blog-performance`.
    name: &'static str,
    args: FileArgs,
}

impl Files {
    /// # Errors
    /// A path that was given has no folder: better said before the run than after it.
    pub(crate) fn of(name: &'static str, args: &FileArgs) -> anyhow::Result<Self> {
        let mut wrong = Vec::new();
        for (flag, path) in [("--json", &args.json), ("--svg", &args.svg)] {
            let folder = path.as_deref().and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
            if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                wrong.push(format!("{flag}: there is no folder {}", folder.display()));
            }
        }
        if !wrong.is_empty() {
            return Err(Failure::Usage(wrong).into());
        }
        Ok(Self { name, args: args.clone() })
    }

    /// Writes both files and says where. `started_at` is RFC 3339, in UTC; `text` is what was shown, for `lab report`.
    pub(crate) fn write(
        &self,
        started_at: &str,
        report: &impl serde::Serialize,
        text: &str,
        svg: &str,
    ) -> anyhow::Result<()> {
        let run = Run { experiment: self.name, command: command(std::env::args()), report, text };
        let json = format!("{}\n", serde_json::to_string_pretty(&run)?);
        for (path, ending, text) in [(&self.args.json, "json", json.as_str()), (&self.args.svg, "svg", svg)] {
            match path {
                Some(path) => put(path, text)?,
                None => {
                    std::fs::create_dir_all(FOLDER).with_context(|| format!("cannot make the folder {FOLDER}"))?;
                    // 2026-11-24T11:40:37Z -> 20261124T114037Z, which every file system takes.
                    let stamp = started_at.replace(['-', ':'], "");
                    let folder = Path::new(FOLDER);
                    put(&folder.join(format!("{}-{stamp}.{ending}", self.name)), text)?;
                    let latest = folder.join(format!("{}-latest.{ending}", self.name));
                    std::fs::write(&latest, text).with_context(|| format!("cannot write {}", latest.display()))?;
                }
            }
        }
        Ok(())
    }
}

/// What is written of a run: its report, and what every run has.
#[derive(Debug, serde::Serialize)]
struct Run<'a, R> {
    experiment: &'static str,
    command: String,
    #[serde(flatten)]
    report: &'a R,
    text: &'a str,
}

/// What was typed, as it can be typed again; but no URL, which may have a password in it.
fn command(args: impl Iterator<Item = String>) -> String {
    let mut command = "lab".to_owned();
    for arg in args.skip(1) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,:/%+@".contains(c);
        command.push(' ');
        match arg.split_once("://") {
            Some((before, _)) => {
                let flag = before.rsplit_once('=').map_or("", |(flag, _)| flag);
                command.push_str(flag);
                command.push_str(if flag.is_empty() { "URL" } else { "=URL" });
            }
            None if !arg.is_empty() && arg.chars().all(plain) => command.push_str(&arg),
            None => {
                command.push('\'');
                command.push_str(&arg.replace('\'', "'\\''"));
                command.push('\'');
            }
        }
    }
    command
}

fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    crate::screen::say(&format!("wrote {}", path.display()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn a_command_can_be_typed_again_and_gives_no_password_away() {
        let of = |args: &[&str]| command(["target/release/lab"].iter().chain(args).map(|&arg| arg.to_owned()));
        assert_eq!(
            of(&["booking", "concurrent", "--strategies", "none,redis"]),
            "lab booking concurrent --strategies none,redis"
        );
        assert_eq!(of(&["up", "--data", "it's here", ""]), "lab up --data 'it'\\''s here' ''");
        assert_eq!(of(&["--database-url=postgres://u:secret@h/d", "redis://:secret@h"]), "lab --database-url=URL URL");
    }
}
