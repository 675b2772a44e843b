//! TLS of one listener: its certificate, and which clients it lets in. TLS 1.2 and 1.3 by rustls, no older version, no cipher
//! without forward secrecy and authentication.
//!
//! The files are read again when they change; connections that are open stay so, except that all are closed when the clients that
//! are let in change, so that whoever is taken out is out.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};
use parking_lot::{Mutex, RwLock};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::handshakes::Handshakes;
use crate::watched::{Contents, Unusable, Watched};

/// Bytes of each file.
const MAX_FILE: u64 = 1 << 20;

/// TLS of one listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Key and certificates that the listener shows.
    pub identity: Identity,
    /// Clients that are let in; `None` = all, without a certificate.
    pub clients: Option<Clients>,
    /// `TLSv1.2`, `TLSv1.3`, or both.
    pub protocols: Vec<String>,
    /// Names as in the registry of IANA, and as Java has them; none = all that there are.
    pub cipher_suites: Vec<String>,
}

/// Where key and certificates are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// In one PKCS#12 file.
    Store(Store),
    /// In PEM files.
    Pem {
        /// The private key (PKCS#8, PKCS#1 or SEC1), not encrypted.
        key: PathBuf,
        /// The certificate, and those of its authorities up to the one that clients know.
        certificates: PathBuf,
    },
}

/// Which clients are let in: whoever is known or has a certificate of an authority.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clients {
    /// Besu's known clients file: lines with a common name and the SHA-256 fingerprint of a certificate.
    pub known: Option<PathBuf>,
    /// Whose certificates are good.
    pub authorities: Option<Authorities>,
}

/// Where certificates of authorities are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorities {
    /// In one PKCS#12 file.
    Store(Store),
    /// In one PEM file.
    Pem(PathBuf),
}

/// A PKCS#12 file and what opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// The file.
    pub file: PathBuf,
    /// What opens it.
    pub password: Password,
}

/// A password, or where it is.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// In the first line of a file.
    File(PathBuf),
    /// Itself; empty for a store without.
    Text(Zeroizing<String>),
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Text(_) => f.write_str("Text(…)"),
        }
    }
}

impl TlsConfig {
    /// Every file, in the order in which [`build`] takes their contents.
    fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut files = Vec::new();
        let store = |files: &mut Vec<PathBuf>, store: &Store| {
            files.push(store.file.clone());
            if let Password::File(path) = &store.password {
                files.push(path.clone());
            }
        };
        match &self.identity {
            Identity::Store(identity) => store(&mut files, identity),
            Identity::Pem { key, certificates } => files.extend([key.clone(), certificates.clone()]),
        }
        if let Some(clients) = &self.clients {
            files.extend(clients.known.clone());
            match &clients.authorities {
                Some(Authorities::Store(authorities)) => store(&mut files, authorities),
                Some(Authorities::Pem(path)) => files.push(path.clone()),
                None => {}
            }
        }
        files.into_iter().map(|path| (path, MAX_FILE)).collect()
    }
}

/// TLS of one running listener.
#[derive(Debug)]
pub(crate) struct Tls {
    config: TlsConfig,
    files: Mutex<Watched>,
    current: RwLock<Built>,
    /// How often the clients that are let in have changed.
    generation: AtomicU64,
    pub(crate) handshakes: Handshakes,
}

/// What the files mean.
#[derive(Debug)]
struct Built {
    server: Arc<ServerConfig>,
    /// Of all that says which clients are let in.
    clients: [u8; 32],
}

impl Tls {
    /// Reads the files. Not for async threads.
    ///
    /// # Errors
    /// A file cannot be used, or the settings mean nothing.
    pub(crate) fn open(config: TlsConfig) -> Result<Arc<Self>, Unusable> {
        let mut files = Watched::new("TLS", config.files());
        let built = files.first(|contents| build(&config, contents))?;
        let (files, current) = (Mutex::new(files), RwLock::new(built));
        Ok(Arc::new(Self { config, files, current, generation: AtomicU64::new(0), handshakes: Handshakes::default() }))
    }

    /// Reads the files again if they have changed. Not for async threads.
    pub(crate) fn look(&self) {
        let Some(built) = self.files.lock().changed(|contents| build(&self.config, contents)) else { return };
        let others = built.clients != self.current.read().clients;
        *self.current.write() = built;
        if others {
            self.generation.fetch_add(1, Ordering::Release);
        }
    }

