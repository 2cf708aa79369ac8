//! Arbitrary frames through decoder and tracker: nothing panics, and every packet points into its bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use observer_fuzz::{follow, frames};

fuzz_target!(|data: &[u8]| follow(&frames(data)));
