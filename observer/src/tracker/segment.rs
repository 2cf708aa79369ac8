//! What a segment does to its connection.

use std::sync::Arc;

use super::analysis::{self, AnalysisSet};
use super::connection::{Closing, Connection, both};
use super::correction::Sent;
use super::duplicate::Duplicates;
use super::handshake::{Handshake, Part};
use super::retransmit;
use super::sending::End;
use super::state;
use super::timeline::Entry;
use super::{Config, Timeouts};
use crate::input::PacketInput;
use crate::keylog::Keys;
use crate::packet::{Flags, Layer, Notes, Packet, Segment};
use crate::record::{EntryKind, NotableKind, RetransmissionCause, TcpState};
use crate::sequence::Seq;
use crate::tcp_options::TcpOptions;
use crate::time::{Nanos, Timestamp};

/// What a segment did to its connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    pub(super) analysis: AnalysisSet,
    /// What made its sender send it again.
    pub(super) retransmission: Option<RetransmissionCause>,
    /// No octet of what was sent again had been captured before.
    pub(super) repairs: bool,
    pub(super) duplicate: bool,
}

impl Connection {
    /// Takes in a segment that direction `from` sent.
    pub(super) fn segment(
        &mut self,
        from: u8,
        input: &PacketInput<'_>,
        segment: &Segment,
        config: &Config,
        (duplicates, keys): (&mut Duplicates, Option<&Arc<Keys>>),
    ) -> Done {
        let packet = input.packet;
        self.last_number = packet.number;
        let cut = packet.notes.contains(Notes::OPTIONS_CUT);
        let mut options = TcpOptions::parse(input.options);
        options.cut = cut;
        let habits = both(&mut self.habits, from);
        let [fwd_flow, rev_flow] = both(&mut self.flows, from);
        if config.sampled {
            return self.sampled_segment(from, input, segment, &options, (config, keys));
        }
        if config.recognises_duplicates()
            && duplicates.is_copy((packet, from), segment, &options, input.layers, habits, [fwd_flow, rev_flow])
        {
            self.rare.get_or_insert_default().duplicates += 1;
            if segment.flags.contains(Flags::SYN) {
                self.compare_offers(from, packet, segment, &options);
            }
            return Done { duplicate: true, ..Done::default() };
        }
        self.note_before(from, packet, segment, config);
        self.last_seen = self.last_seen.max(packet.at);
        self.take_layers(from, input.layers);
        let at = packet.at;
        let [fwd, rev] = both(&mut self.sent, from);
        if packet.notes.intersects(Notes::BAD_IP_CHECKSUM | Notes::BAD_TCP_CHECKSUM) {
            fwd.bad_checksum(packet.notes);
            if config.drop_bad_checksums {
                self.outcome.bad_checksum(from);
                return Done::default();
            }
        }
        let [fwd_flow, _] = both(&mut self.flows, from);
        fwd.segment(packet, segment, fwd_flow.is_seen().then(|| fwd_flow.last_at()));
        fwd.take_isn(segment);
        rev.take_isn_from_ack(segment);

        let [fwd_flow, rev_flow] = both(&mut self.flows, from);
        let mut analysis = analysis::analyse(fwd_flow, rev_flow, &mut self.shared, segment, &options, at);
        analysis.set(AnalysisSet::REUSED_PORTS, analysis.contains(AnalysisSet::REUSED_PORTS) || self.reuses_ports);
        self.reuses_ports = false;
        if config.strict_wireshark
            && packet.notes.intersects(Notes::BAD_HEADER_LENGTH | Notes::OPTIONS_CUT | Notes::HEADER_CUT)
        {
            // Wireshark takes in such a segment, and says nothing of it: it fails over the rest of the header first.
            analysis = AnalysisSet::empty();
        }
        let mut is_new = false;
        if segment.len > 0 {
            let (data, new) = fwd.payload(segment, (Some(fwd_flow.in_flight(rev_flow)), rev.acked()), at);
            is_new = new == segment.len;
            if !config.strict_wireshark {
                let (seen, acknowledged) = (new == 0, rev_flow.acknowledges());
                let sent = Sent { tsval: options.timestamps.map(|(value, _)| value), ip_id: packet.ip_id };
                analysis = data.holes.correct(analysis, segment, sent, seen, acknowledged);
            }
        }
        // In a simultaneous open, the SYN-ACK repeats the number of the SYN before it.
        if segment.flags.is_syn_ack() && self.handshake.sent_syn(from) && !config.strict_wireshark {
            analysis.remove(AnalysisSet::RETRANSMISSION);
        }
        let retransmission = analysis.contains(AnalysisSet::RETRANSMISSION).then(|| {
            let path = retransmit::Path {
                round_trip: self.shared.initial_rtt().max(path_round_trip([fwd, rev])).unwrap_or_default(),
                has_sack: self.handshake.has_sack().unwrap_or(true),
            };
            fwd.retransmits.cause(segment, analysis, [fwd_flow, rev_flow], path, at)
        });
        let needless = rev.retransmits.answered(segment, analysis, &options, at);
        if let Some(data) = &mut fwd.data {
            data.round_trips.sent(segment, analysis, &options, at);
        }
        let round_trip = self.shared.initial_rtt();
        if let Some(data) = &mut rev.data {
            data.answered(segment, &options, at, rev_flow.in_flight(fwd_flow), round_trip);
        }
        let heard = rev.packets;
        if let Some(data) = fwd.data.as_mut().filter(|_| segment.len > 0) {
            if let Some(cause) = retransmission {
                let strain = data.strain.get_or_insert_default();
                strain.sent_again(packet, segment, cause, heard);
            } else if let Some(strain) = &mut data.strain {
                strain.sent(at, round_trip);
            }
        }
        let repairs = is_new && retransmission.is_some();
        let done = Done { analysis, retransmission, repairs, duplicate: false };
        let part = self.handshake.segment(from, segment, &options, rev.isn(), at);
        if part == Part::SynAck && rev.isn().is_some_and(|isn| segment.ack.after(isn.plus(1))) {
            self.handshake.data_in_syn_accepted();
        }
        if needless > 0 {
            self.note_one(NotableKind::Dsack, from, packet);
        }
        self.take_window(from, segment, at);
        self.take_state(from, segment, at);
        self.take_outcome(from, packet, segment, config);
        self.listen(from, input, segment, config, keys);
        if !analysis.is_empty() {
            let [fwd, _] = both(&mut self.rare.get_or_insert_default().analysis, from);
            fwd.add(analysis);
        }
        if !analysis.is_empty() || segment.flags.contains(Flags::RST) {
            self.note(from, packet, segment, done);
        }
        if self.is_logged(config) {
            self.log_segment(from, packet, segment, part, done, config);
        }
        done
    }

