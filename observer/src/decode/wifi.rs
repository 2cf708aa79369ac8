//! IEEE 802.11 data frames, and the headers that captures put in front of them.

use super::bytes::{Bytes, Miss, Outcome, be16};
use super::walk::Walk;

impl Walk<'_> {
    /// A MAC frame. What is not data, holds no data or is encrypted holds no TCP to be seen.
    pub(super) fn wifi(&mut self, bytes: Bytes<'_>) -> Outcome {
        self.mac_frame(*bytes.peek()?, bytes, false)
    }

    /// The same from equipment that may have swapped the octets of the frame control field.
    pub(super) fn wifi_either_order(&mut self, bytes: Bytes<'_>) -> Outcome {
        /// Version 0 and type data.
        const IS_DATA: u8 = 0x08;
        let &[first, second] = bytes.peek()?;
        let swapped = first & 0x0f != IS_DATA && second & 0x0f == IS_DATA;
        self.mac_frame(if swapped { [second, first] } else { [first, second] }, bytes, false)
    }

    /// A MAC frame with its frame control field; `padded` where its header is filled up to a multiple of four octets.
    fn mac_frame(&mut self, [control, flags]: [u8; 2], bytes: Bytes<'_>, padded: bool) -> Outcome {
        const VERSION: u8 = 0x03;
        const DATA: u8 = 2;
        const NO_DATA: u8 = 0x4;
        const QOS: u8 = 0x8;
        const TO_AND_FROM_DS: u8 = 0x03;
        const PROTECTED: u8 = 0x40;
        const HT_CONTROL: u8 = 0x80;
        const A_MSDU: u8 = 0x80;
        let (kind, subtype) = ((control >> 2) & 0x3, control >> 4);
        if control & VERSION != 0 || kind != DATA || subtype & NO_DATA != 0 || flags & PROTECTED != 0 {
            return Err(Miss::Other);
        }
        let mut header = if flags & TO_AND_FROM_DS == TO_AND_FROM_DS { 30 } else { 24 };
        let mut several = false;
        if subtype & QOS != 0 {
            let (&[qos, _], _) = bytes.skip(header)?.split()?;
            several = qos & A_MSDU != 0;
            header += if flags & HT_CONTROL != 0 { 6 } else { 2 };
        }
        let body = bytes.skip(if padded { header.next_multiple_of(4) } else { header })?;
        if several { self.aggregate(body) } else { self.llc(body) }
    }

    /// An A-MSDU: subframes of two addresses, a length and LLC, each but the last filled up to a multiple of four.
    fn aggregate(&mut self, mut bytes: Bytes<'_>) -> Outcome {
        let mark = self.mark();
        let mut outcome = Err(Miss::Other);
        while let Ok(([.., a, b], rest)) = bytes.split::<14>() {
            let length = be16([*a, *b]);
            self.back_to(mark);
            outcome = self.llc(rest.limit(u32::from(length)));
            let whole = (14 + usize::from(length)).next_multiple_of(4);
            match bytes.skip(whole) {
                Ok(next) => bytes = next,
                Err(_) => break,
            }
        }
        outcome
    }

    /// Radiotap (radiotap.org): its length, and whether the frame ends with an FCS and has its header padded.
    pub(super) fn radiotap(&mut self, bytes: Bytes<'_>) -> Outcome {
        const TSFT: u32 = 1;
        const FLAGS: u32 = 1 << 1;
        const MORE: u32 = 1 << 31;
        const HAS_FCS: u8 = 0x10;
        const PADDED: u8 = 0x20;
        let (&[_, _, a, b, present @ ..], mut rest) = bytes.split::<8>()?;
        let length = u16::from_le_bytes([a, b]);
        let present = u32::from_le_bytes(present);
        let frame = bytes.skip(usize::from(length))?;
        let mut more = present & MORE != 0;
        while more {
            let (&word, after) = rest.split()?;
            (more, rest) = (u32::from_le_bytes(word) & MORE != 0, after);
        }
        let mut flags = 0;
        if present & FLAGS != 0 {
            let mut at = (rest.start() - bytes.start()) as usize;
            if present & TSFT != 0 {
                at = at.next_multiple_of(8) + 8;
            }
            let &[octet] = bytes.skip(at)?.peek()?;
            flags = octet;
        }
        let fcs = if flags & HAS_FCS != 0 { 4 } else { 0 };
        let frame = frame.limit(frame.wire().saturating_sub(fcs));
        self.mac_frame(*frame.peek()?, frame, flags & PADDED != 0)
    }

    /// The header of Prism cards (144 octets), or AVS's in its place, which starts with a number of its own.
    pub(super) fn prism(&mut self, bytes: Bytes<'_>) -> Outcome {
        const PRISM: usize = 144;
        match bytes.peek()? {
            [0x80, 0x21, 0x10, 1 | 2] => self.avs(bytes),
            _ => self.wifi(bytes.skip(PRISM)?),
        }
    }

    /// AVS's header: a version, then its length.
    pub(super) fn avs(&mut self, bytes: Bytes<'_>) -> Outcome {
        let &[_, _, _, _, length @ ..] = bytes.peek::<8>()?;
        self.wifi(bytes.skip(u32::from_be_bytes(length) as usize)?)
    }
}
