//! observer's command line.

mod cli;
mod run;
mod sink;
mod source;

fn main() {}