    /// Takes in a segment where not every one is seen: nothing is said that depends on the others.
    #[inline(never)]
    fn sampled_segment(
        &mut self,
        from: u8,
        input: &PacketInput<'_>,
        segment: &Segment,
        options: &TcpOptions,
        (config, keys): (&Config, Option<&Arc<Keys>>),
    ) -> Done {
        let (packet, at) = (input.packet, input.packet.at);
        self.last_seen = self.last_seen.max(at);
        self.is_own |= packet.notes.contains(Notes::OUTBOUND);
        self.asks |= packet.notes.contains(Notes::ASKING);
        self.take_layers(from, input.layers);
        let [fwd, rev] = both(&mut self.sent, from);
        fwd.segment(packet, segment, None);
        fwd.take_isn(segment);
        rev.take_isn_from_ack(segment);
        // Who has closed reads no more, and may well say so.
        let is_full = segment.window == 0
            && !segment.flags.intersects(Flags::SYN | Flags::FIN | Flags::RST)
            && fwd.fin_end().is_none();
        if is_full {
            fwd.window_closed(segment.ack, at);
            self.note_one(NotableKind::ZeroWindow, from, packet);
        }
        let [_, rev] = both(&mut self.sent, from);
        let part = self.handshake.segment(from, segment, options, rev.isn(), at);
        self.take_state(from, segment, at);
        self.take_outcome(from, packet, segment, config);
        self.listen(from, input, segment, config, keys);
        let analysis = if is_full { AnalysisSet::ZERO_WINDOW } else { AnalysisSet::empty() };
        let done = Done { analysis, ..Done::default() };
        if self.is_logged(config) {
            self.log_segment(from, packet, segment, part, done, config);
        }
        self.close_unacknowledged(from);
        done
    }

