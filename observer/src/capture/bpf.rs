//! Runs packet filters: the classic BPF machine (McCanne and Jacobson, 1993), as libpcap compiles for it.
//!
//! libpcap's own interpreter is not used because the binding to it hands over the captured octets only: `less`,
//! `greater` and `len` would then speak of what the capture kept, not of what was on the wire.

use thiserror::Error;

/// Words of scratch memory (`BPF_MEMWORDS`).
const MEMORY: usize = 16;
/// Instructions after which a run is given up without a match. Only `protochain` jumps backwards, once a header.
const MAX_STEPS: usize = 1 << 16;

/// One instruction as `struct bpf_insn` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// What to do.
    pub code: u16,
    /// Instructions to skip when a comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// The operand.
    pub k: u32,
}

/// An instruction that no machine knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("BPF instruction {index} has the unknown code {code:#06x}")]
pub struct UnknownCode {
    /// Its place in the program, from 0.
    pub index: usize,
    /// Its code.
    pub code: u16,
}

/// A program that was looked through once.
#[derive(Clone, Debug)]
pub struct Program(Vec<Step>);

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Into the accumulator, or into the index register.
    Load(Value),
    LoadIndex(Value),
    Store(u32),
    StoreIndex(u32),
    Compute(Operation, Operand),
    Negate,
    Jump(u32),
    JumpIf {
        test: Test,
        with: Operand,
        jt: u8,
        jf: u8,
    },
    Return(Result),
    /// The accumulator to the index register, and back.
    ToIndex,
    FromIndex,
}

#[derive(Clone, Copy, Debug)]
enum Value {
    Immediate(u32),
    Memory(u32),
    Length,
    /// Octets of the packet at `k`, or at the index register plus `k`.
    Packet {
        size: Size,
        indexed: bool,
        k: u32,
    },
    /// Four times the low half of the octet at `k`: the length of an IPv4 header.
    HeaderLength(u32),
}

#[derive(Clone, Copy, Debug)]
enum Size {
    Word,
    Half,
    Byte,
}

#[derive(Clone, Copy, Debug)]
enum Operand {
    Constant(u32),
    Index,
}

#[derive(Clone, Copy, Debug)]
enum Result {
    Constant(u32),
    Accumulator,
    Index,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Or,
    And,
    Xor,
    ShiftLeft,
    ShiftRight,
}

#[derive(Clone, Copy, Debug)]
enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
    AnyBit,
}

impl Program {
    /// Takes a program as libpcap's compiler made it.
    ///
    /// # Errors
    /// When it has an instruction that is none of classic BPF's.
    pub fn new(instructions: impl IntoIterator<Item = Instruction>) -> std::result::Result<Self, UnknownCode> {
        let steps = instructions
            .into_iter()
            .enumerate()
            .map(|(index, instruction)| Step::decode(instruction).ok_or(UnknownCode { index, code: instruction.code }));
        steps.collect::<std::result::Result<_, _>>().map(Self)
    }

    /// Whether a packet matches, given the octets captured of it and its length on the wire. A load from beyond what
    /// was captured ends in no match, as does running off the program's end.
    pub fn matches(&self, packet: &[u8], wire_len: u32) -> bool {
        self.run(packet, wire_len).is_some_and(|kept| kept != 0)
    }

    fn run(&self, packet: &[u8], wire_len: u32) -> Option<u32> {
        let (mut accumulator, mut index, mut memory) = (0u32, 0u32, [0u32; MEMORY]);
        let mut at = 0usize;
        for _ in 0..MAX_STEPS {
            let step = *self.0.get(at)?;
            at += 1;
            let operand = |operand| match operand {
                Operand::Constant(k) => k,
                Operand::Index => index,
            };
            match step {
                Step::Load(value) => accumulator = value.get(packet, wire_len, index, &memory)?,
                Step::LoadIndex(value) => index = value.get(packet, wire_len, index, &memory)?,
                Step::Store(k) => *memory.get_mut(k as usize)? = accumulator,
                Step::StoreIndex(k) => *memory.get_mut(k as usize)? = index,
                Step::Compute(operation, with) => accumulator = operation.compute(accumulator, operand(with))?,
                Step::Negate => accumulator = accumulator.wrapping_neg(),
                // The one jump with a sign.
                Step::Jump(k) => at = at.checked_add_signed(k as i32 as isize)?,
                Step::JumpIf { test, with, jt, jf } => {
                    at += usize::from(if test.holds(accumulator, operand(with)) { jt } else { jf });
                }
                Step::Return(Result::Constant(k)) => return Some(k),
                Step::Return(Result::Accumulator) => return Some(accumulator),
                Step::Return(Result::Index) => return Some(index),
                Step::ToIndex => index = accumulator,
                Step::FromIndex => accumulator = index,
            }
        }
        None
    }
}

