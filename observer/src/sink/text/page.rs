//! A page as wide as the terminal: lines of spans in a few tones, wrapped and never wider than the page.

use std::borrow::Cow;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// A space at which no line ends.
const NO_BREAK: char = '\u{a0}';

/// How text is laid out.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// Columns that a line may take.
    pub width: usize,
    /// Whether tones become colours.
    pub color: bool,
}

/// What a span of text is to say by its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// Nothing in particular.
    #[default]
    Plain,
    /// A heading.
    Strong,
    /// Of less weight.
    Dim,
    /// What the client sent.
    Client,
    /// What the server sent.
    Server,
    /// All is well.
    Good,
    /// Worth a look.
    Notice,
    /// Trouble.
    Bad,
}

impl Tone {
    fn style(self) -> Style {
        let color = |color: AnsiColor| Style::new().fg_color(Some(color.into()));
        match self {
            Self::Plain => Style::new(),
            Self::Strong => Style::new().bold(),
            Self::Dim => Style::new().dimmed(),
            Self::Client => color(AnsiColor::Cyan),
            Self::Server => color(AnsiColor::Blue),
            Self::Good => color(AnsiColor::Green),
            Self::Notice => color(AnsiColor::Yellow),
            Self::Bad => color(AnsiColor::Red).bold(),
        }
    }
}

/// One line, or one paragraph before it is wrapped.
///
/// Its text holds no control characters: what comes from a capture goes through [`escape`]. A no-break space keeps words
/// on one line and is printed as a plain one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    spans: Vec<(Tone, String)>,
}

impl Line {
    /// An empty line.
    pub fn new() -> Self {
        Self::default()
    }

    /// This line and more text behind it.
    pub fn then(mut self, tone: Tone, text: impl AsRef<str> + Into<String>) -> Self {
        self.push(tone, text);
        self
    }

    /// Appends text.
    pub fn push(&mut self, tone: Tone, text: impl AsRef<str> + Into<String>) {
        match self.spans.last_mut() {
            Some((last, before)) if *last == tone => before.push_str(text.as_ref()),
            _ => self.spans.push((tone, text.into())),
        }
    }

    /// Appends another line.
    pub fn extend(&mut self, other: Self) {
        for (tone, text) in other.spans {
            self.push(tone, text);
        }
    }

    /// Appends spaces up to a column.
    pub fn pad(&mut self, column: usize) {
        let gap = column.saturating_sub(self.width());
        if gap > 0 {
            self.push(Tone::Plain, " ".repeat(gap));
        }
    }

    /// Columns it takes.
    pub fn width(&self) -> usize {
        self.spans.iter().map(|(_, text)| columns(text)).sum()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.spans.iter().all(|(_, text)| text.is_empty())
    }

    /// This text in lines of at most `width` columns, broken at spaces, but not before a number's unit; a word that is longer
    /// is broken anywhere.
    pub fn wrap(&self, width: usize) -> Vec<Self> {
        let mut filler = Filler { width: width.max(1), ..Filler::default() };
        // A word may have several tones.
        let mut word: Vec<(Tone, &str)> = Vec::new();
        for (tone, text) in &self.spans {
            for (number, part) in text.split(' ').enumerate() {
                if number > 0 && is_unit(part) && word.last().is_some_and(|(_, before)| ends_in_digit(before)) {
                    word.push((*tone, " "));
                } else if number > 0 {
                    filler.add(&word);
                    word.clear();
                }
                if !part.is_empty() {
                    word.push((*tone, part));
                }
            }
        }
        filler.add(&word);
        filler.finish()
    }

    /// Pieces of at most `width` columns.
    fn cut(self, width: usize) -> Vec<Self> {
        let mut pieces = vec![Self::new()];
        let mut taken = 0;
        for (tone, text) in self.spans {
            for letter in text.chars() {
                let columns = letter.width().unwrap_or(0);
                if taken + columns > width {
                    pieces.push(Self::new());
                    taken = 0;
                }
                taken += columns;
                if let Some(piece) = pieces.last_mut() {
                    piece.push(tone, &*letter.encode_utf8(&mut [0; 4]));
                }
            }
        }
        pieces
    }
}

/// Fills lines with words.
#[derive(Default)]
struct Filler {
    width: usize,
    full: Vec<Line>,
    line: Line,
    /// Columns of `line`.
    taken: usize,
}

impl Filler {
    fn add(&mut self, word: &[(Tone, &str)]) {
        let Some((first, _)) = word.first() else { return };
        let columns: usize = word.iter().map(|(_, text)| columns(text)).sum();
        let gap = usize::from(self.taken > 0);
        if self.taken + gap + columns <= self.width {
            if gap > 0 {
                self.line.push(*first, " ");
            }
            word.iter().for_each(|(tone, text)| self.line.push(*tone, *text));
            self.taken += gap + columns;
            return;
        }
        if self.taken > 0 {
            self.full.push(std::mem::take(&mut self.line));
        }
        let whole = word.iter().fold(Line::new(), |line, (tone, text)| line.then(*tone, *text));
        self.full.append(&mut whole.cut(self.width));
        self.line = self.full.pop().unwrap_or_default();
        self.taken = self.line.width();
    }

