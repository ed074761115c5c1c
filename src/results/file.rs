//! One file per metric, there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::Format;

/// The end of a file's name.
pub fn extension(format: Format) -> &'static str {
    match format {
        Format::Tsv => "tsv",
        Format::Csv => "csv",
        Format::Json => "json",
        Format::Table => "txt",
    }
}

/// Writes `DIR/<name>`: into a temporary file beside it, made durable, then renamed. The folder is
/// created. Returns the file's path.
pub fn write_file(
    dir: &Path,
    name: &str,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let (path, part) = (dir.join(name), dir.join(format!(".{name}.part")));
    let file = File::create(&part)?;
    let mut out = BufWriter::with_capacity(1 << 16, file);
    write(&mut out)?;
    out.flush()?;
    out.get_ref().sync_all()?;
    fs::rename(&part, &path)?;
    File::open(dir)?.sync_all()?;
    Ok(path)
}
