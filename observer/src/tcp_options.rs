//! TCP options (RFC 9293, section 3.2), read where they are wanted.

use crate::sequence::Seq;

/// An option's kind, as IANA lists them.
pub mod kind {
    /// End of option list.
    pub const EOL: u8 = 0;
    /// No operation.
    pub const NOP: u8 = 1;
    /// Maximum segment size (RFC 9293).
    pub const MSS: u8 = 2;
    /// Window scale (RFC 7323).
    pub const WINDOW_SCALE: u8 = 3;
    /// SACK permitted (RFC 2018).
    pub const SACK_PERMITTED: u8 = 4;
    /// SACK (RFC 2018).
    pub const SACK: u8 = 5;
    /// Timestamps (RFC 7323).
    pub const TIMESTAMPS: u8 = 8;
    /// Multipath TCP (RFC 8684).
    pub const MPTCP: u8 = 30;
    /// TCP Fast Open cookie (RFC 7413).
    pub const FAST_OPEN: u8 = 34;
    /// Experiments (RFC 6994).
    pub const EXPERIMENT: u8 = 254;
}

/// The experiment identifier that TCP Fast Open used before it had a kind of its own (RFC 7413, appendix A).
pub const FAST_OPEN_EXPERIMENT: [u8; 2] = [0xf9, 0x89];

/// What a segment's options say, as far as following a connection needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// Maximum segment size in octets.
    pub mss: Option<u16>,
    /// Window scale shift count, as sent (more than 14 means 14).
    pub window_scale: Option<u8>,
    /// SACK permitted.
    pub sack_permitted: bool,
    /// TSval and TSecr.
    pub timestamps: Option<(u32, u32)>,
    /// Octets of Fast Open cookie; 0 asks for one.
    pub fast_open: Option<u8>,
    /// Subtype of the first Multipath TCP option.
    pub mptcp: Option<u8>,
    /// What the Multipath TCP options do: bit n for a subtype n below 8. An MP_CAPABLE counts where it holds a key (the
    /// SYN of RFC 8684 has none).
    pub mptcp_operations: u8,
    /// SACK blocks: left and right edge; the first `sack_blocks` count.
    pub sack: [(Seq, Seq); 4],
    /// How many SACK blocks there are.
    pub sack_blocks: u8,
    /// Left edge of the first SACK block where the rest of it was not captured: captures of 96 octets a packet end there.
    pub sack_begins: Option<Seq>,
    /// The options do not parse to their end.
    pub malformed: bool,
    /// The capture ends before the options do: what was not read may have been there. Set by who knows.
    pub cut: bool,
}

impl TcpOptions {
    /// Reads options from the octets between the fixed header and the payload. What does not parse ends the reading and
    /// is marked `malformed`; what was read before it counts.
    #[inline]
    pub fn parse(octets: &[u8]) -> Self {
        // What nearly every data segment carries.
        if let Some((&[kind::NOP, kind::NOP, kind::TIMESTAMPS, 10], &[a, b, c, d, e, f, g, h])) =
            octets.split_first_chunk()
        {
            let timestamps = Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])));
            return Self { timestamps, ..Self::default() };
        }
        if octets.is_empty() { Self::default() } else { Self::parse_any(octets) }
    }

    #[inline(never)]
    fn parse_any(octets: &[u8]) -> Self {
        let mut options = Self::default();
        for option in iter(octets) {
            match option {
                Ok(option) => options.take(option),
                Err(Malformed(rest)) => {
                    options.malformed = true;
                    if let [kind::SACK, length, a, b, c, d, ..] = *rest
                        && length >= 10
                        && options.sack_blocks == 0
                    {
                        options.sack_begins = Some(Seq(u32::from_be_bytes([a, b, c, d])));
                    }
                }
            }
        }
        options
    }

    /// The SACK blocks.
    pub fn sack(&self) -> &[(Seq, Seq)] {
        self.sack.get(..usize::from(self.sack_blocks)).unwrap_or(&[])
    }

    fn take(&mut self, option: RawOption<'_>) {
        match (option.kind, option.data) {
            (kind::MSS, &[a, b]) => self.mss = Some(u16::from_be_bytes([a, b])),
            (kind::WINDOW_SCALE, &[shift]) => self.window_scale = Some(shift),
            (kind::SACK_PERMITTED, []) => self.sack_permitted = true,
            (kind::TIMESTAMPS, &[a, b, c, d, e, f, g, h]) => {
                self.timestamps = Some((u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])));
            }
            (kind::SACK, blocks) => {
                for (slot, block) in self.sack.iter_mut().zip(blocks.chunks_exact(8)) {
                    if let &[a, b, c, d, e, f, g, h] = block {
                        *slot = (Seq(u32::from_be_bytes([a, b, c, d])), Seq(u32::from_be_bytes([e, f, g, h])));
                        self.sack_blocks += 1;
                    }
                }
            }
            (kind::FAST_OPEN, cookie) => self.fast_open = Some(cookie.len() as u8),
            (kind::EXPERIMENT, data) if data.starts_with(&FAST_OPEN_EXPERIMENT) => {
                self.fast_open = Some((data.len() - FAST_OPEN_EXPERIMENT.len()) as u8);
            }
            (kind::MPTCP, data) => self.take_mptcp(data),
            _ => {}
        }
    }

    fn take_mptcp(&mut self, data: &[u8]) {
        const MP_CAPABLE: u8 = 0;
        const MP_CAPABLE_WITH_KEY: usize = 10;
        let Some(subtype) = data.first().map(|octet| octet >> 4) else { return };
        self.mptcp = self.mptcp.or(Some(subtype));
        if subtype != MP_CAPABLE || data.len() >= MP_CAPABLE_WITH_KEY {
            self.mptcp_operations |= 1u8.checked_shl(subtype.into()).unwrap_or(0);
        }
    }
}

