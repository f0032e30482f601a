//! The vault's owner's side: what a person does in the Keeper app.

use model::{SecretBytes, Timestamp};

use super::{
    PretendKeeper,
    state::{App, DeviceState, FileState, FolderState, RecordState, Share, Shared},
};
use crate::{
    Error,
    config::{Config, Host},
    crypto::{Key, PrivateKey, client_id, new_uid, to_base64, to_base64_url},
    json::{Json, Style},
};

/// A client of an application, by its client id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device(pub String);

/// A file to be put into the vault.
#[derive(Debug, Clone)]
pub struct NewFile<'a> {
    /// Its UID; made up when none is given.
    pub uid: Option<&'a str>,
    /// Its name.
    pub name: &'a str,
    /// Its title.
    pub title: &'a str,
    /// Its content.
    pub content: &'a [u8],
}

impl PretendKeeper {
    /// Adds an application and gives its number.
    pub fn add_app(&self, title: &str) -> Result<usize, Error> {
        let (owner, _) = PrivateKey::random(&*self.shared.entropy)?;
        let key = Key::random(&*self.shared.entropy);
        let mut state = self.shared.state();
        state.apps.push(App {
            title: title.to_owned(),
            key,
            owner,
            shares: Vec::new(),
            warnings: Vec::new(),
        });
        Ok(state.apps.len() - 1)
    }

    /// Lets every answer to an application carry this warning.
    pub fn warn(&self, app: usize, text: &str) {
        if let Some(app) = self.shared.state().apps.get_mut(app) {
            app.warnings.push(text.to_owned());
        }
    }

    /// Adds a device to an application: the key of its one-time token, and its name.
    pub fn add_device(&self, app: usize) -> (SecretBytes, Device) {
        let key = Key::random(&*self.shared.entropy);
        // Opened to be handed to whoever binds it.
        let token = SecretBytes::from(to_base64_url(key.expose()));
        let id = client_id(&key);
        let device =
            DeviceState { app, token_key: Some(key), public_key: None, revoked: false, expires: None };
        self.shared.state().devices.insert(id.clone(), device);
        (token, Device(id))
    }

    /// Adds a device that is bound already, and gives its configuration.
    pub fn add_bound_device(&self, app: usize) -> Result<Config, Error> {
        let (private, pkcs8) = PrivateKey::random(&*self.shared.entropy)?;
        let id = client_id(&Key::random(&*self.shared.entropy));
        let mut state = self.shared.state();
        let owner = state.apps.get(app).ok_or(Error::NoFolder)?;
        let config = Config {
            host: Host::parse(&self.shared.host())?,
            client_id: id.clone(),
            private_key: pkcs8,
            app_key: owner.key.clone(),
            owner_key: Some(owner.owner.public().clone()),
            server_key_id: Some(state.key_id.clone()),
            server_key: None,
        };
        let public_key = Some(private.public().clone());
        state
            .devices
            .insert(id, DeviceState { app, token_key: None, public_key, revoked: false, expires: None });
        drop(state);
        config.with_server_key(&self.server_key()).map_err(Into::into)
    }

    /// The public key that clients seal requests for: url-safe base64, as a configuration takes it.
    pub fn server_key(&self) -> String {
        let state = self.shared.state();
        state
            .server_keys
            .get(&state.key_id)
            .map(|key| to_base64_url(key.public().as_bytes()))
            .unwrap_or_default()
    }

    /// The id of that key.
    pub fn server_key_id(&self) -> String {
        self.shared.state().key_id.clone()
    }

    /// Removes a device.
    pub fn revoke(&self, device: &Device) {
        if let Some(device) = self.shared.state().devices.get_mut(&device.0) {
            device.revoked = true;
        }
    }

    /// Lets a device's access end.
    pub fn expire(&self, device: &Device, at: Timestamp) {
        if let Some(device) = self.shared.state().devices.get_mut(&device.0) {
            device.expires = Some(at);
        }
    }

    /// Adds a folder and gives its UID: a shared folder, or one below another.
    pub fn add_folder(&self, parent: Option<&str>, name: &str) -> Result<String, Error> {
        let entropy = &*self.shared.entropy;
        let key = Key::random(entropy);
        let data = Json::object([("name", Json::text(name))]).write(Style::Compact);
        // Opened to be sealed.
        let data = key.seal_cbc(data.expose(), entropy)?;
        let uid = new_uid(entropy);
        let mut state = self.shared.state();
        let made = state.next_made();
        let folder = FolderState { parent: parent.map(str::to_owned), key, data, broken: false, made };
        state.folders.insert(uid.clone(), folder);
        Ok(uid)
    }

