//! Files with notations in them, and files with values in their places.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::{Component, Path, PathBuf},
    sync::LazyLock,
};

use model::{SecretBytes, Timestamp};
use regex::Regex;
use zeroize::Zeroizing;

use super::super::context::warn;
use crate::failure::Failure;

/// Largest file that is read, in bytes.
pub(super) const LARGEST: u64 = 10 << 20;

/// What in a template looks as if it were meant to run something when the output is processed further.
static SUSPICIOUS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    let forms = [
        r"(?i)\{\{.{0,200}?exec.{0,200}?\}\}",
        r"(?i)\{\{.{0,200}?eval.{0,200}?\}\}",
        r"(?i)\{\{.{0,200}?__.{0,200}?\}\}",
        r"(?i)<%.{0,200}?exec.{0,200}?%>",
    ];
    forms.iter().filter_map(|form| Regex::new(form).ok()).collect()
});

/// Names that suggest that a file holds secrets.
const TELLING: &[&str] = &["secret", "password", "key", "token", "credential", ".env"];

/// Reads a file of text.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, Failure> {
    checked(path)?;
    let name = path.display().to_string();
    let fault = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => Failure::wrong(format!("there is no file {name}")),
        kind => Failure::failed(format!("cannot read {name}: {kind}")),
    };
    let mut bytes = Zeroizing::new(Vec::new());
    fs::File::open(path).map_err(fault)?.take(LARGEST + 1).read_to_end(&mut bytes).map_err(fault)?;
    text(&name, &bytes).map(|text| Zeroizing::new(text.to_owned()))
}

/// What was read, if it may be used.
pub(super) fn text<'b>(name: &str, bytes: &'b [u8]) -> Result<&'b str, Failure> {
    if bytes.len() as u64 > LARGEST {
        return Err(Failure::failed(format!("{name} is larger than {} MiB", LARGEST >> 20)));
    }
    let text =
        std::str::from_utf8(bytes).map_err(|_| Failure::failed(format!("{name} is not UTF-8 text")))?;
    if SUSPICIOUS.iter().any(|form| form.is_match(text)) {
        return Err(Failure::failed(format!(
            "{name} holds template code that runs something ({{{{…exec…}}}} or the like); values are not put beside it"
        )));
    }
    Ok(text)
}

/// Writes values: a private file, whole or not at all, with a mark beside it that it holds secrets.
pub(super) fn write(path: &Path, text: &SecretBytes, now: Timestamp) -> Result<(), Failure> {
    checked(path)?;
    for told in git(path) {
        warn(told);
    }
    let fault = |e: io::Error| Failure::failed(format!("cannot write {}: {}", path.display(), e.kind()));
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        private_directories(parent).map_err(fault)?;
    }
    let fresh = beside(path, ".tmp").ok_or_else(|| fault(io::ErrorKind::InvalidInput.into()))?;
    // Opened to be written where the user asked for it.
    let written = private(&fresh)
        .and_then(|mut file| file.write_all(text.expose()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&fresh, path));
    if let Err(e) = written {
        let _ = fs::remove_file(&fresh);
        return Err(fault(e));
    }
    mark(path, now);
    Ok(())
}

/// Keeps a copy of a file that is about to be written over.
pub(super) fn backup(path: &Path, suffix: &str, text: &str) -> Result<(), Failure> {
    if suffix.is_empty() {
        return Ok(());
    }
    let copy = beside(path, suffix).ok_or_else(|| Failure::failed("the file has no name"))?;
    checked(&copy)?;
    fs::write(&copy, text)
        .map_err(|e| Failure::failed(format!("cannot write {}: {}", copy.display(), e.kind())))
}

/// `name` and more, in the same directory.
fn beside(path: &Path, suffix: &str) -> Option<PathBuf> {
    let mut name = path.file_name()?.to_owned();
    name.push(suffix);
    Some(path.with_file_name(name))
}

/// No path that leads out of where it seems to be, and no link.
fn checked(path: &Path) -> Result<(), Failure> {
    let leads_out = path.components().any(|part| part == Component::ParentDir)
        || path.components().next().is_some_and(|part| part.as_os_str().as_encoded_bytes().starts_with(b"~"));
    if leads_out {
        return Err(Failure::wrong(format!("{}: a path with .. or ~ is not taken", path.display())));
    }
    if path.is_symlink() {
        return Err(Failure::failed(format!("{} is a symbolic link, which is not followed", path.display())));
    }
    Ok(())
}

fn private(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn private_directories(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// `.NAME.ksm-secret`, as the official CLI leaves it. A file without its mark is no reason to fail.
fn mark(path: &Path, now: Timestamp) {
    let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else { return };
    let told = serde_json::json!({
        "warning": "This file contains interpolated secrets from Keeper",
        "file": name,
        "created": now.to_string(),
        "do_not_commit": true,
    });
    let mark = path.with_file_name(format!(".{name}.ksm-secret"));
    if mark.is_symlink() {
        return;
    }
    let _ = super::super::output::create(&mark).and_then(|mut file| write!(file, "{told:#}"));
}

/// What should be known when the file lies in a git repository.
fn git(path: &Path) -> Vec<String> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let Some(root) = absolute.ancestors().skip(1).find(|parent| parent.join(".git").exists()) else {
        return Vec::new();
    };
    let below = absolute.strip_prefix(root).unwrap_or(&absolute).to_string_lossy().into_owned();
    let mut told = Vec::new();
    let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
    if !ignored.lines().any(|line| ignores(line.trim(), &below)) {
        told.push(format!("{} is not in .gitignore: add {below} to it", path.display()));
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        if TELLING.iter().any(|word| name.contains(word)) {
            told.push(format!("the name of {} suggests that it holds secrets", path.display()));
        }
    }
    told
}

/// Whether a line of `.gitignore` covers a path, as far as such lines are simple.
fn ignores(line: &str, path: &str) -> bool {
    if line.is_empty() || line.starts_with('#') {
        return false;
    }
    let line = line.trim_start_matches('/');
    if line.ends_with('/') {
        return path.starts_with(line);
    }
    let name = path.rsplit('/').next().unwrap_or(path);
    if line.contains('*') {
        let form = format!("^{}$", regex::escape(line).replace(r"\*", ".*"));
        return Regex::new(&form).is_ok_and(|form| form.is_match(path) || form.is_match(name));
    }
    path == line || name == line || path.starts_with(&format!("{line}/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_gitignore_are_understood() {
        for (line, path, covered) in [
            ("a.env", "a.env", true),
            ("a.env", "dir/a.env", true),
            ("/dir/", "dir/a.env", true),
            ("dir", "dir/a.env", true),
            ("*.env", "dir/a.env", true),
            ("*.env", "a.envx", false),
            ("# a.env", "a.env", false),
            ("", "a.env", false),
        ] {
            assert_eq!(ignores(line, path), covered, "{line} {path}");
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a");
        fs::write(&file, "x").unwrap();
        assert!(read(&file).is_ok());
        assert!(read(&directory.path().join("../a")).is_err());
        assert!(read(Path::new("~/a")).is_err());
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(read(&link).is_err());
        assert!(text("x", &[0xff]).is_err());
        assert!(text("x", b"{{ exec('x') }}").is_err());
    }
}
