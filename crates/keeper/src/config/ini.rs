//! `keeper.ini`, read and changed line by line: what we do not know stays as it was.
//!
//! The format is that of Python's `configparser` with `allow_no_value`, which the official CLI uses:
//! `[section]`, `key = value` or `key: value` or a bare `key`, keys in any case, comments from `#` or
//! `;` at the start of a line, a value continued by deeper indented lines, `%%` for `%`.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{Config, ConfigError, Source, StoredConfig};

const COMMON: &str = "_config";

/// A `keeper.ini`: profiles, and which of them is active.
#[derive(Clone, Default)]
pub struct KeeperIni {
    lines: Vec<Line>,
}

#[derive(Clone)]
struct Line {
    /// Without the line break; continuation lines are part of it.
    raw: Zeroizing<String>,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Section(String),
    Option { key: String, value: Option<Zeroizing<String>> },
    Other,
}

/// Shows the names of the profiles only.
impl fmt::Debug for KeeperIni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeeperIni({:?})", self.profiles())
    }
}

/// What a profile holds.
#[derive(Debug, Clone)]
pub enum Profile {
    /// The configuration itself.
    Stored(StoredConfig),
    /// The configuration is JSON in a secret of AWS Secrets Manager (`profile setup -t aws`).
    Aws(AwsProfile),
}

/// Where in AWS a configuration is kept.
#[derive(Debug, Clone)]
pub struct AwsProfile {
    /// The name of the secret.
    pub secret: String,
    /// How to sign in: `ec2instance`, `profile` or `keys`. The official CLI writes `custom` for the
    /// last and then refuses it (keeper.md 4.1); both words are read as `keys` here.
    pub provider: String,
    /// The AWS profile, for `profile`.
    pub aws_profile: Option<String>,
    /// For `keys`.
    pub access_key_id: Option<String>,
    /// For `keys`.
    pub secret_access_key: Option<model::SecretBytes>,
    /// For `keys`.
    pub region: Option<String>,
}

/// A configuration file that others can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("others can read the configuration file (mode {mode:04o}): run `chmod 0600` on it")]
pub struct TooOpen {
    /// The permission bits.
    pub mode: u32,
}

