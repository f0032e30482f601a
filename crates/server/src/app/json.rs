//! JSON text written straight into one wiped buffer: no tree of values is built on the way out.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use serde::Serialize;
use zeroize::Zeroize;

/// JSON text. Wiped on drop, because some of it is secret; `Debug` tells its length only.
#[derive(Default)]
pub struct Json(Vec<u8>);

impl From<Vec<u8>> for Json {
    fn from(text: Vec<u8>) -> Self {
        Self(text)
    }
}

impl Drop for Json {
    fn drop(&mut self) {
        // As a slice: `Vec::zeroize` goes byte by byte with a fence each, which would be a good part
        // of what answering a read costs. Nothing was ever written beyond the length.
        self.0.as_mut_slice().zeroize();
    }
}

impl Deref for Json {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Json {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

impl AsRef<[u8]> for Json {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Json({} bytes)", self.0.len())
    }
}

/// The text of an object whose members `fill` writes.
pub fn object(fill: impl FnOnce(&mut Object<'_>)) -> Json {
    object_with_room(256, fill)
}

/// Like [`object`], with room for `bytes` from the start: a buffer that must grow leaves a copy of
/// what it held behind, so a secret's length is to be counted in.
pub fn object_with_room(bytes: usize, fill: impl FnOnce(&mut Object<'_>)) -> Json {
    let mut json = Json(Vec::with_capacity(bytes));
    write_object(&mut json, fill);
    json
}

/// The text of any value that serialises.
pub fn text<T: Serialize + ?Sized>(value: &T) -> Json {
    let mut json = Json(Vec::with_capacity(256));
    write_value(&mut json, value);
    json
}

/// The text of an array of texts.
pub fn array(items: &[Json]) -> Json {
    let mut json = Json(Vec::with_capacity(2 + items.iter().map(|item| item.len() + 1).sum::<usize>()));
    json.push(b'[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            json.push(b',');
        }
        json.extend_from_slice(item);
    }
    json.push(b']');
    json
}

/// Writes the members of one object. Names are written in the order given.
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl Object<'_> {
    /// A member that serialises: text, number, boolean, list, map, `None` as null.
    pub fn put<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> &mut Self {
        self.name(name);
        write_value(self.out, value);
        self
    }

    /// A member that is JSON text already.
    pub fn put_json(&mut self, name: &str, json: &[u8]) -> &mut Self {
        self.name(name);
        self.out.extend_from_slice(json);
        self
    }

    /// A member printed by its `Display`, quoted. For ids and times, which need no escaping.
    pub fn put_plain(&mut self, name: &str, value: impl std::fmt::Display) -> &mut Self {
        use std::io::Write as _;
        self.name(name);
        self.out.push(b'"');
        // Writing to a vector cannot fail.
        let _ = write!(self.out, "{value}");
        self.out.push(b'"');
        self
    }

    /// A member that is an object.
    pub fn put_object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) -> &mut Self {
        self.name(name);
        write_object(self.out, fill);
        self
    }

    /// The members of another object's text.
    pub fn put_members_of(&mut self, object: &[u8]) -> &mut Self {
        if let Some(members) = object.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"))
            && !members.is_empty()
        {
            self.comma();
            self.out.extend_from_slice(members);
        }
        self
    }

    fn comma(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
    }

    fn name(&mut self, name: &str) {
        self.comma();
        write_value(self.out, name);
        self.out.push(b':');
    }
}

fn write_object(out: &mut Vec<u8>, fill: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    fill(&mut Object { out, first: true });
    out.push(b'}');
}

fn write_value<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    let start = out.len();
    // Our values have text keys and no failing serialisers; were one to fail, null keeps the text
    // well formed.
    if serde_json::to_writer(&mut *out, value).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"null");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_separated_nested_and_spliced() {
        let inner = object(|o| {
            o.put("a", &1);
        });
        let json = object(|o| {
            o.put("t", "x\"\n").put_json("raw", b"[1,2]").put_plain("id", 7).put("none", &None::<u8>);
            o.put_object("empty", |_| {}).put_members_of(&inner).put_members_of(b"{}").put("z", &true);
        });
        assert_eq!(
            std::str::from_utf8(&json).unwrap(),
            r#"{"t":"x\"\n","raw":[1,2],"id":"7","none":null,"empty":{},"a":1,"z":true}"#
        );
    }
}
