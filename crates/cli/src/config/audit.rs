//! `[[audit]]`: the audit devices there are. They are declared here and nowhere else, because whoever can
//! make the server write a file of their choice can run code on its machine.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};

use serde::{Deserialize, Serialize, de};
use server::{
    app::audit::Device,
    lines::{LineFile, Sink, Stdout},
};

use super::{Config, ConfigError, sections::SyncAudit};

/// One device.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuditDevice {
    r#type: AuditType,
    path: Option<String>,
    #[serde(default)]
    description: String,
    file_path: Option<PathBuf>,
    mode: Option<FileMode>,
    #[serde(default = "yes")]
    hmac_accessor: bool,
    #[serde(default)]
    elide_list_responses: bool,
    #[serde(default = "usual_headers")]
    headers: Vec<String>,
    #[serde(default)]
    log_raw: bool,
}

/// What each key of a device means, with its default: printed into `docs/configuration.md`.
#[cfg_attr(not(test), expect(dead_code, reason = "printed into docs/configuration.md, by a test"))]
pub(crate) const AUDIT_KEYS: [(&str, &str, &str); 9] = [
    ("type", "required", "`file`, or `stdout` for the server's standard output."),
    (
        "path",
        "the type",
        "The device's name in `sys/audit` and `sys/audit-hash`. Its salt goes with it: under the same name texts have \
         the same hashes as before.",
    ),
    ("description", "empty", "Shown by `sys/audit`."),
    (
        "file_path",
        "required for `file`",
        "The file that lines are appended to; made if missing. It must be a regular file: no link, pipe or device. \
         SIGHUP opens it anew by its name, after it was moved away.",
    ),
    (
        "mode",
        "`\"0600\"`",
        "The permissions of the file, octal; others that it has are taken away. Nobody may execute it, and others \
         may not write it.",
    ),
    ("hmac_accessor", "`true`", "Whether token accessors are hashed, as tokens always are."),
    (
        "elide_list_responses",
        "`false`",
        "Whether of lists only their lengths are written, which keeps lines short where folders are large.",
    ),
    (
        "headers",
        "`[\"correlation-id\", \"user-agent\", \"x-correlation-id\", \"x-request-id\"]`",
        "The request headers whose values are written, in clear.",
    ),
    ("log_raw", "`false`", "Must stay so: there is no device that writes values in clear."),
];

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AuditType {
    File,
    Stdout,
}

impl AuditType {
    const fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Stdout => "stdout",
        }
    }
}

const fn yes() -> bool {
    true
}

fn usual_headers() -> Vec<String> {
    ["correlation-id", "user-agent", "x-correlation-id", "x-request-id"].map(str::to_owned).into()
}

/// Permissions of a file that is written to, in octal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileMode(pub(crate) u32);

impl Default for FileMode {
    fn default() -> Self {
        Self(0o600)
    }
}

impl Serialize for FileMode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:04o}", self.0))
    }
}

impl<'de> Deserialize<'de> for FileMode {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mode = u32::from_str_radix(&text, 8).ok();
        match mode {
            Some(mode) if mode & 0o600 == 0o600 && mode & !0o664 == 0 => Ok(Self(mode)),
            _ => Err(de::Error::custom(
                "want permissions in octal digits such as \"0600\" or \"0640\": the owner reads and writes, nobody \
                 executes, others do not write",
            )),
        }
    }
}

/// Headers that carry what lets somebody in.
const SECRET_HEADERS: [&str; 4] = ["x-vault-token", "authorization", "proxy-authorization", "cookie"];

