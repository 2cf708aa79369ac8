//! From a connection that was followed to the record of it: here directions become client and server.

use super::Config;
use super::analysis::AnalysisSet;
use super::connection::{Around, Closing, Connection, Icmp};
use super::handshake::Opened;
use super::phases::{self, PathRoundTrips};
use super::rtt::RoundTrips;
use super::split;
use crate::packet::{IpVersion, Layer};
use crate::record::*;
use crate::time::Nanos;

/// Under this part of the whole handshake, one half of it says that the capture point is at that end.
const NEAR: u64 = 10;

/// Port of DNS over TLS (RFC 7858, section 3.1) and over QUIC (RFC 9250, section 4.1.1).
const SEALED_DNS: u16 = 853;

/// Whether lookups are inside of what is sealed, by the ALPN and the server's port.
pub(super) fn lookups_of(tls: Option<&TlsRecord>, over: LookupsOver, server: Endpoint) -> Option<LookupsRecord> {
    let tls = tls?;
    let name = if over == LookupsOver::Quic { "doq" } else { "dot" };
    // What TLS 1.3 chooses is hidden, what was offered is not.
    let is_named = match &tls.alpn {
        Some(chosen) => chosen == name,
        None => tls.offer.as_ref().is_some_and(|offer| offer.alpn.iter().any(|offered| offered == name)),
    };
    (is_named || server.port == SEALED_DNS).then_some(LookupsRecord::over(over))
}

