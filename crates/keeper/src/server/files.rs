//! The storage that files are put into and taken from.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{HeaderMap, Response};

use super::{http::plain, state::State};

/// `/files/RECORD/FILE`: the sealed content.
pub(super) fn download(state: &State, path: &str) -> Response<Full<Bytes>> {
    let content =
        path.strip_prefix("/files/").and_then(|rest| rest.split_once('/')).and_then(|(record, file)| {
            let record = state.records.get(record)?;
            record.files.iter().find(|f| f.uid == file)?.content.clone()
        });
    content.map_or_else(|| plain(404, "no such file"), |content| plain(200, content))
}

/// `/upload/FILE`: a form whose fields are those that were told, and then the file.
pub(super) fn upload(
    state: &mut State,
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Response<Full<Bytes>> {
    let uid = path.strip_prefix("/upload/").unwrap_or_default();
    let Some(pending) = state.uploads.get(uid) else { return plain(404, "no such upload") };
    let boundary = headers
        .get("content-type")
        .and_then(|value| value.to_str().ok()?.strip_prefix("multipart/form-data; boundary="));
    let Some(parts) = boundary.and_then(|boundary| parts(body, boundary.trim_matches('"'))) else {
        return plain(400, "not a form");
    };
    let field = |name: &str| parts.iter().find(|part| part.name == name).map(|part| part.content);
    // As object storage does: what comes after the file does not count, so it must be the last.
    if parts.last().is_none_or(|part| part.name != "file")
        || field("policy") != Some(pending.policy.as_bytes())
    {
        return plain(403, "the form does not fit the policy");
    }
    let content = field("file").unwrap_or_default();
    if content.len() != pending.size {
        return plain(400, "the file has another size than announced");
    }
    let (record, content) = (pending.record.clone(), content.to_vec());
    state.uploads.remove(uid);
    let file = state.records.get_mut(&record).and_then(|r| r.files.iter_mut().find(|f| f.uid == uid));
    match file {
        Some(file) => {
            file.content = Some(content);
            file.has_url = true;
            plain(201, "")
        }
        None => plain(404, "the record is gone"),
    }
}

struct Part<'a> {
    name: String,
    content: &'a [u8],
}

/// The parts of a `multipart/form-data` body (RFC 7578).
fn parts<'a>(body: &'a [u8], boundary: &str) -> Option<Vec<Part<'a>>> {
    let delimiter = format!("--{boundary}");
    let between = format!("\r\n{delimiter}");
    let mut rest = body.strip_prefix(delimiter.as_bytes())?;
    let mut parts = Vec::new();
    while let Some(part) = rest.strip_prefix(b"\r\n") {
        let head_end = find(part, b"\r\n\r\n")?;
        let head = std::str::from_utf8(&part[..head_end]).ok()?;
        let disposition =
            head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
        let name = disposition.split("name=\"").nth(1)?.split('"').next()?.to_owned();
        let content = &part[head_end + 4..];
        let end = find(content, between.as_bytes())?;
        parts.push(Part { name, content: &content[..end] });
        rest = &content[end + between.len()..];
    }
    rest.starts_with(b"--").then_some(parts)
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}
