//! `lab report`: one page of what the experiments have written, which needs nothing but a browser.

mod page;
mod run;

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::exit::{Ending, Failure};
use crate::measure::machine::now;
use crate::screen::say;
use run::Run;

/// What the names of the files of last runs end with.
const LATEST: &str = "-latest.json";

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ReportArgs {
    /// Files of figures that experiments wrote [default: the last one of each in lab-results]
    #[arg(value_name = "FILE.json")]
    files: Vec<PathBuf>,

    /// The page
    #[arg(long, value_name = "FILE", default_value = "lab-results/report.html")]
    out: PathBuf,
}

/// Writes the page. The picture of a run is the file beside its figures that ends with `.svg`.
///
/// # Errors
/// There are no runs, or a file is none; nothing is written then.
pub(crate) fn write(args: &ReportArgs) -> anyhow::Result<Ending> {
    let folder = args.out.parent().filter(|folder| !folder.as_os_str().is_empty());
    let files = if args.files.is_empty() { latest(Path::new("lab-results"))? } else { args.files.clone() };
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(Failure::usage(format!("--out: there is no folder {}", folder.display())).into());
    }
    let runs = files.iter().map(|file| Run::read(file)).collect::<anyhow::Result<Vec<_>>>()?;
    std::fs::write(&args.out, page::of(&runs, &now()))
        .with_context(|| format!("cannot write {}", args.out.display()))?;
    say(&format!("wrote {}: {} of the lab", args.out.display(), counted(runs.len())));
    Ok(Ending::Held)
}

fn counted(runs: usize) -> String {
    if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") }
}

/// The last run of each experiment, by name.
fn latest(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let none = || Failure::usage(format!("there is no run in {}: ./start.sh makes some", folder.display()));
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(|_| none())?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(LATEST)))
        .collect();
    if files.is_empty() {
        return Err(none().into());
    }
    files.sort();
    Ok(files)
}