impl Step {
    fn decode(Instruction { code, jt, jf, k }: Instruction) -> Option<Self> {
        let operand = if code & 0x08 == 0 { Operand::Constant(k) } else { Operand::Index };
        Some(match code & 0x07 {
            0 => Self::Load(Value::decode(code, k)?),
            1 => Self::LoadIndex(Value::decode(code, k)?),
            2 => Self::Store(k),
            3 => Self::StoreIndex(k),
            4 if code & 0xf0 == 0x80 => Self::Negate,
            4 => Self::Compute(Operation::decode(code)?, operand),
            5 if code & 0xf0 == 0 => Self::Jump(k),
            5 => Self::JumpIf { test: Test::decode(code)?, with: operand, jt, jf },
            6 => Self::Return(match code & 0x18 {
                0x00 => Result::Constant(k),
                0x08 => Result::Index,
                0x10 => Result::Accumulator,
                _ => return None,
            }),
            _ if code & 0xf8 == 0x00 => Self::ToIndex,
            _ if code & 0xf8 == 0x80 => Self::FromIndex,
            _ => return None,
        })
    }
}

impl Value {
    fn decode(code: u16, k: u32) -> Option<Self> {
        let size = match code & 0x18 {
            0x00 => Size::Word,
            0x08 => Size::Half,
            0x10 => Size::Byte,
            _ => return None,
        };
        Some(match code & 0xe0 {
            0x00 => Self::Immediate(k),
            0x20 => Self::Packet { size, indexed: false, k },
            0x40 => Self::Packet { size, indexed: true, k },
            0x60 => Self::Memory(k),
            0x80 => Self::Length,
            0xa0 => Self::HeaderLength(k),
            _ => return None,
        })
    }

    fn get(self, packet: &[u8], wire_len: u32, index: u32, memory: &[u32; MEMORY]) -> Option<u32> {
        Some(match self {
            Self::Immediate(k) => k,
            Self::Memory(k) => *memory.get(k as usize)?,
            Self::Length => wire_len,
            Self::HeaderLength(k) => u32::from(packet.get(k as usize)? & 0x0f) * 4,
            Self::Packet { size, indexed, k } => {
                let at = if indexed { index.checked_add(k)? } else { k } as usize;
                let octets = packet.get(at..)?;
                match size {
                    Size::Word => u32::from_be_bytes(*octets.first_chunk()?),
                    Size::Half => u16::from_be_bytes(*octets.first_chunk()?).into(),
                    Size::Byte => (*octets.first()?).into(),
                }
            }
        })
    }
}

impl Operation {
    fn decode(code: u16) -> Option<Self> {
        Some(match code & 0xf0 {
            0x00 => Self::Add,
            0x10 => Self::Subtract,
            0x20 => Self::Multiply,
            0x30 => Self::Divide,
            0x40 => Self::Or,
            0x50 => Self::And,
            0x60 => Self::ShiftLeft,
            0x70 => Self::ShiftRight,
            0x90 => Self::Modulo,
            0xa0 => Self::Xor,
            _ => return None,
        })
    }

