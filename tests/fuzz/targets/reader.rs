//! Arbitrary bytes as a capture file, all formats, recordings among them: nothing panics, every frame lies in the bytes, and a capture that is
//! read in small pieces gives what it gives when it is read at once.
#![no_main]

use libfuzzer_sys::fuzz_target;
use observer::capture::{Chunk, Error, Frame, Reader};
use observer_fuzz::follow;

fuzz_target!(|data: &[u8]| {
    let Some((piece, data)) = data.split_first() else { return };
    let (whole, end) = read(data, data.len());
    let (pieces, end_of_pieces) = read(data, 1 + usize::from(*piece));
    assert_eq!(end, end_of_pieces, "the pieces end alike");
    assert_eq!(whole.frames, pieces.frames, "the pieces hold the same frames");
    assert_eq!(whole.marks, pieces.marks, "the pieces hold the same marks");
    follow(&whole);
});

/// Reads a capture that comes in pieces of this many octets. Frames and marks come back in one chunk.
fn read(data: &[u8], piece: usize) -> (Chunk, Result<(), Error>) {
    let mut reader = Reader::new(0);
    let mut all = Chunk { bytes: data.to_vec(), ..Chunk::default() };
    let (mut done, mut there) = (0, 0);
    let end = loop {
        let mut window = Chunk { bytes: data[done..there].to_vec(), ..Chunk::default() };
        let result = reader.read(&mut window);
        let len = window.bytes.len();
        for frame in &window.frames {
            assert!(frame.start as usize + frame.captured as usize <= len, "{frame:?} lies in the window");
            all.frames.push(Frame { start: frame.start + done as u32, ..*frame });
        }
        all.marks.extend(window.marks);
        for comment in &window.comments {
            assert!(comment.start as usize + comment.len as usize <= len, "{comment:?} lies in the window");
        }
        match result {
            Ok(octets) => {
                assert!(octets <= len, "no more is done than was given");
                done += octets;
            }
            Err(error) => break Err(error),
        }
        if there == data.len() {
            break reader.finish(there - done);
        }
        there = data.len().min(there + piece);
    };
    (all, end)
}