impl AuditDevice {
    fn name(&self) -> String {
        let path = self.path.as_deref().unwrap_or_else(|| self.r#type.word());
        format!("{}/", path.trim_matches('/'))
    }

    fn faults(&self, faults: &mut Vec<String>) {
        let name = self.name();
        let mut fault = |text: &str| faults.push(format!("audit device {name} {text}"));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
        if name.len() < 2 || !name.chars().all(plain) || name.contains("//") || name.contains("..") {
            fault("has a path that is no name: want letters, digits, -, _ and . in parts separated by /");
        }
        if self.log_raw {
            fault("has log_raw: lines with values in clear are not written; take it out");
        }
        match (self.r#type, &self.file_path) {
            (AuditType::File, None) => fault("is a file without file_path: name the file to append to"),
            (AuditType::File, Some(path)) if path.starts_with("/dev") => {
                fault("has a file_path below /dev: for the server's standard output set type = \"stdout\"");
            }
            (AuditType::Stdout, Some(_)) => {
                fault("is standard output and has file_path: take one of them out");
            }
            _ => {}
        }
        if self.r#type == AuditType::Stdout && self.mode.is_some() {
            fault("is standard output and has mode, which only a file has");
        }
        for header in &self.headers {
            let lower = header.to_ascii_lowercase();
            if SECRET_HEADERS.contains(&lower.as_str()) {
                fault("lists a header that carries credentials: it is not written");
            } else if hyper::header::HeaderName::from_bytes(lower.as_bytes()).is_err() {
                fault("lists a header that is no header name");
            }
        }
    }

    fn open(&self) -> Result<Device, ConfigError> {
        let mut options = BTreeMap::new();
        let sink: Arc<dyn Sink> = match (self.r#type, &self.file_path) {
            (AuditType::File, Some(path)) => {
                let mode = self.mode.unwrap_or_default();
                options.insert("file_path".to_owned(), path.display().to_string());
                options.insert("mode".to_owned(), format!("{:04o}", mode.0));
                let file = LineFile::open(path, mode.0);
                Arc::new(file.map_err(|fault| ConfigError(format!("audit device {}: {fault}", self.name())))?)
            }
            _ => Arc::new(Stdout),
        };
        options.insert("hmac_accessor".to_owned(), self.hmac_accessor.to_string());
        options.insert("elide_list_responses".to_owned(), self.elide_list_responses.to_string());
        options.insert("log_raw".to_owned(), "false".to_owned());
        Ok(Device {
            path: self.name(),
            kind: self.r#type.word(),
            description: self.description.clone(),
            options,
            hmac_accessor: self.hmac_accessor,
            elide_lists: self.elide_list_responses,
            headers: self.headers.iter().map(|header| header.to_ascii_lowercase()).collect(),
            sink,
        })
    }
}

/// What is wrong with the devices, each by itself and all together.
pub(super) fn check(devices: &[AuditDevice], chain: &SyncAudit, faults: &mut Vec<String>) {
    let (mut names, mut files) = (BTreeSet::new(), BTreeSet::new());
    files.extend(&chain.file);
    if chain.chain.is_empty() {
        faults.push("sync_audit.chain must not be empty".to_owned());
    }
    for device in devices {
        device.faults(faults);
        if !names.insert(device.name()) {
            faults
                .push(format!("there are two audit devices {}: give each a path of its own", device.name()));
        }
        if let Some(file) = &device.file_path
            && !files.insert(file)
        {
            faults.push(format!(
                "audit device {} has the file_path of another one, or of sync_audit",
                device.name()
            ));
        }
    }
}

impl Config {
    /// The audit devices, opened.
    pub(crate) fn audit_devices(&self) -> Result<Vec<Arc<Device>>, ConfigError> {
        self.audit.iter().map(|device| device.open().map(Arc::new)).collect()
    }

    /// The file of the chain of sync events, if there is one.
    pub(crate) fn sync_audit_file(&self) -> Result<Option<Arc<LineFile>>, ConfigError> {
        let SyncAudit { file, mode, .. } = &self.sync_audit;
        let Some(path) = file else { return Ok(None) };
        let file = LineFile::open(path, mode.0);
        Ok(Some(Arc::new(file.map_err(|fault| ConfigError(format!("sync_audit.file: {fault}")))?)))
    }
}

#[cfg(test)]
mod tests {
    use destinations::net::Snapshot;

    use super::*;

    fn checked(text: &str) -> Result<Config, String> {
        let config =
            Config::parse("k.toml", text, &Snapshot::default()).map_err(|fault| fault.to_string())?;
        config.check().map_err(|fault| fault.to_string())?;
        Ok(config)
    }

