use std::collections::BTreeMap;

use super::{Chunk, Comment, Direction};
use crate::packet::{Packet, Tuple};
use crate::record::{ConnectionRecord, Endpoint, ProcessRecord, Side};

/// The most processes kept of one connection: forking servers hand one on.
const MAX_PROCESSES: usize = 4;
/// The most octets kept of one value.
const MAX_VALUE: usize = 512;

/// The processes that packet comments name, by connection.
///
/// Understood are the comments of ptcpdump (lines of `PID: 1`, `Cmd: …`, `ContainerName: …`, over several comments) and
/// of rustnet (`rustnet process=curl pid=1 direction=outgoing …`, or `PID:1 Process:curl` by its enriching script).
#[derive(Debug, Default)]
pub struct Processes(BTreeMap<u64, Vec<Known>>);

/// A process, and where it is as far as that is known before the connection's roles are.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    process: ProcessRecord,
    end: Option<Endpoint>,
}

impl Processes {
    /// Takes in what the comments on `packet` say; it belongs to `connection`.
    pub fn note(&mut self, chunk: &Chunk, packet: &Packet, connection: u64) {
        let Some(known) = parse(chunk.comments_on(packet.number), packet.tuple) else { return };
        let processes = self.0.entry(connection).or_default();
        if processes.len() < MAX_PROCESSES && !processes.contains(&known) {
            processes.push(known);
        }
    }

    /// Moves what is known of a connection into its record, which is final.
    pub fn attach(&mut self, record: &mut ConnectionRecord) {
        for Known { mut process, end } in self.0.remove(&record.id).unwrap_or_default() {
            let side_of = |end| if end == record.client { Side::Client } else { Side::Server };
            process.side = process.side.or(end.map(side_of));
            record.processes.push(process);
        }
    }
}

/// The process that comments on one packet name; `tuple` is the packet's.
fn parse<'a>(comments: impl Iterator<Item = (&'a Comment, &'a [u8])>, tuple: Tuple) -> Option<Known> {
    let (mut process, mut end) = (ProcessRecord::default(), None);
    for (comment, text) in comments {
        end = end.or(comment.direction.map(|direction| match direction {
            Direction::Outbound => Endpoint::new(tuple.src, tuple.version, tuple.sport),
            Direction::Inbound | Direction::Asking => Endpoint::new(tuple.dst, tuple.version, tuple.dport),
        }));
        let text = String::from_utf8_lossy(text);
        match text.strip_prefix("rustnet ") {
            Some(fields) => fields.split(' ').filter_map(|field| field.split_once('=')).for_each(|(key, value)| {
                rustnet(&mut process, key, value);
            }),
            None => text.lines().filter_map(|line| line.split_once(':')).for_each(|(key, value)| {
                ptcpdump(&mut process, key.trim(), value.trim());
            }),
        }
    }
    let named = process.pid.is_some() || process.name.is_some() || process.container.is_some() || process.pod.is_some();
    named.then_some(Known { process, end })
}

fn ptcpdump(process: &mut ProcessRecord, key: &str, value: &str) {
    match key {
        "PID" => match value.split_once(" Process:") {
            Some((pid, name)) => (process.pid, process.name) = (pid.parse().ok(), text(name)),
            None => process.pid = value.parse().ok(),
        },
        "Cmd" => {
            process.command = text(value);
            process.name = text(value.rsplit('/').next().unwrap_or(value));
        }
        "Args" => process.args = text(value),
        "UserId" => process.uid = value.parse().ok(),
        "ParentPID" => process.parent_pid = value.parse().ok(),
        "ContainerName" => process.container = text(value),
        "ContainerId" => process.container_id = text(value),
        "PodName" => process.pod = text(value),
        "PodNamespace" => process.namespace = text(value),
        _ => {}
    }
}