    /// What answers the next connection, and how often the clients that are let in had changed by then.
    pub(crate) fn acceptor(&self) -> (TlsAcceptor, u64) {
        // In this order: a change in between closes the connection once too often, and never once too rarely.
        let generation = self.generation();
        (TlsAcceptor::from(self.current.read().server.clone()), generation)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

/// The next file of those that [`TlsConfig::files`] names.
fn next<'a>(files: &mut impl Iterator<Item = &'a [u8]>) -> Result<&'a [u8], String> {
    files.next().ok_or_else(|| "a file is missing".to_owned())
}

fn build(config: &TlsConfig, contents: &Contents) -> Result<Built, String> {
    let mut files = contents.iter().map(|one| &***one as &[u8]);
    let provider = Arc::new(provider(&config.cipher_suites)?);
    let versions: Vec<_> = config.protocols.iter().map(|name| version(name)).collect::<Result<_, _>>()?;
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|error| format!("these protocols and cipher suites do not fit together: {error}"))?;
    let (key, certificates) = match &config.identity {
        Identity::Store(store) => identity(&open(store, &mut files)?)?,
        Identity::Pem { .. } => {
            let key = PrivateKeyDer::from_pem_slice(next(&mut files)?)
                .map_err(|_| "expected a PEM file with one private key, not encrypted")?;
            (key, pem_certificates(next(&mut files)?)?)
        }
    };
    let mut clients = Sha256::new();
    let builder = match &config.clients {
        None => builder.with_no_client_auth(),
        Some(allowed) => {
            let known = match allowed.known {
                Some(_) => fingerprints(next(&mut files)?)?,
                None => HashSet::new(),
            };
            let mut sorted: Vec<_> = known.iter().collect();
            sorted.sort_unstable();
            sorted.into_iter().for_each(|one| clients.update(one));
            let authorities = match &allowed.authorities {
                Some(Authorities::Store(store)) => trusted(&open(store, &mut files)?),
                Some(Authorities::Pem(_)) => pem_certificates(next(&mut files)?)?,
                None => Vec::new(),
            };
            authorities.iter().for_each(|one| clients.update(Sha256::digest(one)));
            builder.with_client_cert_verifier(verifier(known, authorities, allowed, &provider)?)
        }
    };
    let mut server = builder
        .with_single_cert(certificates, key)
        .map_err(|error| format!("key and certificate cannot be used together: {error}"))?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Built { server: Arc::new(server), clients: clients.finalize().into() })
}

fn version(name: &str) -> Result<&'static rustls::SupportedProtocolVersion, String> {
    match name {
        "TLSv1.3" => Ok(&rustls::version::TLS13),
        "TLSv1.2" => Ok(&rustls::version::TLS12),
        other => Err(format!("got the protocol {other:?}, expected TLSv1.3 or TLSv1.2")),
    }
}

/// The ciphers of these names.
fn provider(names: &[String]) -> Result<CryptoProvider, String> {
    let mut provider = aws_lc_rs::default_provider();
    if names.is_empty() {
        return Ok(provider);
    }
    // rustls writes TLS13_… for what the registry calls TLS_….
    let name = |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
    let all: Vec<String> = provider.cipher_suites.iter().map(name).collect();
    if let Some(unknown) = names.iter().find(|wanted| !all.contains(wanted)) {
        return Err(format!("got the cipher suite {unknown:?}, expected some of {}", all.join(", ")));
    }
    provider.cipher_suites.retain(|suite| names.contains(&name(suite)));
    Ok(provider)
}

/// Opens the next file, a PKCS#12 store.
fn open<'a>(store: &Store, files: &mut impl Iterator<Item = &'a [u8]>) -> Result<KeyStore, String> {
    let bytes = next(files)?;
    let password = match &store.password {
        Password::Text(text) => text.clone(),
        Password::File(path) => {
            let text = std::str::from_utf8(next(files)?).map_err(|_| format!("{} is not UTF-8 text", path.display()))?;
            Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())
        }
    };
    let file = store.file.display();
    if bytes.starts_with(&[0xfe, 0xed, 0xfe, 0xed]) {
        return Err(format!(
            "{file} is a JKS store; convert it: keytool -importkeystore -srckeystore OLD -destkeystore NEW -deststoretype PKCS12"
        ));
    }
    KeyStore::from_pkcs12(bytes, &password, Pkcs12ImportPolicy::Relaxed)
        .map_err(|error| format!("{file} is no PKCS#12 store that this password opens: {error}"))
}

fn identity(store: &KeyStore) -> Result<(PrivateKeyDer<'static>, Vec<CertificateDer<'static>>), String> {
    let (_, chain) = store.private_key_chain().ok_or("the PKCS#12 store has no private key with a certificate")?;
    let key = PrivateKeyDer::try_from(chain.key().as_der().to_vec()).map_err(|error| format!("the private key: {error}"))?;
    Ok((key, chain.certs().iter().map(|one| CertificateDer::from(one.as_der().to_vec())).collect()))
}

