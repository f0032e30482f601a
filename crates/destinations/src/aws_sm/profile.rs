//! The shared AWS configuration files, as far as reqsign does not read them: the region, roles that
//! name another profile, and what we do not support and therefore refuse by name.

use std::{collections::BTreeMap, path::PathBuf};

use crate::net::Environment;

/// The sections of one file, or of both merged.
#[derive(Debug, Default)]
pub(super) struct Profiles(BTreeMap<String, BTreeMap<String, String>>);

impl Profiles {
    /// Reads `~/.aws/config` and `~/.aws/credentials`, or what the environment names in their place.
    /// Files that are not there hold nothing. Blocks.
    pub(super) fn read(environment: &dyn Environment) -> Self {
        let mut profiles = Self::default();
        let files = [
            ("AWS_CONFIG_FILE", ".aws/config", true),
            ("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials", false),
        ];
        for (variable, usual, is_config) in files {
            let named = environment.var(variable).map(PathBuf::from);
            let Some(path) = named.or_else(|| environment.home().map(|home| home.join(usual))) else {
                continue;
            };
            let Ok(bytes) = environment.read(&path) else { continue };
            // Opened to find settings; what is kept of it below are open settings, never keys.
            profiles.add(&String::from_utf8_lossy(bytes.expose()), is_config);
        }
        profiles
    }

    fn add(&mut self, text: &str, is_config: bool) {
        let mut section = None;
        for line in text.lines() {
            let indented = line.starts_with([' ', '\t']);
            let line = line.trim();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                let name = name.0.trim();
                section = match name.strip_prefix("profile ") {
                    Some(name) if is_config => Some(name.trim().to_owned()),
                    _ if !is_config || name == "default" => Some(name.to_owned()),
                    _ => None,
                };
                if let Some(name) = &section {
                    self.0.entry(name.clone()).or_default();
                }
            } else if let (Some(section), Some((key, value)), false) =
                (&section, line.split_once('='), indented)
            {
                let (key, value) = (key.trim(), value.trim());
                // Keys are reqsign's business; they are only noted to be there.
                let secret = matches!(key, "aws_secret_access_key" | "aws_session_token");
                let value = if secret { "set" } else { value };
                self.0.entry(section.clone()).or_default().insert(key.to_owned(), value.to_owned());
            }
        }
    }

    pub(super) fn has(&self, profile: &str) -> bool {
        self.0.contains_key(profile)
    }

    /// A setting of a profile; one that is set to nothing counts as not set.
    pub(super) fn get(&self, profile: &str, key: &str) -> Option<&str> {
        self.0.get(profile)?.get(key).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// The profile in force.
pub(super) fn selected(environment: &dyn Environment) -> String {
    environment.var("AWS_PROFILE").unwrap_or_else(|| "default".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_files_are_understood() {
        let mut profiles = Profiles::default();
        profiles.add(
            "[default]\nregion = eu-west-1\n# note\n[profile ops ]\nrole_arn=arn:x\ns3 =\n  region = no\n\
             [sso-session x]\nregion = no\n[other]\nregion = no\n",
            true,
        );
        profiles
            .add("[ops]\naws_access_key_id = AKIA\naws_secret_access_key = hunter2\n;c\nregion=\n", false);
        assert_eq!(profiles.get("default", "region"), Some("eu-west-1"));
        assert_eq!(profiles.get("ops", "role_arn"), Some("arn:x"));
        assert_eq!(profiles.get("ops", "aws_secret_access_key"), Some("set"));
        assert_eq!(profiles.get("ops", "region"), None);
        assert!(!profiles.has("other") && !profiles.has("x") && profiles.has("ops"));
        assert!(!format!("{profiles:?}").contains("hunter2"));
    }
}
