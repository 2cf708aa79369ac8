//! Findings: what is wrong, how sure that is, by what it shows, and what to do.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Endpoint, Side};
use crate::time::Timestamp;

/// A verdict over a connection, over many, or over a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// Its name: what `observer explain` takes.
    pub name: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// How sure it is.
    pub confidence: Confidence,
    /// What makes it less sure; absent where nothing does.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub doubts: Vec<Doubt>,
    /// What was found, in a sentence with its values.
    pub what: String,
    /// What shows it, in order of time.
    pub evidence: Vec<Evidence>,
    /// What to do, a step each; what stands between backticks is a command.
    pub remedy: Vec<String>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nothing failed.
    Info,
    /// Slower or less certain than it should be.
    Warning,
    /// Something failed.
    Error,
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Other causes are as likely.
    Low,
    /// Likely: other causes are possible.
    Medium,
    /// What was seen leaves no other reading.
    High,
}

/// What makes a finding less sure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Doubt {
    /// Frames or records were lost: what seems missing may have been there.
    Lost,
    /// The connection began before the capture did.
    Midstream,
    /// Only one direction was captured.
    OneDirection,
    /// An ACK covers data that the capture does not hold.
    Gaps,
    /// Only a part of the packets is passed on by the kernel.
    Sampled,
    /// The connection was given up to stay within `--max-connections`.
    Evicted,
    /// Too little was seen to tell this from chance.
    FewSamples,
    /// It rests on the clock or the position of the capture.
    CapturePoint,
    /// The input ends soon after: what is missing may still have come.
    InputEnds,
}

/// Something that shows a finding: a segment, an ICMP error, a lookup, a reading.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Evidence {
    /// When; `null` for what has no time of its own.
    pub at: Option<Timestamp>,
    /// Number of its frame, counted over all input as `id` is; `null` for what was not in a frame, or not kept.
    pub frame: Option<u64>,
    /// When the last of several was seen; absent for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub until: Option<Timestamp>,
    /// Number of the last one's frame; absent for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub last_frame: Option<u64>,
    /// Who sent it; absent for what neither end sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub from: Option<Side>,
    /// What it is.
    pub what: String,
}

/// All findings of one name: what `observer doctor` tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FindingRecord {
    /// Their name: what `observer explain` takes.
    pub name: &'static str,
    /// The same in words.
    pub title: &'static str,
    /// The worst of their severities.
    pub severity: Severity,
    /// How many there are.
    pub count: u64,
    /// The first of them: those of the highest severity, the earliest among equals.
    pub cases: Vec<Case>,
}

/// A finding, and what it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Case {
    /// What it is about.
    pub about: About,
    /// What was found.
    pub finding: Finding,
}

/// What a finding is about: those of its fields that are there.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct About {
    /// The `id` of a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub connection: Option<u64>,
    /// The client of a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub client: Option<Endpoint>,
    /// The server of a connection, or a listener.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub server: Option<Endpoint>,
    /// A host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub host: Option<IpAddr>,
    /// A name that was looked up, or a process.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub name: Option<String>,
    /// Inode of the network namespace of the connection, or of that whose gauges show it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub netns: Option<u32>,
}

impl About {
    /// The number of the frame that opened the connection; `None` where it was the kernel that told of it first.
    pub fn first_frame(&self) -> Option<u64> {
        self.connection.filter(|id| *id < super::WITHOUT_FRAME)
    }
}

impl Finding {
    /// Leaves out the numbers of frames, and steps that read the file: there is none in which they could be looked up.
    pub fn forget_file(&mut self) {
        for piece in &mut self.evidence {
            (piece.frame, piece.last_frame) = (None, None);
        }
        let reads_file = |step: &String| step.contains("observer replay FILE");
        if !self.remedy.iter().all(reads_file) {
            self.remedy.retain(|step| !reads_file(step));
        }
    }
}

impl Severity {
    /// As it is written: `error`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

impl Confidence {
    /// As it is written: `high`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }

    /// One step less.
    pub const fn lowered(self) -> Self {
        match self {
            Self::High => Self::Medium,
            Self::Medium | Self::Low => Self::Low,
        }
    }
}

impl Doubt {
    /// In a few words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Lost => "frames or records were lost",
            Self::Midstream => "its beginning was not seen",
            Self::OneDirection => "only one direction was seen",
            Self::Gaps => "the capture has gaps in it",
            Self::Sampled => "only a part of the packets was seen",
            Self::Evicted => "it was given up early",
            Self::FewSamples => "little was seen of it",
            Self::CapturePoint => "it depends on where the capture was taken",
            Self::InputEnds => "the input ends soon after",
        }
    }
}