/// One option as it stands in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawOption<'a> {
    /// Its kind.
    pub kind: u8,
    /// What follows kind and length; empty for [`kind::EOL`] and [`kind::NOP`].
    pub data: &'a [u8],
}

/// An option whose length is less than 2 or more than what is left, from its kind to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed<'a>(pub &'a [u8]);

/// The options one by one, up to the end of the list or to the first that does not parse.
pub fn iter(octets: &[u8]) -> impl Iterator<Item = Result<RawOption<'_>, Malformed<'_>>> {
    let mut rest = octets;
    std::iter::from_fn(move || {
        let (&kind, after) = rest.split_first()?;
        match kind {
            kind::EOL => {
                rest = &[];
                None
            }
            kind::NOP => {
                rest = after;
                Some(Ok(RawOption { kind, data: &[] }))
            }
            _ => {
                let whole = after.first().map_or(0, |&length| usize::from(length));
                let option = (whole >= 2).then(|| rest.split_at_checked(whole)).flatten();
                let Some((option, left)) = option else {
                    return Some(Err(Malformed(std::mem::take(&mut rest))));
                };
                rest = left;
                Some(Ok(RawOption { kind, data: option.get(2..).unwrap_or(&[]) }))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_syn_of_linux() {
        let octets = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7];
        let options = TcpOptions::parse(&octets);
        assert_eq!(options.mss, Some(1460));
        assert_eq!(options.window_scale, Some(7));
        assert!(options.sack_permitted && !options.malformed);
        assert_eq!(options.timestamps, Some((9, 0)));
    }

    #[test]
    fn gathers_what_mptcp_does() {
        let keyless = [30, 4, 0x01, 0x81];
        let dss_and_add_address = [30, 4, 0x20, 0x00, 30, 4, 0x31, 0x02];
        let both = |octets: &[u8]| (TcpOptions::parse(octets).mptcp, TcpOptions::parse(octets).mptcp_operations);
        assert_eq!(both(&keyless), (Some(0), 0));
        assert_eq!(both(&dss_and_add_address), (Some(2), 0b1100));
    }

    #[test]
    fn stops_at_a_length_that_cannot_be() {
        for octets in [&[2, 4, 5][..], &[2, 1, 5, 5], &[3]] {
            assert!(TcpOptions::parse(octets).malformed, "{octets:?}");
        }
        assert!(!TcpOptions::parse(&[0, 2, 1]).malformed);
    }

    #[test]
    fn a_block_that_was_cut_has_its_left_edge() {
        let whole = [1, 1, 5, 10, 0, 0, 0, 7, 0, 0, 0, 9];
        assert_eq!(TcpOptions::parse(&whole).sack(), [(Seq(7), Seq(9))]);
        for (octets, begins) in [(10, Some(Seq(7))), (8, Some(Seq(7))), (7, None)] {
            let options = TcpOptions::parse(&whole[..octets]);
            assert_eq!((options.sack_begins, options.sack()), (begins, [].as_slice()));
        }
    }
}
