//! The firewall: how often rules have dropped or rejected packets while this host is watched.

use foldhash::HashMap;

use super::{Gauge, Sweep, TOP};
use crate::record::{FirewallRule, FirewallVerdict, GaugeRecord, Subject, Unit, Value};
use crate::time::Timestamp;

/// `firewall_dropped` and `firewall_rejected`, where the rules are read: of those that were met since they were read first,
/// those that were met most.
#[derive(Debug, Default)]
pub struct Firewall {
    /// Packets when a rule was read first, and when that was.
    first: HashMap<FirewallRule, (Timestamp, u64)>,
}

impl Gauge for Firewall {
    fn sweep(&mut self, sweep: &Sweep<'_>, out: &mut Vec<GaugeRecord>) {
        let mut met = Vec::new();
        for one in sweep.rules {
            let (since, before) = *self.first.entry(one.rule.clone()).or_insert((sweep.at, one.packets));
            let grown = one.packets.saturating_sub(before);
            let passed = sweep.at.since(since).as_secs_f64();
            if grown > 0 && passed > 0.0 {
                met.push((grown, passed, one));
            }
        }
        met.sort_by(|(grown, _, one), (other_grown, _, other)| other_grown.cmp(grown).then(one.rule.cmp(&other.rule)));
        for (grown, passed, one) in met.into_iter().take(TOP) {
            let subject = Subject { rule: Some(Box::new(one.rule.clone())), ..Subject::default() };
            let name = match one.rule.verdict {
                FirewallVerdict::Drop => DROPPED,
                FirewallVerdict::Reject => REJECTED,
            };
            let reading = sweep.reading(name, subject, one.packets, Unit::Packets, "nf_tables NFT_MSG_GETRULE");
            out.push(GaugeRecord { rate: Some(Value(grown as f64 / passed)), ..reading });
        }
    }
}

/// The name of the gauge of rules that drop.
pub const DROPPED: &str = "firewall_dropped";
/// The name of the gauge of rules that reject.
pub const REJECTED: &str = "firewall_rejected";
