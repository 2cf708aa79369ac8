//! A RST that its alleged sender did not send.

use super::{Context, Finding, Page, RestsOn, Verdict, evidence};
use crate::record::{ConnectionRecord, NotableKind, Severity};

/// See [`PAGE`].
pub struct Middlebox;

const PAGE: Page = Page {
    name: "middlebox-interference",
    title: "middlebox interference",
    severity: Severity::Warning,
    rests_on: RestsOn::Presence,
    meaning: "The RST that ended the connection came from another distance than everything else that its sender sent: by its \
              time to live it was made somewhere on the way, in the name of that end. The end itself knows nothing of it.",
    causes: &[
        "A firewall or intrusion prevention system that ends connections it does not like.",
        "A load balancer or NAT that has given the connection up.",
        "A censor.",
    ],
    rule: &[
        "The end in whose name the RST came had sent packets before, all with the same time to live.",
        "By the next usual start of a time to live (64, 128, 255) the RST passed ttl_hops or more routers more or fewer.",
    ],
    remedy: &[
        "Find what stands at that distance: `traceroute -T -p {PORT} {SERVER}`",
        "Capture at both ends at once and compare: `tcpdump -ni any -vw here.pcap 'tcp port {PORT}'`",
        "Look at the rules of the firewalls on the way for `reject with tcp reset`",
    ],
    instead_of: &[],
};

impl Finding for Middlebox {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn connection(&self, record: &ConnectionRecord, context: &Context<'_>) -> Option<Verdict> {
        let reset = record.reset.as_deref()?;
        let before = reset.ttl_before.filter(|ttl| ttl.min == ttl.max)?;
        let hops = [64, 128, 255].into_iter().find(|start| *start >= reset.ttl)? - reset.ttl;
        if u64::from(hops.abs_diff(before.hops)) < context.thresholds.ttl_hops {
            return None;
        }
        let who = super::verdict::name(reset.from);
        let what = format!(
            "The {who}'s RST came with a TTL of {}, everything else of it with {}: something on the way made it.",
            reset.ttl, before.max
        );
        let rst = evidence::notable(record, NotableKind::Rst, reset.from, "RST");
        Some(Verdict::new(Severity::Warning, what).likely().by(rst))
    }
}
