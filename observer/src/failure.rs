//! What keeps a command from being done: in words for people, as a status for scripts.

use std::process::ExitCode;

use anyhow::Error;

/// Exit status for wrong usage, clap's own.
const USAGE: u8 = 2;

/// What was asked for makes no sense, which shows only once it is tried: what about it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongUsage(pub String);

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

/// The exit status for it: 2 where other words are needed, 1 where they were right.
pub fn status(error: &Error) -> ExitCode {
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
        struct Telling(#[source] std::io::Error);
        let cause = || std::io::Error::other("no room");
        let error = Error::new(Telling(cause())).context("creating the maps");
        assert_eq!(in_words(&error), "creating the maps: map error: no room");
        assert_eq!(in_words(&Error::new(cause()).context("reading")), "reading: no room");
    }

    #[test]
    fn wrong_usage_is_known_below_what_was_being_done() {
        let wrong = Err::<(), _>(WrongUsage("-i is for packets".to_string())).context("opening").unwrap_err();
        assert_eq!(status(&wrong), ExitCode::from(2));
        assert_eq!(status(&anyhow!("no such file")), ExitCode::FAILURE);
    }
}
