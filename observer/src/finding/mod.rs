//! Findings: what is wrong with a connection, with many of them, or with a host, how sure that is, and what to do.
//!
//! A finding is one file here and one line in [`FINDINGS`]. It has a [`Page`], which is all the text there is of it, and
//! one of three things: a rule over a [`ConnectionRecord`], a [`Tally`] that sees many connections and lookups go by, or a
//! rule over the readings of gauges.
//! [`judge`] asks the rules; a [`Report`] gathers what was found and keeps the tallies.

mod evidence;
mod page;
mod passing;
mod readings;
mod report;
mod tally;
mod thresholds;
mod verdict;

mod abortive_close;
mod accept_queue_overflow;
mod bufferbloat;
mod certificate;
mod close_wait;
mod close_wait_leak;
mod connection_churn;
mod conntrack_full;
mod descriptors_exhausted;
mod dns_failure;
mod dropped_by_host;
mod ecn_broken;
mod ephemeral_ports;
mod half_open;
mod head_of_line;
mod incast;
mod keep_alive_timeout;
mod memory_pressure;
mod middlebox;
mod mtu_black_hole;
mod nagle_delayed_ack;
mod name_or_network;
mod no_resumption;
mod outdated_tls;
mod packet_loss;
mod port_scan;
mod refused;
mod rejected_by_icmp;
mod reordering;
mod reset_after_idle;
mod reset_mid_stream;
mod retransmission_rate;
mod sender_limited;
mod slow_client;
mod slow_dns;
mod slow_handshake;
mod slow_server;
mod span;
mod spurious_retransmission;
mod stale_pooled_connection;
mod stuck_closing;
mod syn_cookies;
mod syn_flood;
mod tail_loss;
mod tfo_blocked;
mod tls_alert;
mod together;
mod twins;
mod unanswered_syn;
mod window_limited;
mod zero_window;

pub use page::{Page, Proof, RestsOn, markdown};
pub use readings::{Readings, describe, growth};
pub use report::Report;
use span::Span;
pub use tally::Tally;
pub use thresholds::{Setting, ThresholdError, Thresholds};
pub use together::Together;
pub use verdict::Verdict;

use crate::record::{About, ConnectionRecord, Doubt, Finding as Found};
use crate::time::{Nanos, Timestamp};

/// Every finding there is, in the order in which they are listed.
pub const FINDINGS: &[&dyn Finding] = &[
    &refused::Refused,
    &unanswered_syn::UnansweredSyn,
    &rejected_by_icmp::RejectedByIcmp,
    &slow_handshake::SlowHandshake,
    &half_open::HalfOpen,
    &syn_flood::SynFlood,
    &accept_queue_overflow::AcceptQueueOverflow,
    &port_scan::PortScan,
    &reset_mid_stream::ResetMidStream,
    &reset_after_idle::ResetAfterIdle,
    &stale_pooled_connection::StalePooledConnection,
    &abortive_close::AbortiveClose,
    &middlebox::Middlebox,
    &dropped_by_host::DroppedByHost,
    &packet_loss::PacketLoss,
    &tail_loss::TailLoss,
    &spurious_retransmission::SpuriousRetransmission,
    &reordering::Reordering,
    &mtu_black_hole::MtuBlackHole,
    &zero_window::ZeroWindow,
    &window_limited::WindowLimited,
    &sender_limited::SenderLimited,
    &bufferbloat::Bufferbloat,
    &nagle_delayed_ack::NagleDelayedAck,
    &incast::Incast,
    &slow_server::SlowServer,
    &slow_client::SlowClient,
    &head_of_line::HeadOfLine,
    &connection_churn::ConnectionChurn,
    &tls_alert::TlsAlert,
    &certificate::Expired,
    &certificate::NotYetValid,
    &certificate::OtherName,
    &outdated_tls::OutdatedTls,
    &no_resumption::NoResumption,
    &dns_failure::DnsFailure,
    &slow_dns::SlowDns,
    &name_or_network::NameOrNetwork,
    &close_wait::CloseWait,
    &stuck_closing::StuckClosing,
    &keep_alive_timeout::KeepAliveTimeout,
    &ecn_broken::EcnBroken,
    &tfo_blocked::TfoBlocked,
    &close_wait_leak::CloseWaitLeak,
    &descriptors_exhausted::DescriptorsExhausted,
    &ephemeral_ports::TimeWaitExhaustion,
    &ephemeral_ports::EphemeralPorts,
    &conntrack_full::ConntrackFull,
    &syn_cookies::SynCookies,
    &memory_pressure::MemoryPressure,
    &retransmission_rate::RetransmissionRate,
];

