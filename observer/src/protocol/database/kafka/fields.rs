//! The fields that Kafka's messages are made of (<https://kafka.apache.org/protocol#protocol_types>), one after another.

/// Where in a message is read.
#[derive(Debug)]
pub struct Fields<'a> {
    octets: &'a [u8],
    at: usize,
    /// Lengths are UNSIGNED_VARINTs of one more, and tagged fields end each structure (KIP-482).
    flexible: bool,
}

/// Why there is no more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The message goes on, for so many octets at least.
    Short(usize),
    /// It is none that the protocol knows.
    Malformed,
}

impl<'a> Fields<'a> {
    pub const fn new(octets: &'a [u8], flexible: bool) -> Self {
        Self { octets, at: 0, flexible }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Ends> {
        let end = self.at + N;
        let field = self.octets.get(self.at..).and_then(<[u8]>::first_chunk).ok_or(Ends::Short(end))?;
        self.at = end;
        Ok(*field)
    }

    /// INT16.
    pub fn int16(&mut self) -> Result<i16, Ends> {
        self.take().map(i16::from_be_bytes)
    }

    /// INT32.
    pub fn int32(&mut self) -> Result<i32, Ends> {
        self.take().map(i32::from_be_bytes)
    }

    /// Passes over so many octets.
    pub fn skip(&mut self, octets: usize) -> Result<(), Ends> {
        let end = self.at.saturating_add(octets);
        if end > self.octets.len() {
            return Err(Ends::Short(end));
        }
        self.at = end;
        Ok(())
    }

    /// UNSIGNED_VARINT.
    fn varint(&mut self) -> Result<u32, Ends> {
        let mut value = 0_u32;
        for shift in (0..32).step_by(7) {
            let [octet] = self.take()?;
            value |= u32::from(octet & 0x7f) << shift;
            if octet & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Ends::Malformed)
    }

    /// The length in front of an array, a string or octets; 0 for null.
    fn length(&mut self, ordinary: impl FnOnce(&mut Self) -> Result<i32, Ends>) -> Result<usize, Ends> {
        let length = if self.flexible { i64::from(self.varint()?) - 1 } else { i64::from(ordinary(self)?) };
        usize::try_from(length.max(0)).map_err(|_| Ends::Malformed)
    }

    /// Passes over a STRING, NULLABLE_STRING, or their compact forms.
    pub fn string(&mut self) -> Result<(), Ends> {
        let length = self.length(|fields| fields.int16().map(i32::from))?;
        self.skip(length)
    }

    /// How many there are in an ARRAY or COMPACT_ARRAY.
    pub fn array(&mut self) -> Result<usize, Ends> {
        self.length(Self::int32)
    }

    /// Passes over an array of INT32.
    pub fn int32s(&mut self) -> Result<(), Ends> {
        let count = self.array()?;
        self.skip(count.saturating_mul(4))
    }

    /// Passes over the tagged fields at the end of a structure, where there are any.
    pub fn tags(&mut self) -> Result<(), Ends> {
        if self.flexible {
            for _ in 0..self.varint()? {
                self.varint()?;
                let length = self.varint()?;
                self.skip(length as usize)?;
            }
        }
        Ok(())
    }
}