impl Connection {
    /// The record of the connection as it stands.
    pub(super) fn record(&self, config: &Config) -> Box<ConnectionRecord> {
        let (client, roles_from) = self.roles();
        let sides = Sorted::new(client);
        let [low, high] = [(self.ends.src, self.ends.sport), (self.ends.dst, self.ends.dport)]
            .map(|(address, port)| Endpoint::new(address, self.ends.version, port));
        let Sides { client: client_end, server: server_end } = sides.of([low, high]);
        let [low_sent, high_sent] = &self.sent;
        let sent = sides.of([low_sent, high_sent]);
        let rare = self.rare.as_deref();
        let is_v6 = self.ends.version == IpVersion::V6;
        let handshake = Handshake {
            stripped: sides.of(rare.map(|rare| rare.stripped).unwrap_or_default()),
            ..self.handshake.record(client.into(), self.initial_rtt(config), is_v6)
        };
        let mut timeline =
            self.log.as_ref().map(|log| Timeline { entries: log.entries(client).collect(), cut: log.cut() });
        let kernel = self.kernel.as_deref();
        if config.timeline_entries > 0
            && let Some(kernel) = kernel
        {
            kernel.join(timeline.get_or_insert_default(), client);
        }
        let whole = !config.sampled;
        let mut sources = Vec::new();
        if self.has_packets() {
            sources.push(Source::Packets);
        }
        sources.extend(kernel.iter().flat_map(|kernel| &kernel.sources));
        let (sockets, processes) = self.sockets(&sides);
        let close = self.close(&sides);
        let mut application = self.application(config);
        if let Some(tls) = application.as_mut().and_then(|application| application.tls.as_mut()) {
            // Whose connection the other end has reset did not close it.
            let closed = |side| close.fin.of(side).is_some() || close.rst.of(side).is_some();
            let Sides { client, server } = tls.close_notify;
            tls.close_notify = Sides {
                client: client.filter(|sent| *sent || closed(Side::Client)),
                server: server.filter(|sent| *sent || closed(Side::Server)),
            };
        }
        let rtt = self.rtt(&sides, &handshake);
        let path = PathRoundTrips::of(&handshake, &rtt);
        let holes = [AnalysisSet::LOST_SEGMENT, AnalysisSet::ACK_LOST_SEGMENT];
        let has_holes = rare
            .is_some_and(|rare| rare.analysis.iter().any(|counts| holes.into_iter().any(|name| counts.of(name) > 0)));
        let phases = application.as_ref().map_or_else(Vec::new, |application| {
            let seen = (self.last_seen, whole && !has_holes);
            phases::phases(application, &handshake, path.to_server, &close, seen)
        });
        let split = application.as_ref().and_then(|all| split::split(all, &handshake, path, rtt.capture_point));
        let round_trips = application.as_ref().and_then(|all| split::round_trips(all, &handshake));
        let Application {
            protocol,
            via,
            name,
            dns,
            lookups,
            tls,
            ssh,
            exchanges,
            http,
            http2,
            calls,
            websocket,
            malformed,
            given_up,
            ..
        } = application.unwrap_or_default();
        let has_exchanges = !exchanges.entries.is_empty();
        Box::new(ConnectionRecord {
            id: self.id,
            transport: Transport::Tcp,
            client: client_end,
            server: server_end,
            community_id: CommunityId::tcp(client_end, server_end),
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            duration_ns: self.last_seen.since(self.first_seen),
            roles_from,
            conn_state: self.conn_state(client),
            history: whole.then(|| self.outcome.history().to_string()),
            tcp_state: self.tcp_state(&sides).into(),
            packets: whole.then(|| sent.map(|end| end.packets)),
            bytes: whole.then(|| sent.map(|end| end.data.as_ref().map_or(0, |data| data.bytes))),
            unique_bytes: whole.then(|| sent.map(|end| end.data.as_ref().map_or(0, |data| data.unique_bytes))),
            rtt,
            handshake: handshake.into(),
            analysis: whole.then(|| {
                rare.map_or_else(Analysis::default, |rare| {
                    analysis(|name| sides.of(rare.analysis.map(|counts| counts.of(name))))
                })
            }),
            retransmissions: whole.then(|| sent.map(|end| end.retransmits.counts())),
            flow: whole.then(|| Sides {
                client: sent.client.facts(sent.server, self.last_seen),
                server: sent.server.facts(sent.client, self.last_seen),
            }),
            zero_window_ns: Some(sent.map(|end| end.zero_window()))
                .filter(|closed| !whole && closed.client.max(closed.server) > Nanos::default()),
            close: close.into(),
            name,
            dns,
            lookups: lookups.or_else(|| lookups_of(tls.as_deref(), LookupsOver::Tls, server_end)),
            protocol,
            via,
            tls,
            quic: None,
            ssh: ssh.map(Box::new),
            calls: calls.map(Box::new),
            http2: http2.map(Box::new),
            websocket: websocket.map(Box::new),
            http: http.map(Box::new),
            exchanges: has_exchanges.then(|| Box::new(exchanges)),
            phases,
            split: split.map(Box::new),
            round_trips,
            malformed,
            given_up,
            duplicates: rare.map_or(0, |rare| rare.duplicates),
            bad_checksums: (config.checks_checksums && whole).then(|| sent.map(|end| end.bad_checksums())),
            partial_checksums: (config.checks_checksums && whole)
                .then(|| sent.map(|end| end.partial_checksums()))
                .filter(|partial| partial.client + partial.server > 0),
            tunnel: self.encapsulation(&sides),
            icmp: rare.map_or_else(Vec::new, |rare| {
                rare.icmp.iter().map(|icmp| icmp_record(icmp, &sides, self.ends.version)).collect()
            }),
            evicted: self.evicted,
            turned: Vec::new(),
            netns: config.netns,
            kernel: sockets,
            drops: kernel.map_or_else(Vec::new, |kernel| kernel.drops(client)),
            lost: None,
            processes,
            sources,
            notable: self.notable(|direction| sides.side(direction)),
            reset: self.reset(|direction| sides.side(direction)).map(Box::new),
            silence: self.silence(|direction| sides.side(direction)).map(Box::new),
            nat: None,
            findings: Vec::new(),
            timeline,
        })
    }

    /// Zeek's outcome: by the packets where the handshake is among them, else by the kernel's sockets. An RST that the kernel
    /// sends without a socket may be seen by who takes it alone.
    fn conn_state(&self, client: u8) -> ConnState {
        let by_sockets = || self.kernel.as_ref().and_then(|kernel| kernel.conn_state(client.into()));
        let by_packets = self.outcome.conn_state();
        if self.handshake.opener().is_none() {
            return by_sockets().unwrap_or(by_packets);
        }
        let by_reset = |state: &ConnState| matches!(state, ConnState::REJ | ConnState::RSTO | ConnState::RSTR);
        match by_packets {
            ConnState::S0 | ConnState::S1 => by_sockets().filter(by_reset).unwrap_or(by_packets),
            _ => by_packets,
        }
    }

