//! From a connection that was followed to the record of it.

use super::flow::Flow;
use crate::record::*;
use crate::tracker::Config;
use crate::tracker::connection::Around;
use crate::tracker::phases;
use crate::tracker::report::{Sorted, capture_point, lookups_of};

impl Flow {
    /// The record of the connection as it stands. What only TCP has is left out.
    pub(super) fn record(&self, config: &Config) -> ConnectionRecord {
        let sides = Sorted::new(self.client);
        let [low, high] = [(self.ends.src, self.ends.sport), (self.ends.dst, self.ends.dport)]
            .map(|(address, port)| Endpoint::new(address, self.ends.version, port));
        let Sides { client, server } = sides.of([low, high]);
        let mut application = Application::default();
        self.spoken.record(&mut application);
        if let Some(lookup) = &self.lookup {
            let name = || NameRecord { name: lookup.lookup.name.clone(), from: NameSource::Dns };
            application.name.get_or_insert_with(name);
            application.dns = Some(Box::new(LookupRecord::clone(lookup)));
        }
        let whole = !config.sampled;
        if let Some(quic) = &mut application.quic {
            quic.spin = self.spin.record().filter(|_| whole);
            quic.moves.clone_from(&self.moves);
        }
        let halves = application.quic.as_ref().and_then(|quic| quic.server_rtt_ns.zip(quic.client_rtt_ns));
        let phases = phases::over_udp(&application);
        // Its handshake is that of the connection and of TLS at once.
        let used =
            application.quic.as_ref().filter(|quic| quic.one_rtt.client.is_some() || quic.packets.client.zero_rtt > 0);
        let round_trips = used.and_then(|quic| quic.round_trips);
        let is_quic = application.quic.is_some();
        let Application { protocol, via, name, dns, tls, quic, malformed, given_up, .. } = application;
        ConnectionRecord {
            id: self.id,
            transport: if is_quic { Transport::Quic } else { Transport::Udp },
            client,
            server,
            community_id: CommunityId::udp(client, server),
            first_seen: self.first_seen,
            last_seen: self.last_seen,
            duration_ns: self.last_seen.since(self.first_seen),
            roles_from: self.roles_from,
            conn_state: self.conn_state(),
            history: whole.then(|| self.history()),
            tcp_state: TcpOnly::absent(),
            packets: whole.then_some(self.packets),
            bytes: whole.then_some(self.bytes),
            unique_bytes: None,
            handshake: TcpOnly::absent(),
            rtt: Rtt { capture_point: halves.map(|(server, client)| capture_point(server, client)), ..Rtt::default() },
            analysis: None,
            retransmissions: None,
            flow: None,
            zero_window_ns: None,
            close: TcpOnly::absent(),
            name,
            protocol,
            via,
            dns,
            lookups: lookups_of(tls.as_deref().filter(|_| is_quic), LookupsOver::Quic, server),
            tls,
            quic,
            ssh: None,
            calls: None,
            http2: None,
            websocket: None,
            http: None,
            exchanges: None,
            phases,
            malformed,
            given_up,
            duplicates: self.duplicates,
            bad_checksums: None,
            partial_checksums: None,
            tunnel: self.around.as_deref().map(|around: &Around| Box::new(around.record(&sides))),
            icmp: Vec::new(),
            evicted: self.evicted,
            turned: Vec::new(),
            netns: config.netns,
            kernel: None,
            drops: Vec::new(),
            lost: None,
            processes: Vec::new(),
            sources: vec![Source::Packets],
            split: None,
            round_trips: round_trips.map(|trips| RoundTripCount::new(0, 0, Some(trips))),
            notable: Vec::new(),
            reset: None,
            silence: None,
            nat: None,
            findings: Vec::new(),
            timeline: None,
        }
    }

    /// Zeek's outcome of what goes over UDP, which knows no more than who has sent something.
    fn conn_state(&self) -> ConnState {
        match (self.packets.client > 0, self.packets.server > 0) {
            (true, true) => ConnState::SF,
            (true, false) => ConnState::S0,
            (false, true) => ConnState::SHR,
            (false, false) => ConnState::OTH,
        }
    }

    /// Zeek's letters likewise.
    fn history(&self) -> String {
        let letters = [Side::Client, Side::Server].map(|side| match side {
            Side::Client => (self.packets.client, "D"),
            Side::Server => (self.packets.server, "d"),
        });
        let [client, server] = letters;
        let in_order = if self.began == Side::Client { [client, server] } else { [server, client] };
        in_order.into_iter().filter(|(packets, _)| *packets > 0).map(|(_, letter)| letter).collect()
    }
}
