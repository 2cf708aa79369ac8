//! LZ4 frames (the LZ4 frame format, version 1.6.3), one after the other.

use std::hash::Hasher as _;

use anyhow::{Result, bail, ensure};
use lz4_flex::block::decompress_into_with_dict;
use twox_hash::XxHash32;

use super::Decompress;

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// Octets of earlier output that a block may refer to.
const WINDOW: usize = 64 << 10;
/// Set in a block's size where the block is not compressed.
const UNCOMPRESSED: u32 = 1 << 31;

/// A run of LZ4 frames.
#[derive(Debug, Default)]
pub struct Lz4 {
    frame: Option<Frame>,
    /// What is left of a frame to skip.
    skip: u32,
    /// The output that the next block may refer to, and the last block; what was given out ends at `given`.
    output: Vec<u8>,
    given: usize,
}

/// What a frame's header says, and where in the frame we are.
#[derive(Debug)]
struct Frame {
    linked: bool,
    block_checksums: bool,
    content_checksum: Option<XxHash32>,
    max_block: usize,
}

impl Decompress for Lz4 {
    fn name(&self) -> &'static str {
        "lz4"
    }

    fn run(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize> {
        if self.give(out) {
            return Ok(0);
        }
        if self.skip > 0 {
            let skipped = input.len().min(self.skip as usize);
            self.skip -= skipped as u32;
            return Ok(skipped);
        }
        let taken = match self.frame {
            None => self.header(input)?,
            Some(_) => self.block(input)?,
        };
        self.give(out);
        Ok(taken.unwrap_or(0))
    }

    fn at_end(&self) -> bool {
        self.frame.is_none() && self.skip == 0 && self.given == self.output.len()
    }
}

impl Lz4 {
    /// Appends what is at hand to `out`; whether there was any.
    fn give(&mut self, out: &mut Vec<u8>) -> bool {
        let rest = self.output.get(self.given..).unwrap_or(&[]);
        let len = rest.len().min(out.capacity() - out.len());
        out.extend_from_slice(rest.get(..len).unwrap_or(&[]));
        self.given += len;
        len > 0
    }

    /// Takes in the header of a frame; `None` where it is not all there.
    fn header(&mut self, input: &[u8]) -> Result<Option<usize>> {
        let Some((magic, rest)) = input.split_first_chunk::<4>() else { return Ok(None) };
        if let [0x50..=0x5f, 0x2a, 0x4d, 0x18] = magic {
            let Some(size) = rest.first_chunk() else { return Ok(None) };
            self.skip = u32::from_le_bytes(*size);
            return Ok(Some(8));
        }
        ensure!(*magic == MAGIC, "the lz4 data is damaged: a frame starts with {magic:02x?}");
        let [flags, sizes, ..] = *rest else { return Ok(None) };
        ensure!(flags >> 6 == 1, "lz4 frames of version {} are not supported", flags >> 6);
        ensure!(flags & 0x01 == 0, "lz4 frames with a dictionary are not supported");
        let content_size = if flags & 0x08 != 0 { 8 } else { 0 };
        let Some((descriptor, &[checksum, ..])) = rest.split_at_checked(2 + content_size) else { return Ok(None) };
        let expected = (XxHash32::oneshot(0, descriptor) >> 8) as u8;
        ensure!(checksum == expected, "the lz4 data is damaged: a frame header's checksum is wrong");
        let max_block = match sizes >> 4 & 7 {
            exponent @ 4..=7 => 1 << (2 * u32::from(exponent) + 8),
            other => bail!("the lz4 data is damaged: a frame of block size {other}"),
        };
        self.output.clear();
        self.given = 0;
        self.frame = Some(Frame {
            linked: flags & 0x20 == 0,
            block_checksums: flags & 0x10 != 0,
            content_checksum: (flags & 0x04 != 0).then(|| XxHash32::with_seed(0)),
            max_block,
        });
        Ok(Some(4 + descriptor.len() + 1))
    }

    /// Takes in a block, or the end of a frame; `None` where it is not all there.
    fn block(&mut self, input: &[u8]) -> Result<Option<usize>> {
        let Some(frame) = &mut self.frame else { return Ok(None) };
        let Some((size, rest)) = input.split_first_chunk().map(|(size, rest)| (u32::from_le_bytes(*size), rest)) else {
            return Ok(None);
        };
        if size == 0 {
            let Some(hash) = &frame.content_checksum else {
                self.frame = None;
                return Ok(Some(4));
            };
            let Some(checksum) = rest.first_chunk() else { return Ok(None) };
            let right = u32::from_le_bytes(*checksum) == hash.finish() as u32;
            self.frame = None;
            ensure!(right, "the lz4 data is damaged: a frame's checksum is wrong");
            return Ok(Some(8));
        }
        let len = (size & !UNCOMPRESSED) as usize;
        ensure!(
            len <= frame.max_block,
            "the lz4 data is damaged: a block of {len} octets, the most is {}",
            frame.max_block
        );
        let checksum_len = if frame.block_checksums { 4 } else { 0 };
        let (Some(data), Some(tail)) = (rest.get(..len), rest.get(len..len + checksum_len)) else { return Ok(None) };
        if let Some(checksum) = tail.first_chunk() {
            let right = u32::from_le_bytes(*checksum) == XxHash32::oneshot(0, data);
            ensure!(right, "the lz4 data is damaged: a block's checksum is wrong");
        }
        // What the next block may refer to moves to the front.
        let window = if frame.linked { self.output.len().min(WINDOW) } else { 0 };
        self.output.drain(..self.output.len() - window);
        self.given = window;
        if size & UNCOMPRESSED != 0 {
            self.output.extend_from_slice(data);
        } else {
            self.output.resize(window + frame.max_block, 0);
            let (before, block) = self.output.split_at_mut(window);
            let len = decompress_into_with_dict(data, block, before);
            self.output.truncate(window + *len.as_ref().unwrap_or(&0));
            len.map_err(|error| anyhow::anyhow!("the lz4 data is damaged: {error}"))?;
        }
        if let Some(hash) = &mut frame.content_checksum {
            hash.write(self.output.get(window..).unwrap_or(&[]));
        }
        Ok(Some(4 + len + checksum_len))
    }
}
