//! How a command ends that did not do what was asked: a sentence, a way on, an exit code.

use std::fmt;

use crate::config::problem::Problem;

/// Exit codes, as `sysexits.h` has them.
pub mod exit {
    /// Not a command, or not its flags.
    pub const USAGE: u8 = 64;
    /// State damaged beyond repair, or input that has changed.
    pub const DATA: u8 = 65;
    /// A source or a daemon cannot be reached.
    pub const UNAVAILABLE: u8 = 69;
    /// A mistake of ours.
    pub const SOFTWARE: u8 = 70;
    /// The memory budget is used up.
    pub const MEMORY: u8 = 71;
    /// The disk.
    pub const IO: u8 = 74;
    /// Try again: the state is in use, results are not ready.
    pub const TRY_AGAIN: u8 = 75;
    /// The configuration, or a state that was made by another.
    pub const CONFIG: u8 = 78;
}

/// Why a command did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Failure {
    /// The exit code: one of [`exit`].
    pub exit_code: u8,
    /// What was being done, and what was seen.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure with a way on.
    pub fn new(exit_code: u8, message: impl Into<String>, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        Failure { exit_code, message: message.into(), hint: (!hint.is_empty()).then_some(hint) }
    }

    /// A configuration that is wrong in these ways.
    pub fn config(problems: &[Problem]) -> Self {
        let list: Vec<String> = problems.iter().map(ToString::to_string).collect();
        let message = match problems.len() {
            1 => list.concat(),
            n => format!("{}\n\n{n} mistakes in the configuration", list.join("\n\n")),
        };
        Failure::new(exit::CONFIG, message, "")
    }

    /// Something that was being done with a file, and could not be.
    pub fn io(doing: impl fmt::Display, error: &std::io::Error) -> Self {
        let hint = match error.kind() {
            std::io::ErrorKind::StorageFull => "make room on the disk, then start again",
            std::io::ErrorKind::PermissionDenied => "give this user access to it",
            _ => "",
        };
        Failure::new(exit::IO, format!("{doing}: {error}"), hint)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}
