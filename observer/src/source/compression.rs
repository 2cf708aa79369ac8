//! gzip, zstd and lz4, told by their magic numbers and decompressed within whatever room there is.

mod gzip;
mod lz4;
mod zstd;

use anyhow::Result;

/// Octets that tell the compression.
pub const MAGIC: usize = 4;

/// Turns compressed bytes into the bytes they stand for, piece by piece.
pub trait Decompress: std::fmt::Debug + Send {
    /// As the record of a file has it.
    fn name(&self) -> &'static str;

    /// Decompresses from the front of `input` and appends to `out`, within its capacity. Returns how many octets of
    /// `input` were taken in. When that is none and nothing was appended, it takes more input to go on.
    ///
    /// # Errors
    /// When the data is damaged; what was before the damage has been appended.
    fn run(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize>;

    /// Whether what was taken in ends where compressed data may end.
    fn at_end(&self) -> bool;
}

/// What decompresses data with the given magic number; `None` for data that is not compressed.
pub fn detect(magic: [u8; MAGIC]) -> Option<Box<dyn Decompress>> {
    Some(match magic {
        [0x1f, 0x8b, ..] => Box::new(gzip::Gzip::default()),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::Zstd::new()),
        // A frame to skip: pzstd puts one before each of its own.
        [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Box::new(zstd::Zstd::new()),
        [0x04, 0x22, 0x4d, 0x18] => Box::new(lz4::Lz4::default()),
        _ => return None,
    })
}
