//! A page as wide as the terminal: lines of spans in a few tones, wrapped and never wider than the page.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

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
    pub fn then(mut self, tone: Tone, text: impl Into<String>) -> Self {
        self.push(tone, text);
        self
    }

    /// Appends text.
    pub fn push(&mut self, tone: Tone, text: impl Into<String>) {
        let text = text.into();
        match self.spans.last_mut() {
            Some((last, before)) if *last == tone => before.push_str(&text),
            _ => self.spans.push((tone, text)),
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
        self.spans.iter().map(|(_, text)| text.width()).sum()
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.spans.iter().all(|(_, text)| text.is_empty())
    }

    /// This text in lines of at most `width` columns, broken at spaces; a word that is longer is broken anywhere.
    pub fn wrap(&self, width: usize) -> Vec<Self> {
        let width = width.max(1);
        let mut lines = Vec::new();
        let mut line = Self::new();
        for word in self.words() {
            let (gap, taken) = (usize::from(!line.is_empty()), line.width());
            if taken + gap + word.width() <= width {
                if gap > 0 {
                    line.push(word.spans.first().map_or(Tone::Plain, |span| span.0), " ");
                }
                line.extend(word);
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            let mut pieces = word.cut(width);
            line = pieces.pop().unwrap_or_default();
            lines.append(&mut pieces);
        }
        if !line.is_empty() || lines.is_empty() {
            lines.push(line);
        }
        lines
    }

    /// The parts between spaces; a word may have several tones.
    fn words(&self) -> Vec<Self> {
        let mut words = Vec::new();
        let mut word = Self::new();
        for (tone, text) in &self.spans {
            for (number, part) in text.split(' ').enumerate() {
                if number > 0 && !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                if !part.is_empty() {
                    word.push(*tone, part);
                }
            }
        }
        if !word.is_empty() {
            words.push(word);
        }
        words
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
                    piece.push(tone, letter);
                }
            }
        }
        pieces
    }
}

impl Page {
    /// Writes one line; what is too wide for the page is cut off.
    pub fn line(&self, out: &mut String, line: &Line) {
        let line = if line.width() > self.width {
            line.clone().cut(self.width).into_iter().next().unwrap_or_default()
        } else {
            line.clone()
        };
        let mut text = String::new();
        for (tone, part) in &line.spans {
            let style = if self.color { tone.style() } else { Style::new() };
            // Writing to a String cannot fail.
            let _ = write!(text, "{style}{part}{style:#}");
        }
        out.push_str(text.trim_end_matches(' ').replace('\u{a0}', " ").as_str());
        out.push('\n');
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
