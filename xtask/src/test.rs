//! `cargo xtask test`: everything that must hold.

use anyhow::Result;

use crate::process;

/// Test everything: format, lints, docs, the library on its own, all tests.
#[derive(clap::Args)]
pub struct Args {}

impl Args {
    pub fn run(self) -> Result<()> {
        process::run(process::cargo().args(["test", "--workspace"]))
    }
}
