//! JSON as serde_json writes it, octet for octet, and sooner: the names of fields are the program's own and need no
//! escaping, which took a quarter of all the time that went into printing records. Floating-point numbers, and strings that
//! do need escaping, are left to serde_json.

use std::fmt::{Display, Write as _};

use serde::ser::{self, Serialize, Serializer};
use serde_json::Error;

/// Appends `value`.
pub fn write<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) -> Result<(), Error> {
    value.serialize(Compact(out))
}

/// What writes one value.
struct Compact<'a>(&'a mut Vec<u8>);

/// What writes the values inside of another one.
struct Items<'a> {
    out: &'a mut Vec<u8>,
    /// None was written yet.
    is_first: bool,
    /// What stands behind the last.
    end: &'static [u8],
}

impl<'a> Compact<'a> {
    fn number(self, number: impl itoa::Integer) {
        self.0.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    fn items(self, start: u8, end: &'static [u8]) -> Items<'a> {
        self.0.push(start);
        Items { out: self.0, is_first: true, end }
    }

    /// The value of a variant, as the only field of an object.
    fn variant(self, name: &'static str) -> Self {
        self.0.push(b'{');
        field(self.0, name);
        self
    }
}

/// The name of a field, which is an identifier or what stands for one.
#[inline]
fn field(out: &mut Vec<u8>, name: &'static str) {
    out.reserve(name.len() + 4);
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Whether a string stands for itself between quotation marks (RFC 8259, section 7).
fn is_plain(text: &[u8]) -> bool {
    // Without a way out on the first that is not: so it is done for many octets at once.
    text.iter().fold(true, |plain, octet| plain & (*octet >= b' ') & (*octet != b'"') & (*octet != b'\\'))
}

macro_rules! numbers {
    ($($serialize:ident: $number:ty),* $(,)?) => {
        $(fn $serialize(self, value: $number) -> Result<(), Error> {
            self.number(value);
            Ok(())
        })*
    };
}

impl<'a> Serializer for Compact<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Items<'a>;
    type SerializeTuple = Items<'a>;
    type SerializeTupleStruct = Items<'a>;
    type SerializeTupleVariant = Items<'a>;
    type SerializeMap = Items<'a>;
    type SerializeStruct = Items<'a>;
    type SerializeStructVariant = Items<'a>;

    fn serialize_bool(self, value: bool) -> Result<(), Error> {
        self.0.extend_from_slice(if value { b"true" } else { b"false" });
        Ok(())
    }

    numbers! {
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
    }

    fn serialize_f32(self, value: f32) -> Result<(), Error> {
        serde_json::to_writer(self.0, &value)
    }

    fn serialize_f64(self, value: f64) -> Result<(), Error> {
        serde_json::to_writer(self.0, &value)
    }

    fn serialize_char(self, value: char) -> Result<(), Error> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), Error> {
        if !is_plain(value.as_bytes()) {
            return serde_json::to_writer(self.0, value);
        }
        self.0.reserve(value.len() + 2);
        self.0.push(b'"');
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'"');
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Error> {
        self.collect_seq(value)
    }

    fn serialize_none(self) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Error> {
        self.0.extend_from_slice(b"null");
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Error> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), Error> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Error> {
        let Self(out) = self.variant(variant);
        value.serialize(Compact(out))?;
        out.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Items<'a>, Error> {
        Ok(self.items(b'[', b"]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Items<'a>, Error> {
        Ok(self.items(b'[', b"]"))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Items<'a>, Error> {
        Ok(self.items(b'[', b"]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Items<'a>, Error> {
        Ok(self.variant(variant).items(b'[', b"]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Items<'a>, Error> {
        Ok(self.items(b'{', b"}"))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Items<'a>, Error> {
        Ok(self.items(b'{', b"}"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Items<'a>, Error> {
        Ok(self.variant(variant).items(b'{', b"}}"))
    }

    fn collect_str<T: Display + ?Sized>(self, value: &T) -> Result<(), Error> {
        let Self(out) = self;
        out.push(b'"');
        let start = out.len();
        write!(Text(out), "{value}").map_err(ser::Error::custom)?;
        if is_plain(out.get(start..).unwrap_or_default()) {
            out.push(b'"');
            return Ok(());
        }
        let text = String::from_utf8(out.split_off(start)).map_err(ser::Error::custom)?;
        out.pop();
        serde_json::to_writer(out, &text)
    }
}

/// Text that is formatted.
struct Text<'a>(&'a mut Vec<u8>);

impl std::fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl Items<'_> {
    #[inline]
    fn separate(&mut self) {
        if !std::mem::take(&mut self.is_first) {
            self.out.push(b',');
        }
    }

    fn finish(self) -> Result<(), Error> {
        self.out.extend_from_slice(self.end);
        Ok(())
    }
}

/// The traits that differ in name only: of values without names, and of values with names.
macro_rules! items {
    ($($kind:ident: $serialize:ident),* ; $($named:ident),*) => {
        $(impl ser::$kind for Items<'_> {
            type Ok = ();
            type Error = Error;

            fn $serialize<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
                self.separate();
                value.serialize(Compact(self.out))
            }

            fn end(self) -> Result<(), Error> {
                self.finish()
            }
        })*
        $(impl ser::$named for Items<'_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), Error> {
                self.separate();
                field(self.out, name);
                value.serialize(Compact(self.out))
            }

            fn end(self) -> Result<(), Error> {
                self.finish()
            }
        })*
    };
}

items! {
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field;
    SerializeStruct,
    SerializeStructVariant
}

impl ser::SerializeMap for Items<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Error> {
        self.separate();
        let start = self.out.len();
        key.serialize(Compact(self.out))?;
        if self.out.get(start) == Some(&b'"') { Ok(()) } else { Err(ser::Error::custom("a key is no string")) }
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Error> {
        self.out.push(b':');
        value.serialize(Compact(self.out))
    }

    fn end(self) -> Result<(), Error> {
        self.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Serialize;

    use super::write;

    /// One of everything that a record may be made of.
    #[derive(Serialize)]
    enum Anything {
        Unit,
        Newtype(u8),
        Tuple(i8, i64),
        Struct { text: String, letter: char },
    }

    #[derive(Serialize)]
    struct Inner {
        numbers: Vec<u64>,
        by_name: BTreeMap<String, Option<i32>>,
    }

    #[derive(Serialize)]
    #[serde(tag = "type", rename_all = "snake_case")]
    enum Tagged {
        TheOuter(Box<Outer>),
    }

    #[derive(Serialize)]
    struct Outer {
        all: Vec<Anything>,
        pair: (u16, bool),
        nothing: (),
        ratio: f64,
        #[serde(flatten)]
        inner: Inner,
        #[serde(skip_serializing_if = "Option::is_none")]
        left_out: Option<u32>,
        ip: std::net::IpAddr,
        empty: [Inner; 0],
    }

    proptest! {
        #[test]
        fn what_serde_json_writes(
            texts in prop::collection::vec(any::<String>(), 3),
            (letter, small, large, signed) in any::<(char, u8, u64, i64)>(),
            (left_out, ratio, v6) in (any::<Option<u32>>(), any::<f64>(), any::<u128>()),
        ) {
            let by_name = texts.iter().map(|text| (text.clone(), left_out.map(|number| number as i32))).collect();
            let value = Tagged::TheOuter(Box::new(Outer {
                all: vec![
                    Anything::Unit,
                    Anything::Newtype(small),
                    Anything::Tuple(small as i8, signed),
                    Anything::Struct { text: texts.concat(), letter },
                ],
                pair: (large as u16, left_out.is_some()),
                nothing: (),
                ratio,
                inner: Inner { numbers: vec![large, 0], by_name },
                left_out,
                ip: std::net::Ipv6Addr::from_bits(v6).into(),
                empty: [],
            }));
            let mut written = Vec::new();
            write(&mut written, &value).expect("it can be written");
            prop_assert_eq!(String::from_utf8(written).expect("UTF-8"), serde_json::to_string(&value).expect("as well"));
        }
    }
}
