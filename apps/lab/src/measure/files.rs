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

    /// Writes both files and says where. `started_at` is RFC 3339, in UTC.
    pub(crate) fn write(&self, started_at: &str, report: &impl serde::Serialize, svg: &str) -> anyhow::Result<()> {
        let json = format!("{}\n", serde_json::to_string_pretty(report)?);
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

fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    crate::screen::say(&format!("wrote {}", path.display()));
    Ok(())
}
