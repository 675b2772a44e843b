//! JSON Web Tokens (RFC 7519) as Besu takes and gives them: signed with one configured algorithm, with an end.
//!
//! The header of a token decides nothing. It must name the algorithm of the key that this listener has, so that neither `none` nor
//! an HMAC with the public key as its secret ever is an alternative.

use std::collections::HashSet;
use std::str::FromStr;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{self, KeyPair as _, ParsedPublicKey, RSA_PKCS1_SHA256, VerificationAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

use crate::access::Permitted;

/// Bytes of a token that is looked at; what a user of [`crate::credentials`] may be permitted fits.
const MAX_TOKEN: usize = 8 << 10;
/// How long a token of ours is good, seconds (Besu's five minutes).
const LIFETIME_S: u64 = 300;

/// How a token is signed, by its name in RFC 7518.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// RSA with SHA-256, Besu's default.
    #[default]
    Rs256,
    /// RSA with SHA-384.
    Rs384,
    /// RSA with SHA-512.
    Rs512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 6] = [Self::Rs256, Self::Rs384, Self::Rs512, Self::Es256, Self::Es384, Self::Es512];

    /// As in a token's header and in Besu's option.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Self::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
            Self::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
            Self::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::Es512 => &signature::ECDSA_P521_SHA512_FIXED,
        }
    }
}

impl FromStr for Algorithm {
    type Err = String;

    /// Without regard to case.
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|algorithm| algorithm.name().eq_ignore_ascii_case(text));
        found.ok_or_else(|| Self::ALL.map(Self::name).join(", "))
    }
}

/// Why a token is worth nothing. For the log; a client is only told that it is unauthorized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("it is no signed token: three parts of base64url, with JSON in the first two, of 8 KiB at most")]
    Malformed,
    #[error("its header names another algorithm, or extensions that are not known here")]
    Algorithm,
    #[error("the signature is not of this key")]
    Signature,
    #[error("it has no end (exp)")]
    Endless,
    #[error("it is over (exp), or not good yet (nbf, iat)")]
    Time,
}

#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: std::borrow::Cow<'a, str>,
    /// What a reader must understand; here nothing is.
    #[serde(default)]
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    #[serde(default)]
    permissions: serde_json::Value,
}

/// A key that tokens are held against.
pub(crate) struct Verifier {
    algorithm: Algorithm,
    key: ParsedPublicKey,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Verifier {
    /// From PEM text with a `PUBLIC KEY`.
    ///
    /// # Errors
    /// What was expected.
    pub(crate) fn from_pem(text: &[u8], algorithm: Algorithm) -> Result<Self, String> {
        let expected = match algorithm {
            Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 => "an RSA key of 2048 to 8192 bits",
            Algorithm::Es256 => "a key on the curve P-256",
            Algorithm::Es384 => "a key on the curve P-384",
            Algorithm::Es512 => "a key on the curve P-521",
        };
        let wrong = || format!("expected a PEM file with one PUBLIC KEY, for {} {expected}", algorithm.name());
        let key = SubjectPublicKeyInfoDer::from_pem_slice(text).map_err(|_| wrong())?;
        Self::of(&key, algorithm).ok_or_else(wrong)
    }

    fn of(key: &[u8], algorithm: Algorithm) -> Option<Self> {
        let key = ParsedPublicKey::new(algorithm.verification(), key).ok()?;
        Some(Self { algorithm, key })
    }

    /// What a token permits at `now_s`, seconds since 1970. Clocks are taken as equal, as by Besu: there is no leeway.
    ///
    /// # Errors
    /// The first thing that is wrong. Nothing of a token is read before its signature is found good, but for the header's
    /// algorithm.
    pub(crate) fn read(&self, token: &str, now_s: u64) -> Result<Permitted, TokenError> {
        use TokenError::{Algorithm, Endless, Malformed, Signature, Time};
        if token.len() > MAX_TOKEN {
            return Err(Malformed);
        }
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Malformed);
        let (signed, signature) = token.rsplit_once('.').ok_or(Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Malformed)?;
        let header = decode(header)?;
        let header: Header<'_> = serde_json::from_slice(&header).map_err(|_| Malformed)?;
        if header.alg != self.algorithm.name() || header.crit.is_some() {
            return Err(Algorithm);
        }
        self.key.verify_sig(signed.as_bytes(), &decode(signature)?).map_err(|_| Signature)?;
        let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| Malformed)?;
        let until = claims.exp.ok_or(Endless)?;
        let now = now_s as f64;
        let later = |time: Option<f64>| time.is_some_and(|time| time > now);
        if until <= now || later(claims.nbf) || later(claims.iat) {
            return Err(Time);
        }
        let permissions: HashSet<String> = match claims.permissions {
            serde_json::Value::Array(all) => all.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect(),
            _ => HashSet::new(),
        };
        // A float too large for an integer becomes the largest.
        Ok(Permitted { permissions, until: until as u64 })
    }
}

