//! TLS over loopback: stores and PEM files, clients by fingerprint and by authority, files that change, handshakes without end.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ipe_api::conformance::{Exchange, dispatcher};
use ipe_api::{
    Api, Authorities, Clients, HttpConfig, Identity, Password, Release, RunningServer, ServerConfig, Store, TlsConfig, serve,
};
use p12_keystore::{Certificate, KeyStore, KeyStoreEntry, PrivateKey, PrivateKeyChain};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

fn api() -> Arc<Api> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/besu-25.5.0-header-votes");
    let genesis = std::fs::read_to_string(dir.join("genesis.json")).unwrap();
    let blocks = std::fs::read(dir.join("blocks.rlp")).unwrap();
    let none: [Exchange; 0] = [];
    dispatcher(&genesis, &blocks, &none, Release::Besu25).unwrap()
}

/// A certificate and its key.
struct Paper {
    key: KeyPair,
    certificate: CertificateDer<'static>,
    pem: String,
}

/// An authority, and what it signs.
struct Authority {
    paper: Paper,
    params: CertificateParams,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        Self { paper: Paper { key, certificate: made.der().clone(), pem: made.pem() }, params }
    }

    fn sign(&self, name: &str) -> Paper {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.paper.key);
        let made = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        Paper { key, certificate: made.der().clone(), pem: made.pem() }
    }
}

fn store(paper: &Paper, password: &str) -> Vec<u8> {
    let key = PrivateKey::from_der(&paper.key.serialize_der()).unwrap();
    let chain = PrivateKeyChain::new(b"1".as_slice(), key, [Certificate::from_der(&paper.certificate).unwrap()]);
    let mut store = KeyStore::new();
    store.add_entry("ipe", KeyStoreEntry::PrivateKeyChain(chain));
    store.writer(password).write().unwrap()
}

/// A folder, an authority, and a listener's certificate in both forms.
struct Place {
    folder: TempDir,
    authority: Authority,
}

impl Place {
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap(), authority: Authority::new() };
        place.renew("localhost");
        place
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// Writes a new certificate for the listener.
    fn renew(&self, name: &str) -> CertificateDer<'static> {
        let paper = self.authority.sign(name);
        self.write("server.p12", store(&paper, "changeit"));
        self.write("password", "changeit\nand more\n");
        self.write("key.pem", paper.key.serialize_pem());
        self.write("cert.pem", &paper.pem);
        paper.certificate
    }

    fn in_store(&self, clients: Option<Clients>) -> TlsConfig {
        let store = Store { file: self.path("server.p12"), password: Password::File(self.path("password")) };
        TlsConfig {
            identity: Identity::Store(store),
            clients,
            protocols: vec!["TLSv1.3".into(), "TLSv1.2".into()],
            cipher_suites: vec![],
        }
    }

    fn in_pem(&self, clients: Option<Clients>) -> TlsConfig {
        TlsConfig {
            identity: Identity::Pem { key: self.path("key.pem"), certificates: self.path("cert.pem") },
            ..self.in_store(clients)
        }
    }

    /// A client that trusts the authority, with a certificate or without.
    fn client(&self, paper: Option<&Paper>, versions: &[&'static rustls::SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.paper.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap().with_root_certificates(roots);
        Arc::new(match paper {
            None => builder.with_no_client_auth(),
            Some(paper) => {
                let key = PrivateKeyDer::try_from(paper.key.serialize_der()).unwrap();
                builder.with_client_auth_cert(vec![paper.certificate.clone()], key).unwrap()
            }
        })
    }
}

async fn start(api: &Arc<Api>, tls: TlsConfig) -> RunningServer {
    let config = HttpConfig { tls: Some(tls), ..HttpConfig::at(SocketAddr::from(([127, 0, 0, 1], 0))) };
    serve(api.clone(), ServerConfig { http: Some(config.clone()), ws: Some(config), ..ServerConfig::default() }).await.unwrap()
}

async fn from(last: u8, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0))).unwrap();
    socket.connect(address).await.unwrap()
}

async fn connect(address: SocketAddr, client: &Arc<ClientConfig>) -> std::io::Result<TlsStream<TcpStream>> {
    TlsConnector::from(client.clone()).connect(ServerName::try_from("localhost").unwrap(), from(1, address).await).await
}

