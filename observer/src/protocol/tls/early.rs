//! Early data (0-RTT; RFC 8446, sections 2.3 and 4.5), by nothing but the lengths and the order of sealed records.

use crate::record::Side;

/// Octets that sealing adds to a record: the kind of what is inside, and the tag.
const SEAL: u16 = 1 + 16;
/// Octets of a sealed EndOfEarlyData: a message's header and nothing more.
const END_OF_EARLY_DATA: u16 = 4 + SEAL;
/// Octets of a sealed Finished, by the hash of the cipher suite.
const FINISHED: [u16; 2] = [4 + 32 + SEAL, 4 + 48 + SEAL];

/// A handshake in which the client has sent early data, from the server's hello on.
#[derive(Debug, Default)]
pub(super) struct Early {
    /// The client has brought its early data to an end, which it does where the server takes it.
    pub(super) ended: bool,
    /// The server has sent its Finished: it may answer.
    server_finished: bool,
}

/// What a sealed record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sealed {
    /// A part of the handshake.
    Handshake,
    /// EndOfEarlyData.
    End,
    /// Early data, or the answer to it.
    Data,
}

impl Early {
    /// What the next record is. Where the session is `resumed`, neither end sends certificates.
    pub(super) fn next(&mut self, from: Side, length: u16, resumed: bool) -> Sealed {
        match from {
            Side::Server if self.server_finished => Sealed::Data,
            Side::Server => {
                self.server_finished = resumed && FINISHED.contains(&length);
                Sealed::Handshake
            }
            Side::Client if self.ended || !resumed || FINISHED.contains(&length) => Sealed::Handshake,
            Side::Client if length == END_OF_EARLY_DATA => {
                self.ended = true;
                Sealed::End
            }
            Side::Client => Sealed::Data,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Side::*;

    #[test]
    fn records_are_told_by_length_and_order() {
        let mut early = Early::default();
        let records = [(Server, 23), (Client, 300), (Server, 69), (Server, 500), (Client, 21), (Client, 69)];
        let seen = records.map(|(from, length)| early.next(from, length, true));
        use Sealed::*;
        assert_eq!(seen, [Handshake, Data, Handshake, Data, End, Handshake]);
        assert!(early.ended);
    }

    #[test]
    fn refused_early_data_has_no_end() {
        let mut early = Early::default();
        assert_eq!(early.next(Client, 53, true), Sealed::Handshake);
        assert!(!early.ended);
        let mut early = Early::default();
        // A certificate of the client's.
        assert_eq!(early.next(Client, 900, false), Sealed::Handshake);
    }
}
