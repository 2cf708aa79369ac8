//! What tshark says of a capture's TCP streams, and how far observer says the same.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::run::success;

/// Wireshark's names for what it finds in segments, as `tcp.analysis.*`.
pub const NAMES: [&str; 15] = [
    "retransmission",
    "fast_retransmission",
    "spurious_retransmission",
    "out_of_order",
    "lost_segment",
    "ack_lost_segment",
    "duplicate_ack",
    "zero_window",
    "zero_window_probe",
    "zero_window_probe_ack",
    "keep_alive",
    "keep_alive_ack",
    "window_full",
    "window_update",
    "reused_ports",
];

/// An address and a port.
pub type End = (IpAddr, u16);

/// One TCP stream; pairs are by sender, in the order of `ends`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// Both ends; the first sent the first segment (in observer's records: is the client).
    pub ends: [End; 2],
    /// Segments.
    pub packets: [u64; 2],
    /// Octets of payload.
    pub bytes: [u64; 2],
    /// Segments of each of [`NAMES`].
    pub analysis: [[u64; 2]; NAMES.len()],
    /// `tcp.analysis.initial_rtt`, in nanoseconds.
    pub initial_rtt: Option<u64>,
}

/// The version line of the installed tshark; `None` where there is none.
pub fn version() -> Option<String> {
    let output = Command::new("tshark").arg("--version").output().ok()?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}

/// What tshark says of the streams of `capture`, in its order.
pub fn streams(capture: &Path) -> Result<Vec<Stream>> {
    const FIELDS: [&str; 9] = [
        "tcp.stream",
        "ip.src",
        "ipv6.src",
        "tcp.srcport",
        "ip.dst",
        "ipv6.dst",
        "tcp.dstport",
        "tcp.len",
        "tcp.analysis.initial_rtt",
    ];
    let mut command = Command::new("tshark");
    // Of several headers the last counts: the innermost of a tunnelled segment, and the one that an ICMP error quotes,
    // which tshark takes for one more segment of its stream.
    command.args(["-n", "-r"]).arg(capture).args(["-Y", "tcp", "-T", "fields", "-E", "occurrence=l"]);
    for field in FIELDS.iter().map(|field| (*field).to_owned()).chain(NAMES.map(|name| format!("tcp.analysis.{name}")))
    {
        command.args(["-e", &field]);
    }
    let text = String::from_utf8(success(&mut command)?.stdout)?;
    let mut streams = BTreeMap::new();
    for line in text.lines() {
        let cells: Vec<&str> = line.split('\t').collect();
        add(&mut streams, &cells).with_context(|| format!("reading tshark's line {line:?}"))?;
    }
    Ok(streams.into_values().collect())
}

fn add(streams: &mut BTreeMap<u64, Stream>, cells: &[&str]) -> Result<()> {
    let [stream, source4, source6, source_port, destination4, destination6, destination_port, length, rtt, names @ ..] =
        cells
    else {
        anyhow::bail!("too few fields");
    };
    let end = |v4: &str, v6: &str, port: &str| -> Result<End> {
        let address = if v4.is_empty() { v6 } else { v4 };
        Ok((address.parse()?, port.parse()?))
    };
    let source = end(source4, source6, source_port)?;
    let destination = end(destination4, destination6, destination_port)?;
    let entry = streams.entry(stream.parse()?).or_insert_with(|| Stream {
        ends: [source, destination],
        packets: [0; 2],
        bytes: [0; 2],
        analysis: [[0; 2]; NAMES.len()],
        initial_rtt: None,
    });
    let side = usize::from(entry.ends[0] != source);
    entry.packets[side] += 1;
    // Of a quoted segment it gives no length.
    entry.bytes[side] += if length.is_empty() { 0 } else { length.parse::<u64>()? };
    for (count, cell) in entry.analysis.iter_mut().zip(names) {
        count[side] += u64::from(!cell.is_empty());
    }
    if entry.initial_rtt.is_none() && !rtt.is_empty() {
        entry.initial_rtt = Some((rtt.parse::<f64>()? * 1e9).round() as u64);
    }
    Ok(())
}

impl Stream {
    /// The same of a record that observer made with `--analysis wireshark`.
    pub fn of_record(record: &Value) -> Result<Self> {
        let at = |path: String| record.pointer(&path).with_context(|| format!("a record without {path}"));
        let number =
            |path: String| -> Result<u64> { at(path.clone())?.as_u64().with_context(|| format!("{path} is no count")) };
        let pair = |path: &str| -> Result<[u64; 2]> {
            Ok([number(format!("/{path}/client"))?, number(format!("/{path}/server"))?])
        };
        let end = |side: &str| -> Result<End> {
            let ip = at(format!("/{side}/ip"))?.as_str().context("an address is text")?;
            Ok((ip.parse()?, u16::try_from(number(format!("/{side}/port"))?)?))
        };
        let mut analysis = [[0; 2]; NAMES.len()];
        for (counts, name) in analysis.iter_mut().zip(NAMES) {
            *counts = pair(&format!("analysis/{name}"))?;
        }
        Ok(Self {
            ends: [end("client")?, end("server")?],
            packets: pair("packets")?,
            bytes: pair("bytes")?,
            analysis,
            initial_rtt: at("/handshake/rtt_ns".to_owned())?.as_u64(),
        })
    }

    /// The same stream with the ends in the other order.
    fn turned(mut self) -> Self {
        self.ends.reverse();
        self.packets.reverse();
        self.bytes.reverse();
        self.analysis.iter_mut().for_each(|counts| counts.reverse());
        self
    }

    /// What `ours` says otherwise, one line each.
    pub fn differences(&self, ours: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut compare = |what: &str, ours: [u64; 2], theirs: [u64; 2]| {
            if ours != theirs {
                lines.push(format!("{what}: observer {ours:?}, tshark {theirs:?} (by sender, {:?})", self.ends));
            }
        };
        compare("packets", ours.packets, self.packets);
        compare("bytes", ours.bytes, self.bytes);
        for ((name, ours), theirs) in NAMES.iter().zip(ours.analysis).zip(self.analysis) {
            compare(name, ours, theirs);
        }
        /// tshark works with microseconds in places.
        const ROUNDING: u64 = 1500;
        if let Some(theirs) = self.initial_rtt
            && ours.initial_rtt.is_none_or(|ours| ours.abs_diff(theirs) > ROUNDING)
        {
            lines.push(format!("initial rtt: observer {:?}, tshark {theirs}", ours.initial_rtt));
        }
        lines
    }
}

/// Puts each of tshark's streams beside the record that is the same connection: those of the same ends in the order in
/// which they come. The second list is what observer alone has.
pub fn pair(theirs: Vec<Stream>, ours: Vec<Stream>) -> (Vec<(Stream, Option<Stream>)>, Vec<Stream>) {
    let key = |stream: &Stream| {
        let [a, b] = stream.ends;
        if a <= b { [a, b] } else { [b, a] }
    };
    let mut waiting: HashMap<[End; 2], Vec<Stream>> = HashMap::new();
    for stream in ours.into_iter().rev() {
        waiting.entry(key(&stream)).or_default().push(stream);
    }
    let pairs = theirs
        .into_iter()
        .map(|theirs| {
            let ours = waiting.get_mut(&key(&theirs)).and_then(Vec::pop);
            let ours = ours.map(|ours| if ours.ends == theirs.ends { ours } else { ours.turned() });
            (theirs, ours)
        })
        .collect();
    (pairs, waiting.into_values().flatten().collect())
}
