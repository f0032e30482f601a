//! Changing a vault: records and folders (keeper.md 3.6).
//!
//! A write is sent again only where it is known not to have happened: when no connection came about,
//! when Keeper throttled it, or asked for another key.

use serde::{Deserialize, Serialize};

use super::{
    Client,
    folders::{Folder, Folders},
    transport::{Repeat, payload},
};
use crate::{
    Error,
    crypto::{Key, new_uid, to_base64, to_base64_url},
    json::{Json, Style},
    records::Record,
};

/// How an update takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transaction {
    /// At once and for good.
    General,
    /// As the first half of a rotation: [`Client::finalize`] makes it last, [`Client::rollback`] takes
    /// it back.
    Rotation,
}

/// What became of one record or folder that was to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// Its UID.
    pub uid: String,
    /// Whether it is gone.
    pub ok: bool,
    /// Keeper's word for it: `ok`, or why not.
    pub code: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a, T: Serialize> {
    client_version: &'a str,
    client_id: &'a str,
    #[serde(flatten)]
    body: T,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UpdateSecret<'a> {
    record_uid: &'a str,
    data: String,
    revision: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_type: Option<&'static str>,
    #[serde(rename = "links2Remove", skip_serializing_if = "<[String]>::is_empty")]
    links_to_remove: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateSecret<'a> {
    record_uid: &'a str,
    record_key: String,
    folder_uid: &'a str,
    folder_key: String,
    data: String,
    sub_folder_uid: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OneRecord<'a> {
    record_uid: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeleteSecret<'a> {
    record_uids: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateFolder<'a> {
    folder_uid: &'a str,
    shared_folder_uid: &'a str,
    shared_folder_key: String,
    data: String,
    parent_uid: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UpdateFolder<'a> {
    folder_uid: &'a str,
    data: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeleteFolder<'a> {
    folder_uids: &'a [String],
    force_deletion: bool,
}

#[derive(Deserialize)]
struct DeleteAnswer {
    records: Option<Vec<OneDeleted>>,
    folders: Option<Vec<OneDeleted>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OneDeleted {
    #[serde(alias = "folderUid")]
    record_uid: String,
    response_code: Option<String>,
}

impl Client {
    /// Replaces a record's content. Keeper refuses it when the record has changed since it was
    /// fetched.
    pub async fn update(&self, record: &Record, body: &Json, transaction: Transaction) -> Result<(), Error> {
        self.update_and_unlink(record, body, transaction, &[]).await
    }

    /// Removes attached files from a record.
    pub async fn remove_files(&self, record: &Record, file_uids: &[String]) -> Result<(), Error> {
        let mut body = record.body.clone();
        if let Some(Json::Array(refs)) = file_refs(&mut body) {
            refs.retain(|uid| !uid.as_text().is_some_and(|uid| file_uids.iter().any(|gone| gone == uid)));
        }
        self.update_and_unlink(record, &body, Transaction::General, file_uids).await
    }

    async fn update_and_unlink(
        &self,
        record: &Record,
        body: &Json,
        transaction: Transaction,
        links_to_remove: &[String],
    ) -> Result<(), Error> {
        if !record.editable {
            return Err(Error::ReadOnly);
        }
        let request = UpdateSecret {
            record_uid: &record.uid,
            data: to_base64(&self.sealed(&record.key, body)?),
            revision: record.revision,
            transaction_type: match transaction {
                Transaction::General => None,
                Transaction::Rotation => Some("rotation"),
            },
            links_to_remove,
        };
        self.write("update_secret", request).await.map(drop)
    }

    /// Makes an update that was part of a rotation last.
    pub async fn finalize(&self, record_uid: &str) -> Result<(), Error> {
        self.write("finalize_secret_update", OneRecord { record_uid }).await.map(drop)
    }

    /// Takes an update that was part of a rotation back.
    pub async fn rollback(&self, record_uid: &str) -> Result<(), Error> {
        self.write("rollback_secret_update", OneRecord { record_uid }).await.map(drop)
    }

    /// Creates a record in a folder and gives its UID.
    pub async fn create(&self, folder_uid: &str, folders: &Folders, body: &Json) -> Result<String, Error> {
        let owner = self.config.owner_key.as_ref().ok_or(Error::NoOwnerKey)?;
        let (root, below) = shared_folder(folder_uid, folders)?;
        let uid = new_uid(self.transport.entropy());
        let key = Key::random(self.transport.entropy());
        let request = CreateSecret {
            record_uid: &uid,
            // The new key goes out sealed twice: for the owner and under the folder's key.
            record_key: to_base64(&owner.seal(key.expose(), self.transport.entropy())?),
            folder_uid: &root.uid,
            folder_key: to_base64(&root.key.seal(key.expose(), self.transport.entropy())?),
            data: to_base64(&self.sealed(&key, body)?),
            sub_folder_uid: below,
        };
        self.write("create_secret", request).await?;
        Ok(uid)
    }

