//! The parts of an audit entry, as one device writes them.

use std::collections::BTreeMap;

use serde_json::Value;
use store::records::Token;

use super::{
    Salted,
    conceal::{Numbers, Veil, Which, conceal},
    trail::{Asker, Mounted},
};
use crate::app::{
    Content, Envelope, Fields, Operation, Reply, Request,
    auth::Caller,
    json::{self, Json, Object},
    policy::ROOT,
    request::Body,
};

/// Vault's word for the namespace there is.
const NAMESPACE: &str = "root";

/// Who asks, and what decided about it.
pub(super) fn auth(salted: &Salted, request: &Request, asker: &Asker<'_>) -> Option<Json> {
    let caller = asker.caller?;
    let token = &caller.token.record;
    Some(json::object_with_room(768, |o| {
        put_token(o, salted, request, token);
        o.put_object("policy_results", |o| {
            o.put("allowed", &asker.granted.is_some());
            let names: Vec<&str> = match asker.granted {
                Some([]) => vec![ROOT],
                Some(names) => names.iter().map(|name| &**name).collect(),
                None => Vec::new(),
            };
            if !names.is_empty() {
                let granting: Vec<Json> = names.iter().map(|name| granting(name)).collect();
                o.put_json("granting_policies", &json::array(&granting));
            }
        });
        put_policies(o, caller);
        if let Some(meta) = token.meta.as_ref().filter(|meta| !meta.is_empty()) {
            o.put("metadata", meta);
        }
        if token.num_uses > 0 {
            o.put("remaining_uses", &token.num_uses);
        }
        o.put_plain("token_issue_time", token.created);
        if token.creation_ttl > 0 {
            o.put("token_ttl", &token.creation_ttl);
        }
        o.put("token_type", if token.batch { "batch" } else { "service" });
    }))
}

fn put_token(o: &mut Object<'_>, salted: &Salted, request: &Request, token: &Token) {
    if !token.accessor.is_empty() {
        o.put("accessor", &accessor(salted, &token.accessor));
    }
    if let Some(text) = &request.token {
        // EXPOSE: into a keyed hash.
        o.put("client_token", &salted.salt.hash(text.expose()));
    }
    if !token.display_name.is_empty() {
        o.put("display_name", &token.display_name);
    }
    if let Some(entity) = &token.entity {
        o.put("entity_id", entity);
    }
}

fn put_policies(o: &mut Object<'_>, caller: &Caller) {
    let own = &caller.token.record.policies;
    match caller.entity.as_ref().map(|entity| &entity.value.policies).filter(|more| !more.is_empty()) {
        None => {
            o.put("policies", own);
        }
        Some(more) => {
            let mut all: Vec<&String> = own.iter().chain(more).collect();
            all.sort();
            all.dedup();
            o.put("policies", &all).put("identity_policies", more);
        }
    }
    o.put("token_policies", own);
}

fn granting(name: &str) -> Json {
    json::object(|o| {
        o.put("name", name).put("namespace_id", NAMESPACE).put("type", "acl");
    })
}

fn accessor(salted: &Salted, accessor: &str) -> String {
    if salted.device.hmac_accessor { salted.salt.hash(accessor.as_bytes()) } else { accessor.to_owned() }
}

/// What is asked.
pub(super) fn request(salted: &Salted, request: &Request, asker: &Asker<'_>, mounted: &Mounted) -> Json {
    json::object_with_room(1024, |o| {
        o.put("id", &request.id);
        if let Some(entity) = asker.caller.and_then(|caller| caller.token.record.entity.as_ref()) {
            o.put("client_id", entity);
        }
        o.put("operation", asker.operation);
        put_mount(o, mounted);
        if let Some(text) = &request.token {
            // EXPOSE: into a keyed hash.
            o.put("client_token", &salted.salt.hash(text.expose()));
        }
        let known = asker.caller.map(|caller| &caller.token.record.accessor);
        if let Some(known) = known.filter(|known| !known.is_empty()) {
            o.put("client_token_accessor", &accessor(salted, known));
        }
        o.put_object("namespace", |o| {
            o.put("id", NAMESPACE);
        });
        o.put("path", &request.path);
        if let Some(data) = request_data(salted, request, mounted) {
            o.put_json("data", &data);
        }
        if let Some(remote) = request.remote {
            o.put_plain("remote_address", remote.ip().to_canonical());
            o.put("remote_port", &remote.port());
        }
        let headers: BTreeMap<&str, [&str; 1]> = request
            .headers
            .iter()
            .filter(|(name, _)| salted.device.headers.contains(name))
            .map(|(name, value)| (name.as_str(), [value.as_str()]))
            .collect();
        if !headers.is_empty() {
            o.put("headers", &headers);
        }
        if let Some(ttl) = request.wrap_ttl {
            o.put("wrap_ttl", &ttl);
        }
    })
}

fn put_mount(o: &mut Object<'_>, mounted: &Mounted) {
    if mounted.path.is_empty() {
        return;
    }
    o.put("mount_point", &mounted.path).put("mount_type", &mounted.kind);
    if !mounted.accessor.is_empty() {
        o.put("mount_accessor", &mounted.accessor);
    }
    o.put("mount_running_version", concat!("v", env!("CARGO_PKG_VERSION"), "+builtin"))
        .put("mount_class", mounted.class);
}

