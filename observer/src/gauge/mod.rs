//! Gauges: how full the host is, from what the kernel counts.

pub mod text;
