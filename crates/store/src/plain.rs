use postcard::ser_flavors::Flavor;
use serde::Serialize;

use crate::wipe::Wiped;

/// Bytes about to be sealed, behind room for the seal's own header so that they can be sealed where
/// they are. Growing wipes what it leaves behind, and so does dropping.
pub(crate) struct Plain {
    bytes: Wiped,
    header: usize,
}

impl Plain {
    /// `header` bytes of room, then nothing; `spare`: how much is expected to follow it.
    pub(crate) fn behind(header: usize, spare: usize) -> Self {
        let mut bytes = Vec::with_capacity(header + spare);
        bytes.resize(header, 0);
        Self { bytes: Wiped(bytes), header }
    }

    /// Adds bytes.
    pub(crate) fn extend(&mut self, more: &[u8]) {
        let length = self.bytes.len() + more.len();
        if length > self.bytes.0.capacity() {
            let mut larger = Vec::with_capacity(length.max(2 * self.bytes.0.capacity()));
            larger.extend_from_slice(&self.bytes);
            self.bytes = Wiped(larger);
        }
        self.bytes.0.extend_from_slice(more);
    }

    /// Adds a value's fields. `None` when they cannot be encoded.
    pub(crate) fn with_fields(self, value: &impl Serialize) -> Option<Self> {
        postcard::serialize_with_flavor(value, self).ok()
    }

    /// The room for the header, and the plain bytes.
    pub(crate) fn parts_mut(&mut self) -> (&mut [u8], &mut [u8]) {
        self.bytes.0.split_at_mut(self.header)
    }

    /// All of it, once the plain bytes have been sealed in place.
    pub(crate) fn into_sealed(mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes.0)
    }
}

impl Flavor for Plain {
    type Output = Self;

    fn try_extend(&mut self, data: &[u8]) -> postcard::Result<()> {
        self.extend(data);
        Ok(())
    }

    fn try_push(&mut self, data: u8) -> postcard::Result<()> {
        self.extend(&[data]);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Self> {
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_stay_the_same_however_often_it_grows() {
        let mut plain = Plain::behind(3, 0);
        let all: Vec<u8> = (0..=255).cycle().take(5000).collect();
        for chunk in all.chunks(7) {
            plain.extend(chunk);
        }
        let (header, bytes) = plain.parts_mut();
        assert_eq!((header.len(), &*bytes), (3, all.as_slice()));
        assert_eq!(plain.into_sealed().len(), 5003);
    }

    #[test]
    fn fields_are_encoded_as_postcard_does() {
        let value = (7_u32, "text", vec![1_u8; 300]);
        let mut plain = Plain::behind(2, 0).with_fields(&value).unwrap();
        assert_eq!(plain.parts_mut().1, postcard::to_stdvec(&value).unwrap());
    }
}