/// Asks for the chain's number on an open connection. A refused client certificate shows when something is read, in TLS 1.3.
async fn ask(stream: &mut TlsStream<TcpStream>) -> std::io::Result<()> {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#;
    let head = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        let mut piece = [0; 1024];
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(&piece[..read]);
    }
    assert!(String::from_utf8(answer).unwrap().contains("\"result\":\"0x9e5b5\""));
    Ok(())
}

async fn answers(address: SocketAddr, client: &Arc<ClientConfig>) -> bool {
    match connect(address, client).await {
        Ok(mut stream) => ask(&mut stream).await.is_ok(),
        Err(_) => false,
    }
}

const BOTH: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

#[tokio::test(flavor = "multi_thread")]
async fn both_forms_of_a_certificate_serve_both_listeners() {
    let (api, place) = (api(), Place::new());
    for tls in [place.in_store(None), place.in_pem(None)] {
        let server = start(&api, tls.clone()).await;
        let http = server.http.unwrap();
        for version in BOTH {
            assert!(answers(http, &place.client(None, &[version])).await, "{version:?}");
        }
        // WebSocket.
        let stream = connect(server.ws.unwrap(), &place.client(None, BOTH)).await.unwrap();
        let (mut socket, _) = tokio_tungstenite::client_async("wss://localhost/", stream).await.unwrap();
        use futures_util::{SinkExt, StreamExt};
        let call = r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#;
        socket.send(tokio_tungstenite::tungstenite::Message::text(call)).await.unwrap();
        assert!(socket.next().await.unwrap().unwrap().to_text().unwrap().contains("0x9e5b5"));
        // Somebody else's certificate is none, and in clear nothing is said.
        assert!(!answers(http, &Place::new().client(None, BOTH)).await);
        let mut clear = from(1, http).await;
        clear.write_all(b"GET /liveness HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut heard = Vec::new();
        // Closed, or reset, after an alert of TLS.
        let _ = clear.read_to_end(&mut heard).await;
        assert!(!heard.starts_with(b"HTTP"), "{heard:?}");
        server.shutdown(Duration::from_secs(5)).await;
        // One version, and one cipher.
        let only =
            TlsConfig { protocols: vec!["TLSv1.3".into()], cipher_suites: vec!["TLS_CHACHA20_POLY1305_SHA256".into()], ..tls };
        let server = start(&api, only).await;
        let http = server.http.unwrap();
        assert!(
            answers(http, &place.client(None, BOTH)).await && !answers(http, &place.client(None, &[&rustls::version::TLS12])).await
        );
        server.shutdown(Duration::from_secs(5)).await;
    }
    let refuses = async |tls: TlsConfig| {
        let config = HttpConfig { tls: Some(tls), ..HttpConfig::at(SocketAddr::from(([127, 0, 0, 1], 0))) };
        serve(api.clone(), ServerConfig { http: Some(config), ..ServerConfig::default() }).await.unwrap_err().to_string()
    };
    place.write("password", "other");
    let error = refuses(place.in_store(None)).await;
    assert!(error.contains("TLS of JSON-RPC over HTTP") && error.contains("server.p12") && !error.contains("other"), "{error}");
    place.write("server.p12", b"\xfe\xed\xfe\xed\0\0");
    assert!(refuses(place.in_store(None)).await.contains("keytool"));
    place.write("key.pem", place.authority.paper.key.serialize_pem());
    assert!(refuses(place.in_pem(None)).await.contains("cannot be used together"));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_known_by_fingerprint_or_by_authority() {
    let (api, place, others) = (api(), Place::new(), Authority::new());
    let (known, signed, stranger) = (others.sign("known"), place.authority.sign("signed"), others.sign("stranger"));
    let print: Vec<String> = Sha256::digest(&known.certificate).iter().map(|byte| format!("{byte:02X}")).collect();
    place.write("known", format!("known {}\n", print.join(":")));
    place.write("ca.pem", &place.authority.paper.pem);
    let mut trust = KeyStore::new();
    trust.add_entry("ca", KeyStoreEntry::Certificate(Certificate::from_der(&place.authority.paper.certificate).unwrap()));
    place.write("trust.p12", trust.writer("").write().unwrap());
    let by_fingerprint = Clients { known: Some(place.path("known")), authorities: None };
    let by_authority = Clients { known: None, authorities: Some(Authorities::Pem(place.path("ca.pem"))) };
    let trust = Store { file: place.path("trust.p12"), password: Password::Text(String::new().into()) };
    let by_store = Clients { known: None, authorities: Some(Authorities::Store(trust)) };
    let by_either = Clients { known: by_fingerprint.known.clone(), authorities: by_authority.authorities.clone() };
    for (clients, expected) in
        [(by_fingerprint, [true, false]), (by_authority, [false, true]), (by_store, [false, true]), (by_either, [true, true])]
    {
        let server = start(&api, place.in_store(Some(clients.clone()))).await;
        for address in [server.http.unwrap(), server.ws.unwrap()] {
            for version in BOTH {
                let let_in = async |paper: Option<&Paper>| {
                    let Ok(mut stream) = connect(address, &place.client(paper, &[version])).await else { return false };
                    if server.ws == Some(address) {
                        return tokio_tungstenite::client_async("wss://localhost/", stream).await.is_ok();
                    }
                    ask(&mut stream).await.is_ok()
                };
                let got = [let_in(Some(&known)).await, let_in(Some(&signed)).await];
                assert_eq!(got, expected, "{clients:?} {version:?}");
                assert!(!let_in(Some(&stranger)).await && !let_in(None).await, "{clients:?} {version:?}");
            }
        }
        server.shutdown(Duration::from_secs(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_change_are_in_force_without_a_restart() {
    let (api, place) = (api(), Place::new());
    let (one, two) = (place.authority.sign("one"), place.authority.sign("two"));
    let line = |paper: &Paper| {
        format!("client {}\n", Sha256::digest(&paper.certificate).iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    };
    place.write("known", line(&one));
    let known = Clients { known: Some(place.path("known")), authorities: None };
    let server = start(&api, place.in_store(Some(known))).await;
    let http = server.http.unwrap();
    let shown = async || {
        let stream = connect(http, &place.client(Some(&one), BOTH)).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let until = async |holds: &dyn Fn(CertificateDer<'static>) -> bool| {
        let began = tokio::time::Instant::now();
        while !holds(shown().await) {
            assert!(began.elapsed() < Duration::from_secs(60), "never");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let (client_one, client_two) = (place.client(Some(&one), BOTH), place.client(Some(&two), BOTH));
    let mut open = connect(http, &client_one).await.unwrap();
    ask(&mut open).await.unwrap();
    // What is wrong changes nothing; what is right is shown to the next that come.
    place.write("server.p12", b"nothing");
    let renewed = place.renew("localhost");
    until(&|shown| shown == renewed).await;
    ask(&mut open).await.expect("a connection outlives a renewed certificate");
    place.write("server.p12", b"nothing");
    // Another client instead: one is out, and its open connection is closed.
    place.write("known", line(&two));
    let again = place.renew("localhost");
    let began = tokio::time::Instant::now();
    while !answers(http, &client_two).await {
        assert!(began.elapsed() < Duration::from_secs(60), "never");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(!answers(http, &client_one).await);
    assert!(ask(&mut open).await.is_err(), "whoever is taken out is out");
    let stream = connect(http, &client_two).await.unwrap();
    assert_eq!(stream.get_ref().1.peer_certificates().unwrap()[0], again);
    server.shutdown(Duration::from_secs(5)).await;
}

/// Connections on which TLS never begins end by themselves, and many of one address hold up nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_never_end_keep_nobody_out() {
    let (api, place) = (api(), Place::new());
    let server = start(&api, place.in_pem(None)).await;
    let http = server.http.unwrap();
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(from(2, http).await);
    }
    assert!(answers(http, &place.client(None, BOTH)).await);
    // Of one address no more begin than it may: the last are cut unheard.
    let mut heard = Vec::new();
    for stream in silent.iter_mut().rev() {
        let mut piece = [0; 1];
        heard.push(tokio::time::timeout(Duration::from_secs(20), stream.read(&mut piece)).await);
    }
    assert!(heard.iter().all(|end| matches!(end, Ok(Ok(0) | Err(_)))), "all are closed within the time of a handshake");
    assert!(answers(http, &place.client(None, BOTH)).await);
    server.shutdown(Duration::from_secs(5)).await;
}