    /// Adds a record and gives its UID.
    pub fn add_record(&self, body: &str) -> Result<String, Error> {
        let uid = new_uid(&*self.shared.entropy);
        self.add_record_as(&uid, body)?;
        Ok(uid)
    }

    /// Adds a record of a certain UID. The body need not be JSON.
    pub fn add_record_as(&self, uid: &str, body: &str) -> Result<(), Error> {
        let key = Key::random(&*self.shared.entropy);
        let data = key.seal(body.as_bytes(), &*self.shared.entropy)?;
        let mut state = self.shared.state();
        let record = RecordState {
            key,
            data,
            revision: 1,
            folders: Vec::new(),
            files: Vec::new(),
            links: Vec::new(),
            before_rotation: None,
            made: state.next_made(),
        };
        state.records.insert(uid.to_owned(), record);
        Ok(())
    }

    /// Puts a record into a folder, beside those it is in already.
    pub fn put_into(&self, record: &str, folder: &str) {
        if let Some(record) = self.shared.state().records.get_mut(record) {
            record.folders.push(folder.to_owned());
        }
    }

    /// Shares a record with an application.
    pub fn share_record(&self, app: usize, record: &str, editable: bool) {
        self.share(app, Shared::Record(record.to_owned()), editable);
    }

    /// Shares a folder, and all below it, with an application.
    pub fn share_folder(&self, app: usize, folder: &str, editable: bool) {
        self.share(app, Shared::Folder(folder.to_owned()), editable);
    }

    fn share(&self, app: usize, what: Shared, editable: bool) {
        if let Some(app) = self.shared.state().apps.get_mut(app) {
            app.shares.push(Share { what, editable });
        }
    }

    /// Takes a share of a record or folder back.
    pub fn unshare(&self, app: usize, uid: &str) {
        if let Some(app) = self.shared.state().apps.get_mut(app) {
            app.shares.retain(|share| match &share.what {
                Shared::Record(one) | Shared::Folder(one) => one != uid,
            });
        }
    }

    /// Changes a record's content, as another client does.
    pub fn set_record(&self, uid: &str, body: &str) -> Result<(), Error> {
        let mut state = self.shared.state();
        let record = state.records.get_mut(uid).ok_or(Error::NoFolder)?;
        record.data = record.key.seal(body.as_bytes(), &*self.shared.entropy)?;
        record.revision += 1;
        Ok(())
    }

    /// Removes a record from the vault.
    pub fn remove_record(&self, uid: &str) {
        self.shared.state().records.remove(uid);
    }

    /// Makes a record's content undecryptable.
    pub fn break_record(&self, uid: &str) {
        if let Some(last) = self.shared.state().records.get_mut(uid).and_then(|record| record.data.last_mut())
        {
            *last ^= 1;
        }
    }

    /// Makes the description of a record's files undecryptable.
    pub fn break_files(&self, uid: &str) {
        if let Some(record) = self.shared.state().records.get_mut(uid) {
            record.files.iter_mut().filter_map(|file| file.data.last_mut()).for_each(|last| *last ^= 1);
        }
    }

    /// Makes a folder's key undecryptable.
    pub fn break_folder(&self, uid: &str) {
        if let Some(folder) = self.shared.state().folders.get_mut(uid) {
            folder.broken = true;
        }
    }

    /// Links a record to another one or to settings. The data goes out as it is, or sealed under the
    /// record's key.
    pub fn link(
        &self,
        record: &str,
        to: &str,
        path: Option<&str>,
        data: Option<&str>,
        sealed: bool,
    ) -> Result<(), Error> {
        let mut state = self.shared.state();
        let record = state.records.get_mut(record).ok_or(Error::NoFolder)?;
        let data = match data {
            None => Json::Null,
            Some(data) if sealed => {
                Json::text(to_base64(&record.key.seal(data.as_bytes(), &*self.shared.entropy)?))
            }
            Some(data) => Json::text(to_base64(data.as_bytes())),
        };
        let path = path.map_or(Json::Null, Json::text);
        record.links.push(Json::object([("recordUid", Json::text(to)), ("data", data), ("path", path)]));
        Ok(())
    }

