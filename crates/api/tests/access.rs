//! Authentication over loopback, as Besu's operators know it: logins, tokens, permissions of calls, batches and subscriptions.
#![allow(clippy::unwrap_used, clippy::panic)]

use futures_util::{SinkExt, StreamExt};
use ipe_api::conformance::{Exchange, dispatcher};
use ipe_api::{Api, AuthenticationConfig, Groups, HttpConfig, Release, RunningServer, ServerConfig, serve};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};

fn api() -> Arc<Api> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/besu-25.5.0-header-votes");
    let genesis = std::fs::read_to_string(dir.join("genesis.json")).unwrap();
    let blocks = std::fs::read(dir.join("blocks.rlp")).unwrap();
    let none: [Exchange; 0] = [];
    dispatcher(&genesis, &blocks, &none, Release::Besu25).unwrap()
}

/// Users whose passwords are their names backwards.
fn users(cost: u32) -> String {
    let user = |name: &str, permissions: &str| {
        let password: String = name.chars().rev().collect();
        format!("[Users.{name}]\npassword = \"{}\"\npermissions = {permissions}\n", bcrypt::hash(password, cost).unwrap())
    };
    user("ana", r#"["eth:*", "net:version"]"#) + &user("root", r#"["*:*"]"#) + &user("none", "[]")
}

/// A node whose listeners ask for authentication, and the folder with its file of users.
async fn node(cost: u32, open_methods: &[&str]) -> (RunningServer, Arc<Api>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users.toml");
    std::fs::write(&file, users(cost)).unwrap();
    let config = || HttpConfig {
        groups: Groups::all(),
        authentication: Some(AuthenticationConfig {
            credentials_file: Some(file.clone()),
            open_methods: open_methods.iter().map(ToString::to_string).collect(),
            ..AuthenticationConfig::default()
        }),
        ..HttpConfig::at(SocketAddr::from(([127, 0, 0, 1], 0)))
    };
    let api = api();
    let server =
        serve(api.clone(), ServerConfig { http: Some(config()), ws: Some(config()), ..ServerConfig::default() }).await.unwrap();
    (server, api, folder)
}

/// Sends one request from 127.0.0.`last` and reads status code and body.
async fn ask_from(last: u8, address: SocketAddr, method: &str, path: &str, token: Option<&str>, body: &str) -> (u16, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0))).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n{token}");
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn ask(address: SocketAddr, token: Option<&str>, body: &str) -> (u16, Value) {
    let (status, body) = ask_from(1, address, "POST", "/", token, body).await;
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

async fn login(address: SocketAddr, name: &str, password: &str) -> (u16, String) {
    ask_from(1, address, "POST", "/login", None, &json!({"username": name, "password": password}).to_string()).await
}

async fn token(address: SocketAddr, name: &str) -> String {
    let password: String = name.chars().rev().collect();
    let (status, body) = login(address, name, &password).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<Value>(&body).unwrap()["token"].as_str().unwrap().to_owned()
}

fn call(id: u64, method: &str) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": []}).to_string()
}

