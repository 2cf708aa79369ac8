//! What commands print that have no forms of output of their own.

/// For people or for programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Text as people read it
    #[default]
    Text,
    /// One object a line (see `observer schema`)
    Json,
}
