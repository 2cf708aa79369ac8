//! The stack: what TCP counts for the namespace, as rates.

use super::text::snmp;
use super::trend::Trends;
use super::{Gauge, Sweep, Text};
use crate::record::{GaugeRecord, Subject, Unit, Value};

/// A counter for each line of [`COUNTERS`], and `retransmission_percent`.
#[derive(Debug, Default)]
pub struct Stack {
    trends: Trends<&'static str>,
}

/// Name, file, group and field of the counters.
const COUNTERS: [(&str, Text, &str, &str, Unit); 15] = [
    ("segments_sent", Text::Snmp, "Tcp", "OutSegs", Unit::Segments),
    ("segments_received", Text::Snmp, "Tcp", "InSegs", Unit::Segments),
    ("segments_retransmitted", Text::Snmp, "Tcp", "RetransSegs", Unit::Segments),
    ("resets_sent", Text::Snmp, "Tcp", "OutRsts", Unit::Segments),
    ("connections_reset", Text::Snmp, "Tcp", "EstabResets", Unit::Events),
    ("connections_failed", Text::Snmp, "Tcp", "AttemptFails", Unit::Events),
    ("retransmission_timeouts", Text::Netstat, "TcpExt", "TCPTimeouts", Unit::Events),
    ("tail_loss_probes", Text::Netstat, "TcpExt", "TCPLossProbes", Unit::Events),
    ("fast_retransmissions", Text::Netstat, "TcpExt", "TCPFastRetrans", Unit::Segments),
    ("syns_retransmitted", Text::Netstat, "TcpExt", "TCPSynRetrans", Unit::Segments),
    ("out_of_order", Text::Netstat, "TcpExt", "TCPOFOQueue", Unit::Segments),
    ("out_of_order_pruned", Text::Netstat, "TcpExt", "OfoPruned", Unit::Segments),
    ("receive_queue_pruned", Text::Netstat, "TcpExt", "PruneCalled", Unit::Events),
    ("receive_queue_dropped", Text::Netstat, "TcpExt", "TCPRcvQDrop", Unit::Segments),
    ("zero_windows_sent", Text::Netstat, "TcpExt", "TCPToZeroWindowAdv", Unit::Events),
];

impl Gauge for Stack {
    fn sweep(&mut self, sweep: &Sweep<'_>, out: &mut Vec<GaugeRecord>) {
        let (mut sent, mut again) = (None, None);
        for file in [Text::Snmp, Text::Netstat] {
            for (group, field, value) in snmp(sweep.texts.get(file).unwrap_or_default()) {
                let counter = COUNTERS
                    .iter()
                    .find(|(_, of, in_group, name, _)| *of == file && *in_group == group && *name == field);
                let Some((name, _, _, _, unit)) = counter else { continue };
                let rate = self.trends.rate_of_counter(name, sweep.at, value);
                match *name {
                    "segments_sent" => sent = rate,
                    "segments_retransmitted" => again = rate,
                    _ => {}
                }
                out.push(sweep.reading(name, Subject::default(), value, *unit, file.source()).growing(rate));
            }
        }
        // `OutSegs` leaves out those that only repeat (include/net/snmp.h, __tcp_retransmit_skb).
        if let (Some(sent), Some(again)) = (sent, again)
            && sent + again > 0.0
        {
            let source = Text::Snmp.source();
            let reading = sweep.reading("retransmission_percent", Subject::default(), 0, Unit::Percent, source);
            let percent = (again * 10_000.0 / (sent + again)).round() / 100.0;
            out.push(GaugeRecord { value: Value(percent), limit: Some(100), ..reading });
        }
    }
}
