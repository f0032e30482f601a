//! What several people take part in, a share each: changing the shares (`sys/rekey`), making a new root token
//! (`sys/generate-root`); and the sharing that unsealing is, too.

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD},
};
use model::{Entropy, SecretBytes};
use store::{Guard, ShareKey};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use super::{
    super::{
        App, AppError, Envelope, Fields, Operation, Reply, Request,
        json::{self, Json},
        tokens,
    },
    Core, Unsealing,
    init::put_shares,
};

/// What is under way.
#[derive(Default)]
pub(super) struct Rites {
    rekeying: Option<Rekeying>,
    generating: Option<Generating>,
}

/// Shares collected for one purpose.
#[derive(Default)]
pub(super) struct Sharing {
    pub(super) given: Vec<SecretBytes>,
    /// Names this attempt; empty before the first share.
    pub(super) nonce: String,
}

/// What a share came to.
pub(super) enum Given {
    More,
    All(Vec<SecretBytes>),
}

impl Sharing {
    fn begun(entropy: &dyn Entropy) -> Self {
        Self { given: Vec::new(), nonce: model::uuid_v4(entropy) }
    }

    /// Takes a share; the same one twice counts once. With the last one needed all are handed out and it
    /// begins again.
    pub(super) fn give(&mut self, share: SecretBytes, threshold: u8, entropy: &dyn Entropy) -> Given {
        if self.nonce.is_empty() {
            self.nonce = model::uuid_v4(entropy);
        }
        // EXPOSE: compared in constant time.
        if !self.given.iter().any(|one| one.expose().ct_eq(share.expose()).into()) {
            self.given.push(share);
        }
        if self.given.len() < usize::from(threshold) {
            return Given::More;
        }
        self.nonce.clear();
        Given::All(std::mem::take(&mut self.given))
    }
}

/// New shares on their way.
struct Rekeying {
    shares: u8,
    threshold: u8,
    sharing: Sharing,
}

/// A new root token on its way.
struct Generating {
    /// What the token will be veiled with.
    otp: SecretBytes,
    sharing: Sharing,
}

/// A share as it is typed: hexadecimal digits or base64.
pub(super) fn share_of(text: &SecretBytes, shares: u8) -> Result<SecretBytes, AppError> {
    // EXPOSE: decoded into bytes that wipe themselves.
    let typed = text.expose().trim_ascii();
    let bytes = match hex::decode(typed) {
        Ok(bytes) => SecretBytes::new(bytes),
        Err(_) => SecretBytes::new(
            BASE64_STANDARD
                .decode(typed)
                .map_err(|_| AppError::invalid("'key' must be a valid hex or base64 string"))?,
        ),
    };
    if bytes.len() == ShareKey::share_len(shares) {
        Ok(bytes)
    } else {
        Err(AppError::invalid(format!(
            "'key' is not a share of this store's key: it has {} bytes, a share has {}",
            bytes.len(),
            ShareKey::share_len(shares)
        )))
    }
}

impl Core {
    /// `sys/rekey/*`, `sys/rekey-recovery-key/*` and `sys/generate-root/*`. The caller was found allowed.
    pub(super) async fn rite(&self, app: &App, request: &Request, path: &str) -> Result<Reply, AppError> {
        let recovery = matches!(self.unsealing, Unsealing::Auto(_));
        match path {
            "rekey/init" | "rekey/update" if recovery => Err(AppError::invalid(
                "this store is unsealed by a service; its recovery shares are changed by \
                 sys/rekey-recovery-key",
            )),
            "rekey-recovery-key/init" | "rekey-recovery-key/update" if !recovery => Err(AppError::invalid(
                "this store has no recovery shares; its shares are changed by sys/rekey",
            )),
            "rekey/init" | "rekey-recovery-key/init" => self.rekey_init(request).await,
            "rekey/update" | "rekey-recovery-key/update" => self.rekey_update(request).await,
            "generate-root/attempt" => Ok(Reply::bare(200, self.generate_attempt(request).await?)),
            "generate-root/update" => Ok(Reply::bare(200, self.generate_update(app, request).await?)),
            "generate-root-token/attempt" => Ok(enveloped(self.generate_attempt(request).await?)),
            "generate-root-token/update" => Ok(enveloped(self.generate_update(app, request).await?)),
            // Shares are told to those who hold them and to nobody else, so none are kept here.
            "rekey/backup" | "rekey/recovery-key-backup" => match request.operation {
                Operation::Read => Err(AppError::invalid("no backed-up keys found")),
                Operation::Delete => Ok(Reply::empty()),
                _ => Err(AppError::UnsupportedOperation),
            },
            _ => Err(AppError::unsupported_path()),
        }
    }

    /// The guard of a store that has shares.
    async fn shared_guard(&self) -> Result<(Guard, store::Revision), AppError> {
        let guard = Guard::read(self.backend.as_ref()).await?.filter(|(guard, _)| guard.shares > 0);
        guard.ok_or_else(|| {
            AppError::invalid("this store has no key shares: its root key is kept by a file beside it")
        })
    }

