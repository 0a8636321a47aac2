//! Where the figures and the picture of a run go.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::PerformanceArgs;
use super::picture;
use super::report::Report;

/// Where the files go.
#[derive(Debug)]
pub(crate) struct Files {
    json: Option<PathBuf>,
    svg: Option<PathBuf>,
}

/// The folder for files that were given no path.
const FOLDER: &str = "lab-results";

impl Files {
    /// # Errors
    /// A path that was given has no folder: better said before the run than after it.
    pub(crate) fn of(args: &PerformanceArgs) -> anyhow::Result<Self> {
        for (flag, path) in [("--json", &args.json), ("--svg", &args.svg)] {
            let folder = path.as_deref().and_then(Path::parent).filter(|folder| !folder.as_os_str().is_empty());
            if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
                let line = format!("{flag}: there is no folder {}", folder.display());
                return Err(crate::exit::Failure::usage(line).into());
            }
        }
        Ok(Self { json: args.json.clone(), svg: args.svg.clone() })
    }

    /// Writes both files and says where.
    pub(crate) fn write(&self, report: &Report) -> anyhow::Result<()> {
        let json = format!("{}\n", serde_json::to_string_pretty(report)?);
        let svg = picture::draw(report);
        for (path, ending, text) in [(&self.json, "json", json), (&self.svg, "svg", svg)] {
            match path {
                Some(path) => put(path, &text)?,
                None => {
                    std::fs::create_dir_all(FOLDER).with_context(|| format!("cannot make the folder {FOLDER}"))?;
                    // 2026-11-24T11:40:37Z -> 20261124T114037Z, which every file system takes.
                    let stamp = report.started_at.replace(['-', ':'], "");
                    let folder = Path::new(FOLDER);
                    put(&folder.join(format!("blog-performance-{stamp}.{ending}")), &text)?;
                    let latest = folder.join(format!("blog-performance-latest.{ending}"));
                    std::fs::write(&latest, &text).with_context(|| format!("cannot write {}", latest.display()))?;
                }
            }
        }
        Ok(())
    }
}

fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("wrote {}", path.display());
    Ok(())
}