/// Every certificate of a store, those of its keys too.
fn trusted(store: &KeyStore) -> Vec<CertificateDer<'static>> {
    let certificates = store.entries().flat_map(|(_, entry)| match entry {
        KeyStoreEntry::Certificate(one) => std::slice::from_ref(one),
        KeyStoreEntry::PrivateKeyChain(chain) => chain.certs(),
        _ => &[],
    });
    let mut all: Vec<_> = certificates.map(|one| CertificateDer::from(one.as_der().to_vec())).collect();
    // A store has no order of its own.
    all.sort_unstable_by(|a, b| a.as_ref().cmp(b.as_ref()));
    all
}

fn pem_certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        _ => Err("expected a PEM file with certificates".to_owned()),
    }
}

/// The fingerprints in a known clients file. The common name is for people: the fingerprint says which certificate it is.
fn fingerprints(text: &[u8]) -> Result<HashSet<[u8; 32]>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "the known clients file is not UTF-8 text")?;
    let mut all = HashSet::new();
    for (number, line) in text.lines().enumerate().map(|(number, line)| (number + 1, line.trim())) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let read = || {
            let (_, digits) = line.rsplit_once(char::is_whitespace)?;
            let digits = digits.replace(':', "");
            let mut print = [0; 32];
            hex_into(&digits, &mut print)?;
            Some(print)
        };
        let print = read().ok_or_else(|| format!("line {number} of the known clients file: expected a common name and the SHA-256 fingerprint of a certificate, 64 hex digits with or without colons"))?;
        all.insert(print);
    }
    Ok(all)
}

fn hex_into(digits: &str, out: &mut [u8; 32]) -> Option<()> {
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(())
}

fn verifier(
    known: HashSet<[u8; 32]>,
    authorities: Vec<CertificateDer<'static>>,
    allowed: &Clients,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let authority = match &allowed.authorities {
        None => None,
        Some(_) => {
            let mut roots = RootCertStore::empty();
            for one in authorities {
                roots.add(one).map_err(|error| format!("a certificate of an authority: {error}"))?;
            }
            let built = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
            Some(built.map_err(|error| format!("the certificates of authorities: {error}"))?)
        }
    };
    if allowed.known.is_none() {
        return authority.ok_or_else(|| {
            "clients need a certificate, and nothing says which: name a known clients file or a truststore".to_owned()
        });
    }
    Ok(Arc::new(KnownClients { known, authority, algorithms: provider.signature_verification_algorithms }))
}

/// Lets in whose certificate is known, whatever it says, and whose is of an authority.
#[derive(Debug)]
struct KnownClients {
    known: HashSet<[u8; 32]>,
    authority: Option<Arc<dyn ClientCertVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for KnownClients {
    /// None: a known certificate may be of any issuer.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if self.known.contains(&<[u8; 32]>::from(Sha256::digest(end_entity))) {
            return Ok(ClientCertVerified::assertion());
        }
        match &self.authority {
            Some(authority) => authority.verify_client_cert(end_entity, intermediates, now),
            None => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn known_clients_are_read_as_besu_writes_them() {
        let colons = ["AB"; 32].join(":");
        let text = format!("# a comment\n\nana {colons}\n name of several words {}\n", "0c".repeat(32));
        assert_eq!(fingerprints(text.as_bytes()).unwrap(), HashSet::from([[0xab; 32], [0x0c; 32]]));
        for wrong in
            [format!("ana{colons}"), "ana AB:CD".to_owned(), format!("ana {}", "xy".repeat(32)), format!("ana {colons}:00")]
        {
            assert!(fingerprints(wrong.as_bytes()).unwrap_err().contains("line 1"), "{wrong}");
        }
        assert!(fingerprints(b"").unwrap().is_empty());
    }

    #[test]
    fn ciphers_and_protocols_that_are_not_offered_are_named() {
        let java = ["TLS_AES_256_GCM_SHA384".to_owned(), "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256".to_owned()];
        assert_eq!(provider(&java).unwrap().cipher_suites.len(), 2);
        let error = provider(&["TLS_RSA_WITH_AES_128_CBC_SHA".to_owned()]).unwrap_err();
        assert!(error.contains("TLS_RSA_WITH_AES_128_CBC_SHA") && error.contains("TLS_AES_128_GCM_SHA256"), "{error}");
        assert!(version("TLSv1.1").unwrap_err().contains("TLSv1.1"));
        assert!(format!("{:?}", Password::Text(Zeroizing::new("secret".to_owned()))) == "Text(…)");
    }
}