fn refused(id: impl Into<Value>) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "error": {"code": -40100, "message": "Unauthorized"}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_gives_a_token_and_a_token_its_permissions() {
    let (server, _, _folder) = node(4, &[]).await;
    let http = server.http.unwrap();
    for (name, password) in [("ana", "wrong"), ("nobody", "ydobon"), ("", ""), ("ana", "")] {
        let (status, body) = login(http, name, password).await;
        assert_eq!((status, body.as_str()), (401, "Authentication failed: the username or password is incorrect."), "{name}");
    }
    for body in ["", "{", "[]", "{}", r#"{"username":"ana"}"#, r#"{"username":1,"password":"ana"}"#] {
        let (status, text) = ask_from(1, http, "POST", "/login", None, body).await;
        assert_eq!((status, text.as_str()), (400, "Authentication failed: username and password are required."), "{body}");
    }
    assert_eq!(ask_from(1, http, "POST", "/login", None, &"a".repeat(5000)).await.0, 413);
    assert_eq!(ask_from(1, http, "GET", "/login", None, "").await.0, 404);

    assert_eq!(ask(http, None, &call(1, "eth_chainId")).await, (401, refused(Value::Null)));
    assert_eq!(ask(http, Some("a.b.c"), &call(2, "eth_chainId")).await, (401, refused(2)));
    let ana = token(http, "ana").await;
    assert_eq!(
        ask(http, Some(&ana), &call(3, "eth_chainId")).await,
        (200, json!({"jsonrpc": "2.0", "id": 3, "result": "0x9e5b5"}))
    );
    assert_eq!(ask(http, Some(&ana), &call(4, "net_version")).await.0, 200);
    assert_eq!(ask(http, Some(&ana), &call(5, "net_peerCount")).await, (401, refused(5)));
    assert_eq!(ask(http, Some(&ana), &call(6, "debug_traceBlockByNumber")).await, (401, refused(6)), "a heavy one");
    let batch = format!("[{},{},7,{}]", call(7, "eth_chainId"), call(8, "admin_peers"), call(9, "net_version"));
    let (status, answers) = ask(http, Some(&ana), &batch).await;
    assert_eq!((status, answers[0]["result"].as_str(), &answers[1]), (200, Some("0x9e5b5"), &refused(8)));
    assert!(answers[2]["error"]["code"] == -32600 && answers[3]["result"].is_string(), "{answers}");
    let long: Vec<String> = (0..40).map(|id| call(id, "debug_traceBlockByNumber")).collect();
    let (status, answers) = ask(http, Some(&ana), &format!("[{}]", long.join(","))).await;
    assert!(status == 200 && answers.as_array().unwrap().iter().all(|one| one["error"]["code"] == -40100), "{answers}");
    assert_eq!(ask(http, Some(&token(http, "none").await), &call(10, "rpc_modules")).await, (401, refused(10)));
    assert_eq!(ask(http, Some(&token(http, "root").await), &call(11, "admin_nodeInfo")).await.0, 200);
    // Health is nobody's secret; the other listener has another key.
    assert_eq!(ask_from(1, http, "GET", "/liveness", None, "").await.0, 200);
    assert_eq!(ask_from(1, http, "GET", "/readiness", None, "").await.0, 503);
    let ws = server.ws.unwrap();
    assert_eq!(ask(http, Some(&token(ws, "root").await), &call(12, "eth_chainId")).await, (401, refused(12)));
    server.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_methods_need_no_token_and_logins_follow_the_file() {
    let (server, api, folder) = node(4, &["net_version", "eth_subscribe"]).await;
    let http = server.http.unwrap();
    assert_eq!(ask(http, None, &call(1, "net_version")).await.0, 200);
    assert_eq!(ask(http, None, &call(2, "eth_chainId")).await, (401, refused(2)));
    assert_eq!(ask(http, Some("a.b.c"), &call(3, "net_version")).await.0, 200);
    // The file is read again when it changes, and what is wrong in it changes nothing.
    let file = folder.path().join("users.toml");
    std::fs::write(&file, "[Users.ana]\npassword = \"plain\"").unwrap();
    assert_eq!(login(http, "ana", "ana").await.0, 200);
    std::fs::write(&file, users(4).replace("[Users.ana]", "[Users.eva]")).unwrap();
    assert_eq!((login(http, "ana", "ana").await.0, login(http, "eva", "ana").await.0), (401, 200));
    server.shutdown(Duration::from_secs(5)).await;
    // Without authentication nobody can log in.
    let config = HttpConfig::at(SocketAddr::from(([127, 0, 0, 1], 0)));
    let server = serve(api, ServerConfig { http: Some(config), ..ServerConfig::default() }).await.unwrap();
    assert_eq!(login(server.http.unwrap(), "ana", "ana").await, (400, "Authentication not enabled".to_owned()));
    server.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_has_the_permissions_of_its_upgrade() {
    let (server, _, _folder) = node(4, &[]).await;
    for address in [server.ws.unwrap(), server.http.unwrap()] {
        let upgrade = |token: Option<&str>| {
            let mut request = format!("ws://localhost:{}/", address.port()).into_client_request().unwrap();
            if let Some(token) = token {
                request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
            }
            tokio_tungstenite::connect_async(request)
        };
        for token in [None, Some("a.b.c")] {
            match upgrade(token).await {
                Err(tungstenite::Error::Http(answer)) => assert_eq!(answer.status(), 401),
                other => panic!("{token:?}: {other:?}"),
            }
        }
        let hear = async |name: &str, bodies: &[String]| {
            let (mut socket, _) = upgrade(Some(&token(address, name).await)).await.unwrap();
            let mut heard = Vec::new();
            for body in bodies {
                socket.send(Message::text(body.clone())).await.unwrap();
                let Some(Ok(Message::Text(text))) = socket.next().await else { panic!("no answer to {body}") };
                heard.push(serde_json::from_str::<Value>(&text).unwrap());
            }
            heard
        };
        let subscribe = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}).to_string();
        let unsubscribe = json!({"jsonrpc": "2.0", "id": 4, "method": "eth_unsubscribe", "params": ["0x1"]}).to_string();
        let batch = format!("[{},{}]", call(5, "eth_chainId"), call(6, "admin_peers"));
        let all = [subscribe, call(2, "eth_chainId"), call(3, "admin_peers"), unsubscribe, batch];
        let ana = hear("ana", &all).await;
        assert!(ana[0]["result"] == "0x1" && ana[1]["result"].is_string() && ana[3]["result"] == true, "{ana:?}");
        assert_eq!(ana[2], refused(3));
        assert!(ana[4][0]["result"].is_string() && ana[4][1] == refused(6), "{ana:?}");
        let none = hear("none", &all).await;
        assert_eq!(none[..4], [refused(1), refused(2), refused(3), refused(4)]);
        assert_eq!(none[4], json!([refused(5), refused(6)]));
    }
    server.shutdown(Duration::from_secs(5)).await;
}