impl KeeperIni {
    /// Reads the text of a `keeper.ini`.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut lines: Vec<Line> = Vec::new();
        let mut indent = 0;
        let mut in_section = false;
        for (at, raw) in text.lines().enumerate() {
            let fault = |problem| ConfigError::Ini { line: at + 1, problem };
            let trimmed = raw.trim();
            let depth = raw.len() - raw.trim_start().len();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                lines.push(Line { raw: Zeroizing::new(raw.to_owned()), kind: Kind::Other });
                continue;
            }
            if depth > indent
                && let Some(Line { raw: first, kind: Kind::Option { value: Some(value), .. } }) =
                    lines.last_mut()
            {
                first.push('\n');
                first.push_str(raw);
                value.push('\n');
                value.push_str(trimmed);
                continue;
            }
            indent = depth;
            let kind = if let Some(header) = trimmed.strip_prefix('[') {
                let (name, _) =
                    header.rsplit_once(']').ok_or_else(|| fault("a section is written [name]"))?;
                let name = name.to_owned();
                if lines.iter().any(|line| matches!(&line.kind, Kind::Section(n) if *n == name)) {
                    return Err(fault("this section is there twice"));
                }
                in_section = true;
                Kind::Section(name)
            } else {
                if !in_section {
                    return Err(fault("a key stands before the first [section]"));
                }
                let (key, value) = match trimmed.split_once(['=', ':']) {
                    Some((key, value)) => (key, Some(Zeroizing::new(value.trim().replace("%%", "%")))),
                    None => (trimmed, None),
                };
                let key = key.trim_end().to_lowercase();
                let section =
                    lines.iter().rposition(|line| matches!(line.kind, Kind::Section(_))).unwrap_or(0);
                if lines[section..]
                    .iter()
                    .any(|line| matches!(&line.kind, Kind::Option { key: k, .. } if *k == key))
                {
                    return Err(fault("this key is in its section twice"));
                }
                Kind::Option { key, value }
            };
            lines.push(Line { raw: Zeroizing::new(raw.to_owned()), kind });
        }
        Ok(Self { lines })
    }

    /// The text: untouched lines as they were read.
    pub fn text(&self) -> Zeroizing<String> {
        let mut text =
            Zeroizing::new(String::with_capacity(self.lines.iter().map(|l| l.raw.len() + 1).sum()));
        for line in &self.lines {
            text.push_str(&line.raw);
            text.push('\n');
        }
        text
    }

    /// Reads a file. The second part is there when others can read it too.
    pub fn load(path: &Path) -> Result<(Self, Option<TooOpen>), ConfigError> {
        let fault = |e: io::Error| ConfigError::File { action: "read", kind: e.kind() };
        let text = Zeroizing::new(fs::read_to_string(path).map_err(fault)?);
        Ok((Self::parse(&text)?, too_open(path).map_err(fault)?))
    }

    /// Writes the file whole or not at all, readable by its owner only (mode 0600).
    pub fn save(&self, path: &Path) -> Result<(), ConfigError> {
        write_private(path, self.text().as_bytes())
            .map_err(|e| ConfigError::File { action: "written", kind: e.kind() })
    }

    /// Whether [`Self::save`] could write this file, by putting an empty one beside it and taking it
    /// away again: for those who are about to do what cannot be done twice.
    pub fn check_writable(path: &Path) -> Result<(), ConfigError> {
        let fault = |e: io::Error| ConfigError::File { action: "written", kind: e.kind() };
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if path.is_dir() {
            return Err(fault(io::ErrorKind::IsADirectory.into()));
        }
        let (fresh, _) = beside(&path).map_err(fault)?;
        fs::remove_file(fresh).map_err(fault)
    }

    /// The names of the profiles, in the order of the file.
    pub fn profiles(&self) -> Vec<&str> {
        self.lines
            .iter()
            .filter_map(|line| match &line.kind {
                Kind::Section(name) if name != COMMON && name != "DEFAULT" => Some(name.as_str()),
                _ => None,
            })
            .collect()
    }

    /// The profile that is used when none is named.
    pub fn active(&self) -> Option<&str> {
        self.common("active_profile")
    }

    /// A setting of the section `_config`: `active_profile`, `color`, `cache`, `record_type_dir`,
    /// `editor`, `editor_use_blocking`, `editor_process_name`.
    pub fn common(&self, key: &str) -> Option<&str> {
        self.get(COMMON, key)
    }

    /// Changes a setting of the section `_config`; none leaves the bare key, as the official CLI does.
    pub fn set_common(&mut self, key: &str, value: Option<&str>) {
        self.ensure_common();
        self.set(COMMON, key, value);
    }

    /// What a profile holds.
    pub fn profile(&self, name: &str) -> Result<Profile, ConfigError> {
        if !self.profiles().contains(&name) {
            return Err(ConfigError::NoProfile);
        }
        match self.get(name, "storage").unwrap_or_default() {
            "" | "internal" => Config::from_source(&Section { ini: self, name }).map(Profile::Stored),
            "aws" => {
                let text = |key| self.get(name, key).map(str::to_owned);
                let provider = match self.get(name, "provider") {
                    None => "ec2instance",
                    Some("custom") => "keys",
                    Some(other) => other,
                };
                Ok(Profile::Aws(AwsProfile {
                    secret: text("secret").unwrap_or_else(|| "ksm-config".to_owned()),
                    provider: provider.to_owned(),
                    aws_profile: text("profile"),
                    access_key_id: text("aws_access_key_id"),
                    secret_access_key: self.get(name, "aws_secret_access_key").map(model::SecretBytes::from),
                    region: text("region"),
                }))
            }
            _ => Err(ConfigError::Storage),
        }
    }

    /// Adds or replaces a profile; the first one becomes the active one. Keys of the section that are
    /// not ours stay.
    pub fn set_profile(&mut self, name: &str, config: &Config) -> Result<(), ConfigError> {
        Self::check_name(name)?;
        self.ensure_common();
        let mut entries = config.entries();
        // The official CLI's order, which is another one than in JSON.
        entries.sort_by_key(|(key, _)| key.starts_with("serverPublicKey"));
        for (key, value) in entries {
            self.set(name, &key.to_lowercase(), value.as_ref().map(|v| v.as_str()));
        }
        self.remove(name, "clientkey");
        if self.get(name, "storage").is_some() {
            for key in [
                "storage",
                "provider",
                "secret",
                "fallback",
                "profile",
                "aws_access_key_id",
                "aws_secret_access_key",
                "region",
            ] {
                self.remove(name, key);
            }
        }
        if self.active().is_none() {
            self.set(COMMON, "active_profile", Some(name));
        }
        Ok(())
    }

    /// Adds or replaces a profile whose configuration is kept in AWS.
    pub fn set_aws_profile(&mut self, name: &str, aws: &AwsProfile) -> Result<(), ConfigError> {
        Self::check_name(name)?;
        self.ensure_common();
        if self.profiles().contains(&name) {
            let was_active = self.active() == Some(name);
            self.remove_profile(name)?;
            if was_active {
                self.set(COMMON, "active_profile", Some(name));
            }
        }
        self.set(name, "storage", Some("aws"));
        self.set(name, "provider", Some(&aws.provider));
        self.set(name, "secret", Some(&aws.secret));
        // Opened to be written into the configuration, which is where it lives.
        let secret_key = aws.secret_access_key.as_ref().and_then(|key| key.expose_text().ok());
        for (key, value) in [
            ("profile", aws.aws_profile.as_deref()),
            ("aws_access_key_id", aws.access_key_id.as_deref()),
            ("aws_secret_access_key", secret_key),
            ("region", aws.region.as_deref()),
        ] {
            if value.is_some() {
                self.set(name, key, value);
            }
        }
        if self.active().is_none() {
            self.set(COMMON, "active_profile", Some(name));
        }
        Ok(())
    }

    /// Makes a profile the active one.
    pub fn set_active(&mut self, name: &str) -> Result<(), ConfigError> {
        if !self.profiles().contains(&name) {
            return Err(ConfigError::NoProfile);
        }
        self.set_common("active_profile", Some(name));
        Ok(())
    }

    /// Removes a profile; if it was the active one, none is.
    pub fn remove_profile(&mut self, name: &str) -> Result<(), ConfigError> {
        if !self.profiles().contains(&name) {
            return Err(ConfigError::NoProfile);
        }
        if let Some((from, to)) = self.section(name) {
            self.lines.drain(from..to);
        }
        if self.active() == Some(name) {
            self.set(COMMON, "active_profile", None);
        }
        Ok(())
    }

    /// Whether a name may be given to a profile.
    pub fn check_name(name: &str) -> Result<(), ConfigError> {
        let ok = (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && name != COMMON;
        if ok { Ok(()) } else { Err(ConfigError::ProfileName) }
    }

    /// The official CLI cannot load a file without the section `_config`.
    fn ensure_common(&mut self) {
        if self.section(COMMON).is_some() {
            return;
        }
        let old = std::mem::take(&mut self.lines);
        for (key, value) in [
            ("active_profile", None),
            ("color", Some("True")),
            ("cache", Some("False")),
            ("record_type_dir", None),
            ("editor", None),
            ("editor_use_blocking", Some("False")),
            ("editor_process_name", None),
        ] {
            self.set(COMMON, key, value);
        }
        if !old.is_empty() {
            self.lines.push(Line::other());
        }
        self.lines.extend(old);
    }

    /// The lines of a section: from its header to the next one or the end.
    fn section(&self, name: &str) -> Option<(usize, usize)> {
        let from = self.lines.iter().position(|line| matches!(&line.kind, Kind::Section(n) if n == name))?;
        let length = self.lines[from + 1..].iter().position(|line| matches!(line.kind, Kind::Section(_)));
        Some((from, length.map_or(self.lines.len(), |n| from + 1 + n)))
    }

    fn find(&self, section: &str, key: &str) -> Option<usize> {
        let (from, to) = self.section(section)?;
        (from..to).find(|&at| matches!(&self.lines[at].kind, Kind::Option { key: k, .. } if k == key))
    }

    fn get(&self, section: &str, key: &str) -> Option<&str> {
        match &self.lines[self.find(section, key)?].kind {
            Kind::Option { value: Some(value), .. } if !value.is_empty() => Some(value),
            _ => None,
        }
    }

    fn set(&mut self, section: &str, key: &str, value: Option<&str>) {
        let line = Line::option(key, value);
        if let Some(at) = self.find(section, key) {
            let same = matches!(&self.lines[at].kind, Kind::Option { value: old, .. }
                if old.as_ref().map(|v| v.as_str()) == value);
            if !same {
                self.lines[at] = line;
            }
            return;
        }
        let at = if let Some((from, to)) = self.section(section) {
            // After the section's last key, before the empty line that parts it from the next.
            let last = (from..to).rfind(|&at| !matches!(self.lines[at].kind, Kind::Other));
            last.map_or(to, |at| at + 1)
        } else {
            if self.lines.last().is_some_and(|line| !line.raw.trim().is_empty()) {
                self.lines.push(Line::other());
            }
            self.lines.push(Line {
                raw: Zeroizing::new(format!("[{section}]")),
                kind: Kind::Section(section.to_owned()),
            });
            self.lines.len()
        };
        self.lines.insert(at, line);
    }

    fn remove(&mut self, section: &str, key: &str) {
        if let Some(at) = self.find(section, key) {
            self.lines.remove(at);
        }
    }
}

