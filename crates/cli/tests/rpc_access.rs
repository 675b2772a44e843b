//! A real node that Besu's configuration locks: users and TLS with certificates of clients, over HTTP, WebSocket and the listener
//! for operators; a certificate that is renewed while the node runs.
#![cfg(target_os = "linux")]
#![allow(clippy::panic, clippy::unwrap_used, missing_docs)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until something holds.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: never");
        std::thread::sleep(Duration::from_millis(100));
    }
}

struct Node {
    child: Child,
    endpoints: Value,
}

impl Node {
    /// Starts a node with this file of Besu's settings and flags besides.
    fn start(folder: &Path, settings: &str, flags: &[&str]) -> Node {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/besu-25.5.0-header-votes/genesis.json");
        let besu = folder.join("besu.toml");
        let common = "p2p-host=\"127.0.0.1\"\np2p-interface=\"127.0.0.1\"\np2p-port=0\ndiscovery-enabled=false\n";
        std::fs::write(&besu, format!("data-path={folder:?}\ngenesis-file={fixture:?}\n{common}{settings}")).unwrap();
        std::fs::write(folder.join("key"), format!("0x{}", "07".repeat(32))).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_ipe"))
            .args(["node", "run", "--dialect", "legacy", "--besu-config"])
            .arg(&besu)
            .args(flags)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(folder.join("log")).unwrap())
            .stderr(std::fs::File::create(folder.join("errors")).unwrap())
            .spawn()
            .unwrap();
        let path = folder.join("ipe/endpoints.json");
        let endpoints = until("the node listens", || {
            assert!(child.try_wait().unwrap().is_none(), "{}", std::fs::read_to_string(folder.join("errors")).unwrap());
            serde_json::from_str(&std::fs::read_to_string(&path).ok()?).ok()
        });
        Node { child, endpoints }
    }

    fn at(&self, which: &str) -> SocketAddr {
        self.endpoints[which].as_str().unwrap_or_else(|| panic!("{which} in {}", self.endpoints)).parse().unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An authority and what it signs.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    certificate: CertificateDer<'static>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        Self { certificate: made.der().clone(), pem: made.pem(), params, key }
    }

    fn sign(&self) -> (KeyPair, CertificateDer<'static>, String) {
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let made = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        (key, made.der().clone(), made.pem())
    }

    /// A client with a certificate of this authority, or without.
    fn client(&self, certified: bool) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        if !certified {
            return Arc::new(builder.with_no_client_auth());
        }
        let (key, certificate, _) = self.sign();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Arc::new(builder.with_client_auth_cert(vec![certificate], key).unwrap())
    }
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

fn connect(client: &Arc<ClientConfig>, address: SocketAddr) -> Stream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(ClientConnection::new(client.clone(), ServerName::try_from("localhost").unwrap()).unwrap(), stream)
}

/// Sends one request and reads the status code and the body.
fn ask(mut stream: impl Read + Write, path: &str, token: Option<&str>, body: &str) -> std::io::Result<(u16, String)> {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n{token}");
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8(answer).map_err(std::io::Error::other)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    Ok((head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or(std::io::ErrorKind::InvalidData)?, body.to_owned()))
}

/// Upgrades to WebSocket and puts one call; the status code, and the answer if there is one.
fn whisper(mut stream: impl Read + Write, token: Option<&str>, body: &str) -> (u16, String) {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head = "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n";
    write!(stream, "{head}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{token}\r\n").unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        heard.push(byte[0]);
    }
    let code = String::from_utf8(heard).unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    if code != 101 {
        return (code, String::new());
    }
    let mut frame = vec![0x81, 0x80 | u8::try_from(body.len()).unwrap(), 0, 0, 0, 0];
    frame.extend_from_slice(body.as_bytes());
    stream.write_all(&frame).unwrap();
    let mut head = [0; 2];
    stream.read_exact(&mut head).unwrap();
    let mut answer = vec![0; usize::from(head[1])];
    stream.read_exact(&mut answer).unwrap();
    (code, String::from_utf8(answer).unwrap())
}

fn call(method: &str) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": []}).to_string()
}

