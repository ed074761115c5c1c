//! A folder for one test, with a folder of input in it; both go with it.

use std::path::PathBuf;

/// The folder.
pub struct Room(tempfile::TempDir);

impl Room {
    /// With nothing but an empty folder `in`.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(dir.path().join("in")).expect("a folder within");
        Room(dir)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The same as text.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_str().expect("a path of UTF-8").to_string()
    }

    /// Writes a file; its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).expect("writable");
        self.text(name)
    }
}