    /// Deletes records. The answer has an entry for each.
    pub async fn delete(&self, record_uids: &[String]) -> Result<Vec<Deleted>, Error> {
        let answer = self.write("delete_secret", DeleteSecret { record_uids }).await?;
        deleted(&answer)
            .map(|answer| answer.records.unwrap_or_default().into_iter().map(Into::into).collect())
    }

    /// Creates a folder below another one and gives its UID.
    pub async fn create_folder(
        &self,
        parent_uid: &str,
        folders: &Folders,
        name: &str,
    ) -> Result<String, Error> {
        let (root, below) = shared_folder(parent_uid, folders)?;
        let uid = new_uid(self.transport.entropy());
        let key = Key::random(self.transport.entropy());
        let request = CreateFolder {
            folder_uid: &uid,
            shared_folder_uid: &root.uid,
            // The new key goes out sealed under the shared folder's.
            shared_folder_key: to_base64_url(&root.key.seal_cbc(key.expose(), self.transport.entropy())?),
            data: self.sealed_name(&key, name)?,
            parent_uid: below,
        };
        self.write("create_folder", request).await?;
        Ok(uid)
    }

    /// Renames a folder.
    pub async fn rename_folder(&self, uid: &str, folders: &Folders, name: &str) -> Result<(), Error> {
        let folder = folders.get(uid).ok_or(Error::NoFolder)?;
        let request = UpdateFolder { folder_uid: uid, data: self.sealed_name(&folder.key, name)? };
        self.write("update_folder", request).await.map(drop)
    }

    /// Deletes folders; one that is not empty only by force. The answer has an entry for each that
    /// Keeper knows.
    pub async fn delete_folders(&self, folder_uids: &[String], force: bool) -> Result<Vec<Deleted>, Error> {
        let request = DeleteFolder { folder_uids, force_deletion: force };
        let answer = self.write("delete_folder", request).await?;
        deleted(&answer)
            .map(|answer| answer.folders.unwrap_or_default().into_iter().map(Into::into).collect())
    }

    pub(super) async fn write(
        &self,
        path: &str,
        body: impl Serialize,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, Error> {
        let request = Request {
            client_version: &self.transport.options.client_version,
            client_id: &self.config.client_id,
            body,
        };
        // Opened to be sealed for Keeper.
        self.transport.post(path, payload(&request)?.expose(), Repeat::Unsafe).await
    }

    /// A record's content under its key.
    pub(super) fn sealed(&self, key: &Key, body: &Json) -> Result<Vec<u8>, Error> {
        // Opened to be sealed.
        Ok(key.seal(body.write(Style::Compact).expose(), self.transport.entropy())?)
    }

    fn sealed_name(&self, key: &Key, name: &str) -> Result<String, Error> {
        let data = Json::object([("name", Json::text(name))]).write(Style::Compact);
        // Opened to be sealed.
        Ok(to_base64_url(&key.seal_cbc(data.expose(), self.transport.entropy())?))
    }
}

/// The shared folder that a folder is or is in, and the folder itself when it is not that.
fn shared_folder<'f>(uid: &'f str, folders: &'f Folders) -> Result<(&'f Folder, Option<&'f str>), Error> {
    let root = folders.root(uid).ok_or(Error::NoFolder)?;
    Ok((root, (root.uid != uid).then_some(uid)))
}

/// The list of a record's field of files, if it has one.
pub(super) fn file_refs(body: &mut Json) -> Option<&mut Json> {
    let Json::Array(fields) = body.get_mut("fields")? else { return None };
    let field = fields.iter_mut().find(|f| f.get("type").and_then(Json::as_text) == Some("fileRef"))?;
    if field.get("value").and_then(Json::as_array).is_none() {
        field.set("value", Json::Array(Vec::new()));
    }
    field.get_mut("value")
}

fn deleted(answer: &[u8]) -> Result<DeleteAnswer, Error> {
    if answer.is_empty() {
        return Ok(DeleteAnswer { records: None, folders: None });
    }
    serde_json::from_slice(answer).map_err(|_| Error::Answer("is not of the documented shape"))
}

impl From<OneDeleted> for Deleted {
    fn from(one: OneDeleted) -> Self {
        let code = one.response_code.unwrap_or_default();
        Self { uid: one.record_uid, ok: code == "ok", code }
    }
}
