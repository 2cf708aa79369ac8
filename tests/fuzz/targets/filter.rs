//! Arbitrary packet filter programs over arbitrary packets: they end, and never panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use observer::capture::bpf::{Instruction, Program};
use observer_fuzz::Bytes;

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let length = usize::from(bytes.u8() % 64);
    let instructions = (0..length).map(|_| Instruction {
        code: u16::from(bytes.u8()),
        jt: bytes.u8(),
        jf: bytes.u8(),
        k: u32::from_le_bytes(bytes.array()),
    });
    let Ok(program) = Program::new(instructions.collect::<Vec<_>>()) else { return };
    program.matches(bytes.0, bytes.0.len() as u32 + 7);
});