    /// State of both ends: the kernel's word where an end has a socket here.
    fn tcp_state(&self, sides: &Sorted) -> Sides<TcpState> {
        sides.of([0, 1].map(|direction| self.state_of(direction)))
    }

    /// State of the end that sends on `direction`, likewise.
    pub(super) fn state_of(&self, direction: usize) -> TcpState {
        let peer_fin = self.closing.fin.get(direction ^ 1).is_some_and(|moment| moment.get().is_some());
        let seen = || self.sent.get(direction).map_or(TcpState::Unknown, |end| end.state);
        self.kernel.as_ref().and_then(|kernel| kernel.state(direction, peer_fin)).unwrap_or_else(seen)
    }

    /// The sockets of this host, and the processes they belong to.
    fn sockets(&self, sides: &Sorted) -> (Option<Box<KernelSockets>>, Vec<ProcessRecord>) {
        let Some(kernel) = &self.kernel else { return (None, Vec::new()) };
        let [low_fin, high_fin] = self.closing.fin.map(|moment| moment.get().is_some());
        let mut processes = Vec::new();
        let mut socket = |direction: u8, peer_fin| {
            let (record, owners) = kernel.record(direction.into(), peer_fin)?;
            let side = Some(sides.side(direction));
            processes.extend(owners.iter().map(|owner| ProcessRecord { side, ..ProcessRecord::clone(owner) }));
            Some(record)
        };
        let sockets = [socket(0, high_fin), socket(1, low_fin)];
        (Some(Box::new(sides.of(sockets))), processes)
    }
}

impl Connection {
    /// The client's direction, and what tells it.
    pub(super) fn roles(&self) -> (u8, RolesFrom) {
        let roles_from = match self.handshake.opener() {
            Some((_, _)) if self.handshake.is_simultaneous() => RolesFrom::SimultaneousOpen,
            Some((_, Opened::BySyn)) => RolesFrom::Syn,
            Some((_, Opened::BySynAck)) => RolesFrom::SynAck,
            None if self.kernel.as_ref().is_some_and(|kernel| kernel.opener().is_some()) => {
                let opener = self.kernel.as_ref().and_then(|kernel| kernel.opener());
                return (opener.unwrap_or_default(), RolesFrom::Kernel);
            }
            None if self.outcome.originator_flipped() => RolesFrom::Port,
            None => RolesFrom::FirstPacket,
        };
        (self.outcome.originator(), roles_from)
    }

    /// Wireshark's initial round-trip time. To Wireshark, an RST that refuses the SYN ends a handshake as well.
    fn initial_rtt(&self, config: &Config) -> Option<Nanos> {
        if config.sampled {
            return self.handshake.round_trip();
        }
        let reset = self.closing.rst.iter().any(|moment| moment.get().is_some());
        let refused = reset && self.handshake.is_unanswered() && !config.strict_wireshark;
        self.shared.initial_rtt().filter(|_| !refused)
    }

    fn rtt(&self, sides: &Sorted, handshake: &Handshake) -> Rtt {
        let halves = handshake.server_rtt_ns.zip(handshake.client_rtt_ns);
        let capture_point = halves.map(|(server, client)| capture_point(server, client));
        let [low, high] = &self.sent;
        let round_trips = sides.of([low, high].map(|end| end.data.as_deref().map(|data| &data.round_trips)));
        let by_ack = round_trips.map(|trips| trips.and_then(RoundTrips::by_ack));
        let by_timestamps = round_trips.map(|trips| trips.and_then(RoundTrips::by_timestamps));
        let least = |ack: Option<RttStats>, timestamps: Option<RttStats>, handshake: Option<Nanos>| {
            [ack.map(|stats| stats.min_ns), timestamps.map(|stats| stats.min_ns), handshake].into_iter().flatten().min()
        };
        let to_server = least(by_ack.client, by_timestamps.client, handshake.server_rtt_ns);
        let to_client = least(by_ack.server, by_timestamps.server, handshake.client_rtt_ns);
        let min_path_ns = to_server.zip(to_client).map(|(one, other)| Nanos(one.0.saturating_add(other.0)));
        Rtt { by_ack, by_timestamps, min_path_ns, capture_point }
    }

