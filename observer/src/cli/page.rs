//! What standard output looks like to those who read it.

use std::io::{self, IsTerminal as _};

use clap::ValueEnum;

use crate::sink::Page;

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The page that standard output is.
pub fn page(color: Color) -> Page {
    let terminal = io::stdout().is_terminal();
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let color = match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => terminal && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
    };
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok();
    let width =
        terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0)).filter(|width| *width > 0);
    let width = width.or_else(columns);
    Page { width: width.unwrap_or(80).clamp(40, 1000), color }
}
