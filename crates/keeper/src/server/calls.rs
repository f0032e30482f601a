//! The calls themselves (keeper.md 3.6). Whatever a client seals for the vault is opened and checked.

use serde_json::{Value, json};

use super::{
    Shared,
    http::{Opened, Refusal},
    state::{App, FileState, FolderState, PendingUpload, RecordState, Shared as What, State},
};
use crate::{
    crypto::{Key, PublicKey, from_base64, new_uid, to_base64},
    json::Json,
    notation::is_uid,
};

type Answer = Result<Option<Value>, Refusal>;

const NO_ACCESS: fn() -> Refusal = || Refusal::new(403, "access_denied", "no access to this");

pub(super) fn call(shared: &Shared, state: &mut State, call: &str, request: &Opened) -> Answer {
    match call {
        "get_secret" => get_secret(shared, state, request),
        "get_folders" => get_folders(shared, state, request),
        "create_secret" => create_secret(state, request),
        "update_secret" => update_secret(state, request),
        "finalize_secret_update" => settle(state, request, true),
        "rollback_secret_update" => settle(state, request, false),
        "delete_secret" => delete_secret(state, request),
        "create_folder" => create_folder(state, request),
        "update_folder" => update_folder(state, request),
        "delete_folder" => delete_folder(state, request),
        "add_file" => add_file(shared, state, request),
        _ => Err(Refusal::new(404, "not_found", "no such call")),
    }
}

fn bind(shared: &Shared, state: &mut State, request: &Opened, answer: &mut Value) -> Result<(), Refusal> {
    let Some(device) = state.devices.get_mut(&request.client_id) else { return Ok(()) };
    let Some(token_key) = device.token_key.take() else { return Ok(()) };
    let key = from_base64(request.needed("publicKey")?).and_then(|key| PublicKey::from_bytes(&key).ok());
    device.public_key = key;
    let app = &state.apps[request.app];
    answer["encryptedAppKey"] = json!(to_base64(&seal(shared, &token_key, app.key.expose())?));
    answer["appOwnerPublicKey"] = json!(to_base64(app.owner.public().as_bytes()));
    Ok(())
}

fn seal(shared: &Shared, key: &Key, plain: &[u8]) -> Result<Vec<u8>, Refusal> {
    key.seal(plain, &*shared.entropy).map_err(|_| Refusal::new(500, "internal", "cannot seal"))
}

fn get_secret(shared: &Shared, state: &mut State, request: &Opened) -> Answer {
    let mut answer = json!({});
    bind(shared, state, request, &mut answer)?;
    let app = &state.apps[request.app];
    let wanted = request.texts("requestedRecords").filter(|uids| !uids.is_empty());
    let folders = request.texts("requestedFolders").filter(|uids| !uids.is_empty());
    let links = request.payload["requestLinks"].as_bool().unwrap_or(false);
    let is_wanted = |uid: &str| wanted.as_ref().is_none_or(|uids| uids.contains(&uid));
    let mut direct = Vec::new();
    let mut shared_folders = Vec::new();
    for share in &app.shares {
        match &share.what {
            What::Record(uid) if folders.is_none() && is_wanted(uid) => {
                if let Some(record) = state.records.get(uid) {
                    let mut envelope = envelope(shared, uid, record, &app.key, share.editable, links)?;
                    envelope["innerFolderUid"] = Value::Null;
                    direct.push(envelope);
                }
            }
            What::Record(_) => {}
            What::Folder(root) => {
                if folders.as_ref().is_some_and(|uids| !uids.contains(&root.as_str())) {
                    continue;
                }
                let Some(folder) = state.folders.get(root) else { continue };
                let mut held: Vec<_> = state
                    .records
                    .iter()
                    .filter(|(uid, _)| is_wanted(uid))
                    .flat_map(|(uid, record)| record.folders.iter().map(move |folder| (uid, record, folder)))
                    .filter(|(.., folder)| state.root_of(folder).as_ref() == Some(root))
                    .collect();
                held.sort_by_key(|(_, record, _)| record.made);
                let records = held
                    .into_iter()
                    .map(|(uid, record, inner)| {
                        let mut envelope = envelope(shared, uid, record, &folder.key, share.editable, links)?;
                        envelope["folderUid"] = json!(root);
                        envelope["innerFolderUid"] = if inner == root { Value::Null } else { json!(inner) };
                        Ok(envelope)
                    })
                    .collect::<Result<Vec<_>, Refusal>>()?;
                if wanted.is_some() && records.is_empty() {
                    continue;
                }
                shared_folders.push(json!({
                    "folderUid": root,
                    "folderKey": folder_key(shared, folder, &app.key)?,
                    "records": records,
                }));
            }
        }
    }
    answer["records"] = json!(direct);
    answer["folders"] = json!(shared_folders);
    let about = json!({"title": app.title, "type": "pretend"}).to_string();
    answer["appData"] = json!(to_base64(&seal(shared, &app.key, about.as_bytes())?));
    answer["expiresOn"] =
        json!(state.devices[&request.client_id].expires.map_or(0, |end| end.as_nanos() / 1_000_000));
    if !app.warnings.is_empty() {
        answer["warnings"] = json!(app.warnings);
    }
    Ok(Some(answer))
}

