//! Finding the folders of `-f` and `-fr`, and what is in them (keeper.md 4.5).

use super::{Entry, Remarks, Request, Trouble, failed_entry, once_each};
use crate::{Folder, Folders, notation::is_uid, records::Place};

/// A folder that was asked for.
pub(super) struct Wanted {
    uid: String,
    recursive: bool,
}

impl Wanted {
    /// What the output calls it.
    pub(super) const fn word(&self) -> &'static str {
        word(self.recursive)
    }

    /// Whether something in these places is in this folder, or below it where that counts.
    ///
    /// # Errors
    /// When it is in a folder that could not be read, which may or may not be below this one.
    pub(super) fn holds(&self, places: &[Place], folders: &Folders) -> Result<bool, Trouble> {
        if places.iter().any(|place| self.is_place(place, folders)) {
            return Ok(true);
        }
        let root = folders.root(&self.uid).map(|root| root.uid.as_str());
        let lost = |place: &Place| {
            Some(place.shared_folder.as_str()) == root && folders.get(place.folder()).is_none()
        };
        if self.recursive && places.iter().any(lost) {
            return Err(Trouble::new("unreadable_folder", "the record is in a folder that does not decrypt"));
        }
        Ok(false)
    }

    fn is_place(&self, place: &Place, folders: &Folders) -> bool {
        if self.recursive {
            place.shared_folder == self.uid || folders.is_within(place.folder(), &self.uid)
        } else {
            place.folder() == self.uid
        }
    }
}

const fn word(recursive: bool) -> &'static str {
    if recursive { "folder-recursive" } else { "folder" }
}

/// The folders of a request, without those that others cover. What cannot be found becomes a failed
/// entry.
pub(super) fn resolve(
    request: &Request,
    folders: &Folders,
    remarks: &mut Remarks,
    failed: &mut Vec<Entry>,
) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for (tokens, option, recursive) in
        [(&request.folders, "--folder", false), (&request.folders_recursive, "--folder-recursive", true)]
    {
        for token in once_each(tokens, option, &mut remarks.notes) {
            match find(token, folders) {
                Ok(folder) => {
                    if folder.uid != token {
                        remarks.hints.push(format!(
                            "folder '{token}' was found by its name (UID {}); names change, a UID does not",
                            folder.uid
                        ));
                    }
                    if !wanted.iter().any(|w| w.uid == folder.uid && w.recursive == recursive) {
                        wanted.push(Wanted { uid: folder.uid.clone(), recursive });
                    }
                }
                Err(trouble) => {
                    failed.push(failed_entry(token, format!("{}:{token}", word(recursive)), trouble));
                }
            }
        }
    }
    let covered = |one: &Wanted| {
        wanted.iter().any(|other| {
            let same = other.uid == one.uid && other.recursive == one.recursive;
            other.recursive && !same && folders.is_within(&one.uid, &other.uid)
        })
    };
    let covered: Vec<bool> = wanted.iter().map(covered).collect();
    let mut kept = Vec::new();
    for (one, covered) in wanted.into_iter().zip(covered) {
        if covered {
            remarks.notes.push(format!("folder {} is inside another folder that was asked for", one.uid));
        } else {
            kept.push(one);
        }
    }
    kept
}

/// The folder of a UID, else of a path (from any level on; `//` is a slash inside a name), else of a
/// name.
fn find<'f>(token: &str, folders: &'f Folders) -> Result<&'f Folder, Trouble> {
    if is_uid(token)
        && let Some(folder) = folders.get(token)
    {
        return Ok(folder);
    }
    let parts = parts(token);
    let ends_so = |folder: &&Folder| {
        let path = folders.path(&folder.uid);
        path.len() >= parts.len() && path[path.len() - parts.len()..].iter().zip(&parts).all(|(a, b)| a == b)
    };
    let named = |folder: &&Folder| folder.name == token;
    let by_path: Vec<&Folder> = folders.list().iter().filter(ends_so).collect();
    let found = if by_path.is_empty() { folders.list().iter().filter(named).collect() } else { by_path };
    match found.as_slice() {
        [folder] => Ok(folder),
        [] => {
            let hidden = match folders.unreadable().len() {
                0 => String::new(),
                n => format!(" ({n} shared folder(s) do not decrypt)"),
            };
            Err(Trouble::new("no_folder", format!("no shared folder has this UID, path or name{hidden}")))
        }
        several => Err(Trouble::new(
            "ambiguous_folder",
            format!("{} folders are called so: name the folder by its UID", several.len()),
        )),
    }
}

/// The names of a path. Two slashes are one inside a name.
fn parts(path: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut signs = path.chars().peekable();
    while let Some(sign) = signs.next() {
        if sign == '/' && signs.next_if_eq(&'/').is_none() {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(sign);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_apart_and_double_slashes_stay() {
        for (path, names) in [
            ("A/B", vec!["A", "B"]),
            ("A//B", vec!["A/B"]),
            ("A//B/C", vec!["A/B", "C"]),
            ("本番", vec!["本番"]),
            ("", vec![""]),
            ("A/", vec!["A", ""]),
            ("A///B", vec!["A/", "B"]),
        ] {
            assert_eq!(parts(path), names, "{path}");
        }
    }
}