    /// Attaches a file to a record and gives its UID.
    pub fn attach(&self, record: &str, file: &NewFile<'_>) -> Result<String, Error> {
        let entropy = &*self.shared.entropy;
        let uid = file.uid.map_or_else(|| new_uid(entropy), str::to_owned);
        let key = Key::random(entropy);
        let meta = Json::object([
            ("name", Json::text(file.name)),
            ("title", Json::text(file.title)),
            ("type", Json::text("application/octet-stream")),
            ("size", Json::int(i64::try_from(file.content.len()).unwrap_or(i64::MAX))),
            ("lastModified", Json::int(self.shared.clock.now().as_nanos() / 1_000_000)),
        ]);
        let mut state = self.shared.state();
        let record = state.records.get_mut(record).ok_or(Error::NoFolder)?;
        record.files.push(FileState {
            uid: uid.clone(),
            // Opened to be sealed.
            link_key: record.key.seal(key.expose(), entropy)?,
            data: key.seal(meta.write(Style::Compact).expose(), entropy)?,
            content: Some(key.seal(file.content, entropy)?),
            has_url: true,
        });
        Ok(uid)
    }

    /// Whether the addresses of a record's files are told. The service keeps quiet about a new one for
    /// a while.
    pub fn tell_file_addresses(&self, record: &str, tell: bool) {
        if let Some(record) = self.shared.state().records.get_mut(record) {
            record.files.iter_mut().for_each(|file| file.has_url = tell);
        }
    }

    /// The UIDs of all records, in the order they were made.
    pub fn record_uids(&self) -> Vec<String> {
        let state = self.shared.state();
        let mut made: Vec<_> = state.records.iter().map(|(uid, record)| (record.made, uid.clone())).collect();
        made.sort();
        made.into_iter().map(|(_, uid)| uid).collect()
    }

    /// The UIDs of all folders, in the order they were made.
    pub fn folder_uids(&self) -> Vec<String> {
        let state = self.shared.state();
        let mut made: Vec<_> = state.folders.iter().map(|(uid, folder)| (folder.made, uid.clone())).collect();
        made.sort();
        made.into_iter().map(|(_, uid)| uid).collect()
    }

    /// A record's content, as its owner sees it.
    pub fn record(&self, uid: &str) -> Option<Json> {
        let state = self.shared.state();
        let record = state.records.get(uid)?;
        let data = record.key.open(&record.data).ok()?;
        Json::parse(std::str::from_utf8(&data).ok()?).ok()
    }

    /// How often a record was changed, counted from 1.
    pub fn revision(&self, uid: &str) -> Option<i64> {
        self.shared.state().records.get(uid).map(|record| record.revision)
    }

    /// The folders a record is in.
    pub fn folders_of(&self, uid: &str) -> Vec<String> {
        self.shared.state().records.get(uid).map(|record| record.folders.clone()).unwrap_or_default()
    }

    /// A folder's name, and the folder it is in.
    pub fn folder(&self, uid: &str) -> Option<(String, Option<String>)> {
        let state = self.shared.state();
        let folder = state.folders.get(uid)?;
        let data = folder.key.open_cbc(&folder.data).ok()?;
        let name = Json::parse(std::str::from_utf8(&data).ok()?).ok()?.get("name")?.as_text()?.to_owned();
        Some((name, folder.parent.clone()))
    }

    /// UIDs of a record's files.
    pub fn files_of(&self, uid: &str) -> Vec<String> {
        let state = self.shared.state();
        state.records.get(uid).into_iter().flat_map(|r| r.files.iter().map(|f| f.uid.clone())).collect()
    }

    /// A file's description and content, as its owner sees them.
    pub fn file(&self, record: &str, file: &str) -> Option<(Json, Vec<u8>)> {
        let state = self.shared.state();
        let record = state.records.get(record)?;
        let file = record.files.iter().find(|f| f.uid == file)?;
        let key = record.key.open_key(&file.link_key).ok()?;
        let meta = key.open(&file.data).ok()?;
        let content = key.open(file.content.as_ref()?).ok()?;
        Some((Json::parse(std::str::from_utf8(&meta).ok()?).ok()?, content.to_vec()))
    }
}
