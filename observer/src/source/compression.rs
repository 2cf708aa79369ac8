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

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn samples() -> Vec<Vec<u8>> {
        let plain: Vec<u8> = (0..3_000_u32).flat_map(|i| (i * i / 7).to_le_bytes()).collect();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).expect("compressing");
        let mut zstd = Vec::with_capacity(zstd_safe::compress_bound(plain.len()));
        zstd_safe::compress(&mut zstd, &plain, 1).expect("compressing");
        let lz4 = |info: lz4_flex::frame::FrameInfo| {
            let info = info.block_size(lz4_flex::frame::BlockSize::Max64KB);
            let mut lz4 = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
            plain.chunks(5_000).for_each(|piece| {
                lz4.write_all(piece).expect("compressing");
                lz4.flush().expect("compressing");
            });
            lz4.finish().expect("compressing")
        };
        let info = lz4_flex::frame::FrameInfo::new;
        let linked = info().block_mode(lz4_flex::frame::BlockMode::Linked).content_checksum(true);
        vec![gzip.finish().expect("compressing"), zstd, lz4(info().block_checksums(true)), lz4(linked)]
    }

    /// Decompresses input that comes in pieces into room that comes in pieces.
    fn run(bytes: &[u8], piece: usize, room: usize) -> (Vec<u8>, Result<()>) {
        let Some(mut decompress) = bytes.first_chunk().and_then(|magic| detect(*magic)) else {
            return (Vec::new(), Ok(()));
        };
        let (mut all, mut done, mut there) = (Vec::new(), 0, 0);
        loop {
            let mut out = Vec::with_capacity(room);
            let taken = decompress.run(&bytes[done..there], &mut out);
            assert_eq!(out.capacity(), room, "it stays within the room");
            all.append(&mut out.clone());
            match taken {
                Ok(0) if out.is_empty() && there == bytes.len() => return (all, Ok(())),
                Ok(0) if out.is_empty() => there = bytes.len().min(there + piece),
                Ok(taken) => done += taken,
                Err(error) => return (all, Err(error)),
            }
            assert!(done <= there, "no more is taken than was given");
            assert!(all.len() < 16 << 20, "little input, little output");
        }
    }

    #[test]
    fn pieces_give_what_the_whole_gives() {
        for sample in samples() {
            let (whole, end) = run(&sample, sample.len(), 1 << 20);
            assert!(end.is_ok() && whole.len() == 12_000, "{:?} of {} octets", end, whole.len());
            for (piece, room) in [(1, 1), (1, 1 << 16), (7, 100), (1000, 3)] {
                let (pieces, end) = run(&sample, piece, room);
                assert!(end.is_ok() && pieces == whole, "pieces of {piece} into {room}: {end:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn damage_does_no_harm(
            sample in 0..4_usize,
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            piece in 1..2_000_usize,
            room in 1..100_000_usize,
        ) {
            let mut bytes = samples().swap_remove(sample);
            for (index, value) in flips {
                let at = index.index(bytes.len());
                bytes[at] ^= value;
            }
            let _end = run(&bytes, piece, room);
        }
    }
}
