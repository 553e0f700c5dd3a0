//! Reads structured values from bytes, and writes them. Missing bytes at the end read as zero, so that every input is
//! valid.

/// Reads an input from its front.
#[derive(Debug, Clone)]
pub struct Input<'a>(&'a [u8]);

/// Writes what [`Input`] reads.
#[derive(Debug, Clone, Default)]
pub struct Script(Vec<u8>);

impl<'a> Input<'a> {
    /// Reads from `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn u8(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// Its lowest bit.
    pub fn bool(&mut self) -> bool {
        self.u8() & 1 == 1
    }

    /// Two bytes, big endian.
    pub fn u16(&mut self) -> u16 {
        u16::from_be_bytes(self.array())
    }

    /// Four bytes, big endian.
    pub fn u32(&mut self) -> u32 {
        u32::from_be_bytes(self.array())
    }

    /// Eight bytes, big endian.
    pub fn u64(&mut self) -> u64 {
        u64::from_be_bytes(self.array())
    }

    /// `N` bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.u8())
    }

    /// A length in two bytes, and that many bytes, or the remaining ones.
    pub fn chunk(&mut self) -> &'a [u8] {
        let len = usize::from(self.u16()).min(self.0.len());
        let (chunk, rest) = self.0.split_at(len);
        self.0 = rest;
        chunk
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

impl Script {
    /// Read by [`Input::u8`] or [`Input::bool`].
    #[must_use]
    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    /// Read by [`Input::u16`].
    #[must_use]
    pub fn u16(self, value: u16) -> Self {
        self.raw(&value.to_be_bytes())
    }

    /// Read by [`Input::u32`].
    #[must_use]
    pub fn u32(self, value: u32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    /// Read by [`Input::u64`].
    #[must_use]
    pub fn u64(self, value: u64) -> Self {
        self.raw(&value.to_be_bytes())
    }

    /// Read by [`Input::chunk`]; at most 65,535 bytes.
    #[must_use]
    pub fn chunk(self, bytes: &[u8]) -> Self {
        let len = u16::try_from(bytes.len()).expect("a chunk's length is two bytes");
        self.u16(len).raw(bytes)
    }

    /// Read by [`Input::array`] or [`Input::rest`].
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The input.
    pub fn done(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_writes_an_input_reads() {
        let bytes = Script::default()
            .u8(7)
            .u16(0x0102)
            .u32(3)
            .u64(4)
            .chunk(b"abc")
            .raw(b"rest")
            .done();
        let mut input = Input::new(&bytes);
        assert_eq!((input.u8(), input.u16()), (7, 0x0102));
        assert_eq!((input.u32(), input.u64()), (3, 4));
        assert_eq!((input.chunk(), input.rest()), (&b"abc"[..], &b"rest"[..]));
        assert!(input.is_empty());
    }

    #[test]
    fn what_is_missing_is_zero_and_a_chunk_is_what_is_left() {
        let mut input = Input::new(&[0, 9, 1]);
        assert_eq!(input.chunk(), [1]);
        assert_eq!((input.u8(), input.u64(), input.bool()), (0, 0, false));
        assert_eq!(input.chunk(), []);
    }
}
