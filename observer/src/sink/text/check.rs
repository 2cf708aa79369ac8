//! What a host allows: a line for each feature, and what to do about those that do not work.

use observer::record::{CheckRecord, FeatureRecord};

use super::page::{Line, Page, Tone, escape};

/// Draws everything that was tried.
pub fn draw(page: &Page, out: &mut String, record: &CheckRecord) {
    let width = record.features.iter().map(|feature| feature.name.chars().count()).max().unwrap_or(0);
    for feature in &record.features {
        draw_feature(page, out, feature, width);
    }
    page.blank(out);
    let (held, not_held): (Vec<_>, Vec<_>) = record.capabilities.iter().partition(|capability| capability.held);
    for (what, capabilities) in [("Capabilities held:", held), ("Not held:", not_held)] {
        if capabilities.is_empty() {
            continue;
        }
        page.line(out, &Line::new().then(Tone::Strong, what));
        for capability in capabilities {
            let mut first = Line::new().then(Tone::Plain, format!("  {}", capability.name));
            first.pad(23);
            page.paragraph(out, &first, &Line::new().then(Tone::Dim, capability.used_for));
        }
    }
    page.blank(out);
    let words = match record.source {
        Some(source) => format!("`observer watch` uses {source} here."),
        None => "`observer watch` can see nothing here.".to_string(),
    };
    page.line(out, &Line::new().then(Tone::Strong, words));
    page.blank(out);
    page.line(out, &Line::new().then(Tone::Plain, "To run it without root:"));
    // Commands and settings are there to be copied: they stay on one line, however wide.
    out.push_str(&format!("  {}\n", escape(&record.setcap)));
    page.line(out, &Line::new().then(Tone::Plain, "or as a service, in the unit's [Service] section:"));
    record.unit.iter().for_each(|line| out.push_str(&format!("  {}\n", escape(line))));
    let more = "With CAP_SYS_ADMIN besides, packets in other network namespaces are seen too; with CAP_SYSLOG, the \
                functions that drop packets are named.";
    page.paragraph(out, &Line::new(), &Line::new().then(Tone::Dim, more));
}

fn draw_feature(page: &Page, out: &mut String, feature: &FeatureRecord, width: usize) {
    let FeatureRecord { name, works, gives, detail, needs } = feature;
    let (tone, mark) = if *works { (Tone::Good, "yes") } else { (Tone::Bad, "no ") };
    let mut first = Line::new().then(tone, mark).then(Tone::Plain, format!("  {name}"));
    first.pad(5 + width + 2);
    let mut text = Line::new().then(Tone::Plain, *gives);
    if let Some(detail) = detail.as_ref().filter(|_| *works) {
        text.push(Tone::Dim, format!(" ({})", escape(detail)));
    }
    page.paragraph(out, &first, &text);
    let about = [(Tone::Dim, "", detail.as_ref().filter(|_| !works)), (Tone::Notice, "needs ", needs.as_ref())];
    for (tone, before, text) in about {
        if let Some(text) = text {
            let mut indent = Line::new();
            indent.pad(5 + width + 4);
            page.paragraph(out, &indent, &Line::new().then(tone, format!("{before}{}", escape(text))));
        }
    }
}

#[cfg(test)]
mod tests {
    use observer::record::CapabilityRecord;

    use super::*;

    #[test]
    fn what_does_not_work_says_why_and_what_it_needs_within_the_page() {
        let feature = |name: &str, works, detail: Option<&str>, needs: Option<&str>| FeatureRecord {
            name: name.to_string(),
            works,
            gives: "what it gives",
            detail: detail.map(str::to_string),
            needs: needs.map(str::to_string),
        };
        let why = "opening a packet socket: Operation not permitted (os error 1)";
        let record = CheckRecord {
            kernel: "6.1".to_string(),
            source: Some("pcap"),
            full: false,
            features: vec![
                feature("kernel", true, Some("6.1"), None),
                feature("hook packets", false, Some(why), Some("CAP_NET_RAW")),
            ],
            capabilities: vec![
                CapabilityRecord { name: "CAP_BPF", held: true, used_for: "eBPF" },
                CapabilityRecord { name: "CAP_NET_RAW", held: false, used_for: "packets" },
            ],
            setcap: "sudo setcap cap_bpf=ep /usr/bin/observer".to_string(),
            unit: vec!["DynamicUser=yes".to_string()],
        };
        let mut out = String::new();
        draw(&Page { width: 60, color: false }, &mut out, &record);
        let expected = "\
yes  kernel        what it gives (6.1)
no   hook packets  what it gives
                     opening a packet socket: Operation not
                     permitted (os error 1)
                     needs CAP_NET_RAW

Capabilities held:
  CAP_BPF              eBPF
Not held:
  CAP_NET_RAW          packets

`observer watch` uses pcap here.

To run it without root:
  sudo setcap cap_bpf=ep /usr/bin/observer
or as a service, in the unit's [Service] section:
  DynamicUser=yes
With CAP_SYS_ADMIN besides, packets in other network
namespaces are seen too; with CAP_SYSLOG, the functions that
drop packets are named.
";
        assert_eq!(out, expected);
    }
}
