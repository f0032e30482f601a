//! Signed tokens (JWT, RFC 7519 with RS256 of RFC 7518), by which a key's holder shows who it is: to
//! GitHub as an app, to Google as a service account, to any provider as this server.

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64_URL};
use model::SecretBytes;
use rustls::pki_types::{PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use serde::Serialize;
use zeroize::Zeroize;

/// Why a text is no key to sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// There is no private key in it.
    #[error("must be a private key in PEM (BEGIN PRIVATE KEY or BEGIN RSA PRIVATE KEY), not encrypted")]
    NotPem,
    /// It is no RSA key, or one of a size that must not be used.
    #[error("must be an RSA key of 2048 to 8192 bits")]
    NotRsa,
    /// The cryptography library would not make one.
    #[error("no key could be made")]
    NotMade,
}

/// An RSA private key. Wiped on drop by the cryptography library.
pub struct SigningKey(RsaKeyPair);

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

impl SigningKey {
    /// A key as providers hand them out: PEM, PKCS#8 or PKCS#1.
    pub fn from_pem(pem: &[u8]) -> Result<Self, BadKey> {
        // What the text decodes to is wiped once it has become a key.
        if let Ok(mut der) = PrivatePkcs8KeyDer::from_pem_slice(pem) {
            let key = Self::from_pkcs8(der.secret_pkcs8_der());
            der.zeroize();
            return key;
        }
        let mut der = PrivatePkcs1KeyDer::from_pem_slice(pem).map_err(|_| BadKey::NotPem)?;
        let key = RsaKeyPair::from_der(der.secret_pkcs1_der()).map(Self).map_err(|_| BadKey::NotRsa);
        der.zeroize();
        key
    }

    /// A key in PKCS#8 DER, as [`SigningKey::generate`] gives it.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, BadKey> {
        RsaKeyPair::from_pkcs8(der).map(Self).map_err(|_| BadKey::NotRsa)
    }

    /// A new key of 2048 bits, in PKCS#8 DER. Its randomness is the cryptography library's own.
    pub fn generate() -> Result<SecretBytes, BadKey> {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| BadKey::NotMade)?;
        let der: Pkcs8V1Der<'_> = key.as_der().map_err(|_| BadKey::NotMade)?;
        Ok(SecretBytes::from(der.as_ref()))
    }

    /// The token that says `claims`. `key_id` goes into its header.
    pub fn sign<C: Serialize>(&self, key_id: Option<&str>, claims: &C) -> Option<SecretBytes> {
        #[derive(Serialize)]
        struct Header<'a> {
            alg: &'static str,
            typ: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            kid: Option<&'a str>,
        }
        let header = serde_json::to_vec(&Header { alg: "RS256", typ: "JWT", kid: key_id }).ok()?;
        let mut token = BASE64_URL.encode(header);
        token.push('.');
        BASE64_URL.encode_string(serde_json::to_vec(claims).ok()?, &mut token);
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature).ok()?;
        token.push('.');
        BASE64_URL.encode_string(signature, &mut token);
        Some(SecretBytes::new(token.into_bytes()))
    }

    /// The public half as a JSON Web Key (RFC 7517) needs it: modulus and exponent, base64url.
    pub fn public_parts(&self) -> (String, String) {
        let key = self.0.public_key();
        let parts = RsaPublicKeyComponents::<Vec<u8>>::from(key);
        (BASE64_URL.encode(parts.n), BASE64_URL.encode(parts.e))
    }

    /// The public half as DER (`SubjectPublicKeyInfo`), of which GitHub shows the fingerprint.
    pub fn public_der(&self) -> Option<Vec<u8>> {
        let der: PublicKeyX509Der<'_> = self.0.public_key().as_der().ok()?;
        Some(der.as_ref().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};

    use super::*;

    fn part(token: &str, at: usize) -> Vec<u8> {
        BASE64_URL.decode(token.split('.').nth(at).unwrap()).unwrap()
    }

    #[test]
    fn a_token_says_what_it_should_and_verifies() {
        let key = SigningKey::from_pkcs8(SigningKey::generate().unwrap().expose()).unwrap();
        let token = key.sign(Some("k1"), &serde_json::json!({"iss": "me", "exp": 7})).unwrap();
        let token = token.expose_text().unwrap();
        assert_eq!(part(token, 0), br#"{"alg":"RS256","typ":"JWT","kid":"k1"}"#);
        assert_eq!(part(token, 1), br#"{"exp":7,"iss":"me"}"#);
        let signed = token.rsplit_once('.').unwrap().0;
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_der().unwrap());
        public.verify(signed.as_bytes(), &part(token, 2)).unwrap();
        let (n, e) = key.public_parts();
        let parts =
            RsaPublicKeyComponents { n: BASE64_URL.decode(n).unwrap(), e: BASE64_URL.decode(e).unwrap() };
        parts.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &part(token, 2)).unwrap();
    }

    #[test]
    fn what_is_no_rsa_key_is_refused_without_being_shown() {
        for (text, fault) in [
            ("", BadKey::NotPem),
            ("canary", BadKey::NotPem),
            ("-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----\n", BadKey::NotRsa),
            ("-----BEGIN RSA PRIVATE KEY-----\nY2FuYXJ5\n-----END RSA PRIVATE KEY-----\n", BadKey::NotRsa),
        ] {
            let refused = SigningKey::from_pem(text.as_bytes()).unwrap_err();
            assert_eq!(refused, fault, "{text}");
            assert!(!refused.to_string().contains("canary"));
        }
    }
}
