//! What keeps a command from being done: in words for people, as a status for scripts.

use std::io;
use std::process::ExitCode;

use anyhow::Error;

/// Exit status for wrong usage, clap's own.
const USAGE: u8 = 2;

/// What was asked for makes no sense, which shows only once it is tried: what about it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongUsage(pub String);

/// A command could not be started.
#[derive(Debug, thiserror::Error)]
#[error("starting {program}: {cause}")]
pub struct NotStarted {
    /// What it was to be.
    pub program: String,
    /// Why it could not.
    pub cause: io::Error,
}

/// What was being done and why it failed, from the outside in. Some libraries' errors tell their cause themselves: it is told
/// once.
pub fn in_words(error: &Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.ends_with(&cause) {
            continue;
        }
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause);
    }
    text
}

/// The exit status for it: 2 where other words are needed, 1 where they were right; of a command that could not be started,
/// what a shell would give.
pub fn status(error: &Error) -> ExitCode {
    const NOT_FOUND: u8 = 127;
    const NOT_EXECUTABLE: u8 = 126;
    if let Some(NotStarted { cause, .. }) = error.chain().find_map(|cause| cause.downcast_ref()) {
        let is_missing = cause.kind() == io::ErrorKind::NotFound;
        return ExitCode::from(if is_missing { NOT_FOUND } else { NOT_EXECUTABLE });
    }
    if error.chain().any(|cause| cause.is::<WrongUsage>()) { ExitCode::from(USAGE) } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("map error: {0}")]
        struct Telling(#[source] io::Error);
        let cause = || io::Error::other("no room");
        let error = Error::new(Telling(cause())).context("creating the maps");
        assert_eq!(in_words(&error), "creating the maps: map error: no room");
        assert_eq!(in_words(&Error::new(cause()).context("reading")), "reading: no room");
    }

    #[test]
    fn a_command_that_cannot_be_started_ends_like_in_a_shell() {
        let not_started = |kind: io::ErrorKind| {
            let cause = NotStarted { program: "curl".to_string(), cause: kind.into() };
            Error::new(cause).context("tracing")
        };
        assert_eq!(status(&not_started(io::ErrorKind::NotFound)), ExitCode::from(127));
        assert_eq!(status(&not_started(io::ErrorKind::PermissionDenied)), ExitCode::from(126));
        assert!(in_words(&not_started(io::ErrorKind::NotFound)).starts_with("tracing: starting curl: "));
    }

    #[test]
    fn wrong_usage_is_known_below_what_was_being_done() {
        let wrong = Err::<(), _>(WrongUsage("-i is for packets".to_string())).context("opening").unwrap_err();
        assert_eq!(status(&wrong), ExitCode::from(2));
        assert_eq!(status(&anyhow!("no such file")), ExitCode::FAILURE);
    }
}
