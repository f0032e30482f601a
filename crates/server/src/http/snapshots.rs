//! Bodies too large to gather in memory: snapshots on their way out and in.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::{Body as HttpBody, Frame};
use store::snapshot::Writer;
use tokio::{io::AsyncWriteExt as _, sync::mpsc};

use super::respond::Refusal;

/// What an answer's body is: whole, or on its way.
pub type Outgoing = Either<Full<Bytes>, Pieces>;

/// A body that is made while it is sent.
pub struct Pieces(mpsc::Receiver<io::Result<Bytes>>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

/// A snapshot as an answer. Should it fail half-way, the connection is cut, so that nobody takes what came
/// for all of it.
pub(super) fn saved(mut writer: Box<Writer>) -> Response<Outgoing> {
    let (pieces, body) = mpsc::channel(4);
    tokio::spawn(async move {
        loop {
            let piece = match writer.piece().await {
                Ok(Some(piece)) => Ok(Bytes::from(piece)),
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "a snapshot could not be finished");
                    Err(io::Error::other("the snapshot could not be finished"))
                }
            };
            let failed = piece.is_err();
            // A client that has gone away needs no more of it.
            if pieces.send(piece).await.is_err() || failed {
                return;
            }
        }
    });
    let mut response = Response::new(Either::Right(Pieces(body)));
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/gzip"));
    response
}

/// Takes a body into a file that has no name and is gone with its last handle.
pub(super) async fn take<B>(
    body: B,
    directory: Option<&Path>,
    id: &str,
    longest_pause: Duration,
) -> Result<File, Refusal>
where
    B: HttpBody<Data = Bytes>,
{
    let directory = directory.ok_or_else(|| {
        Refusal::new(
            StatusCode::NOT_IMPLEMENTED,
            "this server has no place to keep a snapshot while it is checked",
        )
    })?;
    let failed = |error: io::Error| {
        tracing::error!(%error, directory = %directory.display(), "a snapshot could not be taken in");
        Refusal::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "the snapshot could not be taken in: the server's disk does not take it; nothing was changed",
        )
    };
    let path = directory.join(format!(".restore-{id}.part"));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(&path).map_err(failed)?;
    std::fs::remove_file(&path).map_err(failed)?;
    let mut file = tokio::fs::File::from_std(file);
    let mut body = std::pin::pin!(body);
    loop {
        let frame = tokio::time::timeout(longest_pause, body.frame()).await.map_err(|_| {
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "no more of the snapshot came; nothing was changed")
        })?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|_| {
            Refusal::new(StatusCode::BAD_REQUEST, "error reading the request body; nothing was changed")
        })?;
        if let Some(data) = frame.data_ref() {
            file.write_all(data).await.map_err(failed)?;
        }
    }
    file.flush().await.map_err(failed)?;
    Ok(file.into_std().await)
}