    fn proves(guard: &Guard, key: &ShareKey) -> bool {
        guard.root_by(key).is_some() || guard.is_proven_by(key)
    }

    async fn rekey_init(&self, request: &Request) -> Result<Reply, AppError> {
        let mut rites = self.rites.lock().await;
        match request.operation {
            Operation::Read => {}
            Operation::Delete => {
                rites.rekeying = None;
                return Ok(Reply::empty());
            }
            Operation::Write => {
                let mut fields = Fields::of(request)?;
                if fields.boolean("require_verification")?.unwrap_or(false) {
                    return Err(AppError::invalid("require_verification is not available in keyferry"));
                }
                if fields.list("pgp_keys")?.is_some_and(|keys| !keys.is_empty())
                    || fields.boolean("backup")?.unwrap_or(false)
                {
                    return Err(AppError::invalid("pgp_keys and backup are not available in keyferry"));
                }
                let shares = fields.unsigned("secret_shares")?.unwrap_or(0);
                let threshold = fields.unsigned("secret_threshold")?.unwrap_or(0);
                let (shares, threshold) = ShareKey::check(shares, threshold).map_err(|fault| {
                    AppError::invalid(format!("invalid rekey seal configuration: {fault}"))
                })?;
                self.shared_guard().await?;
                if rites.rekeying.is_some() {
                    return Err(AppError::invalid("rekey already in progress"));
                }
                let sharing = Sharing::begun(self.entropy.as_ref());
                rites.rekeying = Some(Rekeying { shares, threshold, sharing });
            }
            _ => return Err(AppError::UnsupportedOperation),
        }
        let required = self.guard().await?.map_or(0, |guard| guard.threshold);
        let rekeying = rites.rekeying.as_ref();
        Ok(Reply::bare(
            200,
            json::object(|o| {
                o.put("nonce", rekeying.map_or("", |rekeying| rekeying.sharing.nonce.as_str()))
                    .put("started", &rekeying.is_some())
                    .put("t", &rekeying.map_or(0, |rekeying| rekeying.threshold))
                    .put("n", &rekeying.map_or(0, |rekeying| rekeying.shares))
                    .put("progress", &rekeying.map_or(0, |rekeying| rekeying.sharing.given.len()))
                    .put("required", &required)
                    .put("pgp_fingerprints", &None::<()>)
                    .put("backup", &false)
                    .put("verification_required", &false);
            }),
        ))
    }

    async fn rekey_update(&self, request: &Request) -> Result<Reply, AppError> {
        super::write_only(request)?;
        let mut fields = Fields::of(request)?;
        let mut rites = self.rites.lock().await;
        let (guard, revision) = self.shared_guard().await?;
        let rekeying = rites.rekeying.as_mut().ok_or_else(|| AppError::invalid("no rekey in progress"))?;
        let share = given_share(&mut fields, &rekeying.sharing.nonce, guard.shares)?;
        let nonce = rekeying.sharing.nonce.clone();
        let given = match rekeying.sharing.give(share, guard.threshold, self.entropy.as_ref()) {
            Given::More => {
                let progress = rekeying.sharing.given.len();
                let (threshold, shares) = (rekeying.threshold, rekeying.shares);
                return Ok(Reply::bare(
                    200,
                    json::object(|o| {
                        o.put("nonce", &nonce)
                            .put("started", &true)
                            .put("t", &threshold)
                            .put("n", &shares)
                            .put("progress", &progress)
                            .put("required", &guard.threshold)
                            .put("complete", &false);
                    }),
                ));
            }
            Given::All(given) => given,
        };
        let Rekeying { shares, threshold, .. } =
            rites.rekeying.take().ok_or_else(|| AppError::invalid("no rekey in progress"))?;
        let old = ShareKey::combine(&given).filter(|key| Self::proves(&guard, key));
        let old = old.ok_or_else(|| {
            AppError::invalid(
                "rekey failed: the shares given do not make the key; begin again with rekey/init",
            )
        })?;
        let entropy = self.entropy.as_ref();
        let failed = || AppError::Internal("key material could not be made".to_owned());
        let key = ShareKey::random(entropy);
        let mut next = Guard { shares, threshold, ..guard.clone() };
        match guard.root_by(&old) {
            Some(root) => next.root = key.wrap(&root, entropy).ok_or_else(failed)?,
            None => next.proof = key.proof(entropy).ok_or_else(failed)?,
        }
        let parts = key.split(shares, threshold, entropy).ok_or_else(failed)?;
        next.replace(self.backend.as_ref(), revision).await?;
        tracing::info!(shares, threshold, "the key shares were changed");
        Ok(Reply::bare(
            200,
            json::object_with_room(4096, |o| {
                o.put("nonce", &nonce).put("complete", &true);
                put_shares(o, "keys", "keys_base64", &parts);
                o.put("pgp_fingerprints", &None::<()>)
                    .put("backup", &false)
                    .put("verification_required", &false);
            }),
        ))
    }

