//! Where frames come from.

mod addresses;
mod clock;
mod commands;
mod compression;
pub mod conntrack;
pub mod ebpf;
pub mod features;
mod file;
mod filter;
pub mod gauges;
mod input;
pub mod libpcap;
mod links;
pub mod live;
mod merge;
pub mod namespace;
mod netlink;
mod nft;
pub mod owner;
mod porter;
mod progress;
pub mod rights;
pub mod services;
pub mod sock_diag;
mod stat;
#[cfg(test)]
mod tests;
pub mod translations;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use observer::capture::Chunk;
use observer::record::FileRecord;

pub use progress::Progress;

use file::FileSource;
use filter::{Filter, Filtered};
use merge::Merge;

/// The most files that can be told apart ([`observer::packet::FrameId::file`]).
const MAX_FILES: usize = 1 << 16;

/// Gives frames in the order they are to be handled.
pub trait Source: Send {
    /// Replaces the contents of `chunk` with the next frames. An empty chunk is no end: it lets a streaming caller get a
    /// word in. Trouble with one input is kept in its [`FileRecord`] and does not stop the others.
    fn fill(&mut self, chunk: &mut Chunk) -> anyhow::Result<Fill>;

    /// Whether this is a recording of observer, whose marks [`Chunk::marks`] holds. Before anything else is asked; may
    /// read ahead.
    fn is_recording(&mut self) -> anyhow::Result<bool>;

    /// What was read so far, input by input.
    fn files(&self) -> Vec<FileRecord>;

    /// Frames that the filter left out so far.
    fn filtered(&self) -> u64;

    /// How far the reading is; may be asked from another thread while it goes on.
    fn progress(&self) -> Arc<Progress>;
}

/// Whether more may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Ask again.
    More,
    /// That was all.
    End,
}

/// How to read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// An expression in libpcap's filter language; frames it does not match are counted and left out.
    pub filter: Option<String>,
    /// At the end of a file, wait for more.
    pub follow: bool,
    /// Set to end the reading soon, as if the input ended: for a signal handler.
    pub stop: Arc<AtomicBool>,
}

/// Opens captures for reading, `-` for standard input, in the order of their timestamps if there are several. A file
/// that cannot be opened or read is told in its [`FileRecord`].
///
/// # Errors
/// When the filter does not compile.
pub fn open(paths: &[PathBuf], options: Options) -> anyhow::Result<Box<dyn Source>> {
    if paths.len() > MAX_FILES {
        anyhow::bail!("{} files are named, and at most {MAX_FILES} can be read at once", paths.len());
    }
    let filter = options.filter.as_deref().map(Filter::new).transpose()?;
    let source: Box<dyn Source> = match paths {
        [path] => Box::new(FileSource::open(path, &options)),
        _ => Box::new(Merge::open(paths, options)),
    };
    Ok(match filter {
        Some(filter) => Box::new(Filtered::new(source, filter)),
        None => source,
    })
}
