//! What was read: files and their interfaces.

use schemars::JsonSchema;
use serde::Serialize;

use crate::time::Timestamp;

/// What was read, said once at the end.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct CaptureRecord {
    /// The files, in the order they were named.
    pub files: Vec<FileRecord>,
    /// Time of the first frame; `null` where there is none.
    pub first_seen: Option<Timestamp>,
    /// Time of the last frame.
    pub last_seen: Option<Timestamp>,
    /// Frames read, whatever they held.
    pub frames: u64,
    /// Octets captured in those frames.
    pub octets: u64,
    /// Frames that `--filter` left out.
    pub filtered: u64,
    /// TCP segments handed to the tracker.
    pub segments: u64,
    /// ICMP errors about TCP segments.
    pub icmp_errors: u64,
    /// Frames that hold no TCP.
    pub other: u64,
    /// Frames of a link-layer type that is not decoded.
    pub unknown_link: u64,
    /// Frames whose headers contradict themselves or end early.
    pub malformed: u64,
    /// Frames of which the capture kept only the first part (snapshot length).
    pub truncated: u64,
    /// IP fragments seen.
    pub fragments: u64,
    /// IP fragments given up: the rest never came, or the bound was reached.
    pub fragments_dropped: u64,
    /// Frames that the capturing machine reports as lost; `null` where the files do not say. What was lost may have
    /// changed any verdict.
    pub dropped: Option<u64>,
    /// Connections reported.
    pub connections: u64,
    /// Connections given up to stay within `--max-connections`.
    pub evicted: u64,
    /// Packets captured a second time.
    pub duplicates: u64,
    /// Live, where the kernel passes on a part of the packets: connections, or halves of them, of which no socket here told
    /// and no packet was sent from here. They passed through this host, or a listener dropped their SYNs without a word.
    /// Nothing more is told of them; absent where there are none.
    #[serde(skip_serializing_if = "super::is_zero")]
    #[schemars(default)]
    pub forwarded: u64,
    /// Lookups of names; absent where there are none.
    #[serde(skip_serializing_if = "super::is_zero")]
    #[schemars(default)]
    pub lookups: u64,
    /// Messages of DNS over UDP that contradict themselves and answer no question that was seen; absent where there are none.
    #[serde(skip_serializing_if = "super::is_zero")]
    #[schemars(default)]
    pub malformed_lookups: u64,
    /// Secrets of key logs, of `--keylog` and of the captures; absent where there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secrets: Option<SecretsRecord>,
    /// Octets of input that could not be read as frames, see `files[].error`.
    pub unreadable: bool,
    /// Live: what this source of facts does not show, a phrase each; absent where it shows everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub unseen: Vec<String>,
    /// Live: the interfaces that were captured on; absent where none was, and in captures, whose files have theirs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub interfaces: Vec<InterfaceRecord>,
    /// Live: the hooks in the kernel that were asked for; absent in captures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub hooks: Vec<HookRecord>,
}

/// What was read of key logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct SecretsRecord {
    /// Secrets that are known.
    pub known: u64,
    /// Lines that hold none of a kind that is used.
    pub ignored: u64,
}

/// One hook in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct HookRecord {
    /// Its name, as `--hooks` takes it.
    pub name: &'static str,
    /// Whether it was at work.
    pub attached: bool,
    /// Why it was not, or not everywhere.
    pub why: Option<String>,
    /// What this kernel does not tell there, a word each (`reason`, `error`); absent where it tells all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(default)]
    pub lacks: Vec<&'static str>,
    /// Records that it lost, by processor: the ring buffer or the book of sockets was full. What was lost may have changed
    /// any verdict, but for `exec`: of some processes that are gone, the arguments are not known.
    pub lost: Vec<u64>,
    /// How often the kernel did not show it something, since its program was at work on that processor already, and was
    /// interrupted or had to wait (`recursion_misses` of `struct bpf_prog_info`), less what its second program has made up
    /// for; 0 before Linux 5.12, which counts it first.
    pub missed: u64,
}

/// One input file.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct FileRecord {
    /// Its name as given; `-` for standard input.
    pub name: String,
    /// `pcap`, `pcapng` or `snoop`; `null` where it is none of them.
    pub format: Option<&'static str>,
    /// `gzip`, `zstd` or `lz4`; `null` where not compressed.
    pub compression: Option<&'static str>,
    /// Frames read from it.
    pub frames: u64,
    /// Its interfaces, in the order the file describes them.
    pub interfaces: Vec<InterfaceRecord>,
    /// Comments on the whole file (pcapng section headers).
    pub comments: Vec<String>,
    /// What stopped the reading before its end, with the byte offset.
    pub error: Option<String>,
}

/// One interface, live or of a capture file: a file says of it what its pcapng blocks hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct InterfaceRecord {
    /// pcapng `if_name`.
    pub name: Option<String>,
    /// pcapng `if_description`.
    pub description: Option<String>,
    /// Capture filter (pcapng `if_filter`).
    pub filter: Option<String>,
    /// LINKTYPE_ number.
    pub link_type: u16,
    /// Snapshot length in octets; 0 for none.
    pub snap_len: u32,
    /// Frames received, by the last interface statistics block (`isb_ifrecv`) or by libpcap (`ps_recv`).
    pub received: Option<u64>,
    /// Frames dropped by the interface or by the operating system (`isb_ifdrop` + `isb_osdrop`; `ps_ifdrop` +
    /// `ps_drop`).
    pub dropped: Option<u64>,
}
