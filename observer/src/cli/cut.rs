//! Cuts the packets of one connection out of captures.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use observer::capture::{Chunk, Writer};
use observer::decode::{Checksums, Decoder};
use observer::input::{Input, PacketInput};
use observer::packet::{Decoded, Notes};
use observer::record::{FileRecord, InterfaceRecord};
use observer::tracker::{Config, Tracker};

use crate::source::{Fill, Source};

/// What was cut out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cut {
    /// Frames written.
    pub frames: u64,
    /// Segments whose first IP fragments lie in other frames, which are not written.
    pub fragmented: u64,
}

/// Writes the frames of the connection `id` to `path`, `-` being standard output. Nothing is written where there are
/// none.
pub fn cut(source: &mut dyn Source, config: Config, checksums: Checksums, id: u64, path: &Path) -> Result<Cut> {
    let mut decoder = Decoder::new(checksums, config.seed).with_datagrams(config.protocols);
    let mut tracker = Tracker::new(config);
    let mut target = Target::new(id, path);
    let (mut cut, mut last) = (Cut::default(), 0);
    let (mut chunk, mut decoded) = (Chunk::default(), Decoded::default());
    loop {
        let fill = source.fill(&mut chunk)?;
        decoded.clear();
        decoder.decode(&chunk, &mut decoded);
        for packet in &decoded.packets {
            let effect = tracker.handle(Input::Packet(&PacketInput::new(packet, &decoded, &chunk.bytes)));
            while tracker.poll().is_some() {}
            // A frame may hold several segments.
            if effect.is_some_and(|effect| effect.connection == id) && last != packet.number {
                last = packet.number;
                cut.frames += 1;
                cut.fragmented += u64::from(packet.notes.contains(Notes::REASSEMBLED));
                target.frame(packet.number, &chunk, || source.files())?;
            }
        }
        if fill == Fill::End {
            break;
        }
    }
    target.finish()?;
    Ok(cut)
}

/// Ends in an error where `path` is one of the files that are read: writing would empty it first.
pub fn check_target(path: &Path, files: &[PathBuf]) -> Result<()> {
    let Ok(target) = path.canonicalize() else { return Ok(()) };
    if files.iter().any(|file| file.canonicalize().is_ok_and(|file| file == target)) {
        bail!("{} is one of the files that are read: write to another", path.display());
    }
    Ok(())
}

/// A capture that is made with its first frame.
struct Target<'a> {
    id: u64,
    path: &'a Path,
    bytes: Vec<u8>,
    open: Option<(Writer, BufWriter<Box<dyn Write>>)>,
}

impl<'a> Target<'a> {
    fn new(id: u64, path: &'a Path) -> Self {
        Self { id, path, bytes: Vec::new(), open: None }
    }

    fn frame(&mut self, number: u64, chunk: &Chunk, files: impl Fn() -> Vec<FileRecord>) -> Result<()> {
        let Ok(place) = chunk.frames.binary_search_by_key(&number, |frame| frame.number) else { return Ok(()) };
        let Some(frame) = chunk.frames.get(place) else { return Ok(()) };
        let (mut writer, mut file) = match self.open.take() {
            Some(open) => open,
            None => self.create()?,
        };
        let interface = || -> InterfaceRecord {
            let file = files().into_iter().nth(frame.id.file.into());
            file.and_then(|file| file.interfaces.into_iter().nth(frame.interface.into())).unwrap_or_default()
        };
        writer.frame(frame, chunk.data(frame), chunk.comments_on(number), interface, &mut self.bytes);
        file.write_all(&self.bytes).with_context(|| format!("writing to {}", self.path.display()))?;
        self.bytes.clear();
        self.open = Some((writer, file));
        Ok(())
    }

    fn create(&mut self) -> Result<(Writer, BufWriter<Box<dyn Write>>)> {
        let out: Box<dyn Write> = if self.path.as_os_str() == "-" {
            Box::new(io::stdout())
        } else {
            Box::new(File::create(self.path).with_context(|| format!("creating {}", self.path.display()))?)
        };
        let comment = format!("connection {}, cut out by observer", self.id);
        Ok((Writer::new(&comment, &mut self.bytes), BufWriter::with_capacity(256 << 10, out)))
    }

    fn finish(self) -> Result<()> {
        match self.open {
            Some((_, mut file)) => file.flush().with_context(|| format!("writing to {}", self.path.display())),
            None => Ok(()),
        }
    }
}
