//! The kernel's own description of its types (BTF, Documentation/bpf/btf.rst): where fields lie, what enumerators are
//! called, what arguments a tracepoint has.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail, ensure};

/// Where the kernel shows its types.
pub const KERNEL: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;

// Kinds of type, from include/uapi/linux/btf.h.
const INT: u32 = 1;
const ARRAY: u32 = 3;
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const DECL_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

/// How deep structs may lie in each other.
const DEEPEST: usize = 16;

/// The types of a kernel.
#[derive(Debug)]
pub struct Btf {
    strings: Vec<u8>,
    types: Vec<u8>,
    /// Where each type begins in `types`; type 0 is `void` and has no place.
    starts: Vec<u32>,
    named: HashMap<Box<[u8]>, Vec<u32>>,
}

/// One type, as it stands in the data.
#[derive(Clone, Copy, Debug)]
struct Type<'a> {
    name: u32,
    kind: u32,
    count: usize,
    /// A size or another type.
    size_or_type: u32,
    /// Whether members give a bit field's size beside their offset.
    has_bit_fields: bool,
    rest: &'a [u8],
}

impl Btf {
    /// The types of the running kernel.
    ///
    /// # Errors
    /// When it shows none, or in a form that is not understood.
    pub fn of_kernel() -> Result<Self> {
        let data = std::fs::read(KERNEL).with_context(|| {
            format!("reading the kernel's types from {KERNEL} (a kernel built with CONFIG_DEBUG_INFO_BTF has them)")
        })?;
        Self::parse(&data).with_context(|| format!("reading {KERNEL}"))
    }