/// Each login takes some tenths of a second of a core. Whoever asks for them without end waits for itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_logins_delays_who_floods() {
    let (server, _, _folder) = node(12, &[]).await;
    let http = server.http.unwrap();
    let (stop, asked, busy) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let ana = token(http, "ana").await;
    let began = Instant::now();
    token(http, "ana").await;
    let alone = began.elapsed();
    let flood: Vec<_> = (0..40_usize)
        .map(|_| {
            let (stop, asked, busy) = (stop.clone(), asked.clone(), busy.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let body = json!({"username": "ana", "password": "wrong"}).to_string();
                    let (status, _) = ask_from(2, http, "POST", "/login", None, &body).await;
                    asked.fetch_add(1, Ordering::Relaxed);
                    match status {
                        401 => {}
                        503 => {
                            busy.fetch_add(1, Ordering::Relaxed);
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                        other => panic!("{other}"),
                    }
                }
            })
        })
        .collect();
    while busy.load(Ordering::Relaxed) < 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Another address logs in after the one that is being carried out, not after the twenty that wait.
    let mut waits = Vec::new();
    for _ in 0..3 {
        let began = Instant::now();
        token(http, "ana").await;
        waits.push(began.elapsed());
    }
    let mut calls = Vec::new();
    for id in 0..200 {
        let began = Instant::now();
        assert_eq!(ask(http, Some(&ana), &call(id, "eth_chainId")).await.0, 200);
        calls.push(began.elapsed());
    }
    calls.sort_unstable();
    stop.store(true, Ordering::Relaxed);
    let told = format!(
        "alone {alone:?}; beside a flood logins {waits:?}, calls p50 {:?} p99 {:?}; {} logins of the flood, {} of them told to come later",
        calls[100],
        calls[197],
        asked.load(Ordering::Relaxed),
        busy.load(Ordering::Relaxed)
    );
    println!("{told}");
    assert!(waits.iter().min().unwrap() < &(alone * 8), "{told}");
    assert!(calls[100] < alone, "{told}");
    for client in flood {
        client.abort();
    }
    server.shutdown(Duration::from_secs(5)).await;
}
