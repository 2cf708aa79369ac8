//! Lookups of names in a few lines.

use observer::time::Nanos;

use super::page::{Line, Page, Tone};
use super::units;
use crate::sink::lookups::{Failed, Lookups, Slow};

/// Below this a lookup is as quick as any: its time is not told.
const NOTICEABLE: Nanos = Nanos::from_millis(1);

/// Columns of the first word of a line.
const COLUMN: usize = 14;

/// Draws how many there were, those that failed by how, and the slowest ones; nothing where there were none.
pub fn draw(page: &Page, out: &mut String, lookups: Lookups) {
    if lookups.all == 0 {
        return;
    }
    let failed: u64 = lookups.failed.values().map(|failed| failed.count).sum();
    let first = Line::new().then(Tone::Strong, "Lookups").then(Tone::Plain, "  ");
    let mut text = Line::new().then(Tone::Plain, units::count(lookups.all));
    if failed > 0 {
        text.push(Tone::Bad, format!(", {} failed", units::count(failed)));
    }
    page.paragraph(out, &first, &text);
    for (how, Failed { count, names, more }) in &lookups.failed {
        let names = names.values().cloned().collect::<Vec<_>>().join(", ");
        let others = if *more { " and others" } else { "" };
        let text = Line::new()
            .then(Tone::Bad, format!("{} {how}", units::count(*count)))
            .then(Tone::Plain, format!(": {names}{others}"));
        page.paragraph(out, &label("failed"), &text);
    }
    for Slow { waited, what, by, asked } in lookups.slowest.into_sorted() {
        if waited < NOTICEABLE {
            break;
        }
        let mut text = Line::new().then(Tone::Plain, format!("{} for {what}, by {by}", units::time(waited)));
        if asked > 1 {
            text.push(Tone::Notice, format!(", asked {} times", units::count(asked)));
        }
        page.paragraph(out, &label("slowest"), &text);
    }
    page.blank(out);
}

fn label(word: &str) -> Line {
    let mut line = Line::new().then(Tone::Dim, format!("  {word}"));
    line.pad(COLUMN);
    line
}
