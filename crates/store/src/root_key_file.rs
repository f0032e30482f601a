//! The file that holds a store's root key.
//!
//! One line of text, so that it can be put away on paper or in a safe:
//! `keyferry-root-key-1:` and 72 hexadecimal digits, the 32 bytes of the key and 4 of a checksum that
//! notices a slip of the pen. Without this file a store cannot be opened by anyone.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    path::Path,
};

use aws_lc_rs::digest;
use model::SecretBytes;
use zeroize::Zeroizing;

use crate::{OpenError, RootKey};

const PREFIX: &[u8] = b"keyferry-root-key-1:";
const FAMILY: &[u8] = b"keyferry-root-key-";
const KEY: usize = 32;
const CHECKSUM: usize = 4;
/// Far more than a key file holds.
const MOST: u64 = 4096;

/// Writes a key to a new file that only its owner can read, durably but for the file's name: that is
/// the directory's matter.
///
/// # Errors
/// [`OpenError::AlreadyThere`] when there is a file already; it is left as it is.
pub fn create(path: &Path, key: &RootKey) -> Result<(), OpenError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => OpenError::AlreadyThere { file: path.to_path_buf() },
        _ => OpenError::io("create", path)(error),
    })?;
    file.write_all(&text(key)).and_then(|()| file.sync_all()).map_err(OpenError::io("write", path))
}

/// Reads a key file.
///
/// # Errors
/// [`OpenError::NoKey`] when there is none, [`OpenError::KeyOpenToOthers`] when the group or others
/// have any permission on it, [`OpenError::KeyMalformed`] when it holds no key.
pub fn read(path: &Path) -> Result<RootKey, OpenError> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => OpenError::NoKey { file: path.to_path_buf() },
        _ => OpenError::io("read", path)(error),
    };
    let malformed = |what| OpenError::KeyMalformed { file: path.to_path_buf(), what };
    // Opening a pipe would wait for its other end.
    if !fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(malformed("it is not an ordinary file"));
    }
    let file = fs::File::open(path).map_err(unreadable)?;
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().map_err(unreadable)?) & 0o7777;
        if mode & 0o077 != 0 {
            return Err(OpenError::KeyOpenToOthers { file: path.to_path_buf(), mode });
        }
    }
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(MOST).unwrap_or_default() + 1));
    file.take(MOST + 1).read_to_end(&mut text).map_err(unreadable)?;
    parse(&text).map_err(malformed)
}

fn text(key: &RootKey) -> Zeroizing<Vec<u8>> {
    // EXPOSE: the key file is the one place where the root key is written down.
    let bytes = key.expose();
    let mut line = Zeroizing::new(vec![0; PREFIX.len() + 2 * (KEY + CHECKSUM) + 1]);
    let (prefix, rest) = line.split_at_mut(PREFIX.len());
    prefix.copy_from_slice(PREFIX);
    let (digits, newline) = rest.split_at_mut(2 * (KEY + CHECKSUM));
    let both = Zeroizing::new([bytes, &checksum(bytes)].concat());
    for (pair, byte) in digits.chunks_exact_mut(2).zip(both.iter()) {
        for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = b"0123456789abcdef"[usize::from(nibble)];
        }
    }
    newline.copy_from_slice(b"\n");
    line
}

fn parse(text: &[u8]) -> Result<RootKey, &'static str> {
    let line = text.trim_ascii();
    if line.is_empty() {
        return Err("it is empty");
    }
    let digits = line.strip_prefix(PREFIX).ok_or(if line.starts_with(FAMILY) {
        "it is of a format this version does not know"
    } else {
        "it does not begin with keyferry-root-key-1:"
    })?;
    if digits.len() != 2 * (KEY + CHECKSUM) {
        return Err("it is not of the right length");
    }
    let mut both = Zeroizing::new([0; KEY + CHECKSUM]);
    hex::decode_to_slice(digits, &mut *both)
        .map_err(|_| "it holds something that is no hexadecimal digit")?;
    let (key, check) = both.split_at(KEY);
    if checksum(key) != check {
        return Err("its checksum does not fit: a character was changed");
    }
    RootKey::from_bytes(SecretBytes::from(key)).ok_or("it is not of the right length")
}

