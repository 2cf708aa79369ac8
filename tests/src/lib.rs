//! What the end-to-end tests share, and `cargo xtask` with them: where things are, how observer is run, what its records
//! are held against.

pub mod expect;
pub mod live;
pub mod protocols;
pub mod run;
pub mod tshark;

use std::fs;
use std::path::{Path, PathBuf};

/// The folder that holds the workspace.
pub fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// The folder of the project's own captures.
pub fn captures() -> PathBuf {
    root().join("captures")
}

/// The project's own captures, by name.
///
/// # Panics
/// Where there are none.
pub fn capture_files() -> Vec<PathBuf> {
    let folder = captures();
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("reading {}: {e}", folder.display()));
    let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
    let mut captures: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|end| end == "pcapng")).collect();
    assert!(!captures.is_empty(), "{} holds no captures", folder.display());
    captures.sort_by_key(|path| stem(path));
    captures
}

/// The name of a capture.
pub fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Says that a test cannot run here, in the form that `cargo xtask test` counts.
pub fn skip(what: &str, why: &str) {
    eprintln!("skipped: {what}: {why}");
}