fn rustnet(process: &mut ProcessRecord, key: &str, value: &str) {
    match key {
        "process" => process.name = text(value),
        "pid" => process.pid = value.parse().ok(),
        "ppid" => process.parent_pid = value.parse().ok(),
        "uid" => process.uid = value.parse().ok(),
        "container" => process.container = text(value),
        "container_id" => process.container_id = text(value),
        "pod" => process.pod = text(value),
        "ns" => process.namespace = text(value),
        // Of the connection, not of the packet.
        "direction" if value == "outgoing" => process.side = Some(Side::Client),
        "direction" if value == "incoming" => process.side = Some(Side::Server),
        _ => {}
    }
}

fn text(value: &str) -> Option<String> {
    let mut end = value.len().min(MAX_VALUE);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value.get(..end).filter(|value| !value.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Address, IpVersion};

    const TUPLE: Tuple = Tuple {
        src: Address::v4([10, 0, 0, 1]),
        dst: Address::v4([10, 0, 0, 2]),
        sport: 1000,
        dport: 80,
        version: IpVersion::V4,
    };

    fn of(comments: &[&str], direction: Option<Direction>) -> Option<Known> {
        let comments: Vec<_> = comments
            .iter()
            .map(|text| (Comment { number: 1, start: 0, len: text.len() as u32, direction }, text.as_bytes()))
            .collect();
        parse(comments.iter().map(|(comment, text)| (comment, *text)), TUPLE)
    }

    fn unplaced(process: ProcessRecord) -> Option<Known> {
        Some(Known { process, end: None })
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn ptcpdump_says_it_over_several_comments() {
        let comments = [
            "PID: 4242\nCmd: /usr/bin/curl\nArgs: curl https://example.org:443/",
            "UserId: 0",
            "ParentPID: 4000\nParentCmd: /bin/bash\nParentArgs: -bash",
            "ContainerName: web\nContainerId: c16c\nContainerImage: x\nContainerLabels: {}",
            "PodName: nginx-1\nPodNamespace: demo\nPodUID: 1",
        ];
        let expected = ProcessRecord {
            side: None,
            pid: Some(4242),
            name: some("curl"),
            command: some("/usr/bin/curl"),
            args: some("curl https://example.org:443/"),
            uid: Some(0),
            parent_pid: Some(4000),
            container: some("web"),
            container_id: some("c16c"),
            pod: some("nginx-1"),
            namespace: some("demo"),
            ..ProcessRecord::default()
        };
        let at = |ip: &str, port| Some(Endpoint { ip: ip.parse().expect("an address"), port });
        let known = of(&comments, Some(Direction::Inbound)).expect("a process");
        assert_eq!((known.process, known.end), (expected, at("10.0.0.2", 80)));
        assert_eq!(of(&comments, Some(Direction::Outbound)).expect("a process").end, at("10.0.0.1", 1000));
    }

    #[test]
    fn rustnet_says_it_in_one_line() {
        let comment =
            "rustnet process=sshd pid=7 ppid=1 uid=0 attr=exact ns=demo direction=incoming app=SSH country=CH";
        let expected = ProcessRecord {
            side: Some(Side::Server),
            pid: Some(7),
            name: some("sshd"),
            uid: Some(0),
            parent_pid: Some(1),
            namespace: some("demo"),
            ..ProcessRecord::default()
        };
        assert_eq!(of(&[comment], None), unplaced(expected));
        let enriched = ProcessRecord { pid: Some(9), name: some("curl"), ..ProcessRecord::default() };
        assert_eq!(of(&["PID:9 Process:curl"], None), unplaced(enriched));
    }

    #[test]
    fn other_comments_name_no_process() {
        assert_eq!(of(&["PID: see the ticket", "a remark", "Args: none", "rustnet app=HTTP"], None), None);
    }

    #[test]
    fn values_are_bounded() {
        let known = of(&[&format!("PID: 1\nArgs: {}", "é".repeat(9_999))], None).expect("a process");
        assert_eq!(known.process.args.map(|args| args.len()), Some(MAX_VALUE));
    }
}