/// The parameters, hashed. What cannot be read is not shown; it is refused anyway.
fn request_data(salted: &Salted, request: &Request, mounted: &Mounted) -> Option<Json> {
    let veil = Veil { which: Which::AllBut(&mounted.clear_in_requests), numbers: mounted.secret_numbers };
    let writes = matches!(request.operation, Operation::Write | Operation::Patch);
    let concealed = match &request.body {
        Body::Json(text) if writes => conceal(text, &veil, &salted.salt),
        // A snapshot is not told of by its contents.
        Body::File(_) => None,
        Body::Empty if writes || request.query.is_empty() => None,
        _ => {
            let members = Fields::of(request).ok()?.into_inner();
            // EXPOSE: to hash them.
            conceal(members.canonical().expose(), &veil, &salted.salt)
        }
    };
    concealed.map(Json::from)
}

/// What is answered.
pub(super) fn response(salted: &Salted, request: &Request, reply: &Reply, mounted: &Mounted) -> Json {
    json::object_with_room(512, |o| {
        put_mount(o, mounted);
        match &reply.content {
            Content::Envelope(envelope) => put_envelope(o, salted, request, envelope, mounted),
            // What was wrapped is an envelope itself.
            Content::Bare(text) if request.path == "sys/wrapping/unwrap" => {
                put_unwrapped(o, salted, request, text);
            }
            Content::Bare(text) => {
                if let Some(data) = conceal(text, &veiled(&[], Numbers::Clear), &salted.salt) {
                    o.put_json("data", &data);
                }
            }
            Content::Snapshot(_) | Content::Text(..) | Content::None => {}
        }
    })
}

fn veiled(clear: &[String], numbers: Numbers) -> Veil<'_> {
    Veil { which: Which::AllBut(clear), numbers }
}

fn put_envelope(
    o: &mut Object<'_>,
    salted: &Salted,
    request: &Request,
    envelope: &Envelope,
    mounted: &Mounted,
) {
    if let Some(auth) = envelope.auth.as_deref().and_then(|auth| issued(salted, auth)) {
        o.put_json("auth", &auth);
    }
    if let Some(data) = &envelope.data {
        let veil = veiled(&mounted.clear_in_responses, mounted.secret_numbers);
        put_data(o, salted, request, data, &veil);
    }
    if !envelope.warnings.is_empty() {
        o.put("warnings", &envelope.warnings);
    }
    if let Some(wrap) = envelope.wrap_info.as_deref().and_then(|info| wrapping(salted, info)) {
        o.put_json("wrap_info", &wrap);
    }
}

fn put_data(o: &mut Object<'_>, salted: &Salted, request: &Request, data: &[u8], veil: &Veil<'_>) {
    let lists = matches!(request.operation, Operation::List | Operation::Scan);
    let elided = (lists && salted.device.elide_lists).then(|| elided(data)).flatten();
    if let Some(data) = conceal(elided.as_deref().map_or(data, Vec::as_slice), veil, &salted.salt) {
        o.put_json("data", &data);
    }
}

/// A list with lengths in place of what is listed.
fn elided(data: &[u8]) -> Option<Json> {
    let mut members: serde_json::Map<String, Value> = serde_json::from_slice(data).ok()?;
    for (name, value) in &mut members {
        let length = match (name.as_str(), &*value) {
            ("keys", Value::Array(items)) => items.len(),
            ("key_info", Value::Object(infos)) => infos.len(),
            _ => continue,
        };
        *value = length.into();
    }
    Some(json::text(&members))
}

/// A token that was given out: itself and its accessor hashed, the rest in clear.
pub(super) fn issued(salted: &Salted, auth: &[u8]) -> Option<Json> {
    let hashed: &[&str] =
        if salted.device.hmac_accessor { &["client_token", "accessor"] } else { &["client_token"] };
    let veil = Veil { which: Which::Only(hashed), numbers: Numbers::Clear };
    let concealed = conceal(auth, &veil, &salted.salt)?;
    let told: Value = serde_json::from_slice(&concealed).ok()?;
    Some(json::object_with_room(512, |o| {
        o.put_members_of(&concealed);
        if let Some(ttl) = told.get("lease_duration").filter(|ttl| ttl.as_u64() != Some(0)) {
            o.put("token_ttl", ttl);
        }
    }))
}

fn wrapping(salted: &Salted, info: &[u8]) -> Option<Vec<u8>> {
    let hashed: &[&str] =
        if salted.device.hmac_accessor { &["token", "accessor", "wrapped_accessor"] } else { &["token"] };
    conceal(info, &Veil { which: Which::Only(hashed), numbers: Numbers::Clear }, &salted.salt)
}

fn put_unwrapped(o: &mut Object<'_>, salted: &Salted, request: &Request, text: &[u8]) {
    // EXPOSE: taken apart to be hashed; the copies wipe themselves.
    let Ok(envelope) = model::json::SecretJson::parse(text) else { return };
    let part = |name: &str| {
        let part = envelope.expose().get(name).filter(|part| !part.is_null())?;
        Some(json::text(part))
    };
    if let Some(auth) = part("auth").and_then(|auth| issued(salted, &auth)) {
        o.put_json("auth", &auth);
    }
    if let Some(data) = part("data") {
        // Whatever was wrapped: its numbers may be secrets.
        put_data(o, salted, request, &data, &veiled(&[], Numbers::Hashed));
    }
    if let Some(wrap) = part("wrap_info").and_then(|info| wrapping(salted, &info)) {
        o.put_json("wrap_info", &wrap);
    }
}
