use std::fmt;

use secrecy::{ExposeSecret, SecretSlice};
use zeroize::Zeroizing;

/// Bytes nobody may print: a secret's value, a token, a credential, a key.
///
/// `Debug` shows the length only, there is no `Display` and no `Serialize`, equality is not
/// offered (compare with `subtle` where two secrets must be compared), and the memory is wiped on
/// drop. Wiping is best effort: SECURITY.md says what it cannot reach.
#[derive(Clone)]
pub struct SecretBytes(SecretSlice<u8>);

impl SecretBytes {
    /// Takes the bytes over. The vector's spare capacity is given back first, which may move the
    /// bytes once; build it with the right capacity where that matters.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(SecretSlice::from(bytes))
    }

    /// Opens the secret. Every call is a place where a value leaves its wrapper: write beside it
    /// why that is right there.
    pub fn expose(&self) -> &[u8] {
        self.0.expose_secret()
    }

    /// Opens the secret as text.
    ///
    /// # Errors
    /// [`NotText`] when the bytes are not UTF-8; the error does not repeat them.
    pub fn expose_text(&self) -> Result<&str, NotText> {
        std::str::from_utf8(self.expose()).map_err(|_| NotText)
    }

    /// The number of bytes, which is not secret.
    pub fn len(&self) -> usize {
        self.0.expose_secret().len()
    }

    /// Whether there are no bytes at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The bytes of a secret are not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret is not UTF-8 text")]
pub struct NotText;

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretBytes({} bytes)", self.len())
    }
}

impl From<Zeroizing<Vec<u8>>> for SecretBytes {
    fn from(mut bytes: Zeroizing<Vec<u8>>) -> Self {
        Self::new(std::mem::take(&mut *bytes))
    }
}

impl From<String> for SecretBytes {
    fn from(text: String) -> Self {
        Self::new(text.into_bytes())
    }
}

impl From<&str> for SecretBytes {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes().to_vec())
    }
}

impl From<&[u8]> for SecretBytes {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes.to_vec())
    }
}

impl<'de> serde::Deserialize<'de> for SecretBytes {
    /// Reads a JSON string. (There is no `Serialize`: a secret leaves by `expose` only.)
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_length_only() {
        let secret = SecretBytes::from("hunter2");
        assert_eq!(format!("{secret:?}"), "SecretBytes(7 bytes)");
    }

    #[test]
    fn text_that_is_not_utf8_is_refused_without_repeating_it() {
        let secret = SecretBytes::new(vec![0xff, 0xfe]);
        assert_eq!(secret.expose_text(), Err(NotText));
    }
}