impl Line {
    fn other() -> Self {
        Self { raw: Zeroizing::new(String::new()), kind: Kind::Other }
    }

    fn option(key: &str, value: Option<&str>) -> Self {
        let raw = match value {
            None => key.to_owned(),
            Some(value) => format!("{key} = {}", value.replace('%', "%%").replace('\n', "\n\t")),
        };
        let value = value.map(|v| Zeroizing::new(v.to_owned()));
        Self { raw: Zeroizing::new(raw), kind: Kind::Option { key: key.to_owned(), value } }
    }
}

/// One section as the source of a configuration: the keys are those of JSON in lower case.
struct Section<'a> {
    ini: &'a KeeperIni,
    name: &'a str,
}

impl Source for Section<'_> {
    fn get(&self, key: &'static str) -> Option<&str> {
        self.ini.get(self.name, &key.to_lowercase())
    }
}

#[cfg(unix)]
fn too_open(path: &Path) -> io::Result<Option<TooOpen>> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    Ok((mode & 0o077 != 0).then_some(TooOpen { mode }))
}

#[cfg(not(unix))]
fn too_open(_: &Path) -> io::Result<Option<TooOpen>> {
    Ok(None)
}

/// Writes a new file beside the old one and puts it in its place, so that a crash leaves one of the
/// two whole. The new file is private from its first byte on.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Through a link, the file it leads to is replaced and not the link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (fresh, mut file) = beside(&path)?;
    let written =
        file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&fresh, &path));
    if written.is_err() {
        // The error worth telling is the first one.
        let _ = fs::remove_file(&fresh);
    }
    written
}