    /// Where both ends have sent a FIN, the ACK of the later one is not waited for: it is no segment that is passed on.
    fn close_unacknowledged(&mut self, from: u8) {
        let [fwd, rev] = both(&mut self.sent, from);
        if fwd.fin_end().is_some() && rev.fin_end().is_some() && fwd.state == TcpState::LastAck {
            (fwd.state, rev.state) = (TcpState::Closed, TcpState::TimeWait);
        }
    }

    /// Notes which options one copy of a SYN has and another, captured elsewhere, has not.
    fn compare_offers(&mut self, from: u8, packet: &Packet, segment: &Segment, options: &TcpOptions) {
        let stripped = self.handshake.stripped(from, segment, options);
        if !stripped.is_empty() {
            let [known, _] = both(&mut self.rare.get_or_insert_default().stripped, from);
            *known |= stripped;
            self.note_one(NotableKind::OptionsDiffer, from, packet);
        }
    }

    fn take_layers(&mut self, from: u8, layers: &[Layer]) {
        if layers.is_empty() {
            return;
        }
        self.around.get_or_insert_default().take(from, layers);
    }

    /// Follows the window that the sender offers, scaled where the scale is known.
    fn take_window(&mut self, from: u8, segment: &Segment, at: Timestamp) {
        let [fwd, _] = both(&mut self.sent, from);
        if segment.flags.intersects(Flags::RST | Flags::FIN) {
            fwd.window_opens(at);
        } else if let Some(window) = scaled_window(&self.handshake, from, segment) {
            fwd.window(window, at);
            if segment.flags.contains(Flags::SYN) {
                // The window of a SYN closes nothing yet.
                fwd.window_opens(at);
            }
        } else {
            // How large it is cannot be told, only that it is open.
            fwd.window_opens(at);
        }
    }

    #[inline(always)]
    fn take_outcome(&mut self, from: u8, packet: &Packet, segment: &Segment, config: &Config) {
        // Zeek leaves aside a header it does not have all of, and goes by the IP length, whatever the layer around it says.
        let zeek = config.timeouts == Timeouts::Zeek;
        let unusable = if zeek { Notes::BAD_HEADER_LENGTH | Notes::OPTIONS_CUT } else { Notes::BAD_HEADER_LENGTH };
        if packet.notes.intersects(unusable) {
            return;
        }
        let whole = packet.tail.payload >= segment.len;
        let age = packet.at.since(self.first_seen);
        if zeek && packet.missing > 0 {
            self.outcome.segment_beyond_its_frame(from, segment, packet.missing, whole, age);
        } else {
            self.outcome.segment(from, segment, whole, age);
        }
    }

    #[inline]
    fn take_state(&mut self, from: u8, segment: &Segment, at: Timestamp) {
        let goes_on = self.sent.iter().all(|end| end.state == TcpState::Estab) && !segment.flags.syn_fin_rst();
        if !goes_on {
            self.change_state(from, segment, at);
        }
    }

