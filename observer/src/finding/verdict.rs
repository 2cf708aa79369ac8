//! What a rule says, on its way to a [`record::Finding`](crate::record::Finding).

use std::net::IpAddr;

use super::{Page, RestsOn};
use crate::record::{About, Confidence, ConnectionRecord, Doubt, Evidence, Finding, Severity, Side};

/// What a rule says of a connection, or of many.
#[derive(Clone, Debug)]
pub struct Verdict {
    severity: Severity,
    confidence: Confidence,
    doubts: Vec<Doubt>,
    what: String,
    evidence: Vec<Evidence>,
    values: Vec<(&'static str, String)>,
    needless: Vec<&'static str>,
}

impl Verdict {
    /// It is so, beyond doubt: `what`, a sentence.
    pub fn new(severity: Severity, what: impl Into<String>) -> Self {
        Self {
            severity,
            confidence: Confidence::High,
            doubts: Vec::new(),
            what: what.into(),
            evidence: Vec::new(),
            values: Vec::new(),
            needless: Vec::new(),
        }
    }

    /// Other causes are possible.
    pub fn likely(self) -> Self {
        Self { confidence: self.confidence.min(Confidence::Medium), ..self }
    }

    /// It is less sure, for this reason.
    pub fn doubt(mut self, doubt: Doubt) -> Self {
        if !self.doubts.contains(&doubt) {
            self.confidence = self.confidence.lowered();
            self.doubts.push(doubt);
        }
        self
    }

    /// It is less sure for this reason, where `holds`.
    pub fn doubt_if(self, holds: bool, doubt: Doubt) -> Self {
        if holds { self.doubt(doubt) } else { self }
    }

    /// Shown by this.
    pub fn by(mut self, evidence: impl IntoIterator<Item = Evidence>) -> Self {
        self.evidence.extend(evidence);
        self
    }

    /// Without the steps of its remedy that name this: they would change nothing.
    pub fn without(mut self, named: &'static str) -> Self {
        self.needless.push(named);
        self
    }

    /// A value that its remedy names.
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.values.push((name, value.to_string()));
        self
    }

    /// The same where it is known; else the remedy says its name.
    pub fn with_known(self, name: &'static str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// The finding, of a connection of which `doubts` hold.
    pub(super) fn of_connection(mut self, page: &'static Page, record: &ConnectionRecord, doubts: &[Doubt]) -> Finding {
        self.values.push(("CLIENT", record.client.ip.to_string()));
        self.values.push(("SERVER", record.server.ip.to_string()));
        self.values.push(("PORT", record.server.port.to_string()));
        self.values.push(("ID", record.id.to_string()));
        self.finding(page, doubts)
    }

    /// The finding, of what `about` says.
    pub(super) fn of(mut self, page: &'static Page, about: &About, doubts: &[Doubt]) -> Finding {
        self.values.extend(about.client.map(|end| ("CLIENT", end.ip.to_string())));
        self.values.extend(about.host.map(|host| ("CLIENT", host.to_string())));
        // A listener on all addresses is here.
        let server = |ip: IpAddr| if ip.is_unspecified() { "this host".to_string() } else { ip.to_string() };
        self.values.extend(about.server.map(|end| ("SERVER", server(end.ip))));
        self.values.extend(about.server.map(|end| ("PORT", end.port.to_string())));
        self.values.extend(about.name.clone().map(|name| ("NAME", name)));
        self.finding(page, doubts)
    }

    fn finding(mut self, page: &'static Page, doubts: &[Doubt]) -> Finding {
        if page.rests_on == RestsOn::Absence {
            for doubt in doubts {
                self = self.doubt(*doubt);
            }
        }
        let Self { severity, confidence, doubts, what, mut evidence, values, needless } = self;
        evidence.sort_by_key(|evidence| (evidence.at.is_none(), evidence.at, evidence.frame));
        for evidence in &mut evidence {
            evidence.what = plain(&evidence.what);
        }
        let value_of = |name: &str| {
            let (_, value) = values.iter().find(|(own, value)| *own == name && is_word(value))?;
            Some(value.as_str())
        };
        let steps = page.remedy.iter().filter(|step| !needless.iter().any(|named| step.contains(named)));
        Finding {
            name: page.name,
            severity,
            confidence,
            doubts,
            what: plain(&what),
            evidence,
            remedy: steps.map(|step| plain(&Page::step(step, value_of))).collect(),
        }
    }
}

/// Whether a value may stand in a command that is there to be copied: names come from the wire, and may be anything.
fn is_word(value: &str) -> bool {
    let plain = |letter: char| letter.is_alphanumeric() || ".:-_ \u{a0}".contains(letter);
    !value.is_empty() && !value.starts_with('-') && value.chars().all(plain)
}

/// Text for programs as well as people: its spaces are plain ones.
fn plain(text: &str) -> String {
    text.replace('\u{a0}', " ")
}

/// An end in words.
pub(super) const fn name(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

#[cfg(test)]
mod tests {
    use super::super::FINDINGS;
    use super::*;
    use crate::record::Endpoint;

    #[test]
    fn a_listener_on_all_addresses_is_here() {
        let finding = FINDINGS.iter().find(|finding| finding.page().name == "accept-queue-overflow");
        let page = finding.expect("it is one of them").page();
        let remedy = |ip: &str| {
            let server = Endpoint { ip: ip.parse().expect("an address"), port: 80 };
            let about = About { server: Some(server), ..About::default() };
            Verdict::new(Severity::Warning, "full".to_string()).of(page, &about, &[]).remedy.join(" ")
        };
        assert!(remedy("::").starts_with("On this host, compare"), "{}", remedy("::"));
        assert!(remedy("10.0.0.1").starts_with("On 10.0.0.1, compare"), "{}", remedy("10.0.0.1"));
    }
}
