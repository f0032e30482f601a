//! Attached files, up and down (keeper.md 3.6, 3.7).

use model::SecretBytes;
use reqwest::header;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{Client, write::file_refs};
use crate::{
    Error,
    crypto::{Key, new_uid, to_base64, to_base64_url},
    json::{Json, Style},
    records::{File, Record},
};

/// A file to be attached.
#[derive(Debug, Clone)]
pub struct Upload {
    /// The file's name.
    pub name: String,
    /// Its title, usually the name.
    pub title: String,
    /// Its media type.
    pub kind: String,
    /// Its content.
    pub content: SecretBytes,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AddFile<'a> {
    file_record_uid: &'a str,
    file_record_key: String,
    file_record_data: String,
    owner_record_uid: &'a str,
    owner_record_data: String,
    owner_record_revision: i64,
    link_key: String,
    file_size: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct UploadPlace {
    url: String,
    /// JSON text of an object: the form fields that go before the file.
    parameters: Option<String>,
    success_status_code: Option<u16>,
}

impl Client {
    /// Fetches a file's content.
    pub async fn download(&self, file: &File) -> Result<SecretBytes, Error> {
        let url = file.url.as_deref().ok_or(Error::NoFileAddress)?;
        let url = Url::parse(url).map_err(|_| Error::Answer("holds a file address that is no URL"))?;
        let mut failures = 0;
        loop {
            let error = match self.transport.transfer(self.transport.http.get(url.clone())).await {
                Ok((status, sealed)) if status.is_success() => {
                    let content = file.key.open(&sealed);
                    return content
                        .map(Into::into)
                        .map_err(|_| Error::Answer("holds a file that does not decrypt"));
                }
                Ok((status, _)) if status.is_server_error() => Error::Server { status: status.as_u16() },
                Ok((status, _)) => return Err(Error::Refused { status: status.as_u16(), code: None }),
                Err(error) => error,
            };
            if !error.is_passing() {
                return Err(error);
            }
            self.transport.after(&mut failures, error).await?;
        }
    }

    /// Attaches a file to a record and gives the file's UID. Keeper refuses it when the record has
    /// changed since it was fetched.
    pub async fn upload(&self, record: &Record, file: &Upload) -> Result<String, Error> {
        if !record.editable {
            return Err(Error::ReadOnly);
        }
        let owner = self.config.owner_key.as_ref().ok_or(Error::NoOwnerKey)?;
        let entropy = self.transport.entropy();
        let (uid, key) = (new_uid(entropy), Key::random(entropy));
        let meta = Json::object([
            ("name", Json::text(&file.name)),
            ("size", Json::int(i128::try_from(file.content.len()).unwrap_or(i128::MAX))),
            ("title", Json::text(&file.title)),
            ("lastModified", Json::int(self.transport.around.clock.now().as_nanos() / 1_000_000)),
            ("type", Json::text(&file.kind)),
        ]);
        // Opened to be sealed under the file's own key.
        let content = key.seal(file.content.expose(), entropy)?;
        let request = AddFile {
            file_record_uid: &uid,
            // The new key goes out sealed twice: for the owner and under the record's key.
            file_record_key: to_base64(&owner.seal(key.expose(), entropy)?),
            file_record_data: to_base64_url(&key.seal(meta.write(Style::Compact).expose(), entropy)?),
            owner_record_uid: &record.uid,
            owner_record_data: to_base64_url(&self.sealed(&record.key, &with_file(record, &uid))?),
            owner_record_revision: record.revision,
            link_key: to_base64(&record.key.seal(key.expose(), entropy)?),
            file_size: content.len(),
        };
        let answer = self.write("add_file", request).await?;
        let place: UploadPlace = serde_json::from_slice(&answer)
            .map_err(|_| Error::Answer("to the upload is not of the documented shape"))?;
        let url =
            Url::parse(&place.url).map_err(|_| Error::Answer("holds an upload address that is no URL"))?;
        let (form, boundary) = form(place.parameters.as_deref(), &content, &new_uid(entropy))?;
        let post = self
            .transport
            .http
            .post(url)
            .header(header::CONTENT_TYPE, format!("multipart/form-data; boundary={boundary}"))
            .body(form);
        let (status, _) = self.transport.transfer(post).await?;
        let done = place.success_status_code.map_or(status.is_success(), |code| status.as_u16() == code);
        match status.as_u16() {
            _ if done => Ok(uid),
            status if status >= 500 => Err(Error::Server { status }),
            status => Err(Error::Refused { status, code: None }),
        }
    }
}

/// The record's content with one more file in its list of files.
fn with_file(record: &Record, uid: &str) -> Json {
    let mut body = record.body.clone();
    if file_refs(&mut body).is_none() {
        let field = Json::object([("type", Json::text("fileRef")), ("value", Json::Array(Vec::new()))]);
        match body.get_mut("fields") {
            Some(Json::Array(fields)) => fields.push(field),
            _ => body.set("fields", Json::Array(vec![field])),
        }
    }
    if let Some(Json::Array(refs)) = file_refs(&mut body) {
        refs.push(Json::text(uid));
    }
    body
}

/// The form of an upload: the parameters, then the file, in one `multipart/form-data` body (RFC 7578).
fn form(parameters: Option<&str>, content: &[u8], boundary: &str) -> Result<(Vec<u8>, String), Error> {
    let parameters = match parameters.filter(|text| !text.is_empty()) {
        None => Json::object([]),
        Some(text) => {
            Json::parse(text).map_err(|_| Error::Answer("holds upload parameters that are no JSON"))?
        }
    };
    let boundary = format!("form-{boundary}");
    let mut form = Vec::with_capacity(content.len() + 4096);
    for (name, value) in parameters.as_object().unwrap_or_default() {
        let value = value.as_text().map_or_else(|| value.write(Style::Compact), SecretBytes::from);
        // They come from Keeper and go back to it; a line break would let them leave their part.
        let breaks = |text: &[u8]| text.iter().any(|b| matches!(b, b'\r' | b'\n'));
        if breaks(name.as_bytes()) || breaks(value.expose()) || name.contains('"') {
            return Err(Error::Answer("holds upload parameters that no form can carry"));
        }
        let head = format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n");
        form.extend_from_slice(head.as_bytes());
        form.extend_from_slice(value.expose());
        form.extend_from_slice(b"\r\n");
    }
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\r\nContent-Type: application/octet-stream\r\n\r\n"
    );
    form.extend_from_slice(head.as_bytes());
    form.extend_from_slice(content);
    form.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    Ok((form, boundary))
}
