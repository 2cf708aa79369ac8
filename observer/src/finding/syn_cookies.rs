//! The kernel answers SYNs with cookies: more handshakes are under way than a listener may remember.

use super::readings::{Readings, about, evidence, grows, growth, percent};
use super::{Context, Finding, Page, Proof, RestsOn, Verdict};
use crate::record::{About, Severity};
use crate::units;

/// See [`PAGE`].
pub struct SynCookies;

const PAGE: Page = Page {
    name: "syn-cookies",
    title: "SYN cookies are sent",
    severity: Severity::Warning,
    rests_on: RestsOn::Presence,
    meaning: "A listener has as many handshakes under way as its backlog allows, and the kernel answers further SYNs without \
              remembering them, with a cookie in the sequence number. Clients that mean it still get through; what their SYN \
              offered (window scale, SACK) survives only where they send timestamps.",
    causes: &[
        "A SYN flood, mostly with forged addresses.",
        "Very many clients at once, and a short backlog.",
        "Answers that do not reach the clients, so that handshakes stay open.",
    ],
    rule: &["SyncookiesSent of /proc/net/netstat grows (cookie_v4_init_sequence, RFC 4987 section 3.6)."],
    remedy: &[
        "See which listener: `observer sockets -an state syn-recv`",
        "Where those are clients who mean it, a longer backlog: the program's, and `sysctl -w net.core.somaxconn=4096 \
         net.ipv4.tcp_max_syn_backlog=4096`",
        "Where they are not, filter before the server: a synproxy, or the provider's protection",
    ],
    instead_of: &[],
    proof: Proof {
        shown: "tests/tests/gauges/main.rs::cookies_are_told_when_they_are_sent",
        near_miss: "tests/tests/gauges/main.rs::cookies_are_told_when_they_are_sent",
    },
};

impl Finding for SynCookies {
    fn page(&self) -> &'static Page {
        &PAGE
    }

    fn tells_of_passing(&self) -> bool {
        true
    }

    fn gauges(&self, readings: Readings<'_>, _: &Context<'_>) -> Vec<(About, Verdict)> {
        let sent = readings.of("syn_cookies_sent").filter(|reading| grows(reading));
        sent.map(|reading| {
            let rate = reading.rate.map_or(0.0, |rate| rate.0);
            let mut what = format!("SYNs are answered with cookies: {}.", growth(rate));
            let busy = readings.of("syn_backlog").filter(|other| other.netns == reading.netns && other.value.0 > 0.0);
            let busy: Vec<_> = busy.take(3).collect();
            let full = busy.iter().find(|backlog| percent(backlog) >= 100);
            if let Some((listener, backlog)) = full.and_then(|backlog| Some((backlog.subject.listener?, backlog))) {
                what.push_str(&format!(
                    " The SYN backlog of {} is full: {} handshakes are under way.",
                    units::end(listener),
                    units::count(backlog.value.0 as u64)
                ));
            }
            let shown = std::iter::once(reading).chain(busy).map(evidence);
            (about(reading), Verdict::new(Severity::Warning, what).by(shown))
        })
        .collect()
    }
}