/// A root folder's key under the application's, damaged where that was asked for.
fn folder_key(shared: &Shared, folder: &FolderState, app_key: &Key) -> Result<String, Refusal> {
    let mut sealed = seal(shared, app_key, folder.key.expose())?;
    if folder.broken
        && let Some(last) = sealed.last_mut()
    {
        *last ^= 1;
    }
    Ok(to_base64(&sealed))
}

fn envelope(
    shared: &Shared,
    uid: &str,
    record: &RecordState,
    outer: &Key,
    editable: bool,
    links: bool,
) -> Result<Value, Refusal> {
    let files: Vec<Value> = record
        .files
        .iter()
        .map(|file| {
            let url = format!("https://{}/files/{uid}/{}", shared.host(), file.uid);
            json!({
                "fileUid": file.uid,
                "fileKey": to_base64(&file.link_key),
                "data": to_base64(&file.data),
                "url": file.has_url.then_some(url),
                "thumbnailUrl": null,
            })
        })
        .collect();
    let mut envelope = json!({
        "recordUid": uid,
        "recordKey": to_base64(&seal(shared, outer, record.key.expose())?),
        "data": to_base64(&record.data),
        "revision": record.revision,
        "isEditable": editable,
        "files": files,
    });
    if links {
        let links: Vec<Value> = record
            .links
            .iter()
            .filter_map(|link| serde_json::from_slice(link.write(crate::json::Style::Compact).expose()).ok())
            .collect();
        envelope["links"] = json!(links);
    }
    Ok(envelope)
}

fn get_folders(shared: &Shared, state: &State, request: &Opened) -> Answer {
    let app = &state.apps[request.app];
    let roots: Vec<&String> = app
        .shares
        .iter()
        .filter_map(|share| match &share.what {
            What::Folder(uid) => Some(uid),
            What::Record(_) => None,
        })
        .collect();
    let mut folders: Vec<_> = state
        .folders
        .iter()
        .filter_map(|(uid, folder)| {
            let root = roots.iter().find(|root| state.root_of(uid).as_ref() == Some(**root))?;
            Some((uid, folder, state.folders.get(*root)?))
        })
        .collect();
    folders.sort_by_key(|(_, folder, _)| folder.made);
    let folders = folders
        .into_iter()
        .map(|(uid, folder, root)| {
            let key = if folder.parent.is_none() {
                folder_key(shared, folder, &app.key)?
            } else {
                let sealed = root.key.seal_cbc(folder.key.expose(), &*shared.entropy);
                to_base64(&sealed.map_err(|_| Refusal::new(500, "internal", "cannot seal"))?)
            };
            Ok(json!({
                "folderUid": uid,
                "folderKey": key,
                "parent": folder.parent.clone().unwrap_or_default(),
                "data": to_base64(&folder.data),
            }))
        })
        .collect::<Result<Vec<_>, Refusal>>()?;
    Ok(Some(json!({ "folders": folders })))
}

/// Sealed content that must be a JSON object under this key.
fn checked(key: &Key, data: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    let plain = key.open(&data).map_err(|_| Refusal::bad("data does not open under its key"))?;
    let json = std::str::from_utf8(&plain).ok().and_then(|text| Json::parse(text).ok());
    json.filter(|json| json.as_object().is_some()).ok_or(Refusal::bad("data is no JSON object"))?;
    Ok(data)
}

fn editable<'s>(state: &'s mut State, request: &Opened, uid: &str) -> Result<&'s mut RecordState, Refusal> {
    let app = &state.apps[request.app];
    match state.may_edit(app, uid) {
        Some(true) => state.records.get_mut(uid).ok_or_else(NO_ACCESS),
        Some(false) => Err(Refusal::new(403, "access_denied", "the record may only be read")),
        None => Err(NO_ACCESS()),
    }
}

