//! Identifiers: plain newtypes that can only be built by parsing, so that code holding one knows
//! it is well formed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Entropy;

/// A name that breaks its rule. The text says which; it does not repeat the name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {rule}")]
pub struct InvalidName {
    /// What was being named: `mount path`, `destination name`.
    pub what: &'static str,
    /// The rule it breaks.
    pub rule: &'static str,
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name([u8; 16]);

        impl $name {
            /// A new random identifier.
            pub fn random(entropy: &dyn Entropy) -> Self {
                let mut bytes = [0; 16];
                entropy.fill(&mut bytes);
                Self(bytes)
            }

            /// From its bytes, as stored.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Its bytes, as stored.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), hex::encode(self.0))
            }
        }
    };
}

random_id!(
    /// One life of one server process.
    NodeId
);

random_id!(
    /// One association, for as long as it exists. Removing and setting again makes a new one.
    AssociationId
);
random_id!(
    /// One configured destination. Deleting and creating again under the same name makes a new one.
    DestinationId
);
random_id!(
    /// One store, made at `init`. Part of the ownership mark at destinations (decisions 6a).
    StoreId
);

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), self.0)
            }
        }
    };
}

text_id!(
    /// A mount's stable identity, `<type>_<8 lower-case hex digits>` such as `kv_eb4acbae`. A mount
    /// re-created at the same path has another accessor and is another source (decisions 26).
    MountAccessor
);
text_id!(
    /// Where a mount answers, always with one trailing slash: `secret/`, `team a/kv/`.
    MountPath
);
text_id!(
    /// A secret's path below its mount: `app/db`. Never empty, no `.` or `..` segment, no control
    /// character, no trailing slash. Two slashes in a row are allowed, as Vault allows them.
    SecretPath
);
text_id!(
    /// A destination's name: 1 to 128 of word characters, `-` and `.` (Vault's generic name rule).
    DestinationName
);
text_id!(
    /// A secret's name at a destination, already adapted to that destination's rules.
    RemoteName
);

impl MountAccessor {
    /// A new accessor for a mount of the given type.
    pub fn random(mount_type: &str, entropy: &dyn Entropy) -> Self {
        let mut bytes = [0; 4];
        entropy.fill(&mut bytes);
        Self(format!("{mount_type}_{}", hex::encode(bytes)))
    }

    /// Reads an accessor.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let rule = InvalidName {
            what: "mount accessor",
            rule: "must look like kv_eb4acbae: a type, _, 8 hex digits",
        };
        let Some((kind, hex)) = text.rsplit_once('_') else { return Err(rule) };
        let hex_ok = hex.len() == 8 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let kind_ok =
            !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        if hex_ok && kind_ok { Ok(Self(text.to_owned())) } else { Err(rule) }
    }
}

/// Whether a path can be served: not empty, no `.` or `..` segment, no control character.
fn check_path(what: &'static str, path: &str) -> Result<(), InvalidName> {
    if path.is_empty() {
        return Err(InvalidName { what, rule: "must not be empty" });
    }
    if path.chars().any(char::is_control) {
        return Err(InvalidName { what, rule: "must not contain control characters" });
    }
    if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        return Err(InvalidName { what, rule: "must not contain a . or .. segment" });
    }
    Ok(())
}

impl MountPath {
    /// Reads a mount path; leading and trailing slashes are optional.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let bare = text.trim_matches('/');
        check_path("mount path", bare)?;
        if bare.contains("//") {
            return Err(InvalidName { what: "mount path", rule: "must not contain an empty segment" });
        }
        Ok(Self(format!("{bare}/")))
    }

    /// Without the trailing slash, as the sync API shows it.
    pub fn bare(&self) -> &str {
        &self.0[..self.0.len() - 1]
    }
}

impl SecretPath {
    /// Reads a secret's path. A trailing slash names a folder and is refused.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        check_path("secret path", text)?;
        if text.ends_with('/') {
            return Err(InvalidName {
                what: "secret path",
                rule: "must not end in '/', which names a folder",
            });
        }
        Ok(Self(text.to_owned()))
    }

    /// The segments, first to last.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The last segment.
    pub fn base_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl DestinationName {
    /// Reads a destination's name.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let ok = (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
            && !text.bytes().all(|b| b == b'.');
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidName {
                what: "destination name",
                rule: "must be 1 to 128 letters, digits, '_', '-' or '.', and not only dots",
            })
        }
    }
}

impl RemoteName {
    /// Only a destination kind makes one, from a rendered name, once it has applied its own rules.
    pub fn from_kind(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// A destination as the URL names it: type and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DestinationKey {
    /// The type's slug: `aws-sm`.
    pub kind: String,
    /// The name.
    pub name: DestinationName,
}

impl fmt::Display for DestinationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

/// A KV version number, from 1. Zero stands for "no version yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct Version(pub u64);

impl Version {
    /// The one after this.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SeededEntropy;

    #[test]
    fn accessors_read_back() {
        let made = MountAccessor::random("kv", &SeededEntropy::new(1));
        assert_eq!(MountAccessor::parse(made.as_str()), Ok(made));
        for bad in ["", "kv", "kv_", "_eb4acbae", "kv_eb4acba", "kv_EB4ACBAE", "k/v_eb4acbae"] {
            assert!(MountAccessor::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn mount_paths_have_one_trailing_slash() {
        for text in ["secret", "secret/", "/secret/"] {
            assert_eq!(MountPath::parse(text).unwrap().as_str(), "secret/");
        }
        assert_eq!(MountPath::parse("team a/kv").unwrap().bare(), "team a/kv");
        for bad in ["", "/", "a//b", "a/../b", "./a", "a\nb"] {
            assert!(MountPath::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn secret_paths_refuse_folders_and_dots() {
        assert_eq!(SecretPath::parse("app/db").unwrap().base_name(), "db");
        for bad in ["", "/", "a/", "a/..", ".", "a/\u{7}"] {
            assert!(SecretPath::parse(bad).is_err(), "{bad:?}");
        }
        for good in ["環境/本番 DB%", "a//b", "/a", "..a"] {
            assert!(SecretPath::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn destination_names_follow_vaults_generic_rule() {
        for good in ["my-store-1", "a", "A.b_c", &"x".repeat(128)] {
            assert!(DestinationName::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "a b", "a/b", "..", "é", &"x".repeat(129)] {
            assert!(DestinationName::parse(bad).is_err(), "{bad}");
        }
    }
}