    /// The lines; one, if an empty one, where there was no word.
    fn finish(mut self) -> Vec<Line> {
        if self.taken > 0 || self.full.is_empty() {
            self.full.push(self.line);
        }
        self.full
    }
}

/// Whether a word is a unit, whatever stands behind it.
fn is_unit(word: &str) -> bool {
    const UNITS: [&str; 13] = ["%", "ns", "µs", "ms", "s", "min", "h", "d", "B", "kB", "MB", "GB", "octets"];
    UNITS.contains(&word.trim_end_matches(|letter: char| ",.;:)".contains(letter)))
}

fn ends_in_digit(word: &str) -> bool {
    word.ends_with(|letter: char| letter.is_ascii_digit())
}

/// Columns that text takes in which no character controls the terminal.
fn columns(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.width() }
}

impl Page {
    /// Writes one line; what is too wide for the page is cut off.
    pub fn line(&self, out: &mut String, line: &Line) {
        if line.width() > self.width {
            line.clone().cut(self.width).first().into_iter().for_each(|cut| self.spans(out, cut));
        } else {
            self.spans(out, line);
        }
        out.push('\n');
    }

    /// Writes the text of a line.
    fn spans(&self, out: &mut String, line: &Line) {
        let start = out.len();
        for (tone, part) in &line.spans {
            let style = if self.color { tone.style() } else { Style::new() };
            let part = if part.contains(NO_BREAK) { Cow::from(part.replace(NO_BREAK, " ")) } else { part.into() };
            // Writing to a String cannot fail.
            let _ = write!(out, "{}{part}{}", style.render(), style.render_reset());
        }
        while out.len() > start && out.ends_with(' ') {
            out.pop();
        }
    }

    /// Writes a paragraph behind `first`; its further lines are indented as far as `first` reaches.
    pub fn paragraph(&self, out: &mut String, first: &Line, text: &Line) {
        let mut indent = Line::new();
        indent.pad(first.width());
        self.paragraph_between(out, first, &indent, text);
    }

    /// Writes a paragraph behind `first`; its further lines stand behind `further`, which is as wide.
    pub fn paragraph_between(&self, out: &mut String, first: &Line, further: &Line, text: &Line) {
        for (number, part) in text.wrap(self.width.saturating_sub(first.width())).into_iter().enumerate() {
            let mut line = if number == 0 { first.clone() } else { further.clone() };
            line.extend(part);
            self.line(out, &line);
        }
    }

    /// Writes an empty line.
    pub fn blank(&self, out: &mut String) {
        out.push('\n');
    }
}

/// Text from a capture or a file name, safe to show: what is neither a plain ASCII character nor a letter or digit of
/// some script is written as an escape, so that it can neither control the terminal nor reorder what is on it.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        let plain = letter == ' ' || letter.is_ascii_graphic() || (!letter.is_ascii() && letter.is_alphanumeric());
        if plain && letter.width().is_some_and(|columns| columns > 0) {
            safe.push(letter);
        } else {
            safe.extend(letter.escape_default());
        }
    }
    safe
}

/// A bar of `columns` columns for `part` of `whole`, to an eighth of a column.
pub fn bar(part: u64, whole: u64, columns: usize) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    if part == 0 || whole == 0 {
        return String::new();
    }
    let eighths = (part as f64 / whole as f64 * columns as f64 * 8.0).round().max(1.0) as usize;
    let eighths = eighths.min(columns * 8);
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS.get(eighths % 8).unwrap_or(&""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paragraphs_wrap_within_the_page() {
        let page = Page { width: 12, color: false };
        let mut out = String::new();
        let first = Line::new().then(Tone::Dim, "ab ");
        page.paragraph(
            &mut out,
            &first,
            &Line::new().then(Tone::Plain, "one two three").then(Tone::Bad, "four-and-more five"),
        );
        assert_eq!(out, "ab one two\n   threefour\n   -and-more\n   five\n");
    }

    #[test]
    fn a_number_stays_with_its_unit() {
        let lines = Line::new().then(Tone::Plain, "it took 10.3 ms, then 5 s").wrap(11);
        let texts: Vec<_> =
            lines.iter().map(|line| line.spans.iter().map(|(_, text)| text.as_str()).collect::<String>()).collect();
        assert_eq!(texts, ["it took", "10.3 ms,", "then 5 s"]);
    }

    #[test]
    fn colours_end_where_they_began() {
        let page = Page { width: 80, color: true };
        let mut out = String::new();
        page.line(&mut out, &Line::new().then(Tone::Good, "yes").then(Tone::Plain, " no"));
        assert_eq!(out, "\u{1b}[32myes\u{1b}[0m no\n");
    }

    #[test]
    fn bytes_from_the_wire_cannot_control_the_terminal() {
        assert_eq!(escape("eth0 \u{1b}[31m\r\n\u{202e}x\u{9b}"), "eth0 \\u{1b}[31m\\r\\n\\u{202e}x\\u{9b}");
        assert_eq!(escape("Büro-Netz 日本"), "Büro-Netz 日本");
    }

    #[test]
    fn bars_are_to_scale() {
        assert_eq!(bar(0, 10, 8), "");
        assert_eq!(bar(10, 10, 4), "████");
        assert_eq!(bar(1, 1000, 8), "▏");
        assert_eq!(bar(5, 16, 8), "██▌");
    }
}