fn expect_revision(record: &RecordState, claimed: &Value) -> Result<(), Refusal> {
    if claimed.as_i64() == Some(record.revision) {
        Ok(())
    } else {
        Err(Refusal::new(409, "out_of_sync", "the record has changed since it was read"))
    }
}

fn new_uid_of<'r>(state: &State, request: &'r Opened, name: &str) -> Result<&'r str, Refusal> {
    let uid = request.needed(name)?;
    if !is_uid(uid) || state.records.contains_key(uid) || state.folders.contains_key(uid) {
        return Err(Refusal::bad("not a new UID"));
    }
    Ok(uid)
}

/// A key that was sealed for the owner, who must find the same one there as the vault does.
fn owners_key(app: &App, sealed: &[u8], key: &Key) -> Result<(), Refusal> {
    let same = app.owner.open(sealed).is_ok_and(|opened| opened.as_slice() == key.expose());
    if same { Ok(()) } else { Err(Refusal::bad("the owner's copy of the key is another key")) }
}

fn create_secret(state: &mut State, request: &Opened) -> Answer {
    let app = &state.apps[request.app];
    let uid = new_uid_of(state, request, "recordUid")?.to_owned();
    let root = request.needed("folderUid")?;
    let folder = request.text("subFolderUid").unwrap_or(root);
    let is_root = app.shares.iter().any(|s| s.what == What::Folder(root.to_owned()));
    if !is_root || state.root_of(folder).as_deref() != Some(root) || !state.may_change_folder(app, folder) {
        return Err(NO_ACCESS());
    }
    let key = state.folders[root]
        .key
        .open_key(&request.bytes("folderKey")?)
        .map_err(|_| Refusal::bad("the record's key does not open under the folder's"))?;
    owners_key(app, &request.bytes("recordKey")?, &key)?;
    let record = RecordState {
        data: checked(&key, request.bytes("data")?)?,
        key,
        revision: 1,
        folders: vec![folder.to_owned()],
        files: Vec::new(),
        links: Vec::new(),
        before_rotation: None,
        made: state.next_made(),
    };
    state.records.insert(uid, record);
    Ok(None)
}

fn update_secret(state: &mut State, request: &Opened) -> Answer {
    let uid = request.needed("recordUid")?;
    let removed = request.texts("links2Remove").unwrap_or_default();
    let rotation = match request.text("transactionType") {
        None | Some("general") => false,
        Some("rotation") => true,
        Some(_) => return Err(Refusal::bad("an unknown transaction type")),
    };
    let record = editable(state, request, uid)?;
    expect_revision(record, &request.payload["revision"])?;
    let data = checked(&record.key, request.bytes("data")?)?;
    let old = std::mem::replace(&mut record.data, data);
    if rotation {
        record.before_rotation.get_or_insert(old);
    }
    record.files.retain(|file| !removed.contains(&file.uid.as_str()));
    record.revision += 1;
    Ok(None)
}

fn settle(state: &mut State, request: &Opened, keep: bool) -> Answer {
    let record = editable(state, request, request.needed("recordUid")?)?;
    let old = record.before_rotation.take().ok_or(Refusal::bad("no rotation is under way"))?;
    if !keep {
        record.data = old;
        record.revision += 1;
    }
    Ok(None)
}

fn delete_secret(state: &mut State, request: &Opened) -> Answer {
    let uids = request.texts("recordUids").ok_or(Refusal::bad("a key of the payload is missing"))?;
    let results: Vec<Value> = uids
        .into_iter()
        .map(|uid| match state.may_edit(&state.apps[request.app], uid) {
            Some(true) => {
                state.records.remove(uid);
                json!({"recordUid": uid, "responseCode": "ok", "errorMessage": ""})
            }
            Some(false) => {
                json!({"recordUid": uid, "responseCode": "access_denied", "errorMessage": "read only"})
            }
            None => {
                json!({"recordUid": uid, "responseCode": "doesnt_exist", "errorMessage": "no such record"})
            }
        })
        .collect();
    Ok(Some(json!({ "records": results })))
}

/// A folder's description, which must have a name under this key.
fn checked_name(key: &Key, data: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    let plain =
        key.open_cbc(&data).map_err(|_| Refusal::bad("the name does not open under the folder's key"))?;
    let json = std::str::from_utf8(&plain).ok().and_then(|text| Json::parse(text).ok());
    json.filter(|json| json.get("name").is_some()).ok_or(Refusal::bad("no name"))?;
    Ok(data)
}

