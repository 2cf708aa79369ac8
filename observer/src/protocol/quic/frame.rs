//! Frames of Initial packets (RFC 9000, section 19): PADDING, PING, ACK, CRYPTO and CONNECTION_CLOSE, and no others.

use super::wire::Reader;

/// A frame that tells something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame<'a> {
    /// Octets of handshake messages, from this offset on.
    Crypto { offset: u64, data: &'a [u8] },
    /// The connection is over.
    Close { code: u64, frame: Option<u64>, reason: &'a [u8] },
}

/// Reads frames one after the other; those that tell nothing are left out. The last one is an error where they contradict
/// themselves.
pub(super) struct Frames<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, ()>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = Reader(self.0);
        while !reader.0.is_empty() {
            match frame(&mut reader) {
                Some(Some(frame)) => {
                    self.0 = reader.0;
                    return Some(Ok(frame));
                }
                Some(None) => {}
                None => {
                    self.0 = &[];
                    return Some(Err(()));
                }
            }
        }
        self.0 = &[];
        None
    }
}

/// One frame; `None` where it contradicts itself or does not belong here, `Some(None)` where it tells nothing.
fn frame<'a>(reader: &mut Reader<'a>) -> Option<Option<Frame<'a>>> {
    match reader.varint()? {
        // PADDING, PING.
        0 | 1 => {}
        kind @ (2 | 3) => {
            // ACK: largest, delay, count of further ranges, first range; then the ranges, and the counts of ECN marks.
            let [_, _, ranges, _] = [reader.varint()?, reader.varint()?, reader.varint()?, reader.varint()?];
            for _ in 0..ranges {
                reader.varint().and(reader.varint())?;
            }
            if kind == 3 {
                reader.varint().and(reader.varint()).and(reader.varint())?;
            }
        }
        6 => {
            let offset = reader.varint()?;
            return Some(Some(Frame::Crypto { offset, data: reader.counted()? }));
        }
        kind @ (0x1c | 0x1d) => {
            let code = reader.varint()?;
            let frame = if kind == 0x1c { Some(reader.varint()?) } else { None };
            return Some(Some(Frame::Close { code, frame, reason: reader.counted()? }));
        }
        _ => return None,
    }
    Some(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_to_the_end_or_to_what_contradicts_itself() {
        let ack = [3, 9, 0, 1, 0, 0, 0, 1, 2, 3];
        let octets = [&[0, 0, 1], &ack[..], &[6, 4, 2, 7, 8], &[0x1c, 0x41, 0x28, 6, 1, b'x'], &[0]].concat();
        let close = Frame::Close { code: 0x128, frame: Some(6), reason: b"x" };
        let expected = [Ok(Frame::Crypto { offset: 4, data: &[7, 8] }), Ok(close)];
        assert_eq!(Frames(&octets).collect::<Vec<_>>(), expected);
        // STREAM does not belong here; CRYPTO that is longer than its packet.
        assert_eq!(Frames(&[8, 0, 0]).collect::<Vec<_>>(), [Err(())]);
        assert_eq!(Frames(&[1, 6, 0, 9, 1]).collect::<Vec<_>>(), [Err(())]);
        // An ACK that claims 2^62 ranges.
        assert_eq!(Frames(&[2, 0, 0, 0xff, 255, 255, 255, 255, 255, 255, 255, 0]).collect::<Vec<_>>(), [Err(())]);
    }
}