    /// Reads the types out of `data`.
    fn parse(data: &[u8]) -> Result<Self> {
        let header = |at: usize| u32_at(data, at).context("the header is cut short");
        let magic = data.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes));
        ensure!(magic == Some(MAGIC), "this is no BTF of this machine's byte order");
        let start = header(4)? as usize;
        let section = |offset: u32, len: u32| {
            let from = start.checked_add(offset as usize)?;
            data.get(from..from.checked_add(len as usize)?).map(<[u8]>::to_vec)
        };
        let types = section(header(8)?, header(12)?).context("the types are cut short")?;
        let strings = section(header(16)?, header(20)?).context("the strings are cut short")?;
        let mut btf = Self { strings, types, starts: vec![0], named: HashMap::new() };
        btf.index()?;
        Ok(btf)
    }

    fn index(&mut self) -> Result<()> {
        let mut at = 0;
        while at < self.types.len() {
            let found = self.type_from(at).with_context(|| format!("the type at offset {at} is cut short"))?;
            let (name, kind) = (found.name, found.kind);
            let tail = match kind {
                INT | VAR | DECL_TAG => 4,
                ARRAY => 12,
                STRUCT | UNION | DATASEC | ENUM64 => 12 * found.count,
                ENUM | FUNC_PROTO => 8 * found.count,
                2 | TYPEDEF..=FUNC | 7 | 16 | TYPE_TAG => 0,
                other => bail!("types of kind {other} are not known: the kernel is newer than this observer"),
            };
            let id = self.starts.len() as u32;
            if matches!(kind, STRUCT | UNION | ENUM | ENUM64 | TYPEDEF) && name != 0 {
                let name = self.string(name).into();
                self.named.entry(name).or_default().push(id);
            }
            self.starts.push(at as u32);
            at += 12 + tail;
        }
        Ok(())
    }

    /// Octets from the start of a struct to a field of it, by a path `struct.member.member`; members of anonymous structs
    /// and unions in between count as the struct's own. `None` where this kernel has no such field.
    pub fn offset(&self, path: &str) -> Option<u32> {
        let mut names = path.split('.');
        let mut at = self.find(names.next()?, &[STRUCT, UNION])?;
        let mut bits = 0;
        for name in names {
            let (offset, of) = self.member(at, name.as_bytes(), 0)?;
            bits += offset;
            at = of;
        }
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// The enumerators of an `enum`, with their values.
    pub fn enumerators(&self, name: &str) -> Vec<(&str, i64)> {
        let Some(found) = self.find(name, &[ENUM, ENUM64]).and_then(|id| self.type_of(id)) else { return Vec::new() };
        let each = if found.kind == ENUM { 8 } else { 12 };
        let enumerators = found.rest.chunks_exact(each).take(found.count);
        enumerators
            .filter_map(|one| {
                let name = std::str::from_utf8(self.string(u32_at(one, 0)?)).ok()?;
                Some((name, i64::from(u32_at(one, 4)?.cast_signed())))
            })
            .collect()
    }

    /// How many arguments a tracepoint hands to its programs; `None` where this kernel has no such tracepoint.
    pub fn arguments(&self, tracepoint: &str) -> Option<usize> {
        let pointer = self.type_of(self.find(&format!("btf_trace_{tracepoint}"), &[TYPEDEF])?)?.size_or_type;
        let function = self.type_of(self.type_of(pointer)?.size_or_type)?;
        // The first is the tracepoint's own.
        (function.kind == FUNC_PROTO).then(|| function.count.saturating_sub(1))
    }

    /// How many arguments a function of the kernel has; `None` where there is no such function.
    pub fn function(&self, name: &str) -> Option<usize> {
        let types = self.starts.iter().skip(1).filter_map(|start| self.type_from(*start as usize));
        let found = types.into_iter().find(|found| found.kind == FUNC && self.string(found.name) == name.as_bytes())?;
        self.type_of(found.size_or_type).map(|function| function.count)
    }

    fn find(&self, name: &str, kinds: &[u32]) -> Option<u32> {
        let ids = self.named.get(name.as_bytes())?;
        ids.iter().copied().find(|id| self.type_of(*id).is_some_and(|found| kinds.contains(&found.kind)))
    }

    /// A member's offset in bits, and its type.
    fn member(&self, of: u32, name: &[u8], depth: usize) -> Option<(u32, u32)> {
        if depth > DEEPEST {
            return None;
        }
        let found = self.type_of(self.plain(of)?)?;
        if !matches!(found.kind, STRUCT | UNION) {
            return None;
        }
        found.rest.chunks_exact(12).take(found.count).find_map(|member| {
            let (member_name, of, offset) = (u32_at(member, 0)?, u32_at(member, 4)?, u32_at(member, 8)?);
            let bits = if found.has_bit_fields { offset & 0x00ff_ffff } else { offset };
            if member_name == 0 {
                let (inner, of) = self.member(of, name, depth + 1)?;
                return Some((bits + inner, of));
            }
            (self.string(member_name) == name).then_some((bits, of))
        })
    }

    /// What is behind typedefs and qualifiers.
    fn plain(&self, mut id: u32) -> Option<u32> {
        for _ in 0..DEEPEST {
            let found = self.type_of(id)?;
            match found.kind {
                TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG => id = found.size_or_type,
                _ => return Some(id),
            }
        }
        None
    }

    fn type_of(&self, id: u32) -> Option<Type<'_>> {
        if id == 0 {
            return None;
        }
        self.type_from(*self.starts.get(id as usize)? as usize)
    }

    fn type_from(&self, at: usize) -> Option<Type<'_>> {
        let bytes = self.types.get(at..)?;
        let info = u32_at(bytes, 4)?;
        Some(Type {
            name: u32_at(bytes, 0)?,
            kind: info >> 24 & 0x1f,
            count: (info & 0xffff) as usize,
            size_or_type: u32_at(bytes, 8)?,
            has_bit_fields: info >> 31 == 1,
            rest: bytes.get(12..)?,
        })
    }

    fn string(&self, at: u32) -> &[u8] {
        let rest = self.strings.get(at as usize..).unwrap_or_default();
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_ne_bytes(*four))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A made-up kernel: `struct outer { int first; union { int one; struct inner two; }; }`, `struct inner { int deep; }`,
    /// and `enum why { NONE, TIRED = 7 }`.
    fn sample() -> Vec<u8> {
        let mut strings = vec![0];
        let mut name = |text: &str| {
            let at = strings.len() as u32;
            strings.extend_from_slice(text.as_bytes());
            strings.push(0);
            at
        };
        let words = [
            // 1: int
            vec![name("int"), INT << 24, 4, 32],
            // 2: struct inner
            vec![name("inner"), STRUCT << 24 | 1, 4, name("deep"), 1, 0],
            // 3: the union
            vec![0, UNION << 24 | 2, 4, name("one"), 1, 0, name("two"), 2, 0],
            // 4: struct outer
            vec![name("outer"), STRUCT << 24 | 2, 8, name("first"), 1, 0, 0, 3, 32],
            // 5: enum why
            vec![name("why"), ENUM << 24 | 2, 4, name("NONE"), 0, name("TIRED"), 7],
        ];
        let types: Vec<u8> = words.concat().into_iter().flat_map(u32::to_ne_bytes).collect();
        let mut data = MAGIC.to_ne_bytes().to_vec();
        data.extend([1, 0]);
        let header = [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32];
        data.extend(header.into_iter().flat_map(u32::to_ne_bytes));
        data.extend(types);
        data.extend(strings);
        data
    }

    #[test]
    fn members_of_anonymous_members_are_found() {
        let btf = Btf::parse(&sample()).expect("it is well formed");
        assert_eq!(btf.offset("outer.first"), Some(0));
        assert_eq!(btf.offset("outer.one"), Some(4));
        assert_eq!(btf.offset("outer.two.deep"), Some(4));
        assert_eq!(btf.offset("outer.three"), None);
        assert_eq!(btf.offset("nothing.first"), None);
        assert_eq!(btf.enumerators("why"), [("NONE", 0), ("TIRED", 7)]);
    }

    #[test]
    fn what_is_cut_short_is_an_error() {
        let data = sample();
        for cut in 0..data.len() {
            let _ = Btf::parse(&data[..cut]).map(|btf| btf.offset("outer.two.deep"));
        }
        assert!(Btf::parse(&data[..40]).is_err());
    }
}