fn create_folder(state: &mut State, request: &Opened) -> Answer {
    let app = &state.apps[request.app];
    let uid = new_uid_of(state, request, "folderUid")?.to_owned();
    let root = request.needed("sharedFolderUid")?;
    let parent = request.text("parentUid").unwrap_or(root);
    if state.root_of(parent).as_deref() != Some(root) || !state.may_change_folder(app, parent) {
        return Err(NO_ACCESS());
    }
    let key = state.folders[root]
        .key
        .open_cbc(&request.bytes("sharedFolderKey")?)
        .and_then(|key| Key::from_bytes(&key))
        .map_err(|_| Refusal::bad("the folder's key does not open under the shared folder's"))?;
    let data = checked_name(&key, request.bytes("data")?)?;
    let made = state.next_made();
    let folder = FolderState { parent: Some(parent.to_owned()), key, data, broken: false, made };
    state.folders.insert(uid, folder);
    Ok(None)
}

fn update_folder(state: &mut State, request: &Opened) -> Answer {
    let uid = request.needed("folderUid")?;
    if !state.may_change_folder(&state.apps[request.app], uid) {
        return Err(NO_ACCESS());
    }
    let data = request.bytes("data")?;
    let folder = state.folders.get_mut(uid).ok_or_else(NO_ACCESS)?;
    folder.data = checked_name(&folder.key, data)?;
    Ok(None)
}

fn delete_folder(state: &mut State, request: &Opened) -> Answer {
    let force = request.payload["forceDeletion"].as_bool().unwrap_or(false);
    let uids = request.texts("folderUids").ok_or(Refusal::bad("a key of the payload is missing"))?;
    let mut results = Vec::new();
    for uid in uids {
        // One that is unknown, or went with another one, is passed over (the SDK's documentation).
        if !state.folders.contains_key(uid) {
            continue;
        }
        let within = |state: &State, folder: &str| {
            let mut next = Some(folder.to_owned());
            while let Some(one) = next {
                if one == uid {
                    return true;
                }
                next = state.folders.get(&one).and_then(|folder| folder.parent.clone());
            }
            false
        };
        let inside: Vec<String> = state.folders.keys().filter(|f| within(state, f)).cloned().collect();
        let empty = inside.len() == 1 && !state.records.values().any(|r| r.folders.iter().any(|f| f == uid));
        let (code, message) = if !state.may_change_folder(&state.apps[request.app], uid) {
            ("access_denied", "no access to this folder")
        } else if !empty && !force {
            ("folder_not_empty", "the folder is not empty")
        } else {
            for record in state.records.values_mut() {
                record.folders.retain(|folder| !inside.contains(folder));
            }
            state.folders.retain(|folder, _| !inside.contains(folder));
            ("ok", "")
        };
        results.push(json!({"folderUid": uid, "responseCode": code, "errorMessage": message}));
    }
    Ok(Some(json!({ "folders": results })))
}

fn add_file(shared: &Shared, state: &mut State, request: &Opened) -> Answer {
    let uid = new_uid_of(state, request, "fileRecordUid")?.to_owned();
    let owner = request.needed("ownerRecordUid")?.to_owned();
    let size = request.payload["fileSize"].as_u64().and_then(|size| usize::try_from(size).ok());
    let size = size.ok_or(Refusal::bad("no file size"))?;
    let link_key = request.bytes("linkKey")?;
    let record = editable(state, request, &owner)?;
    expect_revision(record, &request.payload["ownerRecordRevision"])?;
    let data = checked(&record.key, request.bytes("ownerRecordData")?)?;
    let key = record.key.open_key(&link_key).map_err(|_| Refusal::bad("the file's key does not open"))?;
    let meta = checked(&key, request.bytes("fileRecordData")?)?;
    record.data = data;
    record.revision += 1;
    record.files.push(FileState { uid: uid.clone(), link_key, data: meta, content: None, has_url: false });
    owners_key(&state.apps[request.app], &request.bytes("fileRecordKey")?, &key)?;
    let policy = new_uid(&*shared.entropy);
    let parameters = json!({"key": uid, "policy": policy, "x-amz-algorithm": "AWS4-HMAC-SHA256"});
    let url = format!("https://{}/upload/{uid}", shared.host());
    state.uploads.insert(uid, PendingUpload { record: owner, policy, size });
    Ok(Some(json!({"url": url, "parameters": parameters.to_string(), "successStatusCode": 201})))
}
