//! What QUIC's packets are written in: integers of variable length, connection IDs.

/// Octets of the longest connection ID of versions 1 and 2 (RFC 9000, section 17.2).
pub(super) const MOST_ID: usize = 20;

/// Takes things off the front of what is left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[octet]| octet)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// An integer of 1, 2, 4 or 8 octets (RFC 9000, section 16).
    pub(super) fn varint(&mut self) -> Option<u64> {
        let octets = self.take(1 << (self.0.first()? >> 6))?;
        let value = octets.iter().fold(0, |value, octet| value << 8 | u64::from(*octet));
        Some(value & (u64::MAX >> 2 >> (64 - 8 * octets.len())))
    }

    /// As many octets as an integer of variable length before them says.
    pub(super) fn counted(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.varint()?).ok()?;
        self.take(count)
    }

    /// A connection ID behind its length.
    pub(super) fn id(&mut self) -> Option<ConnectionId> {
        let length = self.u8()?;
        ConnectionId::new(self.take(length.into())?)
    }
}

/// A connection ID (RFC 9000, section 5.1): what an end wants to see in the packets that are meant for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    length: u8,
    /// Those beyond `length` are 0.
    octets: [u8; MOST_ID],
}

impl ConnectionId {
    /// `None` where it is longer than versions 1 and 2 know.
    pub fn new(id: &[u8]) -> Option<Self> {
        let mut octets = [0; MOST_ID];
        octets.get_mut(..id.len())?.copy_from_slice(id);
        Some(Self { length: u8::try_from(id.len()).ok()?, octets })
    }

    /// Its octets.
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..self.length.into()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9000, appendix A.1.
    #[test]
    fn integers_of_every_length_are_read() {
        let read = |octets: &[u8]| Reader(octets).varint();
        assert_eq!(read(&[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]), Some(151_288_809_941_952_652));
        assert_eq!(read(&[0x9d, 0x7f, 0x3e, 0x7d]), Some(494_878_333));
        assert_eq!(read(&[0x7b, 0xbd]), Some(15_293));
        assert_eq!(read(&[0x25]), Some(37));
        assert_eq!(read(&[0x40, 0x25]), Some(37));
        assert_eq!(read(&[0x40]), None);
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[0xff; 8]), Some((1 << 62) - 1));
    }

    #[test]
    fn an_id_is_no_longer_than_twenty_octets() {
        assert_eq!(Reader(&[2, 7, 8, 9]).id().map(|id| id.octets().to_vec()), Some(vec![7, 8]));
        assert_eq!(Reader(&[21; 22]).id(), None);
        assert_eq!(Reader(&[3, 7, 8]).id(), None);
    }
}
