use serde::Serialize;

use super::json::{self, Json, Object};

/// What a request came to, freed of HTTP.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status: 200, 204, 404, or what a health probe asked for.
    pub status: u16,
    /// What goes with it.
    pub content: Content,
}

/// An answer's body.
#[derive(Debug)]
pub enum Content {
    /// None at all.
    None,
    /// An object without the envelope, as `sys/health` and its like answer.
    Bare(Json),
    /// Vault's envelope.
    Envelope(Envelope),
    /// A snapshot, made while it is sent.
    Snapshot(Box<store::snapshot::Writer>),
    /// Text of this media type.
    Text(&'static str, String),
}

/// What Vault's envelope carries (kv-v2-api.md 2.3).
#[derive(Debug, Default)]
pub struct Envelope {
    /// `None` prints as null.
    pub data: Option<Json>,
    /// `None` prints as null.
    pub auth: Option<Json>,
    /// Empty prints as null.
    pub warnings: Vec<String>,
    /// The members of `data` are repeated at the top level, which old clients still read.
    pub injected: bool,
    /// The token under which the real answer is kept; `None` prints as null.
    pub wrap_info: Option<Json>,
    /// A lease's id, and whether it can be renewed.
    pub lease: Option<(String, bool)>,
    /// Seconds. KV v1 tells how long a value may be kept.
    pub lease_duration: u64,
    /// The type of the engine that answered: `kv`, `system`, `token`. Left empty it is told by the path.
    pub mount_type: &'static str,
}

impl Reply {
    /// 204.
    pub fn empty() -> Self {
        Self { status: 204, content: Content::None }
    }

    /// 200 with `data` in the envelope.
    pub fn data(mount_type: &'static str, data: Json) -> Self {
        Self::envelope(Envelope { data: Some(data), mount_type, ..Envelope::default() })
    }

    /// 200 with an object as `data`.
    pub fn object(mount_type: &'static str, fill: impl FnOnce(&mut Object<'_>)) -> Self {
        Self::data(mount_type, json::object(fill))
    }

    /// 200 with anything that serialises to an object as `data`.
    pub fn serialized<T: Serialize>(mount_type: &'static str, data: &T) -> Self {
        Self::data(mount_type, json::text(data))
    }

    /// 200 with an envelope.
    pub fn envelope(envelope: Envelope) -> Self {
        Self { status: 200, content: Content::Envelope(envelope) }
    }

    /// An object without the envelope.
    pub fn bare(status: u16, json: Json) -> Self {
        Self { status, content: Content::Bare(json) }
    }

    /// 404 without any body: what PATCH answers for a key that is not there.
    pub fn absent() -> Self {
        Self { status: 404, content: Content::None }
    }

    /// The same as a 404 that keeps its body: a deleted version still tells its metadata.
    #[must_use]
    pub fn not_found(mut self) -> Self {
        self.status = 404;
        self
    }

    /// With the members of `data` repeated at the top level.
    #[must_use]
    pub fn injected(mut self) -> Self {
        if let Content::Envelope(envelope) = &mut self.content {
            envelope.injected = true;
        }
        self
    }

    /// With a warning. An answer without a body becomes a 200 with an envelope to carry it.
    #[must_use]
    pub fn warn(mut self, warning: impl Into<String>) -> Self {
        if let Content::None = self.content {
            self.content = Content::Envelope(Envelope::default());
            if self.status == 204 {
                self.status = 200;
            }
        }
        if let Content::Envelope(envelope) = &mut self.content {
            envelope.warnings.push(warning.into());
        }
        self
    }

    /// Names the engine that answered, unless the answer does so itself.
    pub(super) fn of_engine(mut self, mount_type: &'static str) -> Self {
        if let Content::Envelope(envelope) = &mut self.content
            && envelope.mount_type.is_empty()
        {
            envelope.mount_type = mount_type;
        }
        self
    }

    /// Names the parameters that meant nothing, if any. Only answers with a body can carry it.
    #[must_use]
    pub fn warn_of_unknown(self, unknown: Option<String>) -> Self {
        match (unknown, &self.content) {
            (Some(warning), Content::Envelope(_)) => self.warn(warning),
            _ => self,
        }
    }
}

impl Envelope {
    /// The envelope's text.
    pub fn to_json(&self, request_id: &str) -> Json {
        let data = self.data.as_deref().map_or(&b"null"[..], Vec::as_slice);
        let room = 320 + data.len() * if self.injected { 2 } else { 1 };
        json::object_with_room(room, |o| {
            let (lease_id, renewable) = match &self.lease {
                Some((id, renewable)) => (id.as_str(), *renewable),
                None => ("", false),
            };
            // The kept answer has an id of its own, and the one that stands for it none, as in Vault.
            o.put("request_id", if self.wrap_info.is_some() { "" } else { request_id })
                .put("lease_id", lease_id)
                .put("renewable", &renewable)
                .put("lease_duration", &self.lease_duration)
                .put_json("data", data)
                .put_json("wrap_info", self.wrap_info.as_deref().map_or(&b"null"[..], Vec::as_slice))
                .put("warnings", &(!self.warnings.is_empty()).then_some(&self.warnings))
                .put_json("auth", self.auth.as_deref().map_or(&b"null"[..], Vec::as_slice))
                .put("mount_type", self.mount_type);
            if self.injected {
                o.put_members_of(data);
            }
        })
    }
}
