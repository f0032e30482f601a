//! What may be done to a value before it is written.

use aws_lc_rs::digest;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use zeroize::Zeroizing;

/// A transformation, by its word after `|`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transform {
    Base64,
    Base64Url,
    UrlEncode,
    UrlEncodePlus,
    Upper,
    Lower,
    Trim,
    Sha256,
}

const WORDS: &[(&str, Transform)] = &[
    ("base64", Transform::Base64),
    ("base64url", Transform::Base64Url),
    ("lower", Transform::Lower),
    ("sha256", Transform::Sha256),
    ("trim", Transform::Trim),
    ("upper", Transform::Upper),
    ("urlencode", Transform::UrlEncode),
    ("urlencodeplus", Transform::UrlEncodePlus),
];

impl Transform {
    /// The one of that word.
    pub(super) fn named(word: &str) -> Result<Self, String> {
        let found = WORDS.iter().find(|(name, _)| *name == word);
        found.map(|(_, transform)| *transform).ok_or_else(|| {
            let all: Vec<&str> = WORDS.iter().map(|(name, _)| *name).collect();
            format!("unknown transformation after '|': there are {}", all.join(", "))
        })
    }

    /// The value in another form.
    pub(super) fn apply(self, value: &str) -> Zeroizing<String> {
        Zeroizing::new(match self {
            Self::Base64 => STANDARD.encode(value),
            Self::Base64Url => URL_SAFE_NO_PAD.encode(value),
            Self::UrlEncode => percent(value, |b| b == b'/'),
            Self::UrlEncodePlus => percent(value, |b| b == b' ').replace(' ', "+"),
            Self::Upper => value.to_uppercase(),
            Self::Lower => value.to_lowercase(),
            Self::Trim => value.trim().to_owned(),
            Self::Sha256 => hex(digest::digest(&digest::SHA256, value.as_bytes()).as_ref()),
        })
    }
}

/// As Python's `urllib.parse.quote`: letters, digits and `_.-~` stay, and what is said beside.
fn percent(value: &str, stays: impl Fn(u8) -> bool) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(3 * value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"_.-~".contains(&byte) || stays(byte) {
            out.push(char::from(byte));
        } else {
            // Writing into a string does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        // Writing into a string does not fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_out_as_the_official_cli_makes_them() {
        for (word, want) in [
            ("base64", "IMOkL2IrPw=="),
            ("base64url", "IMOkL2IrPw"),
            ("urlencode", "%20%C3%A4/b%2B%3F"),
            ("urlencodeplus", "+%C3%A4%2Fb%2B%3F"),
            ("upper", " Ä/B+?"),
            ("lower", " ä/b+?"),
            ("trim", "ä/b+?"),
        ] {
            assert_eq!(Transform::named(word).unwrap().apply(" ä/b+?").as_str(), want, "{word}");
        }
        let sha = Transform::Sha256.apply("abc");
        assert_eq!(sha.as_str(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
