//! A connection that was idle for long is reset when it is used again.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnState, ConnectionRecord, NotableKind, Severity};
use crate::units;

/// See [`PAGE`].
pub struct ResetAfterIdle;

const PAGE: Page = Page {
    name: "reset-after-idle",
    title: "reset after an idle time",
    severity: Severity::Error,
    rests_on: RestsOn::Absence,
    meaning: "Nothing was sent on the connection for a long time, and then a RST ended it: something between both ends, or the \
              other end, had given it up meanwhile. Its idle timeout is shorter than the time that was waited.",
    causes: &[
        "A NAT, firewall or load balancer with an idle timeout (often 60 s, 240 s, 300 s, 350 s or an hour) that answers \
         with a RST what it has forgotten.",
        "The server's keep-alive timeout, where it resets instead of closing.",
        "The other host restarted.",
    ],
    rule: &[
        "The connection was established, and neither end had sent a FIN.",
        "Nothing was captured of it for reset_after_idle or longer, as what keeps a table of connections may take for their \
         end (RFC 5382, section 5; nf_conntrack_tcp_timeout_established in the kernel).",
        "After that at most four packets came, the last of them a RST.",
    ],
    remedy: &[
        "Send something more often than every {IDLE}: TCP keep-alive (`sysctl -w net.ipv4.tcp_keepalive_time=60`, SO_KEEPALIVE \
         in the program), or the protocol's own",
        "Close idle connections of the pool earlier than {IDLE}",
        "Find the timeout: that of the load balancer, or `sysctl net.netfilter.nf_conntrack_tcp_timeout_established`",
    ],
    instead_of: &["reset-mid-stream", "abortive-close"],
    proof: Proof {
        shown: "tests/tests/live/verdicts.rs::a_table_on_the_way_forgets_an_idle_connection",
        near_miss: "observer/src/finding/tests.rs::a_reset_after_a_minute_is_after_idle",
    },
};

/// Packets after the silence.
const FEW: u64 = 4;

impl Finding for ResetAfterIdle {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        let (silence, reset) = (record.silence.as_deref()?, record.reset.as_deref()?);
        let after = silence.packets_after.client + silence.packets_after.server;
        let closed = [record.close.fin.client, record.close.fin.server].into_iter().flatten();
        let established = record.handshake.ack.is_some() || record.handshake.syn.is_none();
        let was_reset = matches!(record.conn_state, ConnState::RSTO | ConnState::RSTR | ConnState::OTH);
        if silence.length_ns < context.thresholds.reset_after_idle
            || after > FEW
            || reset.at < silence.until
            || !established
            || !was_reset
            || closed.into_iter().any(|fin| fin <= reset.at)
        {
            return None;
        }
        let (who, by) = (super::verdict::name(silence.by), super::verdict::name(reset.from));
        let idle = units::time(silence.length_ns);
        let what = if silence.frame == reset.frame {
            format!("The {by} reset the connection after {idle} of silence.")
        } else {
            format!("After {idle} of silence the {who} sent again, and the {by} answered with a RST.")
        };
        // Who resets of its own accord at the end of a timeout loses nothing.
        let severity = if silence.frame == reset.frame { Severity::Warning } else { Severity::Error };
        let first = evidence::frame(silence.until, silence.frame, silence.by, format!("first packet after {idle}"));
        let verdict = Verdict::new(severity, what)
            .by((silence.frame != reset.frame).then_some(first))
            .by(evidence::notable(record, NotableKind::Rst, reset.from, "RST"))
            .with("IDLE", idle);
        Some(verdict)
    }
}
