//! Time-based one-time codes (RFC 6238) from the `otpauth://` URIs that records hold.

use std::time::Duration;

use aws_lc_rs::hmac;
use model::{SecretBytes, Timestamp};
use url::Url;
use zeroize::Zeroizing;

use crate::records::Record;

/// A code, and how long it is good for.
#[derive(Debug, Clone)]
pub struct TotpCode {
    /// Six to eight digits.
    pub code: SecretBytes,
    /// Until the next one takes its place.
    pub time_left: Duration,
    /// From one code to the next.
    pub period: Duration,
}

/// A one-time code that cannot be made. The URI is not repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TotpFault {
    /// The record has no field of type `oneTimeCode` with a value.
    #[error("the record has no one-time code field with a value")]
    NoField,
    /// Not an `otpauth://totp/` URI.
    #[error("the one-time code field holds no otpauth://totp/ URI")]
    NotTotp,
    /// No secret, or none in base32.
    #[error("the secret key of the one-time code field is missing or no base32: correct it in the record")]
    Secret,
    /// An algorithm other than SHA1, SHA256, SHA512.
    #[error("the one-time code's algorithm is none of SHA1, SHA256 and SHA512")]
    Algorithm,
    /// A number of digits other than 6, 7, 8.
    #[error("the one-time code has neither 6 nor 7 nor 8 digits")]
    Digits,
}

/// The code of a record's field of type `oneTimeCode`, among the standard fields or else the custom
/// ones.
pub fn code_of(record: &Record, now: Timestamp) -> Result<TotpCode, TotpFault> {
    use crate::notation::Section::{Custom, Standard};
    let uri = [Standard, Custom].into_iter().find_map(|section| {
        let (field, _) = record.field(section, "oneTimeCode")?;
        field.first()?.as_text().filter(|uri| !uri.is_empty())
    });
    code(uri.ok_or(TotpFault::NoField)?, now)
}

/// The code of an `otpauth://totp/` URI. Parameters that are absent or no positive number have their
/// defaults: SHA1, 6 digits, 30 seconds.
pub fn code(uri: &str, now: Timestamp) -> Result<TotpCode, TotpFault> {
    let uri = Url::parse(uri).map_err(|_| TotpFault::NotTotp)?;
    if uri.scheme() != "otpauth" || uri.host_str().is_some_and(|kind| kind.eq_ignore_ascii_case("hotp")) {
        return Err(TotpFault::NotTotp);
    }
    let (mut secret, mut algorithm, mut digits, mut period) =
        (None, hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, 6, 30);
    for (name, value) in uri.query_pairs() {
        let number = value.parse::<u32>().ok().filter(|n| *n > 0);
        match &*name {
            "secret" => secret = Some(base32(&value).ok_or(TotpFault::Secret)?),
            "algorithm" => {
                algorithm = match value.to_ascii_uppercase().as_str() {
                    "SHA1" => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
                    "SHA256" => hmac::HMAC_SHA256,
                    "SHA512" => hmac::HMAC_SHA512,
                    _ => return Err(TotpFault::Algorithm),
                }
            }
            "digits" => digits = number.unwrap_or(digits),
            "period" => period = number.unwrap_or(period),
            _ => {}
        }
    }
    let secret = secret.filter(|secret| !secret.is_empty()).ok_or(TotpFault::Secret)?;
    if !(6..=8).contains(&digits) {
        return Err(TotpFault::Digits);
    }
    let seconds = u64::try_from(now.as_secs()).unwrap_or(0);
    let period = u64::from(period);
    let key = hmac::Key::new(algorithm, &secret);
    let tag = hmac::sign(&key, &(seconds / period).to_be_bytes());
    let code = u64::from(truncated(tag.as_ref())) % 10_u64.pow(digits);
    let width = digits as usize;
    Ok(TotpCode {
        code: SecretBytes::from(format!("{code:0width$}")),
        time_left: Duration::from_secs(period - seconds % period),
        period: Duration::from_secs(period),
    })
}

