//! How the command ends.

use std::process::{ExitCode, Termination};

/// What the shell is told. Arguments that make no sense end with 2, which clap and [`usage`] see to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything is as it should be.
    Success,
    /// Something is wrong, and was said on the standard error.
    Failure,
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        match self {
            Self::Success => ExitCode::SUCCESS,
            Self::Failure => ExitCode::FAILURE,
        }
    }
}

/// Ends the process over arguments that are fine one by one, but not together.
pub(crate) fn usage(message: impl std::fmt::Display) -> ! {
    clap::Error::raw(clap::error::ErrorKind::ValueValidation, format!("{message}\n")).exit()
}
