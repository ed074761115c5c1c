//! One file per metric, there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::Format;
use crate::cli::Failure;

/// The end of a file's name.
pub fn extension(format: Format) -> &'static str {
    match format {
        Format::Tsv => "tsv",
        Format::Csv => "csv",
        Format::Json => "json",
        Format::Table => "txt",
    }
}

/// Tries whether files can be written to a folder, before everything is read for them. Nothing is
/// left behind: a folder that is there has results in it.
pub fn check(dir: &Path) -> Result<(), Failure> {
    let new: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
    let tried = Part::write(dir, "results", |_| Ok(())).map(drop);
    for dir in new.into_iter().filter(|dir| !dir.as_os_str().is_empty()) {
        let _ = fs::remove_dir(dir);
    }
    tried.map_err(|e| Failure::io(format_args!("writing results to {}", dir.display()), &e))
}

/// A file that is written and durable under a temporary name. Dropped, it goes.
#[derive(Debug)]
pub struct Part {
    part: PathBuf,
    path: PathBuf,
}

impl Part {
    /// Writes what is to be `DIR/<name>` into a temporary file beside it, made durable. The folder
    /// is created.
    pub fn write(
        dir: &Path,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let part = Part { part: dir.join(format!(".{name}.part")), path: dir.join(name) };
        let mut out = BufWriter::with_capacity(1 << 16, File::create(&part.part)?);
        write(&mut out)?;
        out.flush()?;
        out.get_ref().sync_all()?;
        Ok(part)
    }

    /// What its name is going to be.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives the file its name, in place of the one that had it; the path.
    pub fn rename(self) -> io::Result<PathBuf> {
        fs::rename(&self.part, &self.path)?;
        if let Some(dir) = self.path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(self.path.clone())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It is not there any more if it got its name.
        let _ = fs::remove_file(&self.part);
    }
}