/// RFC 4226, section 5.3.
fn truncated(tag: &[u8]) -> u32 {
    let offset = usize::from(tag.last().copied().unwrap_or(0) & 0xf);
    let word: [u8; 4] = tag.get(offset..offset + 4).and_then(|w| w.try_into().ok()).unwrap_or_default();
    u32::from_be_bytes(word) & 0x7fff_ffff
}

/// RFC 4648 base32 in any case, with or without padding; spaces, which people type, are passed over.
fn base32(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let (mut bits, mut held) = (0_u32, 0);
    for sign in text.trim_end_matches('=').bytes().filter(|b| *b != b' ') {
        let value = match sign.to_ascii_uppercase() {
            letter @ b'A'..=b'Z' => letter - b'A',
            digit @ b'2'..=b'7' => digit - b'2' + 26,
            _ => return None,
        };
        bits = bits << 5 | u32::from(value);
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held).to_le_bytes()[0]);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 6238, appendix B (but for its last time, which is beyond our clock). Secrets are "12345678901234567890" and its extensions to 32 and 64.
    const SHA1: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
    const SHA256: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA";
    const SHA512: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNA";

    fn shown(uri: &str, secs: i64) -> Result<String, TotpFault> {
        code(uri, Timestamp::from_secs(secs)).map(|c| c.code.expose_text().unwrap().to_owned())
    }

    #[test]
    fn the_vectors_of_the_rfc_hold() {
        for (secs, sha1, sha256, sha512) in [
            (59, "94287082", "46119246", "90693936"),
            (1_111_111_109, "07081804", "68084774", "25091201"),
            (1_111_111_111, "14050471", "67062674", "99943326"),
            (1_234_567_890, "89005924", "91819424", "93441116"),
            (2_000_000_000, "69279037", "90698825", "38618901"),
        ] {
            for (name, secret, code) in
                [("SHA1", SHA1, sha1), ("sha256", SHA256, sha256), ("SHA512", SHA512, sha512)]
            {
                let uri = format!("otpauth://totp/me?secret={secret}&algorithm={name}&digits=8&period=30");
                assert_eq!(shown(&uri, secs).as_deref(), Ok(code), "{name} {secs}");
            }
        }
    }

    #[test]
    fn defaults_spelling_and_time_left() {
        let uri = format!(
            "otpauth://totp/Example:me@x?issuer=Example&secret={}%20&digits=0&period=x",
            SHA1.to_lowercase()
        );
        assert_eq!(shown(&uri, 59).as_deref(), Ok("287082"));
        let code = code(&uri, Timestamp::from_secs(59)).unwrap();
        assert_eq!((code.time_left, code.period), (Duration::from_secs(1), Duration::from_secs(30)));
        assert_eq!(format!("{code:?}").matches("287082").count(), 0);
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (uri, fault) in [
            ("", TotpFault::NotTotp),
            ("https://x?secret=AAAA", TotpFault::NotTotp),
            ("otpauth://hotp/x?secret=AAAA&counter=1", TotpFault::NotTotp),
            ("otpauth://totp/x", TotpFault::Secret),
            ("otpauth://totp/x?secret=", TotpFault::Secret),
            ("otpauth://totp/x?secret=1890", TotpFault::Secret),
            ("otpauth://totp/x?secret=AAAA&algorithm=MD5", TotpFault::Algorithm),
            ("otpauth://totp/x?secret=AAAA&digits=9", TotpFault::Digits),
        ] {
            assert_eq!(shown(uri, 0), Err(fault), "{uri}");
        }
    }

    proptest! {
        #[test]
        fn no_uri_makes_it_panic(tail in ".{0,40}", secs: i64) {
            let _ = shown(&format!("otpauth://totp/x?secret=AAAAAAAA&{tail}"), secs);
            let _ = shown(&tail, secs);
        }
    }
}
