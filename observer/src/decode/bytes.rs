//! A stretch of one frame's octets.

/// Why a frame, or a part of one, gave no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    /// It holds something other than TCP.
    Other,
    /// Its headers contradict themselves, or end before they are complete.
    Malformed,
    /// The capture kept too little of it to tell.
    Cut,
    /// It is an IP fragment that waits for the others.
    Waiting,
    /// Its link layer is none that is known here.
    UnknownLink,
}

/// What decoding a part of a frame comes to.
pub(super) type Outcome = Result<(), Miss>;

/// A stretch of a frame: its octets as far as captured, where they lie, and how many there were on the wire.
///
/// The captured octets are never more than those on the wire.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes<'a> {
    data: &'a [u8],
    start: u32,
    wire: u32,
}

impl<'a> Bytes<'a> {
    /// Octets that start at `start` of the buffer that spans point into; `wire` is raised to what was captured where a
    /// file claims less.
    pub(super) fn new(data: &'a [u8], start: u32, wire: u32) -> Self {
        Self { data, start, wire: wire.max(u32::try_from(data.len()).unwrap_or(u32::MAX)) }
    }

    /// What was captured.
    pub(super) fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Where the first octet lies in the buffer that spans point into.
    pub(super) fn start(&self) -> u32 {
        self.start
    }

    /// Octets on the wire.
    pub(super) fn wire(&self) -> u32 {
        self.wire
    }

    /// Octets captured.
    pub(super) fn captured(&self) -> u32 {
        self.data.len() as u32
    }

    /// Whether the capture holds all of it.
    pub(super) fn is_whole(&self) -> bool {
        self.captured() == self.wire
    }

    /// What to say where `need` octets are wanted and were not captured.
    pub(super) fn short(&self, need: usize) -> Miss {
        if need > self.wire as usize { Miss::Malformed } else { Miss::Cut }
    }

    /// The first `N` octets.
    pub(super) fn peek<const N: usize>(&self) -> Result<&'a [u8; N], Miss> {
        self.data.first_chunk().ok_or_else(|| self.short(N))
    }

    /// The first `N` octets, and what follows them.
    pub(super) fn split<const N: usize>(self) -> Result<(&'a [u8; N], Self), Miss> {
        match self.data.split_first_chunk() {
            Some((head, data)) => Ok((head, Self { data, start: self.start + N as u32, wire: self.wire - N as u32 })),
            None => Err(self.short(N)),
        }
    }

    /// What follows the first `count` octets.
    pub(super) fn skip(self, count: usize) -> Result<Self, Miss> {
        match self.data.get(count..) {
            Some(data) => Ok(Self { data, start: self.start + count as u32, wire: self.wire - count as u32 }),
            None => Err(self.short(count)),
        }
    }

    /// What follows the first `count` octets on the wire, where the capture ends before that: none of it was captured.
    pub(super) fn beyond(self, count: u32) -> Self {
        Self { data: &[], start: self.start + self.captured(), wire: self.wire.saturating_sub(count) }
    }

    /// The same, cut to at most `wire` octets.
    pub(super) fn limit(self, wire: u32) -> Self {
        if wire >= self.wire {
            return self;
        }
        Self { data: self.data.get(..wire as usize).unwrap_or(self.data), start: self.start, wire }
    }
}

/// Two octets in network order.
pub(super) const fn be16(octets: [u8; 2]) -> u16 {
    u16::from_be_bytes(octets)
}
