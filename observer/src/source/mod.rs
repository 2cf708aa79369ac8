//! Where frames come from.

use observer::capture::Chunk;
use observer::record::FileRecord;

/// Gives frames in the order they are to be handled.
pub trait Source: Send {
    /// Replaces the contents of `chunk` with the next frames. An empty chunk is no end: it lets a streaming caller get a
    /// word in. Trouble with one input is kept in its [`FileRecord`] and does not stop the others.
    fn fill(&mut self, chunk: &mut Chunk) -> anyhow::Result<Fill>;

    /// What was read so far, input by input.
    fn files(&self) -> Vec<FileRecord>;

    /// Frames that the filter left out so far.
    fn filtered(&self) -> u64;
}

/// Whether more may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Ask again.
    More,
    /// That was all.
    End,
}
