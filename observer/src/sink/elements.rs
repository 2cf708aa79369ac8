//! Elements of one JSON array, which come in any order and go out in the order of their keys.

use std::io::{self, Write};

use anyhow::Result;
use serde::Serialize;

use super::printer::Printer;
use super::spool::Key;

/// The elements of one shard, kept within bounds until all are there.
pub struct Elements(Printer);

impl Elements {
    /// No elements.
    pub fn new() -> Self {
        Self(Printer::ordered())
    }

    /// Adds one.
    pub fn push(&mut self, key: Key, element: &impl Serialize) -> Result<()> {
        self.0.print(key, |buffer| {
            buffer.extend_from_slice(b",\n");
            Ok(serde_json::to_writer(buffer, element)?)
        })
    }

    /// Whether there are any.
    pub const fn has_printed(&self) -> bool {
        self.0.has_printed()
    }

    /// Writes those of all shards, a line each, without the brackets around them.
    pub fn finish(all: Vec<Self>, out: &mut dyn Write) -> Result<()> {
        let printers = all.into_iter().map(|elements| elements.0).collect();
        Printer::finish(printers, usize::MAX, &mut WithoutFirst { out, is_past: false })
    }
}

/// Leaves out the first octet: the comma that stands before the first element.
struct WithoutFirst<'a> {
    out: &'a mut dyn Write,
    is_past: bool,
}

impl Write for WithoutFirst<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match octets.split_first() {
            Some((_, rest)) if !self.is_past => {
                self.is_past = true;
                self.out.write_all(rest)?;
                Ok(octets.len())
            }
            _ => self.out.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_all_shards_make_one_array() {
        let print = |keys: &[&[u64]]| {
            let shards = keys.iter().map(|keys| {
                let mut elements = Elements::new();
                keys.iter().for_each(|key| elements.push((*key, 0), key).expect("it fits in memory"));
                elements
            });
            let mut out = Vec::new();
            Elements::finish(shards.collect(), &mut out).expect("memory can be written to");
            String::from_utf8(out).expect("JSON is text")
        };
        assert_eq!(print(&[&[], &[]]), "");
        assert_eq!(print(&[&[3, 1], &[2]]), "\n1,\n2,\n3");
    }
}