fn checksum(key: &[u8]) -> [u8; CHECKSUM] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(PREFIX);
    context.update(key);
    let mut checksum = [0; CHECKSUM];
    checksum.copy_from_slice(&context.finish().as_ref()[..CHECKSUM]);
    checksum
}

#[cfg(test)]
mod tests {
    use model::SeededEntropy;
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    fn key() -> RootKey {
        RootKey::random(&SeededEntropy::new(1))
    }

    fn refusal(path: &Path) -> String {
        let text = read(path).err().unwrap().to_string();
        assert!(text.contains(path.to_str().unwrap()), "{text}");
        text
    }

    #[test]
    fn a_key_is_read_back_from_one_line_of_text() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("root.key");
        create(&path, &key()).unwrap();
        assert_eq!(read(&path).unwrap().expose(), key().expose());
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.ends_with('\n') && text.lines().count() == 1);
        // As written today; every later version must read it.
        let today =
            "keyferry-root-key-1:c15c0289ec2d0a9167ec8e65a18debbe5e5532fbeea293f80bc942ee9086c17127bd73e4";
        assert_eq!(text.trim(), today);
    }

    #[test]
    fn white_space_and_capitals_do_not_matter() {
        let text = String::from_utf8(text(&key()).to_vec()).unwrap();
        let (prefix, digits) = text.trim().split_once(':').unwrap();
        let retyped = format!("\n  {prefix}:{}\r\n", digits.to_uppercase());
        assert_eq!(parse(retyped.as_bytes()).unwrap().expose(), key().expose());
    }

    #[test]
    fn what_is_no_key_file_is_told_apart() {
        let text = String::from_utf8(text(&key()).to_vec()).unwrap();
        let line = text.trim();
        for (text, word) in [
            (String::new(), "empty"),
            ("  \n".into(), "empty"),
            ("hunter2".into(), "begin with"),
            (line.replace("key-1", "key-2"), "format"),
            (line[..line.len() - 1].into(), "length"),
            (format!("{line}0"), "length"),
            (format!("{line}\n{line}"), "length"),
            (format!("{}z", &line[..line.len() - 1]), "hexadecimal"),
        ] {
            let refused = parse(text.as_bytes()).err().unwrap();
            assert!(refused.contains(word), "{text:?}: {refused}");
        }
    }

    #[test]
    fn a_changed_digit_is_noticed() {
        let text = text(&key());
        for at in PREFIX.len()..text.len() - 1 {
            let mut changed = text.clone();
            changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
            assert!(parse(&changed).err().unwrap().contains("checksum"), "digit {at}");
        }
    }

    #[test]
    fn no_refusal_repeats_what_the_file_holds() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("root.key");
        create(&path, &key()).unwrap();
        let mut text = fs::read_to_string(&path).unwrap();
        text.insert(40, 'z');
        fs::write(&path, &text).unwrap();
        let refused = refusal(&path);
        assert!(!refused.contains(&text[24..34]) && !refused.contains(&text[44..54]), "{refused}");
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("root.key");
        assert!(matches!(read(&path), Err(OpenError::NoKey { .. })));
        assert!(refusal(&path).contains("backup"));
        fs::create_dir(&path).unwrap();
        assert!(refusal(&path).contains("ordinary file"));
        let big = dir.path().join("big");
        create(&big, &key()).unwrap();
        fs::write(&big, vec![b' '; 1 << 20]).unwrap();
        assert!(refusal(&big).contains("empty"), "only the beginning is read");
    }

    #[test]
    fn creating_leaves_what_is_there() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("root.key");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(create(&path, &key()), Err(OpenError::AlreadyThere { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("root.key");
        create(&path, &key()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        for mode in [0o640, 0o604, 0o620, 0o601, 0o777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(refusal(&path).contains(&format!("{mode:04o}")));
            assert!(refusal(&path).contains("chmod 600"));
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(read(&path).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = parse(&bytes);
            let _ = parse(&[PREFIX, &bytes].concat());
        }
    }
}