    fn close(&self, sides: &Sorted) -> Close {
        let [low, high] = &self.sent;
        let holds = |end: &super::sending::End| end.state == TcpState::TimeWait;
        let time_wait = match (holds(low), holds(high)) {
            (true, _) => Some(0),
            (_, true) => Some(1),
            _ => None,
        };
        let Closing { fin, rst, first } = self.closing;
        Close {
            fin: sides.of(fin.map(|moment| moment.get())),
            rst: sides.of(rst.map(|moment| moment.get())),
            first: first.map(|direction| sides.side(direction)),
            time_wait: time_wait.map(|direction| sides.side(direction)),
        }
    }

    fn encapsulation(&self, sides: &Sorted) -> Option<Box<Encapsulation>> {
        Some(Box::new(self.around.as_deref()?.record(sides)))
    }
}

impl Around {
    /// Tunnels and tags, as the record has them.
    pub(super) fn record(&self, sides: &Sorted) -> Encapsulation {
        let [low, high] = &self.layers;
        let tunnels = self.tunnels.iter().map(|tunnel| TunnelRecord {
            kind: tunnel.kind,
            ends: tunnel.ends.map(|address| address.to_ip(tunnel.version)),
        });
        Encapsulation { tunnels: tunnels.collect(), tags: sides.of([tags(low), tags(high)]) }
    }
}

/// Where the capture was taken, by the two halves of the handshake.
pub(super) fn capture_point(server: Nanos, client: Nanos) -> CapturePoint {
    let whole = server.0.saturating_add(client.0);
    let is_near = |half: Nanos| half.0.saturating_mul(NEAR) < whole;
    match (is_near(client), is_near(server)) {
        (true, _) => CapturePoint::NearClient,
        (_, true) => CapturePoint::NearServer,
        _ => CapturePoint::Middle,
    }
}

/// Which direction is the client's.
pub(super) struct Sorted {
    client: usize,
}

impl Sorted {
    pub(super) fn new(client: u8) -> Self {
        Self { client: client.into() }
    }

    /// Two values by direction, as client's and server's.
    pub(super) fn of<T>(&self, [low, high]: [T; 2]) -> Sides<T> {
        if self.client == 0 { Sides { client: low, server: high } } else { Sides { client: high, server: low } }
    }

    fn side(&self, direction: u8) -> Side {
        if usize::from(direction) == self.client { Side::Client } else { Side::Server }
    }
}

/// Counts by name, each taken from `count`.
fn analysis(count: impl Fn(AnalysisSet) -> Sides<u64>) -> Analysis {
    Analysis {
        retransmission: count(AnalysisSet::RETRANSMISSION),
        fast_retransmission: count(AnalysisSet::FAST_RETRANSMISSION),
        spurious_retransmission: count(AnalysisSet::SPURIOUS_RETRANSMISSION),
        out_of_order: count(AnalysisSet::OUT_OF_ORDER),
        lost_segment: count(AnalysisSet::LOST_SEGMENT),
        ack_lost_segment: count(AnalysisSet::ACK_LOST_SEGMENT),
        duplicate_ack: count(AnalysisSet::DUPLICATE_ACK),
        zero_window: count(AnalysisSet::ZERO_WINDOW),
        zero_window_probe: count(AnalysisSet::ZERO_WINDOW_PROBE),
        zero_window_probe_ack: count(AnalysisSet::ZERO_WINDOW_PROBE_ACK),
        keep_alive: count(AnalysisSet::KEEP_ALIVE),
        keep_alive_ack: count(AnalysisSet::KEEP_ALIVE_ACK),
        window_full: count(AnalysisSet::WINDOW_FULL),
        window_update: count(AnalysisSet::WINDOW_UPDATE),
        reused_ports: count(AnalysisSet::REUSED_PORTS),
    }
}

fn tags(layers: &[Layer]) -> Tags {
    let mut tags = Tags::default();
    for layer in layers {
        match layer {
            Layer::Vlan(id) => tags.vlan.push(*id),
            Layer::Mpls(label) => tags.mpls.push(*label),
            Layer::Pbb(service) => tags.pbb.push(*service),
            Layer::Pppoe(session) => tags.pppoe.push(*session),
            Layer::Tunnel(tunnel) => {
                tags.tunnel_id.push(tunnel.id);
                tags.source_port.push(tunnel.source_port);
            }
        }
    }
    tags
}

