//! Reading a record back from bytes.

use core::fmt;

/// A record without padding that any bytes make.
///
/// # Safety
/// The type is `repr(C)`, has no padding, and every pattern of bits is a value of it.
pub unsafe trait Plain: Copy {
    /// Reads a record from the front of `bytes`, in the byte order of this machine.
    ///
    /// # Errors
    /// When `bytes` ends before the record does.
    fn parse(bytes: &[u8]) -> Result<Self, TooShort> {
        let need = size_of::<Self>();
        if bytes.len() < need {
            return Err(TooShort { need, got: bytes.len() });
        }
        // SAFETY: there are enough bytes, they need no alignment, and any of them make a value (the trait's promise).
        Ok(unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() })
    }

    /// The bytes of the record.
    fn bytes(&self) -> &[u8] {
        // SAFETY: the record has no padding (the trait's promise), so all its bytes are initialised.
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }
}

/// A record was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooShort {
    /// Bytes that the record takes.
    pub need: usize,
    /// Bytes that there were.
    pub got: usize,
}

impl fmt::Display for TooShort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { need, got } = self;
        write!(f, "record needs {need} bytes, {got} left")
    }
}

impl core::error::Error for TooShort {}
