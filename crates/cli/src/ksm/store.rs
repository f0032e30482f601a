//! Where profiles are: a `keeper.ini`, or the environment (keeper.md 3.4).

use std::path::{Path, PathBuf};

use keeper::config::{Config, ConfigError, KeeperIni, Located, Lookup as _, Profile, StoredConfig, locate};
use model::SecretBytes;

use super::{Ksm, context::warn};
use crate::failure::Failure;

/// The profile that is used when nobody has named one.
pub(crate) const DEFAULT_PROFILE: &str = "_default";

/// The profiles of this run.
pub(crate) enum Store {
    /// In a file, which may not be there yet.
    File(IniFile),
    /// In environment variables: name, and JSON or base64 of it. The first is the active one.
    Given(Vec<(String, SecretBytes)>),
}

/// A `keeper.ini` and its place.
pub(crate) struct IniFile {
    pub(crate) path: PathBuf,
    pub(crate) ini: KeeperIni,
    /// `KSM_TOKEN`, where that is how the profile comes into the file.
    pub(crate) token: Option<SecretBytes>,
}

impl Store {
    /// Looks where the official CLI looks.
    pub(super) fn find(ksm: &Ksm) -> Result<Self, Failure> {
        match locate(ksm.globals().ini_file.as_deref(), ksm) {
            Located::Ini(path) => {
                warn_of_another(ksm, &path);
                IniFile::load(ksm, path, None).map(Self::File)
            }
            Located::Nowhere(path) => {
                Ok(Self::File(IniFile { path, ini: KeeperIni::default(), token: None }))
            }
            Located::Token { token, keep_in } => IniFile::load(ksm, keep_in, Some(token)).map(Self::File),
            Located::Variable(config) => {
                let name = Ksm::variable(ksm, "KSM_CLI_PROFILE").unwrap_or(DEFAULT_PROFILE);
                Ok(Self::Given(vec![(name.to_owned(), config)]))
            }
            Located::Numbered(configs) => Ok(Self::Given(configs)),
        }
    }

    /// The profiles' names, in order.
    pub(crate) fn names(&self) -> Vec<&str> {
        match self {
            Self::File(file) => file.ini.profiles(),
            Self::Given(given) => given.iter().map(|(name, _)| name.as_str()).collect(),
        }
    }

    /// The profile the configuration names as the one to use.
    pub(crate) fn active(&self) -> Option<&str> {
        match self {
            Self::File(file) => file.ini.active(),
            Self::Given(given) => given.first().map(|(name, _)| name.as_str()),
        }
    }

    /// A setting for all profiles.
    pub(crate) fn common(&self, key: &str) -> Option<String> {
        match self {
            Self::File(file) => file.ini.common(key).map(str::to_owned),
            Self::Given(_) => None,
        }
    }

    /// What a profile holds.
    pub(crate) fn profile(&self, name: &str) -> Result<Profile, Failure> {
        match self {
            Self::File(file) => {
                let profile = file.ini.profile(name);
                profile.map_err(|error| match error {
                    ConfigError::NoProfile => missing(name),
                    error => Failure::failed(format!("profile {name}: {error}")),
                })
            }
            Self::Given(given) => {
                let (_, config) = given.iter().find(|(n, _)| n == name).ok_or_else(|| missing(name))?;
                // Opened to be read as a configuration.
                let text = config
                    .expose_text()
                    .map_err(|_| Failure::failed("the configuration in the environment is not text"))?;
                let stored = StoredConfig::parse(text).map_err(|error| {
                    Failure::failed(format!("the configuration in the environment: {error}"))
                })?;
                Ok(Profile::Stored(stored))
            }
        }
    }

    /// The file, to be changed.
    pub(crate) fn file(&self) -> Result<&IniFile, Failure> {
        match self {
            Self::File(file) => Ok(file),
            Self::Given(_) => Err(Failure::failed(
                "the profiles come from environment variables (KSM_CONFIG…), so there is no file to change: unset them, or name a file with --ini-file",
            )),
        }
    }
}

impl IniFile {
    /// Reads a file; one that is not there is empty.
    pub(crate) fn load(ksm: &Ksm, path: PathBuf, token: Option<SecretBytes>) -> Result<Self, Failure> {
        match KeeperIni::load(&path) {
            Ok((ini, open)) => {
                let silent = ["KSM_CONFIG_SKIP_MODE", "KSM_CONFIG_SKIP_MODE_WARNING"];
                if let Some(open) = open
                    && !silent.iter().any(|name| Ksm::variable(ksm, name).is_some_and(super::context::is_yes))
                {
                    warn(format_args!("{}: {open}", path.display()));
                }
                Ok(Self { path, ini, token })
            }
            Err(ConfigError::File { kind: std::io::ErrorKind::NotFound, .. }) => {
                Ok(Self { path, ini: KeeperIni::default(), token })
            }
            Err(error) => Err(in_file(&path, &error)),
        }
    }

    /// Writes a changed file in place of the one that was read.
    pub(crate) fn save(&self, ini: &KeeperIni) -> Result<(), Failure> {
        ini.save(&self.path).map_err(|error| in_file(&self.path, &error))
    }

    /// Whether the file could be written, tried before something is done that cannot be done again.
    pub(crate) fn check_writable(&self) -> Result<(), Failure> {
        KeeperIni::check_writable(&self.path).map_err(|error| in_file(&self.path, &error))
    }

    /// Adds a profile and writes the file.
    pub(crate) fn add(&self, name: &str, config: &Config) -> Result<(), Failure> {
        let mut ini = self.ini.clone();
        ini.set_profile(name, config)?;
        self.save(&ini)
    }
}

/// The file this run reads, if there is one.
pub(crate) fn file_in_use(ksm: &Ksm) -> Option<PathBuf> {
    match locate(ksm.globals().ini_file.as_deref(), ksm) {
        Located::Ini(path) | Located::Token { keep_in: path, .. } => Some(path),
        Located::Variable(_) | Located::Numbered(_) | Located::Nowhere(_) => None,
    }
}

/// The file a new profile goes into.
pub(crate) fn file_for_new(ksm: &Ksm) -> PathBuf {
    match &ksm.globals().ini_file {
        Some(path) => path.clone(),
        None => keeper::config::default_ini(ksm),
    }
}

/// An error that says which file it is about.
pub(crate) fn in_file(path: &Path, error: &ConfigError) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}

/// No such profile.
pub(crate) fn missing(name: &str) -> Failure {
    Failure::failed(format!("there is no profile {name}: `ksm profile list` names the ones there are"))
}

/// `KSM_INI_DIR` holds a file too, and the working directory's was taken.
fn warn_of_another(ksm: &Ksm, path: &Path) {
    if ksm.globals().ini_file.is_some()
        || Ksm::variable(ksm, "KSM_INI_DIR_SKIP_CONFLICT_WARNING")
            .is_some_and(|v| v.eq_ignore_ascii_case("true"))
    {
        return;
    }
    let Some(directory) = Ksm::variable(ksm, "KSM_INI_DIR") else { return };
    let other = Path::new(directory).join("keeper.ini");
    if path == ksm.working_directory().join("keeper.ini")
        && other.is_file()
        && other.canonicalize().ok() != path.canonicalize().ok()
    {
        warn(format_args!(
            "{} was taken, not {} (KSM_INI_DIR): a keeper.ini in the working directory comes first; name the other one with --ini-file",
            path.display(),
            other.display()
        ));
    }
}
