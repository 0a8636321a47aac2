//! The cells that are done, in a file, so that an interrupted run goes on where it was.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::super::strategy::Strategy;
use super::cell::Cell;
use super::matrix::Fault;

/// The file, and what is in it.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    /// Of runs with other settings: they stay in the file.
    others: Vec<Cell>,
    pub(super) cells: Vec<Cell>,
}

impl Kept {
    /// Cells of an earlier run with the same `settings`, if it is to be gone on with.
    ///
    /// # Errors
    /// A file that is none of ours: it is not overwritten.
    pub(super) fn open(folder: &Path, resume: bool, settings: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let path = folder.join("booking-faults-cells.json");
        let cells = match std::fs::read(&path) {
            Ok(text) if resume => {
                let cells: Vec<Cell> = serde_json::from_slice(&text).with_context(|| {
                    format!("{} is not a file of this version; run without --resume", path.display())
                })?;
                cells
            }
            Err(error) if resume && error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
            _ => Vec::new(),
        };
        let (cells, others) = cells.into_iter().partition(|cell| cell.settings == settings);
        Ok(Self { path, others, cells })
    }

    pub(super) fn has(&self, fault: Fault, strategy: Strategy) -> bool {
        self.cells.iter().any(|cell| (cell.fault, cell.strategy) == (fault, strategy))
    }

    /// Adds a cell, on the disk as well.
    pub(super) fn add(&mut self, cell: Cell) -> anyhow::Result<()> {
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
    use super::super::cell::tests::cell;
    use super::*;

    #[test]
    fn only_cells_of_the_same_settings_are_gone_on_with() {
        let folder = std::env::temp_dir().join(format!("lab-kept-{}", std::process::id()));
        let mut kept = Kept::open(&folder, true, "test").unwrap();
        assert!(kept.cells.is_empty());
        kept.add(cell(Fault::RedisCut, Strategy::PgRow, 0)).unwrap();
        assert!(Kept::open(&folder, true, "test").unwrap().has(Fault::RedisCut, Strategy::PgRow));
        let mut others = Kept::open(&folder, true, "others").unwrap();
        assert!(others.cells.is_empty());
        others.add(Cell { settings: "others".to_owned(), ..cell(Fault::RedisCut, Strategy::None, 1) }).unwrap();
        assert!(Kept::open(&folder, true, "test").unwrap().has(Fault::RedisCut, Strategy::PgRow));
        assert!(Kept::open(&folder, false, "test").unwrap().cells.is_empty());
        std::fs::write(folder.join("booking-faults-cells.json"), "oops").unwrap();
        assert!(Kept::open(&folder, true, "test").is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
