//! Where a record stands in the mount.

use keeper::{Folders, Record};
use model::SecretPath;

/// The path of a record that has none yet: its folder's path and its title, where that is a path and free;
/// else its UID takes the title's place.
pub(super) fn path_of(
    record: &Record,
    folders: &Folders,
    is_taken: impl Fn(&SecretPath) -> bool,
) -> Option<SecretPath> {
    // A record in several folders stands in the first.
    let folder =
        record.places().first().map(|place| folder_path(place.folder(), folders)).unwrap_or_default();
    let title = record.title().filter(|title| is_segment(title)).map(as_segment);
    let by_title = title.and_then(|title| SecretPath::parse(&format!("{folder}{title}")).ok());
    by_title
        .filter(|path| !is_taken(path))
        .or_else(|| {
            SecretPath::parse(&format!("{folder}{}", record.uid())).ok().filter(|path| !is_taken(path))
        })
        .or_else(|| SecretPath::parse(record.uid()).ok())
}

/// With a slash at the end; a folder whose name is no segment goes by its UID.
fn folder_path(uid: &str, folders: &Folders) -> String {
    let mut path = String::new();
    for name in folders.path(uid) {
        if is_segment(name) {
            path.push_str(&as_segment(name));
            path.push('/');
        } else {
            return format!("{uid}/");
        }
    }
    path
}

/// Whether a name can be a segment once its slashes are replaced.
fn is_segment(name: &str) -> bool {
    !name.trim().is_empty() && !matches!(name, "." | "..") && !name.chars().any(char::is_control)
}

/// A slash would part it in two.
fn as_segment(name: &str) -> String {
    name.replace('/', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cannot_be_segments_are_told() {
        for (name, fits) in [
            ("Main DB", true),
            ("本番", true),
            ("a/b", true),
            ("..a", true),
            ("", false),
            (" ", false),
            (".", false),
            ("..", false),
            ("a\nb", false),
        ] {
            assert_eq!(is_segment(name), fits, "{name:?}");
        }
        assert_eq!(as_segment("a/b"), "a_b");
    }
}
