//! The records, one file each.

pub mod bytes;
pub mod command;
pub mod fields;
pub mod hook;
pub mod packet;
pub mod seat;
pub mod settings;
pub mod socket;
pub mod stray;
