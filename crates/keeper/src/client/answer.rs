//! Opening answers: the chain of keys from the application's down to each record and file
//! (keeper.md 3.6, 3.7).

use std::{borrow::Cow, num::NonZero, thread};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    Error,
    crypto::{Key, PublicKey, from_base64},
    json::Json,
    records::{File, Place, Record, Scope, Unread, Unreadable, Vault},
};

/// Fewer records than this are not worth a thread.
const RECORDS_PER_THREAD: usize = 128;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(borrow)]
    encrypted_app_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    app_owner_public_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    folders: Option<Vec<FolderEnvelope<'a>>>,
    #[serde(borrow)]
    records: Option<Vec<RecordEnvelope<'a>>>,
    #[serde(borrow)]
    app_data: Option<Cow<'a, str>>,
    #[serde(borrow)]
    expires_on: Option<&'a RawValue>,
    warnings: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FolderEnvelope<'a> {
    folder_uid: String,
    #[serde(borrow)]
    folder_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    records: Option<Vec<RecordEnvelope<'a>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RecordEnvelope<'a> {
    record_uid: String,
    #[serde(borrow)]
    record_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<Cow<'a, str>>,
    revision: Option<i64>,
    is_editable: Option<bool>,
    inner_folder_uid: Option<String>,
    folder_uid: Option<String>,
    #[serde(borrow)]
    files: Option<Vec<FileEnvelope<'a>>>,
    #[serde(borrow)]
    links: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FileEnvelope<'a> {
    file_uid: String,
    #[serde(borrow)]
    file_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<Cow<'a, str>>,
    url: Option<String>,
}

fn read(answer: &[u8]) -> Result<Answer<'_>, Error> {
    if answer.is_empty() {
        return Err(Error::Answer("is empty"));
    }
    serde_json::from_slice(answer).map_err(|_| Error::Answer("is not of the documented shape"))
}

/// The keys that binding brings.
pub(super) struct Binding {
    pub(super) app_key: Key,
    pub(super) owner_key: Option<PublicKey>,
}

impl Binding {
    pub(super) fn read(answer: &[u8], token_key: &Key) -> Result<Self, Error> {
        let answer = read(answer)?;
        let sealed = answer.encrypted_app_key.filter(|key| !key.is_empty()).and_then(|key| from_base64(&key));
        let sealed = sealed.ok_or(Error::Answer("to the one-time token holds no application key"))?;
        let app_key = token_key.open_key(&sealed).map_err(|_| Error::ApplicationKey)?;
        let owner_key = answer
            .app_owner_public_key
            .and_then(|key| from_base64(&key))
            .and_then(|key| PublicKey::from_bytes(&key).ok());
        Ok(Self { app_key, owner_key })
    }
}

/// A record that is still sealed, with the key around it.
struct Sealed<'a, 'k> {
    envelope: RecordEnvelope<'a>,
    /// None where the key of the record's folder does not open.
    outer: Option<&'k Key>,
    /// The shared folder the record came in; none for one that is shared directly.
    folder: Option<&'k str>,
}

/// Opens an answer to `get_secret`.
pub(super) fn vault(answer: &[u8], app_key: &Key, scope: Scope) -> Result<Vault, Error> {
    let answer = read(answer)?;
    // The application's own description is sealed with the same key as everything else: when it does
    // not open, nothing will, and the configuration is to blame and not the records.
    let app = match answer.app_data.filter(|data| !data.is_empty()) {
        None => None,
        Some(data) => {
            let data =
                from_base64(&data).and_then(|data| app_key.open(&data).ok()).ok_or(Error::ApplicationKey)?;
            std::str::from_utf8(&data).ok().and_then(|text| Json::parse(text).ok())
        }
    };
    let listed = answer.records.is_some() || answer.folders.is_some();
    let mut folders = answer.folders.unwrap_or_default();
    let keys: Vec<Option<Key>> =
        folders.iter().map(|folder| opened_key(folder.folder_key.as_deref(), app_key)).collect();
    let records = answer.records.unwrap_or_default();
    let inner: Vec<_> = folders.iter_mut().map(|folder| folder.records.take().unwrap_or_default()).collect();
    let mut sealed: Vec<Sealed<'_, '_>> =
        records.into_iter().map(|envelope| Sealed { envelope, outer: Some(app_key), folder: None }).collect();
    for ((folder, key), records) in folders.iter().zip(&keys).zip(inner) {
        sealed.extend(records.into_iter().map(|envelope| Sealed {
            envelope,
            outer: key.as_ref(),
            folder: Some(folder.folder_uid.as_str()),
        }));
    }
    let (records, unreadable) = open_all(&sealed);
    let mut vault = Vault::new(scope, listed, records, unreadable);
    vault.warnings = answer.warnings.unwrap_or_default();
    vault.expires_on = answer.expires_on.and_then(|value| value.get().trim_matches('"').parse().ok());
    vault.app_title = app.and_then(|app| Some(app.get("title")?.as_text()?.to_owned()));
    Ok(vault)
}