/// Makes tokens, with a key that no other process ever has.
pub(crate) struct Signer {
    key: KeyPair,
    verifier: Verifier,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signer")
    }
}

impl Signer {
    /// With a new RSA key of 2048 bits, which takes some tenths of a second. `None` when the system gives no randomness.
    pub(crate) fn new() -> Option<Self> {
        let key = KeyPair::generate(KeySize::Rsa2048).ok()?;
        let verifier = Verifier::of(key.public_key().as_ref(), Algorithm::Rs256)?;
        Some(Self { key, verifier })
    }

    pub(crate) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// A token for a user with these permissions, good for five minutes from `now_s` on. `None` when the system gives no
    /// randomness.
    pub(crate) fn token(&self, username: &str, permissions: &[String], now_s: u64) -> Option<String> {
        #[derive(Serialize)]
        struct Claims<'a> {
            permissions: &'a [String],
            username: &'a str,
            iat: u64,
            exp: u64,
        }
        let claims = Claims { permissions, username, iat: now_s, exp: now_s + LIFETIME_S };
        let claims = serde_json::to_vec(&claims).ok()?;
        let mut token = format!("{}.{}", URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"RS256"}"#), URL_SAFE_NO_PAD.encode(claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature).ok()?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::hmac;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
        RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    };

    const NOW: u64 = 1_000_000;

    fn encode(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    fn pem(key: &[u8]) -> String {
        let body = base64::engine::general_purpose::STANDARD.encode(key);
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
    }

    /// A token of these parts, signed by the function.
    fn made(header: &str, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn rsa(key: &KeyPair, how: &'static dyn signature::RsaEncoding, signed: &[u8]) -> Vec<u8> {
        let mut out = vec![0; key.public_modulus_len()];
        key.sign(how, &SystemRandom::new(), signed, &mut out).unwrap();
        out
    }

    const GOOD: &str = r#"{"exp":1000010,"permissions":["eth:*"]}"#;

    #[test]
    fn what_is_signed_here_is_read_here_for_five_minutes() {
        let signer = Signer::new().unwrap();
        let token = signer.token("ana", &["eth:*".to_owned(), "net:version".to_owned()], NOW).unwrap();
        let read = signer.verifier().read(&token, NOW + LIFETIME_S - 1).unwrap();
        assert_eq!(read.until, NOW + 300);
        assert_eq!(read.permissions, HashSet::from(["eth:*".to_owned(), "net:version".to_owned()]));
        assert_eq!(signer.verifier().read(&token, NOW + LIFETIME_S), Err(TokenError::Time));
        assert_eq!(signer.verifier().read(&token, NOW - 1), Err(TokenError::Time), "not good yet");
        let other = Signer::new().unwrap();
        assert_eq!(other.verifier().read(&token, NOW), Err(TokenError::Signature), "the key of another start");
    }

    #[test]
    fn each_algorithm_takes_its_own_tokens_and_no_others() {
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let rsa_pem = pem(AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(key.public_key()).unwrap().as_ref());
        let header = |name: &str| format!(r#"{{"alg":"{name}","typ":"JWT"}}"#);
        let mut tokens = vec![
            ("RS256", rsa_pem.clone(), made(&header("RS256"), GOOD, |signed| rsa(&key, &RSA_PKCS1_SHA256, signed))),
            ("RS384", rsa_pem.clone(), made(&header("RS384"), GOOD, |signed| rsa(&key, &RSA_PKCS1_SHA384, signed))),
            ("RS512", rsa_pem, made(&header("RS512"), GOOD, |signed| rsa(&key, &RSA_PKCS1_SHA512, signed))),
        ];
        for (name, how) in [
            ("ES256", &ECDSA_P256_SHA256_FIXED_SIGNING),
            ("ES384", &ECDSA_P384_SHA384_FIXED_SIGNING),
            ("ES512", &ECDSA_P521_SHA512_FIXED_SIGNING),
        ] {
            let key = EcdsaKeyPair::generate(how).unwrap();
            let text = pem(AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(key.public_key()).unwrap().as_ref());
            let token = made(&header(name), GOOD, |signed| key.sign(&SystemRandom::new(), signed).unwrap().as_ref().to_vec());
            tokens.push((name, text, token));
        }
        for (algorithm, text, token) in &tokens {
            let verifier = Verifier::from_pem(text.as_bytes(), algorithm.parse().unwrap()).unwrap();
            assert!(verifier.read(token, NOW).unwrap().permissions.contains("eth:*"), "{algorithm}");
            for (other, _, token) in tokens.iter().filter(|(other, _, _)| other != algorithm) {
                assert_eq!(verifier.read(token, NOW), Err(TokenError::Algorithm), "{other} to {algorithm}");
            }
        }
        assert!(Verifier::from_pem(tokens[0].1.as_bytes(), Algorithm::Es256).unwrap_err().contains("P-256"));
        assert!(Verifier::from_pem(tokens[3].1.as_bytes(), Algorithm::Es384).unwrap_err().contains("P-384"));
        assert!(Verifier::from_pem(b"nothing", Algorithm::Rs256).is_err());
        assert_eq!("hs256".parse::<Algorithm>().unwrap_err(), "RS256, RS384, RS512, ES256, ES384, ES512");
    }

    #[test]
    fn forged_tokens_are_worth_nothing() {
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let text = pem(AsDer::<aws_lc_rs::encoding::PublicKeyX509Der<'_>>::as_der(key.public_key()).unwrap().as_ref());
        let verifier = Verifier::from_pem(text.as_bytes(), Algorithm::Rs256).unwrap();
        let good = |claims: &str| made(r#"{"alg":"RS256"}"#, claims, |signed| rsa(&key, &RSA_PKCS1_SHA256, signed));
        let read = |token: &str| verifier.read(token, NOW);
        assert!(read(&good(GOOD)).is_ok());
        // Without a signature, under every spelling.
        for none in ["none", "None", "NONE", ""] {
            assert_eq!(read(&made(&format!(r#"{{"alg":"{none}"}}"#), GOOD, |_| Vec::new())), Err(TokenError::Algorithm), "{none}");
        }
        assert_eq!(read(&made(r#"{"alg":"RS256"}"#, GOOD, |_| Vec::new())), Err(TokenError::Signature));
        // The public key, which everybody has, as the secret of an HMAC: its text, and its bytes.
        for secret in [text.as_bytes(), key.public_key().as_ref()] {
            let hs = |signed: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed).as_ref().to_vec();
            assert_eq!(read(&made(r#"{"alg":"HS256"}"#, GOOD, hs)), Err(TokenError::Algorithm));
            assert_eq!(read(&made(r#"{"alg":"RS256"}"#, GOOD, hs)), Err(TokenError::Signature));
        }
        // Another's key, also when the header brings it along.
        let other = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let forged = |header: &str| made(header, GOOD, |signed| rsa(&other, &RSA_PKCS1_SHA256, signed));
        assert_eq!(read(&forged(r#"{"alg":"RS256"}"#)), Err(TokenError::Signature));
        assert_eq!(
            read(&forged(r#"{"alg":"RS256","jwk":{"kty":"RSA","n":"AQAB","e":"AQAB"},"kid":"1"}"#)),
            Err(TokenError::Signature)
        );
        // Other claims under a good signature.
        let token = good(GOOD);
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let more = encode(r#"{"exp":1000010,"permissions":["*:*"]}"#);
        let (header, _) = signed.split_once('.').unwrap();
        assert_eq!(read(&format!("{header}.{more}.{signature}")), Err(TokenError::Signature));
        // Ends.
        assert_eq!(read(&good(r#"{"permissions":["*:*"]}"#)), Err(TokenError::Endless));
        assert_eq!(read(&good(r#"{"exp":null,"permissions":["*:*"]}"#)), Err(TokenError::Endless));
        assert_eq!(read(&good(r#"{"exp":1000000,"permissions":["*:*"]}"#)), Err(TokenError::Time));
        assert_eq!(read(&good(r#"{"exp":-1,"permissions":["*:*"]}"#)), Err(TokenError::Time));
        assert_eq!(read(&good(r#"{"exp":2000000,"nbf":1000001,"permissions":["*:*"]}"#)), Err(TokenError::Time));
        assert_eq!(read(&good(r#"{"exp":1000000.5}"#)).unwrap().until, NOW, "no second more");
        // Shapes.
        assert_eq!(read(&good(r#"{"exp":"2000000"}"#)), Err(TokenError::Malformed));
        assert_eq!(read(&good(r#"{"exp":1,"exp":2000000}"#)), Err(TokenError::Malformed), "said twice");
        assert!(read(&good(r#"{"exp":2000000,"permissions":"*:*"}"#)).unwrap().permissions.is_empty());
        assert_eq!(read(&good(r#"{"exp":2000000,"permissions":[1,null,["*:*"],"a:b"]}"#)).unwrap().permissions.len(), 1);
        assert_eq!(
            read(&made(r#"{"alg":"RS256","crit":["b64"],"b64":false}"#, GOOD, |signed| rsa(&key, &RSA_PKCS1_SHA256, signed))),
            Err(TokenError::Algorithm)
        );
        for shape in ["", ".", "..", "a.b", "a.b.c", "e30.e30.e30.e30", &"a".repeat(MAX_TOKEN + 1)] {
            assert_eq!(read(shape), Err(TokenError::Malformed), "{shape:.20}");
        }
        assert_eq!(read(&format!("{token}=")), Err(TokenError::Malformed), "one spelling of each token");
    }
}
