//! `--filter`: libpcap's filter language, compiled by libpcap for each link type.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::fd::IntoRawFd as _;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use observer::capture::bpf::{Instruction, Program};
use observer::capture::{Chunk, LinkType};
use observer::record::FileRecord;
use pcap::Capture;

use super::{Fill, Progress, Source};
use crate::failure::WrongUsage;

/// Link types that an expression is tried on: one that compiles for none of them is wrong.
const COMMON: [LinkType; 6] =
    [LinkType::ETHERNET, LinkType(113), LinkType(276), LinkType(101), LinkType(127), LinkType(9)];

/// An expression, and what libpcap made of it.
#[derive(Debug)]
pub struct Filter {
    expression: String,
    /// By the kinds of frame that were met; the message where the expression makes no sense for it.
    programs: HashMap<Kind, Result<Arc<Program>, String>>,
}

impl Filter {
    /// Compiles `expression`.
    ///
    /// # Errors
    /// When libpcap does not understand it.
    pub fn new(expression: &str) -> Result<Self> {
        let mut errors = COMMON.iter().map(|link| compile(expression, Kind::of(*link)).err());
        match errors.next() {
            Some(Some(first)) if errors.all(|error| error.is_some()) => {
                bail!(WrongUsage(format!("libpcap does not understand the filter `{expression}`: {first}")))
            }
            _ => Ok(Self { expression: expression.to_owned(), programs: HashMap::new() }),
        }
    }

    fn program(&mut self, kind: Kind) -> Result<&Arc<Program>, &String> {
        let compile = || compile(&self.expression, kind).map(Arc::new).map_err(|error| error.to_string());
        self.programs.entry(kind).or_insert_with(compile).as_ref()
    }

    /// What to say of the link types that the expression makes no sense for.
    fn complaint(&self, link: LinkType) -> Option<String> {
        let (_, program) = self.programs.iter().find(|(kind, _)| kind.link == link)?;
        let error = program.as_ref().err()?;
        Some(format!(
            "the filter `{}` does not apply to link type {}, whose frames are left out: {error}",
            self.expression, link.0
        ))
    }
}

/// Lets libpcap compile `expression` as for a capture file of the given kind.
fn compile(expression: &str, kind: Kind) -> Result<Program> {
    // Compiled for a file, not for a live capture: the address families of loopback headers differ.
    let (reader, mut writer) = std::io::pipe().context("making a pipe")?;
    writer.write_all(&kind.pcap_header()).context("writing to a pipe")?;
    // SAFETY: libpcap becomes the only owner of this descriptor.
    let capture = unsafe { Capture::from_raw_fd(reader.into_raw_fd()) }?;
    let program = capture.compile(expression, true).map_err(|error| match error {
        pcap::Error::PcapError(message) => anyhow!(message),
        other => other.into(),
    })?;
    // The binding shows an instruction only as text: its four fields in decimal.
    let instructions = program.get_instructions().iter().map(|instruction| {
        let text = instruction.to_string();
        let mut fields = text.split(' ');
        let mut field = || fields.next().context("a BPF instruction of fewer than four fields");
        let (code, jt) = (field()?.parse()?, field()?.parse()?);
        Ok(Instruction { code, jt, jf: field()?.parse()?, k: field()?.parse()? })
    });
    Ok(Program::new(instructions.collect::<Result<Vec<_>>>()?)?)
}

/// What a program depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Kind {
    link: LinkType,
    /// Whether headers in the capturing machine's byte order are big-endian.
    big_endian: bool,
}

impl Kind {
    const fn of(link: LinkType) -> Self {
        Self { link, big_endian: cfg!(target_endian = "big") }
    }

    /// The kind of a frame: the header of BSD loopback shows its byte order, being a small number.
    fn of_frame(link: LinkType, data: &[u8]) -> Self {
        match (link, data) {
            (LinkType(0), [0, 0, _, _, ..]) => Self { link, big_endian: true },
            (LinkType(0), _) => Self { link, big_endian: false },
            _ => Self::of(link),
        }
    }

    /// A capture of this kind without packets.
    fn pcap_header(self) -> [u8; 24] {
        let link = u32::from(self.link.0);
        let mut header = [0; 24];
        let (magic, version, end) = if self.big_endian {
            (0xa1b2_c3d4_u32.to_be_bytes(), [0, 2, 0, 4], link.to_be_bytes())
        } else {
            (0xa1b2_c3d4_u32.to_le_bytes(), [2, 0, 4, 0], link.to_le_bytes())
        };
        header[..4].copy_from_slice(&magic);
        header[4..8].copy_from_slice(&version);
        header[20..].copy_from_slice(&end);
        header
    }
}

/// A source without the frames that a filter does not match.
pub struct Filtered {
    source: Box<dyn Source>,
    filter: Filter,
    filtered: u64,
}

impl Filtered {
    /// Leaves out of `source` what `filter` does not match.
    pub fn new(source: Box<dyn Source>, filter: Filter) -> Self {
        Self { source, filter, filtered: 0 }
    }
}

impl Source for Filtered {
    fn fill(&mut self, chunk: &mut Chunk) -> Result<Fill> {
        let fill = self.source.fill(chunk)?;
        let Chunk { bytes, frames, .. } = chunk;
        let before = frames.len();
        frames.retain(|frame| {
            let start = frame.start as usize;
            let data = bytes.get(start..start + frame.captured as usize).unwrap_or(&[]);
            self.filter
                .program(Kind::of_frame(frame.link, data))
                .is_ok_and(|program| program.matches(data, frame.wire_len))
        });
        self.filtered += (before - frames.len()) as u64;
        Ok(fill)
    }

    fn is_recording(&mut self) -> Result<bool> {
        if self.source.is_recording()? {
            bail!(
                "--filter picks packets, and a recording of observer holds what the kernel said of connections as well: \
                 pick among its connections (`--output json | jq 'select(…)'`)"
            );
        }
        Ok(false)
    }

    fn files(&self) -> Vec<FileRecord> {
        let mut files = self.source.files();
        for file in &mut files {
            let complaints =
                || file.interfaces.iter().find_map(|interface| self.filter.complaint(LinkType(interface.link_type)));
            file.error = file.error.take().or_else(complaints);
        }
        files
    }

    fn filtered(&self) -> u64 {
        self.filtered
    }

    fn progress(&self) -> Arc<Progress> {
        self.source.progress()
    }
}
