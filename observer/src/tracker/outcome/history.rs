//! The letters of a connection's history, without heap for ordinary ones.

use std::fmt;

use crate::tracker::pack::{Pack, Packer, Unpacker};

/// How many letters a history holds. Only letters that differ in sequence number repeat without end (`f h r s`), so that
/// none but a flood of made-up segments comes near it; what comes after is left out.
pub const MAX_LETTERS: usize = 1024;

const INLINE: usize = 14;

/// Letters in the order of what they stand for.
#[derive(Clone, PartialEq, Eq)]
pub struct History(Letters);

#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::box_collection, reason = "one pointer where most connections keep their letters")]
enum Letters {
    Inline { len: u8, letters: [u8; INLINE] },
    Heap(Box<String>),
}

impl History {
    /// Adds one ASCII letter.
    pub fn push(&mut self, letter: u8) {
        match &mut self.0 {
            Letters::Inline { len, letters } => match letters.get_mut(usize::from(*len)) {
                Some(slot) => {
                    *slot = letter;
                    *len += 1;
                }
                None => {
                    let mut text = Box::new(String::from(self.as_str()));
                    text.push(char::from(letter));
                    self.0 = Letters::Heap(text);
                }
            },
            Letters::Heap(text) if text.len() < MAX_LETTERS => text.push(char::from(letter)),
            Letters::Heap(_) => {}
        }
    }

    /// The letters.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Letters::Inline { len, letters } => {
                letters.get(..usize::from(*len)).and_then(|letters| std::str::from_utf8(letters).ok()).unwrap_or("")
            }
            Letters::Heap(text) => text,
        }
    }
}

impl Default for History {
    fn default() -> Self {
        Self(Letters::Inline { len: 0, letters: [0; INLINE] })
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl Pack for History {
    fn pack(&self, to: &mut Packer) {
        self.as_str().len().pack(to);
        self.as_str().bytes().for_each(|letter| letter.pack(to));
    }

    fn unpack(from: &mut Unpacker<'_>) -> Self {
        let mut history = Self::default();
        (0..usize::unpack(from)).for_each(|_| history.push(u8::unpack(from)));
        history
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_onto_the_heap_and_stops_at_its_bound() {
        let mut history = History::default();
        let mut expected = String::new();
        for letter in b"ShADadFfRr^TtGgWwCcIiQq".iter().cycle().take(MAX_LETTERS + 50) {
            history.push(*letter);
            if expected.len() < MAX_LETTERS {
                expected.push(char::from(*letter));
            }
            assert_eq!(history.as_str(), expected);
        }
        assert_eq!(size_of::<History>(), 16);
    }
}
