//! The small types configuration values are read into. Each refuses what cannot work while the file
//! is being read, so that the message can name the line.

use std::{fmt, net::SocketAddr, time::Duration};

use serde::{Deserialize, Serialize, de};

/// A length of time: `"90s"`, `"10m"`, `"1h30m"`, or whole seconds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl Span {
    pub(crate) const fn secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let nanos = i64::try_from(self.0.as_nanos()).unwrap_or(i64::MAX);
        serializer.serialize_str(&model::format_go_duration(nanos))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a length of time such as \"90s\", \"10m\" or \"1h30m\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Span, E> {
                let nanos = model::parse_duration(text).map_err(E::custom)?;
                u64::try_from(nanos)
                    .map(|nanos| Span(Duration::from_nanos(nanos)))
                    .map_err(|_| E::custom("a length of time cannot be negative"))
            }
            fn visit_i64<E: de::Error>(self, secs: i64) -> Result<Span, E> {
                u64::try_from(secs)
                    .map(Span::secs)
                    .map_err(|_| E::custom("a length of time cannot be negative"))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A URL others reach this server by.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PublicUrl(pub(crate) String);

impl<'de> Deserialize<'de> for PublicUrl {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let plain = text.parse::<hyper::Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.authority().is_some_and(|at| !at.as_str().contains('@'))
                && uri.query().is_none()
        });
        if plain {
            Ok(Self(text.trim_end_matches('/').to_owned()))
        } else {
            Err(de::Error::custom("must be an http or https URL such as \"https://keyferry.example.com\""))
        }
    }
}

/// Where to listen: an IP address and a port. Port 0 lets the system choose.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Address(pub(crate) SocketAddr);

impl std::str::FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        // Vault's documentation writes `localhost:8200` often enough; no other name is looked up.
        let text = text
            .strip_prefix("localhost:")
            .map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
        text.parse().map(Self).map_err(|_| InvalidAddress)
    }
}

/// A text that is no address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an address to listen on: want an IP address and a port, such as 127.0.0.1:8200 or [::]:8200")]
pub(crate) struct InvalidAddress;

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A release number of three parts. Terraform's provider stops at anything else.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Release(pub(crate) String);

impl<'de> Deserialize<'de> for Release {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number =
            |part: &str| !part.is_empty() && part.len() < 6 && part.bytes().all(|b| b.is_ascii_digit());
        if text.split('.').count() == 3 && text.split('.').all(number) {
            Ok(Self(text))
        } else {
            Err(de::Error::custom("not a release number: want three numbers such as 1.20.0"))
        }
    }
}

/// A whole number within bounds, both included.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Whole<const MIN: u64, const MAX: u64>(pub(crate) u64);

impl<const MIN: u64, const MAX: u64> Whole<MIN, MAX> {
    pub(crate) fn usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<const MIN: u64, const MAX: u64>;
        impl<const MIN: u64, const MAX: u64> de::Visitor<'_> for Visitor<MIN, MAX> {
            type Value = Whole<MIN, MAX>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a whole number from {MIN} to {MAX}")
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
                match u64::try_from(number) {
                    Ok(number) if (MIN..=MAX).contains(&number) => Ok(Whole(number)),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }
        }
        deserializer.deserialize_i64(Visitor)
    }
}
