//! `sys/tools`: random bytes, and digests of what is sent (kv-v2-api.md 6.1: the policy `default` gives the digests).

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use model::SecretBytes;
use zeroize::Zeroizing;

use super::{App, AppError, Fields, Operation, Reply, Request};

const MOUNT_TYPE: &str = "system";
/// Bytes that one call may ask for.
const MOST_RANDOM: i64 = 128 << 10;

/// OpenBao's words for a parameter of the body that the path has too.
const REPLACED: &str = "Endpoint replaced the value of these parameters with the values captured from the endpoint's path: \
                        [source]";

/// `sys/tools/<rest>`.
pub(super) fn handle(app: &App, request: &Request, rest: &str) -> Result<Reply, AppError> {
    let parts: Vec<_> = rest.split('/').collect();
    let write = request.operation == Operation::Write;
    match parts.as_slice() {
        ["hash"] if write => hash(request, None),
        ["hash", algorithm] if write => hash(request, Some(algorithm)),
        ["random"] if write => random(app, request, None, None),
        // One segment is a source or a number of bytes.
        ["random", word @ ("platform" | "seal" | "all")] if write => random(app, request, Some(word), None),
        ["random", bytes] if write => random(app, request, None, Some(bytes)),
        ["random", source, bytes] if write => random(app, request, Some(source), Some(bytes)),
        ["hash" | "random"] | ["hash" | "random", _] | ["random", _, _] => {
            Err(AppError::UnsupportedOperation)
        }
        _ => Err(AppError::unsupported_path()),
    }
}

/// The algorithm in the path goes before the one in the body.
fn hash(request: &Request, algorithm: Option<&str>) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    let named = fields.text("algorithm")?.filter(|name| !name.is_empty());
    let algorithm = match algorithm.or(named.as_deref()).unwrap_or("sha2-256") {
        "sha2-224" => &digest::SHA224,
        "sha2-256" => &digest::SHA256,
        "sha2-384" => &digest::SHA384,
        "sha2-512" => &digest::SHA512,
        "sha3-256" => &digest::SHA3_256,
        "sha3-384" => &digest::SHA3_384,
        "sha3-512" => &digest::SHA3_512,
        _ => {
            return Err(AppError::invalid(
                "unsupported algorithm: expected sha2-224, sha2-256, sha2-384, sha2-512, sha3-256, sha3-384 or \
                 sha3-512",
            ));
        }
    };
    let format = Format::of(&mut fields, Format::Hex)?;
    let input = fields.secret("input")?.unwrap_or_else(|| SecretBytes::from(String::new()));
    // EXPOSE: into its digest, which whoever sent it gets.
    let input = STANDARD.decode(input.expose());
    let input = input.map_err(|_| AppError::invalid("unable to decode input as base64"))?;
    let sum = digest::digest(algorithm, &Zeroizing::new(input));
    let reply = Reply::object(MOUNT_TYPE, |o| {
        o.put("sum", &format.text(sum.as_ref()));
    });
    Ok(reply.warn_of_unknown(fields.unknown()))
}

fn random(
    app: &App,
    request: &Request,
    source: Option<&str>,
    bytes: Option<&str>,
) -> Result<Reply, AppError> {
    let mut fields = Fields::of(request)?;
    let count = match bytes {
        Some(text) => text.parse().map_err(|_| AppError::invalid("error parsing url-set byte count"))?,
        None => fields.integer("bytes")?.unwrap_or(32),
    };
    fields.known(&["bytes"]);
    // The source is in the path; one in the body is passed over, and that is said.
    let passed_over = fields.get("source").is_some();
    if count < 1 {
        return Err(AppError::invalid("'bytes' cannot be less than 1"));
    }
    let count = usize::try_from(count).ok().filter(|_| count <= MOST_RANDOM);
    let count =
        count.ok_or_else(|| AppError::invalid(format!("'bytes' should be less than {MOST_RANDOM}")))?;
    let format = Format::of(&mut fields, Format::Base64)?;
    let sealed_source = match source {
        None | Some("platform" | "all") => false,
        Some("seal") => true,
        Some(_) => {
            let text = "unsupported entropy source; must be \"platform\" or \"seal\", or \"all\"";
            return Err(AppError::invalid(text));
        }
    };
    let mut bytes = Zeroizing::new(vec![0; count]);
    app.entropy.fill(&mut bytes);
    let text = Zeroizing::new(format.text(&bytes));
    let reply = Reply::object(MOUNT_TYPE, |o| {
        o.put("random_bytes", text.as_str());
    });
    let reply = if sealed_source {
        reply.warn("no seal/entropy augmentation available, using platform entropy source")
    } else {
        reply
    };
    let reply = if passed_over { reply.warn(REPLACED) } else { reply };
    Ok(reply.warn_of_unknown(fields.unknown()))
}

#[derive(Clone, Copy)]
enum Format {
    Hex,
    Base64,
}

impl Format {
    fn of(fields: &mut Fields, otherwise: Self) -> Result<Self, AppError> {
        match fields.text("format")?.as_deref() {
            None | Some("") => Ok(otherwise),
            Some("hex") => Ok(Self::Hex),
            Some("base64") => Ok(Self::Base64),
            Some(_) => Err(AppError::invalid("unsupported encoding format; must be \"hex\" or \"base64\"")),
        }
    }

    fn text(self, bytes: &[u8]) -> String {
        match self {
            Self::Hex => hex::encode(bytes),
            Self::Base64 => STANDARD.encode(bytes),
        }
    }
}