    fn fault(text: &str) -> String {
        checked(text).err().expect("a fault was expected")
    }

    #[test]
    fn devices_are_declared_and_opened() {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "[[audit]]\ntype = \"file\"\nfile_path = \"{}/a.log\"\nmode = \"0640\"\n[[audit]]\ntype = \"stdout\"\npath = \
             \"out\"\nheaders = [\"X-Trace\"]\n",
            dir.path().display()
        );
        let devices = checked(&text).unwrap().audit_devices().unwrap();
        let paths: Vec<_> = devices.iter().map(|device| (device.path.as_str(), device.kind)).collect();
        assert_eq!(paths, [("file/", "file"), ("out/", "stdout")]);
        assert!(devices.iter().all(|device| device.hmac_accessor && !device.elide_lists));
        assert_eq!(devices[0].options["mode"], "0640");
        assert_eq!(devices[0].headers, usual_headers());
        assert_eq!(devices[1].headers, ["x-trace"]);
        assert!(dir.path().join("a.log").is_file());
    }

    #[test]
    fn what_cannot_work_is_told() {
        let file = "[[audit]]\ntype = \"file\"\nfile_path = \"/var/log/a\"\n";
        for (text, told) in [
            ("[[audit]]\ntype = \"socket\"\n".to_owned(), "k.toml:2: audit.type: want `file` or `stdout`"),
            ("[[audit]]\ntype = \"file\"\n".to_owned(), "audit device file/ is a file without file_path"),
            (format!("{file}log_raw = true\n"), "audit device file/ has log_raw"),
            (format!("{file}prefix = \"#!/bin/sh\"\n"), "unknown field `prefix`"),
            (format!("{file}mode = \"0755\"\n"), "want permissions in octal digits"),
            (format!("{file}mode = \"0606\"\n"), "want permissions in octal digits"),
            (format!("{file}mode = \"0400\"\n"), "want permissions in octal digits"),
            (format!("{file}headers = [\"X-Vault-Token\"]\n"), "lists a header that carries credentials"),
            (format!("{file}headers = [\"a b\"]\n"), "lists a header that is no header name"),
            (format!("{file}path = \"a b\"\n"), "has a path that is no name"),
            (format!("{file}path = \"../x\"\n"), "has a path that is no name"),
            (format!("{file}path = \"/\"\n"), "has a path that is no name"),
            (format!("{file}{file}"), "there are two audit devices file/"),
            (format!("{file}{file}path = \"b\"\n"), "has the file_path of another one"),
            (
                format!("[sync_audit]\nfile = \"/var/log/a\"\n{file}"),
                "has the file_path of another one, or of sync_audit",
            ),
            ("[sync_audit]\nchain = \"\"\n".to_owned(), "sync_audit.chain must not be empty"),
            ("[[audit]]\ntype = \"file\"\nfile_path = \"/dev/stdout\"\n".to_owned(), "set type = \"stdout\""),
            ("[[audit]]\ntype = \"stdout\"\nmode = \"0600\"\n".to_owned(), "has mode, which only a file has"),
        ] {
            let fault = fault(&text);
            assert!(fault.contains(told), "{fault}");
        }
    }

    #[test]
    fn a_device_that_cannot_be_written_is_told_with_its_name() {
        let config = checked("[[audit]]\ntype = \"file\"\nfile_path = \"/no/such/dir/a.log\"\n").unwrap();
        let fault = config.audit_devices().err().unwrap().to_string();
        assert!(fault.starts_with("audit device file/: /no/such/dir/a.log: cannot be opened"), "{fault}");
    }

    #[test]
    fn every_key_of_a_device_is_told() {
        let text = "[[audit]]\ntype = \"file\"\nfile_path = \"/var/log/a\"\n";
        let shown = serde_json::to_value(&checked(text).unwrap().audit[0]).unwrap();
        let mut held: Vec<&str> = shown.as_object().unwrap().keys().map(String::as_str).collect();
        let mut told: Vec<&str> = AUDIT_KEYS.iter().map(|(name, ..)| *name).collect();
        held.sort_unstable();
        told.sort_unstable();
        assert_eq!(held, told);
    }
}