/// One kind of thing that can be wrong.
pub trait Finding: Sync {
    /// What there is to say of it.
    fn page(&self) -> &'static Page;

    /// Whether it holds of one connection.
    fn connection(&self, _: &ConnectionRecord, _: &Context<'_>) -> Option<Verdict> {
        None
    }

    /// Whether it holds of the host, by its gauges.
    fn gauges(&self, _: Readings<'_>, _: &Context<'_>) -> Vec<(About, Verdict)> {
        Vec::new()
    }

    /// Whether it is told where gauges showed it for a while only: what failed meanwhile has failed.
    fn tells_of_passing(&self) -> bool {
        false
    }

    /// Counters that are evidence where they grow while connections show it, by the names of their gauges.
    fn counters(&self) -> &'static [&'static str] {
        &[]
    }

    /// What looks for it in many connections; `None` where it is about one.
    fn tally(&self) -> Option<Box<dyn Tally>> {
        None
    }
}

/// What rules go by, besides the record.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// From where on something is wrong.
    pub thresholds: &'a Thresholds,
    /// How far the input is known to reach: what had not come by then may have come later.
    pub until: Timestamp,
    /// The capture, or the kernel's ring, lost something.
    pub lost: bool,
}

impl Context<'_> {
    /// How long after `since` the input went on.
    pub const fn waited(&self, since: Timestamp) -> Nanos {
        self.until.since(since)
    }
}

/// The finding of that name.
pub fn find(name: &str) -> Option<&'static dyn Finding> {
    FINDINGS.iter().copied().find(|finding| finding.page().name == name)
}

/// What is wrong with a connection, the worst first.
pub fn judge(record: &ConnectionRecord, context: &Context<'_>) -> Vec<Found> {
    let hold = FINDINGS.iter().filter_map(|finding| Some((finding, finding.connection(record, context)?)));
    let mut found: Vec<(&'static Page, Verdict)> = hold.map(|(finding, verdict)| (finding.page(), verdict)).collect();
    let named: Vec<&str> = found.iter().flat_map(|(page, _)| page.instead_of).copied().collect();
    found.retain(|(page, _)| !named.contains(&page.name));
    let doubts = if found.is_empty() { Vec::new() } else { doubts(record, context) };
    let mut found: Vec<Found> =
        found.into_iter().map(|(page, verdict)| verdict.of_connection(page, record, &doubts)).collect();
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    found
}

/// What makes all less sure that rests on something not having been seen.
fn doubts(record: &ConnectionRecord, context: &Context<'_>) -> Vec<Doubt> {
    let acked =
        record.analysis.map_or(0, |analysis| analysis.ack_lost_segment.client + analysis.ack_lost_segment.server);
    let all = [
        (Doubt::Lost, context.lost || record.lost.is_some_and(|lost| lost > 0)),
        (Doubt::Midstream, record.packets.is_some() && !record.handshake.is_absent() && record.handshake.syn.is_none()),
        (Doubt::OneDirection, evidence::is_one_way(record)),
        (Doubt::Gaps, acked > 0),
        // The kernel's own word makes up for packets that it does not pass on.
        (Doubt::Sampled, record.packets.is_none() && record.kernel.is_none()),
        (Doubt::Evicted, record.evicted),
    ];
    all.into_iter().filter(|(_, holds)| *holds).map(|(doubt, _)| doubt).collect()
}

#[cfg(test)]
pub(crate) mod tests;