    async fn generate_attempt(&self, request: &Request) -> Result<Json, AppError> {
        let mut rites = self.rites.lock().await;
        let mut told = None;
        match request.operation {
            Operation::Read => {}
            Operation::Delete => {
                rites.generating = None;
            }
            Operation::Write => {
                let mut fields = Fields::of(request)?;
                if fields.text("pgp_key")?.is_some_and(|key| !key.is_empty()) {
                    return Err(AppError::invalid("pgp_key is not available in keyferry"));
                }
                self.shared_guard().await?;
                if rites.generating.is_some() {
                    return Err(AppError::invalid("root generation already in progress"));
                }
                let otp = match fields.secret("otp")?.filter(|otp| !otp.is_empty()) {
                    Some(otp) if otp.len() != tokens::ROOT_TOKEN_LEN => {
                        return Err(AppError::invalid(format!(
                            "otp must have {} characters, as many as the token",
                            tokens::ROOT_TOKEN_LEN
                        )));
                    }
                    Some(otp) => otp,
                    None => tokens::random_text(self.entropy.as_ref(), tokens::ROOT_TOKEN_LEN),
                };
                told = Some(otp.clone());
                let sharing = Sharing::begun(self.entropy.as_ref());
                rites.generating = Some(Generating { otp, sharing });
            }
            _ => return Err(AppError::UnsupportedOperation),
        }
        let required = self.guard().await?.map_or(0, |guard| guard.threshold);
        let sharing = rites.generating.as_ref().map(|generating| &generating.sharing);
        Ok(generation(sharing, required, told.as_ref(), None))
    }

    async fn generate_update(&self, app: &App, request: &Request) -> Result<Json, AppError> {
        super::write_only(request)?;
        let mut fields = Fields::of(request)?;
        let mut rites = self.rites.lock().await;
        let (guard, _) = self.shared_guard().await?;
        let generating =
            rites.generating.as_mut().ok_or_else(|| AppError::invalid("no root generation in progress"))?;
        let share = given_share(&mut fields, &generating.sharing.nonce, guard.shares)?;
        match generating.sharing.give(share, guard.threshold, self.entropy.as_ref()) {
            Given::More => Ok(generation(Some(&generating.sharing), guard.threshold, None, None)),
            Given::All(given) => {
                let Some(Generating { otp, .. }) = rites.generating.take() else {
                    return Err(AppError::invalid("no root generation in progress"));
                };
                if !ShareKey::combine(&given).is_some_and(|key| Self::proves(&guard, &key)) {
                    return Err(AppError::invalid(
                        "root generation failed: the shares given do not make the key; begin again",
                    ));
                }
                let token =
                    tokens::create_root(&app.store, self.clock.as_ref(), self.entropy.as_ref(), None).await?;
                // EXPOSE: veiled with the one-time password, which only whoever began this has.
                let veiled: Zeroizing<Vec<u8>> = Zeroizing::new(
                    token.expose().iter().zip(otp.expose()).map(|(token, otp)| token ^ otp).collect(),
                );
                tracing::info!("a new root token was made");
                let encoded = Zeroizing::new(BASE64_STANDARD_NO_PAD.encode(&*veiled));
                Ok(generation(None, guard.threshold, None, Some(&encoded)))
            }
        }
    }
}

/// As OpenBao's client reads it.
fn enveloped(data: Json) -> Reply {
    Reply::envelope(Envelope {
        data: Some(data),
        injected: true,
        mount_type: "system",
        ..Envelope::default()
    })
}

/// The share of a step, which must belong to the attempt under way.
fn given_share(fields: &mut Fields, nonce: &str, shares: u8) -> Result<SecretBytes, AppError> {
    let named = fields.text("nonce")?.unwrap_or_default();
    if named != nonce {
        return Err(AppError::invalid(
            "incorrect nonce supplied; it names another attempt than the one under way",
        ));
    }
    let key = fields.secret("key")?.filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| AppError::invalid("'key' must be specified in request body as JSON"))?;
    share_of(&key, shares)
}

fn generation(
    sharing: Option<&Sharing>,
    required: u8,
    otp: Option<&SecretBytes>,
    token: Option<&str>,
) -> Json {
    json::object_with_room(1024, |o| {
        o.put("nonce", sharing.map_or("", |sharing| sharing.nonce.as_str()))
            .put("started", &sharing.is_some())
            .put("progress", &sharing.map_or(0, |sharing| sharing.given.len()))
            .put("required", &required)
            .put("complete", &token.is_some())
            .put("encoded_token", token.unwrap_or_default())
            .put("encoded_root_token", token.unwrap_or_default())
            .put("pgp_fingerprint", "")
            // EXPOSE: told once to whoever began the attempt without bringing their own.
            .put("otp", otp.and_then(|otp| otp.expose_text().ok()).unwrap_or_default())
            .put("otp_length", &tokens::ROOT_TOKEN_LEN);
    })
}