/// A new private file beside another one.
fn beside(path: &Path) -> io::Result<(PathBuf, File)> {
    let mut name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let fresh = path.with_file_name(name);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&fresh)?;
    Ok((fresh, file))
}

#[cfg(test)]
mod tests {
    use model::SeededEntropy;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        config::Host,
        crypto::{Key, PrivateKey},
    };

    fn config(seed: u64) -> Config {
        let entropy = SeededEntropy::new(seed);
        let (private, pkcs8) = PrivateKey::random(&entropy).unwrap();
        Config {
            host: Host::parse("localhost:8443").unwrap(),
            client_id: crate::crypto::to_base64(&[9; 64]),
            private_key: pkcs8,
            app_key: Key::random(&entropy),
            owner_key: Some(private.public().clone()),
            server_key_id: Some("10".to_owned()),
            server_key: None,
        }
    }

    fn stored(ini: &KeeperIni, name: &str) -> Config {
        match ini.profile(name).unwrap() {
            Profile::Stored(StoredConfig::Bound(config)) => config,
            other => panic!("{other:?}"),
        }
    }

    /// As the official CLI 1.5.0 writes it, with additions of a person.
    const OFFICIAL: &str = "[_config]\nactive_profile = _default\ncolor = True\ncache = False\nrecord_type_dir\neditor\n\
        editor_use_blocking = False\neditor_process_name\n\n; mine\n[_default]\nclientid\nnote = 100%% sure\n  and more\n\n[other]\nKey: Value\n\n";

    #[test]
    fn what_is_not_touched_stays_as_it_was() {
        let mut ini = KeeperIni::parse(OFFICIAL).unwrap();
        assert_eq!(*ini.text(), OFFICIAL);
        assert_eq!(ini.profiles(), ["_default", "other"]);
        assert_eq!(ini.active(), Some("_default"));
        assert_eq!(ini.common("editor"), None);
        assert_eq!(ini.get("_default", "note"), Some("100% sure\nand more"));
        assert_eq!(ini.get("other", "key"), Some("Value"));
        ini.set_profile("_default", &config(1)).unwrap();
        ini.set_active("other").unwrap();
        let text = ini.text();
        for kept in ["; mine\n", "note = 100%% sure\n  and more\n", "[other]\nKey: Value\n", "color = True\n"]
        {
            assert!(text.contains(kept), "{kept}");
        }
        assert!(text.contains("active_profile = other\n"));
        assert!(text.contains("\nhostname = localhost:8443\n"));
        assert_eq!(KeeperIni::parse(&text).unwrap().active(), Some("other"));
    }

    #[test]
    fn a_profile_comes_back_as_it_went_in() {
        let mut ini = KeeperIni::default();
        let want = config(2)
            .with_server_key(&crate::crypto::to_base64_url(config(3).owner_key.unwrap().as_bytes()))
            .unwrap();
        ini.set_profile("prod", &want).unwrap();
        ini.set_profile("dev", &config(4)).unwrap();
        assert_eq!(ini.active(), Some("prod"));
        let read = KeeperIni::parse(&ini.text()).unwrap();
        // Compared in the open: these are made up.
        assert_eq!(stored(&read, "prod").to_json().expose(), want.to_json().expose());
        assert_eq!(stored(&read, "dev").to_json().expose(), config(4).to_json().expose());
        ini.remove_profile("prod").unwrap();
        assert_eq!(ini.profiles(), ["dev"]);
        assert_eq!(ini.active(), None);
        assert_eq!(ini.remove_profile("prod"), Err(ConfigError::NoProfile));
        assert!(matches!(ini.profile("prod"), Err(ConfigError::NoProfile)));
    }

    #[test]
    fn a_profile_may_be_kept_in_aws() {
        let mut ini = KeeperIni::parse(
            "[_config]\nactive_profile = a\n[a]\nstorage = aws\nprovider = custom\nregion = eu-west-1\n",
        )
        .unwrap();
        let Profile::Aws(aws) = ini.profile("a").unwrap() else { panic!() };
        assert_eq!(
            (aws.provider.as_str(), aws.secret.as_str(), aws.region.as_deref()),
            ("keys", "ksm-config", Some("eu-west-1"))
        );
        ini.set_aws_profile(
            "a",
            &AwsProfile { secret: "s".to_owned(), secret_access_key: Some("50%".into()), ..aws },
        )
        .unwrap();
        assert!(ini.text().contains("aws_secret_access_key = 50%%\n"));
        assert_eq!(ini.active(), Some("a"));
        ini.set_profile("a", &config(5)).unwrap();
        assert!(!ini.text().contains("storage"));
        stored(&ini, "a");
        let odd = KeeperIni::parse("[x]\nstorage = attic\n").unwrap();
        assert!(matches!(odd.profile("x"), Err(ConfigError::Storage)));
    }

    #[test]
    fn names_and_damage_are_refused_with_a_line() {
        for name in ["", "_config", "a b", "日本", "a]", &"x".repeat(65)] {
            assert_eq!(
                KeeperIni::default().set_profile(name, &config(6)),
                Err(ConfigError::ProfileName),
                "{name}"
            );
        }
        for (text, line) in [("a = b", 1), ("[x\n", 1), ("[a]\n[a]\n", 2), ("[a]\nk = 1\nK = 2\n", 3)] {
            let error = KeeperIni::parse(text).unwrap_err();
            assert!(matches!(error, ConfigError::Ini { line: l, .. } if l == line), "{text} {error}");
        }
        let cut = KeeperIni::parse("[p]\nclientid = QQ==\nprivatekey = QQ==\nappkey = hunter2\n").unwrap();
        let error = cut.profile("p").unwrap_err();
        assert_eq!(error, ConfigError::Bad { key: "appKey", problem: "not 32 bytes" });
        assert!(matches!(
            KeeperIni::parse("[p]\nappkey\n").unwrap().profile("p"),
            Err(ConfigError::Missing("appKey"))
        ));
    }

    #[test]
    #[cfg(unix)]
    fn the_file_is_private_whole_and_replaced_through_links() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("keeper.ini"), dir.path().join("link.ini"));
        let mut ini = KeeperIni::default();
        ini.set_profile("p", &config(7)).unwrap();
        ini.save(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(KeeperIni::load(&path).unwrap().1, None);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(KeeperIni::load(&path).unwrap().1, Some(TooOpen { mode: 0o644 }));
        symlink(&path, &link).unwrap();
        ini.save(&link).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left behind");
        assert!(matches!(
            ini.save(&dir.path().join("no/such/dir.ini")),
            Err(ConfigError::File { action: "written", .. })
        ));
        assert!(matches!(
            KeeperIni::load(&dir.path().join("none")),
            Err(ConfigError::File { kind: io::ErrorKind::NotFound, .. })
        ));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic_and_written_as_it_was(text in "(\\[[a-c_]{0,3}\\]\n|[a-c]{1,2} ?[=:]? ?[x%]{0,3}\n|  y\n|#z\n|\n){0,10}") {
            if let Ok(ini) = KeeperIni::parse(&text) {
                prop_assert_eq!(&*ini.text(), &text);
                for name in ini.profiles() {
                    let _ = ini.profile(name);
                }
            }
        }
    }
}