fn write(path: PathBuf, text: &str) {
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_node_with_besus_users_and_certificates() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    let authority = Authority::new();
    let renew = || {
        let (key, certificate, pem) = authority.sign();
        write(path("key.pem"), &key.serialize_pem());
        write(path("cert.pem"), &pem);
        certificate
    };
    let first = renew();
    write(path("ca.pem"), &authority.pem);
    let hash = bcrypt::hash("secret", 5).unwrap();
    write(
        path("users.toml"),
        &format!(
            "[Users.app]\npassword = \"{hash}\"\npermissions = [\"eth:*\"]\n[Users.op]\npassword = \"{hash}\"\npermissions = [\"*:*\"]\n"
        ),
    );
    let users = path("users.toml");
    let settings = format!(
        "rpc-http-enabled=true\nrpc-http-port=0\nrpc-http-api=[\"ETH\",\"NET\",\"ADMIN\"]\nrpc-http-authentication-enabled=true\n\
         rpc-http-authentication-credentials-file={users:?}\nrpc-http-api-methods-no-auth=[\"net_version\"]\n\
         rpc-ws-enabled=true\nrpc-ws-port=0\nrpc-ws-authentication-enabled=true\nrpc-ws-authentication-credentials-file={users:?}\n\
         rpc-ws-ssl-enabled=true\nrpc-ws-ssl-keystore-type=\"PEM\"\nrpc-ws-ssl-key-file={:?}\nrpc-ws-ssl-cert-file={:?}\n\
         rpc-ws-ssl-client-auth-enabled=true\nrpc-ws-ssl-truststore-type=\"PEM\"\nrpc-ws-ssl-trustcert-file={:?}\n",
        path("key.pem"),
        path("cert.pem"),
        path("ca.pem")
    );
    let tls = [
        ("--rpc-http-tls-key-file", "key.pem"),
        ("--rpc-http-tls-cert-file", "cert.pem"),
        ("--rpc-http-tls-trustcert-file", "ca.pem"),
    ];
    let mut flags: Vec<String> =
        tls.iter().flat_map(|(flag, name)| [(*flag).to_owned(), path(name).display().to_string()]).collect();
    let more = ["--rpc-http-tls-enabled", "--rpc-http-tls-client-auth-enabled", "--rpc-operator-enabled", "--rpc-operator-port=0"];
    flags.extend(more.map(str::to_owned));
    let node = Node::start(folder.path(), &settings, &flags.iter().map(String::as_str).collect::<Vec<_>>());
    let (http, ws, operator) = (node.at("rpcHttp"), node.at("rpcWs"), node.at("rpcOperator"));
    let (client, stranger) = (authority.client(true), authority.client(false));

    let login = |address: SocketAddr, name: &str| {
        let body = json!({"username": name, "password": "secret"}).to_string();
        let (status, body) = ask(connect(&client, address), "/login", None, &body).unwrap();
        assert_eq!(status, 200, "{body}");
        serde_json::from_str::<Value>(&body).unwrap()["token"].as_str().unwrap().to_owned()
    };
    let put = |address: SocketAddr, token: Option<&str>, body: &str| ask(connect(&client, address), "/", token, body).unwrap();
    let app = login(http, "app");
    assert_eq!(put(http, Some(&app), &call("eth_chainId")).0, 200);
    let (status, refusal) = put(http, Some(&app), &call("admin_nodeInfo"));
    assert_eq!((status, refusal.as_str()), (401, r#"{"jsonrpc":"2.0","id":1,"error":{"code":-40100,"message":"Unauthorized"}}"#));
    assert_eq!(put(http, None, &call("net_version")).0, 200);
    assert_eq!(put(http, None, &call("eth_chainId")).0, 401);
    let (status, both) = put(http, Some(&app), &format!("[{},{}]", call("eth_chainId"), call("admin_nodeInfo")));
    assert!(status == 200 && both.contains("\"result\"") && both.contains("-40100"), "{both}");
    // For operators: other methods, another key.
    assert_eq!(put(operator, Some(&app), &call("eth_chainId")).0, 401);
    let op = login(operator, "op");
    assert_eq!(put(operator, Some(&op), &call("miner_getMinGasPrice")).0, 200);
    assert!(put(http, Some(&login(http, "op")), &call("miner_getMinGasPrice")).1.contains("Method not enabled"));
    // WebSocket.
    assert_eq!(whisper(connect(&client, ws), None, &call("eth_chainId")).0, 401);
    let token = login(ws, "app");
    assert!(whisper(connect(&client, ws), Some(&token), &call("eth_chainId")).1.contains("result"));
    assert!(whisper(connect(&client, ws), Some(&token), &call("net_version")).1.contains("-40100"));
    // Without a certificate of a client, and in clear, nothing is answered.
    for address in [http, ws, operator] {
        assert!(ask(connect(&stranger, address), "/login", None, "{}").is_err());
        assert!(ask(TcpStream::connect(address).unwrap(), "/login", None, "{}").is_err());
    }
    // A certificate that is renewed.
    let shown = |address: SocketAddr| {
        let mut stream = connect(&client, address);
        let _ = ask(&mut stream, "/", None, &call("net_version"));
        stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
    };
    assert_eq!(shown(http), first);
    let second = renew();
    for address in [http, ws, operator] {
        until("the renewed certificate", || (shown(address) == second).then_some(()));
    }
    let log = std::fs::read_to_string(path("log")).unwrap() + &std::fs::read_to_string(path("errors")).unwrap();
    assert!(!log.contains("secret") && !log.contains(&hash) && !log.contains(&app) && !log.contains("PRIVATE KEY"), "{log}");
    drop(node);

    // Without certificates in Besu's own file: what is missing is named.
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipe"));
    command.args(["node", "run", "--besu-config"]).arg(path("besu.toml")).arg("--rpc-http-tls-enabled");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("rpc-http-tls-keystore-file"), "{said}");
}
