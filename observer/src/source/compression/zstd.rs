//! Zstandard (RFC 8878): frames, one after the other.

use anyhow::{Result, anyhow};
use zstd_safe::{DCtx, InBuffer, OutBuffer};

use super::Decompress;

/// A run of zstd frames.
pub struct Zstd {
    context: DCtx<'static>,
    inside: bool,
    /// Octets of the header or block that comes next.
    next: usize,
}

/// Octets that the header of any frame fits into.
const HEADER: usize = 18;

impl Zstd {
    /// Before the first frame. Windows are bounded by the library's default of 128 MiB.
    pub fn new() -> Self {
        Self { context: DCtx::create(), inside: false, next: HEADER }
    }
}

impl std::fmt::Debug for Zstd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Zstd").field("inside", &self.inside).finish_non_exhaustive()
    }
}

impl Decompress for Zstd {
    fn name(&self) -> &'static str {
        "zstd"
    }

    fn run(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize> {
        if input.is_empty() && !self.inside {
            return Ok(0);
        }
        let before = out.len();
        // Damage in one block takes along everything that was decompressed in the same call: one block at a time.
        let input = input.get(..self.next).unwrap_or(input);
        let mut input = InBuffer::around(input);
        let mut output = OutBuffer::around_pos(out, before);
        let hint = self.context.decompress_stream(&mut output, &mut input);
        let hint = hint.map_err(|code| anyhow!("the zstd data is damaged: {}", zstd_safe::get_error_name(code)))?;
        // 0 says that a frame is over and all of it was given out.
        self.inside = hint > 0;
        self.next = if hint > 0 { hint } else { HEADER };
        Ok(input.pos())
    }

    fn at_end(&self) -> bool {
        !self.inside
    }
}
