use thiserror::Error;

/// Why the reading of a capture stopped, and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("at byte {offset}: {kind}")]
pub struct Error {
    /// Octets from the start of the capture (after decompression) to the record that could not be read.
    pub offset: u64,
    /// What is wrong with it.
    pub kind: ErrorKind,
}

/// What is wrong with a capture.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ErrorKind {
    /// No octets at all.
    #[error("the file is empty")]
    Empty,
    /// None of the formats.
    #[error("not a capture: it starts with {0}, and neither pcap, pcapng nor snoop does")]
    Unknown(String),
    /// The capture ends inside a record.
    #[error("cut short: the {what} takes {need} octets, {got} are left")]
    Truncated {
        /// What it ends in.
        what: &'static str,
        /// How many octets that takes at least.
        need: u64,
        /// How many there are.
        got: u64,
    },
    /// A version of the format that nobody reads.
    #[error("{format} version {major}.{minor} is not supported")]
    Version {
        /// The format.
        format: &'static str,
        /// Major version.
        major: u32,
        /// Minor version.
        minor: u32,
    },
    /// More captured octets than any capture takes.
    #[error("damaged: a packet of {length} octets, the most is {max}")]
    PacketLength {
        /// Captured length as claimed.
        length: u32,
        /// The most that is taken for possible.
        max: u32,
    },
    /// A record or block whose length cannot be.
    #[error("damaged: a {what} of {length} octets")]
    Length {
        /// What it is.
        what: &'static str,
        /// Its length as claimed.
        length: u32,
    },
    /// The two lengths around a pcapng block differ.
    #[error("damaged: a block of {head} octets by its head, {tail} by its tail")]
    BlockEnds {
        /// Length before the block's body.
        head: u32,
        /// Length after it.
        tail: u32,
    },
    /// The byte-order magic of a pcapng section is none.
    #[error("damaged: a section with byte-order magic {0:#010x}")]
    ByteOrder(u32),
    /// What observer itself put between packets cannot be read.
    #[error("{0}")]
    Recording(#[from] crate::recording::Error),
    /// A pcapng packet of an interface that was not described.
    #[error("damaged: a packet of interface {interface}, {described} are described")]
    Interface {
        /// The interface's number.
        interface: u32,
        /// How many the section described before.
        described: usize,
    },
    /// More interfaces than are told apart.
    #[error("more than {0} interfaces")]
    TooManyInterfaces(usize),
}
