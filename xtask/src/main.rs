//! observer's own chores.
fn main() {}