fn icmp_record(icmp: &Icmp, sides: &Sorted, version: IpVersion) -> IcmpRecord {
    let error = &icmp.error;
    IcmpRecord {
        at: icmp.at,
        frame: icmp.frame,
        from: error.from.to_ip(version),
        to: sides.side(icmp.quoted),
        icmp_type: error.kind,
        icmp_code: error.code,
        name: icmp_name(version, error.kind, error.code),
        mtu: error.mtu,
    }
}

/// An ICMP error in words (RFC 792, RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1; RFC 4443).
fn icmp_name(version: IpVersion, kind: u8, code: u8) -> &'static str {
    match (version, kind, code) {
        (IpVersion::V4, 3, 0) => "net unreachable",
        (IpVersion::V4, 3, 1) => "host unreachable",
        (IpVersion::V4, 3, 2) => "protocol unreachable",
        (IpVersion::V4, 3, 3) => "port unreachable",
        (IpVersion::V4, 3, 4) => "fragmentation needed",
        (IpVersion::V4, 3, 5) => "source route failed",
        (IpVersion::V4, 3, 6) => "net unknown",
        (IpVersion::V4, 3, 7) => "host unknown",
        (IpVersion::V4, 3, 8) => "source host isolated",
        (IpVersion::V4, 3, 9) => "net prohibited",
        (IpVersion::V4, 3, 10) => "host prohibited",
        (IpVersion::V4, 3, 11) => "net unreachable for type of service",
        (IpVersion::V4, 3, 12) => "host unreachable for type of service",
        (IpVersion::V4, 3, 13) => "admin prohibited",
        (IpVersion::V4, 3, 14) => "host precedence violation",
        (IpVersion::V4, 3, 15) => "precedence cutoff",
        (IpVersion::V4, 4, _) => "source quench",
        (IpVersion::V4, 5, _) => "redirect",
        (IpVersion::V4, 11, 0) => "time exceeded in transit",
        (IpVersion::V4, 11, 1) => "reassembly time exceeded",
        (IpVersion::V4, 12, _) => "parameter problem",
        (IpVersion::V6, 1, 0) => "no route to destination",
        (IpVersion::V6, 1, 1) => "admin prohibited",
        (IpVersion::V6, 1, 2) => "beyond scope of source address",
        (IpVersion::V6, 1, 3) => "address unreachable",
        (IpVersion::V6, 1, 4) => "port unreachable",
        (IpVersion::V6, 1, 5) => "source address failed policy",
        (IpVersion::V6, 1, 6) => "reject route to destination",
        (IpVersion::V6, 2, _) => "packet too big",
        (IpVersion::V6, 3, 0) => "hop limit exceeded in transit",
        (IpVersion::V6, 3, 1) => "fragment reassembly time exceeded",
        (IpVersion::V6, 4, _) => "parameter problem",
        _ => "other error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_inside_of_tls_is_known_by_its_port_or_its_alpn() {
        let server = |port| Endpoint { ip: [192, 0, 2, 53].into(), port };
        let tls = |chosen: Option<&str>, offered: &[&str]| {
            let alpn = offered.iter().map(|name| (*name).to_string()).collect();
            let offer = Some(TlsOffer { alpn, ..TlsOffer::default() });
            TlsRecord { alpn: chosen.map(str::to_string), offer, ..TlsRecord::default() }
        };
        let over = |tls: &TlsRecord, port| lookups_of(Some(tls), LookupsOver::Tls, server(port)).is_some();
        assert!(over(&tls(None, &[]), 853));
        assert!(!over(&tls(None, &[]), 443));
        assert!(over(&tls(None, &["dot"]), 443), "what was chosen is hidden");
        assert!(!over(&tls(Some("h2"), &["h2", "dot"]), 443), "something else was chosen");
        assert!(over(&tls(Some("dot"), &["h2", "dot"]), 443));
        assert!(!over(&tls(None, &["doq"]), 443));
        assert!(lookups_of(Some(&tls(None, &["doq"])), LookupsOver::Quic, server(443)).is_some());
        assert!(lookups_of(None, LookupsOver::Tls, server(853)).is_none(), "it may be anything");
    }
}
