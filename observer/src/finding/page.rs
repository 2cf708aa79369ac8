//! The text of a finding: the only one. `observer explain` prints it, docs/findings.md is made of it, and the remedy of
//! what was found is it with the values put in.

use std::fmt::Write as _;

use super::{FINDINGS, Setting, Thresholds};
use crate::record::Severity;

/// What there is to say of a finding.
#[derive(Debug)]
pub struct Page {
    /// Its name, as `observer explain` takes it.
    pub name: &'static str,
    /// The same in words.
    pub title: &'static str,
    /// How bad it is at its worst.
    pub severity: Severity,
    /// What kind of evidence it goes by.
    pub rests_on: RestsOn,
    /// What it means.
    pub meaning: &'static str,
    /// What brings it about.
    pub causes: &'static [&'static str],
    /// When it is found: conditions that all hold, each with the RFC section or the kernel's symbol.
    pub rule: &'static [&'static str],
    /// What to do, a step each. What stands between backticks is a command; in braces stands a value that is put in:
    /// `{CLIENT}`, `{SERVER}`, `{PORT}`, and those of [`Verdict::with`](super::Verdict::with).
    pub remedy: &'static [&'static str],
    /// Findings that are not told where this one is: what they say is a part of it.
    pub instead_of: &'static [&'static str],
    /// The tests that hold it to this.
    pub proof: Proof,
}

/// Tests of a finding, each as `FILE::FUNCTION`, the file by its path in the project.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// One that brings it about, for real where that takes no minutes.
    pub shown: &'static str,
    /// One in which it almost holds, and is not found; most often the same.
    pub near_miss: &'static str,
}

/// What kind of evidence a finding goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestsOn {
    /// What was seen: nothing that was missed could change it.
    Presence,
    /// Also what was not seen: lost frames and a late start make it less sure.
    Absence,
}

impl Page {
    /// A step of the remedy with the values of what it names in braces, in capitals; a name that has none stands for itself,
    /// as all do on the page. Other braces are the command's.
    pub fn step<'v>(step: &str, value_of: impl Fn(&str) -> Option<&'v str>) -> String {
        let is_name = |word: &str| !word.is_empty() && word.bytes().all(|letter| letter.is_ascii_uppercase());
        let mut text = String::new();
        let mut rest = step;
        while let Some((before, behind)) = rest.split_once('{') {
            text.push_str(before);
            rest = match behind.split_once('}') {
                Some((name, after)) if is_name(name) => {
                    text.push_str(value_of(name).unwrap_or(name));
                    after
                }
                _ => {
                    text.push('{');
                    behind
                }
            };
        }
        text.push_str(rest);
        text
    }

    /// The thresholds that its rule names, with their defaults.
    pub fn thresholds(&self) -> Vec<Setting> {
        let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let words = || self.rule.iter().flat_map(|rule| rule.split(|letter| !is_letter(letter)));
        Thresholds::default()
            .settings()
            .into_iter()
            .filter(|setting| words().any(|word| word == setting.name))
            .collect()
    }
}

/// docs/findings.md. `shown_by` names the captures that show a finding, each with what must be said for it to show; one that
/// none shows is of a host, live.
pub fn markdown(shown_by: impl Fn(&str) -> Vec<String>) -> String {
    let mut text = "# Findings\n\n\
        What observer calls wrong, when it does so, and what to do about it. `observer explain NAME` prints the same; \
        this page is made of the same text (`OBSERVER_BLESS=1 cargo test -p observer --test findings` writes it).\n\n\
        Each has a test that brings it about and one in which it almost holds and must not be found. Each is shown by \
        captures of `captures/` too, which `observer lab run NAME` makes anew, and which are played anew by \
        `tests/tests/scenarios.rs`; those that go by a host's gauges only show live (`tests/tests/gauges/` has them on real \
        sockets). Nobody waits for minutes in a capture: where one takes another threshold than the default, it stands \
        beside it.\n\n\
        | finding | what it is | at worst | test | near miss | captures |\n| --- | --- | --- | --- | --- | --- |\n"
        .to_string();
    for finding in FINDINGS {
        let page = finding.page();
        let captures = shown_by(page.name);
        let captures = if captures.is_empty() { "live".to_string() } else { captures.join(", ") };
        let Proof { shown, near_miss } = page.proof;
        let (test, near) = (link(shown), if near_miss == shown { "the same".to_string() } else { link(near_miss) });
        let (name, title, worst) = (page.name, page.title, page.severity.name());
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| [`{name}`](#{name}) | {title} | {worst} | {test} | {near} | {captures} |");
    }
    text.push_str("\n## Thresholds\n\nEach can be set with `--threshold NAME=VALUE`.\n\n");
    text.push_str("| name | default | meaning |\n| --- | --- | --- |\n");
    for setting in Thresholds::default().settings() {
        let _ = writeln!(text, "| `{}` | {} | {} |", setting.name, setting.value, setting.about);
    }
    for finding in FINDINGS {
        let page = finding.page();
        let _ = write!(
            text,
            "\n## {}\n\n**{}** ({} at worst).\n\n{}\n",
            page.name,
            page.title,
            page.severity.name(),
            page.meaning
        );
        let _ = write!(text, "\nWhat brings it about:\n\n");
        for cause in page.causes {
            let _ = writeln!(text, "- {cause}");
        }
        let _ = write!(text, "\nIt is found where all of this holds:\n\n");
        for (number, rule) in page.rule.iter().enumerate() {
            let _ = writeln!(text, "{}. {rule}", number + 1);
        }
        let thresholds: Vec<String> =
            page.thresholds().iter().map(|setting| format!("`{}={}`", setting.name, setting.value)).collect();
        if !thresholds.is_empty() {
            let _ = write!(text, "\nThresholds: {}.\n", thresholds.join(", "));
        }
        let _ = write!(text, "\nWhat to do:\n\n");
        for step in page.remedy {
            let _ = writeln!(text, "- {}", Page::step(step, |_| None));
        }
    }
    text
}

/// A test of [`Proof`], as Markdown.
fn link(test: &str) -> String {
    let (file, function) = test.split_once("::").unwrap_or((test, test));
    format!("[`{function}`](../{file})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_put_in_and_other_braces_left() {
        let value_of = |name: &str| (name == "PORT").then_some("443");
        let step = |step| Page::step(step, value_of);
        assert_eq!(step("`ss -tn dport = :{PORT}` on {CLIENT}"), "`ss -tn dport = :443` on CLIENT");
        assert_eq!(step("curl -w '%{time_connect}' {PORT}"), "curl -w '%{time_connect}' 443");
        assert_eq!(step("nft '{ tcp dport {PORT} }' {} {"), "nft '{ tcp dport 443 }' {} {");
    }
}
