//! Taking numbers and texts off the front of a message.

use bytes::{Buf, Bytes};
use understudy_model::Lsn;

use crate::DecodeError;

/// The rest of a message, and what it is, for errors.
pub(crate) struct Reader {
    pub(crate) bytes: Bytes,
    what: &'static str,
}

impl Reader {
    pub(crate) fn new(bytes: Bytes, what: &'static str) -> Reader {
        Reader { bytes, what }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    pub(crate) fn lsn(&mut self) -> Result<Lsn, DecodeError> {
        self.array().map(u64::from_be_bytes).map(Lsn::new)
    }

    /// A text that ends with a zero byte.
    pub(crate) fn text(&mut self) -> Result<String, DecodeError> {
        let end = self.bytes.iter().position(|byte| *byte == 0).ok_or(self.short())?;
        let text =
            std::str::from_utf8(&self.bytes[..end]).map_err(|_| DecodeError::Text { what: self.what })?;
        let text = text.to_owned();
        self.bytes.advance(end + 1);
        Ok(text)
    }

    pub(crate) fn skip_text(&mut self) -> Result<(), DecodeError> {
        let end = self.bytes.iter().position(|byte| *byte == 0).ok_or(self.short())?;
        self.bytes.advance(end + 1);
        Ok(())
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        if len > self.bytes.len() { Err(self.short()) } else { Ok(self.bytes.split_to(len)) }
    }

    /// The result, provided that nothing is left.
    pub(crate) fn end<T>(self, result: T) -> Result<T, DecodeError> {
        match self.bytes.len() {
            0 => Ok(result),
            bytes => Err(DecodeError::Long { what: self.what, bytes }),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let array = *self.bytes.first_chunk::<N>().ok_or(self.short())?;
        self.bytes.advance(N);
        Ok(array)
    }

    fn short(&self) -> DecodeError {
        DecodeError::Short { what: self.what }
    }
}
