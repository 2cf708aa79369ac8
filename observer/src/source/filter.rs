//! `--filter`: libpcap's filter language, compiled by libpcap for each link type.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use observer::capture::bpf::{Instruction, Program};
use observer::capture::{Chunk, LinkType};
use observer::record::FileRecord;
use pcap::{Capture, Linktype};

use super::{Fill, Progress, Source};

/// Link types that an expression is tried on: one that compiles for none of them is wrong.
const COMMON: [LinkType; 6] = [LinkType(1), LinkType(113), LinkType(276), LinkType(101), LinkType(127), LinkType(9)];

/// An expression, and what libpcap made of it.
#[derive(Debug)]
pub struct Filter {
    expression: String,
    /// By link type; the message where the expression makes no sense for it.
    programs: HashMap<LinkType, Result<Program, String>>,
}

impl Filter {
    /// Compiles `expression`.
    ///
    /// # Errors
    /// When libpcap does not understand it.
    pub fn new(expression: &str) -> Result<Self> {
        let mut filter = Self { expression: expression.to_owned(), programs: HashMap::new() };
        let mut errors = COMMON.map(|link| filter.program(link).err().cloned()).into_iter();
        match errors.next() {
            Some(Some(first)) if errors.all(|error| error.is_some()) => {
                Err(anyhow!("libpcap does not understand the filter `{expression}`: {first}"))
            }
            _ => Ok(filter),
        }
    }

    fn program(&mut self, link: LinkType) -> Result<&Program, &String> {
        let compiled = self
            .programs
            .entry(link)
            .or_insert_with(|| compile(&self.expression, link).map_err(|error| error.to_string()));
        compiled.as_ref()
    }

    /// What to say of the link types that the expression makes no sense for.
    fn complaint(&self, link: LinkType) -> Option<String> {
        let error = self.programs.get(&link)?.as_ref().err()?;
        Some(format!(
            "the filter `{}` does not apply to link type {}, whose frames are left out: {error}",
            self.expression, link.0
        ))
    }
}

fn compile(expression: &str, link: LinkType) -> Result<Program> {
    let program = Capture::dead(Linktype(dlt(link)))?.compile(expression, true)?;
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

/// libpcap's compiler takes a platform's DLT_ number, which for some link types is not the one that files hold.
fn dlt(link: LinkType) -> i32 {
    match link.0 {
        // LINKTYPE_ATM_RFC1483, _RAW, _SLIP_BSDOS, _PPP_BSDOS and _ATM_CLIP
        100 => 11,
        101 => 12,
        102 => 15,
        103 => 16,
        106 => 19,
        same => same.into(),
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
            self.filter.program(frame.link).is_ok_and(|program| program.matches(data, frame.wire_len))
        });
        self.filtered += (before - frames.len()) as u64;
        Ok(fill)
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
