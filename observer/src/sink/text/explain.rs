//! What findings mean: their pages.

use observer::finding::{self, FINDINGS, Thresholds};

use super::finding::{draw_step, tone};
use super::page::{Line, Page, Tone};

/// Draws the page of one finding.
pub fn finding(page: &Page, out: &mut String, finding: &finding::Page) {
    let mut head = Line::new().then(Tone::Strong, finding.name);
    head.push(Tone::Plain, format!(": {}", finding.title));
    head.push(tone(finding.severity), format!(" ({} at worst)", finding.severity.name()));
    page.paragraph(out, &Line::new(), &head);
    page.blank(out);
    page.paragraph(out, &Line::new(), &Line::new().then(Tone::Plain, finding.meaning));
    section(page, out, "What brings it about");
    finding.causes.iter().for_each(|cause| draw_step(page, out, "  - ", cause));
    section(page, out, "It is found where all of this holds");
    for (number, rule) in finding.rule.iter().enumerate() {
        draw_step(page, out, &format!("  {}. ", number + 1), rule);
    }
    let settings = finding.thresholds();
    if !settings.is_empty() {
        section(page, out, "Thresholds (--threshold NAME=VALUE)");
        for setting in settings {
            let first = Line::new().then(Tone::Plain, "  - ");
            let mut text = Line::new().then(Tone::Strong, format!("{}={}", setting.name, setting.value));
            text.push(Tone::Plain, format!(": {}", setting.about));
            page.paragraph(out, &first, &text);
        }
    }
    section(page, out, "What to do");
    finding.remedy.iter().for_each(|step| draw_step(page, out, "  - ", &finding::Page::step(step, |_| None)));
}

/// Draws the names and titles of all findings.
pub fn list(page: &Page, out: &mut String) {
    let width = FINDINGS.iter().map(|finding| finding.page().name.len()).max().unwrap_or(0);
    for finding in FINDINGS {
        let finding = finding.page();
        let mut first = Line::new().then(tone(finding.severity), finding.name);
        first.pad(width + 2);
        page.paragraph(out, &first, &Line::new().then(Tone::Plain, finding.title));
    }
    page.blank(out);
    page.line(out, &Line::new().then(Tone::Dim, "More of one: observer explain NAME"));
}

/// Draws all thresholds with their defaults.
pub fn thresholds(page: &Page, out: &mut String) {
    let settings = Thresholds::default().settings();
    let width = settings.iter().map(|setting| setting.name.len() + setting.value.len()).max().unwrap_or(0);
    for setting in settings {
        let mut first = Line::new().then(Tone::Strong, setting.name).then(Tone::Plain, format!("={}", setting.value));
        first.pad(width + 3);
        page.paragraph(out, &first, &Line::new().then(Tone::Plain, setting.about));
    }
}

fn section(page: &Page, out: &mut String, text: &str) {
    page.blank(out);
    page.line(out, &Line::new().then(Tone::Strong, text));
}