/// Opens records, on several threads where there are many. Their order is kept.
fn open_all(sealed: &[Sealed<'_, '_>]) -> (Vec<Record>, Vec<Unreadable>) {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = sealed.len().div_ceil(threads).max(RECORDS_PER_THREAD);
    let opened: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = sealed
            .chunks(share)
            .skip(1)
            .map(|chunk| scope.spawn(move || chunk.iter().map(open).collect::<Vec<_>>()))
            .collect();
        let mut opened: Vec<_> = sealed.chunks(share).take(1).flatten().map(open).collect();
        for worker in workers {
            match worker.join() {
                Ok(results) => opened.extend(results),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        opened
    });
    let (mut records, mut unreadable) = (Vec::with_capacity(opened.len()), Vec::new());
    for result in opened {
        match result {
            Ok(record) => records.push(record),
            Err(one) => unreadable.push(one),
        }
    }
    (records, unreadable)
}

fn open(sealed: &Sealed<'_, '_>) -> Result<Record, Unreadable> {
    let envelope = &sealed.envelope;
    let places: Vec<Place> = place(envelope, sealed.folder).into_iter().collect();
    open_record(envelope, sealed.outer, &places).map_err(|why| Unreadable {
        uid: envelope.record_uid.clone(),
        why,
        places,
    })
}

fn place(envelope: &RecordEnvelope<'_>, folder: Option<&str>) -> Option<Place> {
    let full = |uid: &Option<String>| uid.clone().filter(|uid| !uid.is_empty());
    let shared_folder = folder.map(str::to_owned).or_else(|| full(&envelope.folder_uid))?;
    let subfolder = full(&envelope.inner_folder_uid).filter(|inner| *inner != shared_folder);
    Some(Place { shared_folder, subfolder })
}

fn open_record(
    envelope: &RecordEnvelope<'_>,
    outer: Option<&Key>,
    places: &[Place],
) -> Result<Record, Unread> {
    let outer = outer.ok_or(Unread::FolderKey)?;
    // A single record's share has no key of its own.
    let key = match envelope.record_key.as_deref().filter(|key| !key.is_empty()) {
        Some(key) => opened_key(Some(key), outer).ok_or(Unread::Key)?,
        None => outer.clone(),
    };
    let data = envelope.data.as_deref().and_then(from_base64).ok_or(Unread::Content)?;
    let data = key.open(&data).map_err(|_| Unread::Content)?;
    let body = std::str::from_utf8(&data).ok().and_then(|text| Json::parse(text).ok());
    let body = body.filter(|body| body.as_object().is_some()).ok_or(Unread::Json)?;
    let (mut files, mut unreadable_files) = (Vec::new(), Vec::new());
    for file in envelope.files.iter().flatten() {
        match open_file(file, &key) {
            Some(file) => files.push(file),
            None => unreadable_files.push(file.file_uid.clone()),
        }
    }
    Ok(Record {
        uid: envelope.record_uid.clone(),
        revision: envelope.revision.unwrap_or(0),
        editable: envelope.is_editable.unwrap_or(true),
        key,
        body,
        places: places.to_vec(),
        files,
        unreadable_files,
        links: envelope.links.iter().flatten().filter_map(|raw| Json::parse(raw.get()).ok()).collect(),
    })
}

fn open_file(file: &FileEnvelope<'_>, record_key: &Key) -> Option<File> {
    let key = opened_key(file.file_key.as_deref(), record_key)?;
    let meta = key.open(&from_base64(file.data.as_deref()?)?).ok()?;
    let meta = Json::parse(std::str::from_utf8(&meta).ok()?).ok()?;
    let url = file.url.clone().filter(|url| !url.is_empty());
    Some(File { uid: file.file_uid.clone(), key, meta, url })
}

fn opened_key(sealed: Option<&str>, outer: &Key) -> Option<Key> {
    outer.open_key(&from_base64(sealed?)?).ok()
}
