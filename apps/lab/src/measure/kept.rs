//! The cells of a matrix that are done, in a file, so that an interrupted run goes on where it was.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A cell that is done.
pub(crate) trait Done: Serialize + DeserializeOwned {
    /// Of which run it may be a part: cells of other settings are not mixed with it.
    fn settings(&self) -> &str;
}

/// The file, and what is in it.
#[derive(Debug)]
pub(crate) struct Kept<C> {
    path: PathBuf,
    /// Of runs with other settings: they stay in the file.
    others: Vec<C>,
    pub(crate) cells: Vec<C>,
}

impl<C: Done> Kept<C> {
    /// Cells of an earlier run of `experiment` with the same `settings`, if it is to be gone on with.
    ///
    /// # Errors
    /// A file that is none of ours: it is not overwritten.
    pub(crate) fn open(folder: &Path, experiment: &str, resume: bool, settings: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join(format!("{experiment}-cells.json"));
        let cells = match std::fs::read(&path) {
            Ok(text) if resume => {
                let cells: Vec<C> = serde_json::from_slice(&text).with_context(|| {
                    format!("{} is not a file of this version; run without --resume", path.display())
                })?;
                cells
            }
            Err(error) if resume && error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
            _ => Vec::new(),
        };
        let (cells, others) = cells.into_iter().partition(|cell| cell.settings() == settings);
        Ok(Self { path, others, cells })
    }

    /// Adds a cell, on the disk as well.
    pub(crate) fn add(&mut self, cell: C) -> anyhow::Result<()> {
        self.cells.push(cell);
        let new = self.path.with_extension("json.new");
        let text = serde_json::to_vec_pretty(&self.others.iter().chain(&self.cells).collect::<Vec<_>>())?;
        std::fs::write(&new, text)
            .and_then(|()| std::fs::rename(&new, &self.path))
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Done, Kept};
    use serde::{Deserialize, Serialize};

    #[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
    struct Cell {
        settings: String,
        number: u32,
    }

    impl Done for Cell {
        fn settings(&self) -> &str {
            &self.settings
        }
    }

    fn cell(settings: &str, number: u32) -> Cell {
        Cell { settings: settings.to_owned(), number }
    }

    #[test]
    fn only_cells_of_the_same_settings_are_gone_on_with() {
        let folder = std::env::temp_dir().join(format!("lab-kept-{}", std::process::id()));
        let open = |resume, settings| Kept::<Cell>::open(&folder, "test", resume, settings);
        let mut kept = open(true, "test").unwrap();
        assert!(kept.cells.is_empty());
        kept.add(cell("test", 1)).unwrap();
        assert_eq!(open(true, "test").unwrap().cells, [cell("test", 1)]);
        let mut others = open(true, "others").unwrap();
        assert!(others.cells.is_empty());
        others.add(cell("others", 2)).unwrap();
        assert_eq!(open(true, "test").unwrap().cells, [cell("test", 1)]);
        assert!(open(false, "test").unwrap().cells.is_empty());
        std::fs::write(folder.join("test-cells.json"), "oops").unwrap();
        assert!(open(true, "test").is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
