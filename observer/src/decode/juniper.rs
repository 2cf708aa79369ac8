//! The header that Juniper routers put in front of captured frames.

use super::bytes::{Bytes, Miss, Outcome, be16};
use super::walk::Walk;

impl Walk<'_> {
    /// A number of its own, flags, perhaps extensions; then the frame as its link type says, or IP without a link-layer
    /// header where the flags say so.
    pub(super) fn juniper(&mut self, link: u16, bytes: Bytes<'_>) -> Outcome {
        const MAGIC: [u8; 3] = *b"MGC";
        const EXTENSIONS: u8 = 0x80;
        const NO_LINK_HEADER: u8 = 0x02;
        /// What services PICs put between.
        const COOKIE: usize = 8;
        let (&[a, b, c, flags], mut rest) = bytes.split()?;
        if [a, b, c] != MAGIC {
            return Err(Miss::Malformed);
        }
        if flags & EXTENSIONS != 0 {
            let (&length, after) = rest.split()?;
            rest = after.skip(usize::from(be16(length)))?;
        }
        if flags & NO_LINK_HEADER != 0 {
            return self.ip(rest.skip(4)?);
        }
        match link {
            136 | 164 => self.ip(rest.skip(COOKIE)?),
            167 | 178 => self.ethernet(rest),
            168 => self.ethertype_after(rest),
            179 => self.ppp(rest),
            180 => self.frame_relay(rest),
            181 => self.cisco_hdlc(rest),
            _ => Err(Miss::UnknownLink),
        }
    }
}