    /// `None` for a division by zero, which ends a run.
    fn compute(self, a: u32, b: u32) -> Option<u32> {
        Some(match self {
            Self::Add => a.wrapping_add(b),
            Self::Subtract => a.wrapping_sub(b),
            Self::Multiply => a.wrapping_mul(b),
            Self::Divide => a.checked_div(b)?,
            Self::Modulo => a.checked_rem(b)?,
            Self::Or => a | b,
            Self::And => a & b,
            Self::Xor => a ^ b,
            Self::ShiftLeft => a.checked_shl(b).unwrap_or(0),
            Self::ShiftRight => a.checked_shr(b).unwrap_or(0),
        })
    }
}

impl Test {
    fn decode(code: u16) -> Option<Self> {
        Some(match code & 0xf0 {
            0x10 => Self::Equal,
            0x20 => Self::Greater,
            0x30 => Self::GreaterOrEqual,
            0x40 => Self::AnyBit,
            _ => return None,
        })
    }

    fn holds(self, a: u32, b: u32) -> bool {
        match self {
            Self::Equal => a == b,
            Self::Greater => a > b,
            Self::GreaterOrEqual => a >= b,
            Self::AnyBit => a & b != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tcpdump -ddd 'tcp port 443 and greater 100'` on Ethernet, IPv4 only.
    const TCP_443: [(u16, u8, u8, u32); 16] = [
        (0x28, 0, 0, 12),
        (0x15, 0, 13, 0x800),
        (0x30, 0, 0, 23),
        (0x15, 0, 11, 6),
        (0x28, 0, 0, 20),
        (0x45, 9, 0, 0x1fff),
        (0xb1, 0, 0, 14),
        (0x48, 0, 0, 14),
        (0x15, 2, 0, 443),
        (0x48, 0, 0, 16),
        (0x15, 0, 4, 443),
        (0x80, 0, 0, 0),
        (0x35, 0, 2, 100),
        (0x06, 0, 0, 262_144),
        (0x06, 0, 0, 1),
        (0x06, 0, 0, 0),
    ];

    fn program(code: &[(u16, u8, u8, u32)]) -> Program {
        let instructions = code.iter().map(|&(code, jt, jf, k)| Instruction { code, jt, jf, k });
        Program::new(instructions).expect("codes of BPF")
    }

    fn packet(port: u16) -> Vec<u8> {
        let mut packet = vec![0; 54];
        packet[12..14].copy_from_slice(&[8, 0]);
        packet[14] = 0x45;
        packet[23] = 6;
        packet[36..38].copy_from_slice(&port.to_be_bytes());
        packet
    }

    #[test]
    fn the_length_is_that_on_the_wire() {
        let program = program(&TCP_443);
        assert!(program.matches(&packet(443), 1500));
        assert!(!program.matches(&packet(444), 1500));
        // Jumps to the instruction that returns 0.
        assert!(!program.matches(&packet(443), 60));
    }

    #[test]
    fn a_load_from_beyond_the_capture_ends_in_no_match() {
        assert!(!program(&[(0x20, 0, 0, 2), (0x06, 0, 0, 1)]).matches(&[1, 2, 3, 4, 5], 5));
        assert!(!program(&[(0x30, 0, 0, u32::MAX), (0x06, 0, 0, 1)]).matches(&[1], 1));
        assert!(!program(&[(0x01, 0, 0, u32::MAX), (0x50, 0, 0, 2), (0x06, 0, 0, 1)]).matches(&[1], 1));
    }

    #[test]
    fn nothing_runs_for_ever() {
        assert!(!program(&[(0x05, 0, 0, u32::MAX)]).matches(&[], 0));
        assert!(!program(&[(0x05, 0, 0, 7)]).matches(&[], 0));
        assert!(!program(&[(0x05, 0, 0, i32::MIN as u32)]).matches(&[], 0));
        assert!(!program(&[(0x34, 0, 0, 0), (0x06, 0, 0, 1)]).matches(&[], 0));
        assert!(!program(&[]).matches(&[], 0));
    }

    #[test]
    fn an_unknown_code_is_refused() {
        let refused = Program::new([
            Instruction { code: 0x06, jt: 0, jf: 0, k: 0 },
            Instruction { code: 0xff, jt: 0, jf: 0, k: 0 },
        ]);
        assert_eq!(refused.map(|_| ()), Err(UnknownCode { index: 1, code: 0xff }));
    }
}
