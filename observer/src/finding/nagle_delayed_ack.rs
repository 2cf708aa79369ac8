//! Sender and receiver wait for each other.

use super::{Context, Finding, Page, Proof, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, Severity, Side};
use crate::time::Nanos;
use crate::units;

/// See [`PAGE`].
pub struct NagleDelayedAck;

const PAGE: Page = Page {
    name: "nagle-delayed-ack",
    title: "Nagle's algorithm against delayed ACKs",
    severity: Severity::Warning,
    rests_on: RestsOn::Absence,
    meaning: "The sender had a small piece ready and waited for the ACK of the one before (Nagle's algorithm, RFC 896); the \
              receiver held that ACK back for 40 ms and more, hoping for data to send it with (RFC 9293, section 3.8.6.3). \
              Each such exchange takes that much longer, on any network.",
    causes: &[
        "The program writes a message in several small pieces (head, then body) instead of one, without TCP_NODELAY.",
    ],
    rule: &[
        "One end sent on within 3 ms (and the way there) of an ACK without data that left nothing in flight.",
        "That ACK had come 30 to 500 ms later than a round trip after the last payload (TCP_DELACK_MIN is 40 ms).",
        "This happened delayed_acks or more times.",
    ],
    remedy: &[
        "In the program, write each message at once (writev, a buffered writer), or set TCP_NODELAY on the socket",
        "See who does it: `strace -f -e trace=write,sendto,sendmsg,setsockopt -p PID`",
        "At the receiver, where the program cannot be changed: `ip route change … quickack 1`",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "observer/src/finding/tests/transfer.rs::small_writes_that_wait_for_delayed_acks",
        near_miss: "observer/src/finding/tests/transfer.rs::small_writes_that_wait_for_delayed_acks",
    },
};

impl Finding for NagleDelayedAck {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        let flow = record.flow?;
        let delayed = |side: &Side| flow.of(*side).delayed_acks.map_or(0, |acks| acks.count);
        let by = [Side::Client, Side::Server].into_iter().max_by_key(delayed)?;
        let acks = flow.of(by).delayed_acks?;
        if acks.count < context.thresholds.delayed_acks {
            return None;
        }
        let (sender, receiver) = (super::verdict::name(by), super::verdict::name(by.other()));
        let each = Nanos(acks.waited_ns.0 / acks.count.max(1));
        let what = format!(
            "The {sender} waited {} for the {receiver}'s delayed ACK before it sent on: {} each time, {} in all.",
            units::number_of(acks.count, "time"),
            units::time(each),
            units::time(acks.waited_ns)
        );
        let fact = evidence::fact(format!("{} that were late", units::number_of(acks.count, "ACK")));
        Some(Verdict::new(Severity::Warning, what).by([fact]))
    }
}
