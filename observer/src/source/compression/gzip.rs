//! gzip (RFC 1952): members, one after the other.

use anyhow::{Result, anyhow};
use flate2::{FlushDecompress, Status};

use super::Decompress;

/// The largest window, which reads data made with any.
const WINDOW_BITS: u8 = 15;

/// gzip between two members, or in one.
#[derive(Debug, Default)]
pub struct Gzip {
    member: Option<flate2::Decompress>,
    members: u64,
    /// The last member is behind us.
    padding: bool,
}

impl Decompress for Gzip {
    fn name(&self) -> &'static str {
        "gzip"
    }

    fn run(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize> {
        if self.padding {
            return Ok(input.len());
        }
        if self.member.is_none() {
            match input {
                [] => return Ok(0),
                // What is no member behind one is padding: gzip(1) takes it so as well, be it zeros or a signature.
                [first, ..] if self.members > 0 && *first != 0x1f => {
                    self.padding = true;
                    return Ok(input.len());
                }
                _ => self.members += 1,
            }
        }
        let member = self.member.get_or_insert_with(|| flate2::Decompress::new_gzip(WINDOW_BITS));
        let before = member.total_in();
        let status = member.decompress_vec(input, out, FlushDecompress::None);
        let taken = (member.total_in() - before) as usize;
        if status.map_err(|error| anyhow!("the gzip data is damaged: {error}"))? == Status::StreamEnd {
            self.member = None;
        }
        Ok(taken)
    }

    fn at_end(&self) -> bool {
        self.member.is_none()
    }
}