    #[inline(never)]
    fn change_state(&mut self, from: u8, segment: &Segment, at: Timestamp) {
        let flags = segment.flags;
        let [fwd, rev] = both(&mut self.sent, from);
        if flags.contains(Flags::FIN) {
            fwd.fin(segment.end());
        }
        let acks_fin = flags.contains(Flags::ACK) && rev.fin_end().is_some_and(|end| segment.ack.at_or_after(end));
        if flags.intersects(Flags::FIN | Flags::RST) {
            let Closing { fin, rst, first } = &mut self.closing;
            first.get_or_insert(from);
            let times = if flags.contains(Flags::RST) { rst } else { fin };
            let [time, _] = both(times, from);
            time.set_once(at);
        }
        if flags.contains(Flags::RST) && !self.believes_reset(from, segment) {
            return;
        }
        let [fwd, rev] = both(&mut self.sent, from);
        state::apply(&mut fwd.state, &mut rev.state, segment, acks_fin);
    }

    /// Whether the receiver of an RST would take it (RFC 9293, section 3.10.7): in SYN-SENT where it acknowledges the SYN,
    /// elsewhere where its sequence number is not before what the receiver has acknowledged.
    fn believes_reset(&self, from: u8, segment: &Segment) -> bool {
        let [fwd, rev] = if from == 0 { [0, 1] } else { [1, 0] };
        let (Some(fwd), Some(rev)) = (self.sent.get(fwd), self.sent.get(rev)) else { return true };
        if rev.state == TcpState::SynSent && segment.flags.contains(Flags::ACK) {
            return rev.isn().is_none_or(|isn| segment.ack.after(isn));
        }
        match (fwd.isn(), rev.acked()) {
            (Some(_), Some(acked)) => segment.seq.at_or_after(acked),
            _ => true,
        }
    }

    #[inline(never)]
    fn log_segment(&mut self, from: u8, packet: &Packet, segment: &Segment, part: Part, done: Done, config: &Config) {
        let flags = segment.flags;
        let kind = match part {
            _ if flags.contains(Flags::RST) => EntryKind::Rst,
            Part::Syn => EntryKind::Syn,
            Part::SynAck => EntryKind::SynAck,
            _ if flags.contains(Flags::FIN) => EntryKind::Fin,
            _ if segment.len > 0 => EntryKind::Data,
            Part::Ack => EntryKind::HandshakeAck,
            Part::None => EntryKind::Ack,
        };
        let [fwd, rev] = both(&mut self.sent, from);
        let relative = |isn: Option<Seq>, seq: Seq| isn.map_or(seq.0, |isn| seq.offset_from(isn));
        let (seq, ack) = (relative(fwd.isn(), segment.seq), relative(rev.isn(), segment.ack));
        let entry = Entry {
            kind,
            bytes: segment.len.into(),
            flags,
            analysis: done.analysis,
            retransmission: done.retransmission,
            seq,
            ack: flags.contains(Flags::ACK).then_some(ack),
            window: scaled_window(&self.handshake, from, segment).unwrap_or(segment.window.into()),
            ..self.entry(from, packet)
        };
        self.log.get_or_insert_default().add(entry, config.timeline_entries);
    }
}

/// The window a segment offers, in octets; `None` where its scale is not known.
fn scaled_window(handshake: &Handshake, from: u8, segment: &Segment) -> Option<u32> {
    let window = u32::from(segment.window);
    if segment.flags.contains(Flags::SYN) || window == 0 {
        return Some(window);
    }
    let [low, high] = handshake.scales()?;
    Some(window << if from == 0 { low } else { high })
}

/// What a round trip between both ends usually takes: that from the capture point to one end and that to the other.
fn path_round_trip(ends: [&End; 2]) -> Option<Nanos> {
    let typical = ends.map(|end| end.data.as_ref().and_then(|data| data.round_trips.typical()));
    typical.into_iter().flatten().reduce(|one, other| Nanos(one.0.saturating_add(other.0)))
}
