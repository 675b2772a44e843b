//! The listeners over loopback: limits, hosts, origins, batches, health, subscriptions.
#![allow(clippy::unwrap_used, clippy::panic)]

use futures_util::{SinkExt, StreamExt};
use ipe_api::conformance::{Exchange, dispatcher};
use ipe_api::{Api, Groups, HttpConfig, Release, RunningServer, ServerConfig, serve};
use ipe_chain::Imported;
use ipe_engine::Notification;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

fn api() -> Arc<Api> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/besu-25.5.0-header-votes");
    let genesis = std::fs::read_to_string(dir.join("genesis.json")).unwrap();
    let blocks = std::fs::read(dir.join("blocks.rlp")).unwrap();
    let none: [Exchange; 0] = [];
    dispatcher(&genesis, &blocks, &none, Release::Besu25).unwrap()
}

fn config() -> HttpConfig {
    HttpConfig { groups: Groups::parse(["ETH", "NET"]).unwrap(), ..HttpConfig::at(SocketAddr::from(([127, 0, 0, 1], 0))) }
}

async fn start(api: &Arc<Api>, http: HttpConfig) -> RunningServer {
    let ws = config();
    serve(api.clone(), ServerConfig { http: Some(http), ws: Some(ws), ..ServerConfig::default() }).await.unwrap()
}

/// Sends one request and reads status line with headers, and body.
async fn ask(address: SocketAddr, head: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let text = format!("{head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

const POST: &str = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json";

async fn post(address: SocketAddr, body: &str) -> Value {
    let (head, body) = ask(address, POST, body).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    serde_json::from_str(&body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_batches_and_their_errors() {
    let api = api();
    let server = start(&api, HttpConfig { max_batch: 3, max_body: 2000, ..config() }).await;
    let address = server.http.unwrap();
    let one = post(address, r#"{"jsonrpc":"2.0","id":"a","method":"eth_chainId","params":[]}"#).await;
    assert_eq!(one, json!({"jsonrpc": "2.0", "id": "a", "result": "0x9e5b5"}));
    let unknown = post(address, r#"{"jsonrpc":"2.0","id":1,"method":"eth_nothing"}"#).await;
    assert_eq!(unknown["error"], json!({"code": -32601, "message": "Method not found"}));
    let disabled = post(address, r#"{"jsonrpc":"2.0","id":1,"method":"debug_getBadBlocks"}"#).await;
    assert_eq!(disabled["error"], json!({"code": -32604, "message": "Method not enabled"}));
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber"},7,{"jsonrpc":"2.0","id":2,"method":"eth_call","params":[{},"latest"]}]"#;
    let batch = post(address, batch).await;
    assert_eq!(batch[0]["result"], "0x3f");
    assert_eq!(batch[1]["error"]["code"], -32600);
    assert_eq!(batch[2], json!({"jsonrpc": "2.0", "id": 2, "result": "0x"}));
    for (body, code) in [("{", -32700), ("[]", -32600), ("[1,2,3,4]", -32005), ("{\"id\":1}", -32600)] {
        let (head, answer) = ask(address, POST, body).await;
        assert!(head.starts_with("HTTP/1.1 400"), "{body}: {head}");
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["error"]["code"], code, "{body}");
    }
    let notification = ask(address, POST, r#"{"jsonrpc":"2.0","method":"eth_chainId"}"#).await;
    assert!(notification.0.starts_with("HTTP/1.1 200") && notification.1.is_empty(), "{notification:?}");
    let (head, _) = ask(address, POST, &" ".repeat(2001)).await;
    assert!(head.starts_with("HTTP/1.1 413"), "{head}");
    let (head, _) = ask(address, "GET / HTTP/1.1\r\nHost: localhost", "").await;
    assert!(head.starts_with("HTTP/1.1 405"), "{head}");
    server.shutdown(Duration::from_secs(5)).await;
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_origins_and_health() {
    let api = api();
    let http = HttpConfig { cors_origins: vec!["http://app.example".into()], ..config() };
    let server = start(&api, http).await;
    let address = server.http.unwrap();
    let (head, body) = ask(address, "POST / HTTP/1.1\r\nHost: evil.example", "{}").await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    assert_eq!(body, r#"{"message":"Host not authorized."}"#);
    let preflight = "OPTIONS / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://app.example\r\nAccess-Control-Request-Method: POST";
    let (head, _) = ask(address, preflight, "").await;
    assert!(head.to_lowercase().contains("access-control-allow-origin: http://app.example"), "{head}");
    let (head, _) = ask(address, &preflight.replace("app.", "other."), "").await;
    assert!(!head.to_lowercase().contains("access-control-allow-origin"), "{head}");
    for (path, status, word) in [
        ("/liveness", "200", "UP"),
        ("/live", "200", "UP"),
        ("/readiness", "503", "DOWN"),
        ("/readiness?minPeers=0", "200", "UP"),
        ("/readiness?minPeers=x", "503", "DOWN"),
        ("/health", "503", "\"height\":63"),
        ("/nothing", "404", "Not Found"),
    ] {
        let (head, body) = ask(address, &format!("GET {path} HTTP/1.1\r\nHost: localhost"), "").await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")) && body.contains(word), "{path}: {head} {body}");
    }
}

/// A page in the operator's browser reaches a loopback node: it can upgrade to WebSocket and POST what needs no preflight.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_origins_drive_nothing() {
    let api = api();
    let listed = || HttpConfig { cors_origins: vec!["http://app.example".into()], groups: Groups::all(), ..config() };
    let server =
        serve(api.clone(), ServerConfig { http: Some(listed()), ws: Some(listed()), ..ServerConfig::default() }).await.unwrap();
    let address = server.http.unwrap();
    let vote = r#"{"jsonrpc":"2.0","id":1,"method":"qbft_proposeValidatorVote","params":["0x0000000000000000000000000000000000000007",true]}"#;
    let json = "\r\nContent-Type: application/json";
    for (headers, status) in [
        ("\r\nContent-Type: text/plain", "415"),
        ("\r\nContent-Type: application/x-www-form-urlencoded", "415"),
        ("", "415"),
        ("\r\nOrigin: http://evil.example\r\nContent-Type: text/plain", "403"),
        ("\r\nOrigin: http://evil.example\r\nContent-Type: application/json", "403"),
        ("\r\nOrigin: null\r\nContent-Type: application/json", "403"),
    ] {
        let (head, _) = ask(address, &format!("POST / HTTP/1.1\r\nHost: localhost{headers}"), vote).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{headers}: {head}");
    }
    for port in [address.port(), server.ws.unwrap().port()] {
        for (origin, taken) in [("http://evil.example", false), ("null", false), ("http://app.example", true)] {
            let mut request =
                tokio_tungstenite::tungstenite::client::IntoClientRequest::into_client_request(format!("ws://localhost:{port}/"))
                    .unwrap();
            request.headers_mut().insert("Origin", origin.parse().unwrap());
            let answer = tokio_tungstenite::connect_async(request).await;
            assert_eq!(answer.is_ok(), taken, "{port} {origin}: {:?}", answer.err());
        }
    }
    let pending = r#"{"jsonrpc":"2.0","id":1,"method":"qbft_getPendingVotes","params":[]}"#;
    let (_, body) = ask(address, &format!("POST / HTTP/1.1\r\nHost: localhost{json}; charset=utf-8"), pending).await;
    assert!(body.contains(r#""result":{}"#), "nothing was proposed: {body}");
    let (head, _) = ask(address, &format!("POST / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://app.example{json}"), vote).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
}

/// A proxy that filters by `method` and by the fields of a filter sees what is carried out.
#[tokio::test(flavor = "multi_thread")]
async fn arrays_are_not_taken_for_objects() {
    let api = api();
    let server = start(&api, HttpConfig { groups: Groups::all(), ..config() }).await;
    let address = server.http.unwrap();
    let answer = post(address, r#"[[7,"eth_chainId"],[7,"eth_chainId",[]]]"#).await;
    assert_eq!(answer[0], json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32600, "message": "Invalid Request"}}));
    assert_eq!(answer[1]["error"]["code"], -32600);
    let to = "0x0000000000000000000000000000000000000001";
    for (method, params) in [
        ("eth_getLogs", json!([["0x1", "0x2", null, null, []]])),
        ("eth_newFilter", json!([["0x1", "0x2", null, null, []]])),
        ("eth_call", json!([[null, to, null, null, null, null, null, null, null, null, null, null, null], "latest"])),
        ("eth_call", json!([{"to": to, "accessList": [[to, []]]}, "latest"])),
        ("eth_call", json!([{"to": to}, "latest", {to: ["0x1", null, null, null, null]}])),
        ("eth_call", json!([{"to": to}, "latest", {}, ["0x1", null, null, null, null, null, null]])),
        ("trace_filter", json!([["0x1", "0x2", [], [], null, null]])),
        ("debug_traceCall", json!([{"to": to}, "latest", [null, null, null, null, null, null, null, null]])),
        ("debug_traceCall", json!([{"to": to}, "latest", {"tracer": "callTracer", "tracerConfig": [true, true]}])),
        ("debug_traceCall", json!([{"to": to}, "latest", {"tracer": "prestateTracer", "tracerConfig": [true, true, true]}])),
    ] {
        let question = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let answer = post(address, &question).await;
        assert_eq!(answer["error"]["code"], -32602, "{question}: {answer}");
    }
}

/// Who holds all places keeps out neither questions about health nor, where its address is another, anybody.
#[tokio::test(flavor = "multi_thread")]
async fn held_places_keep_nobody_out() {
    let api = api();
    let server = start(&api, HttpConfig { max_connections: 4, ..config() }).await;
    let address = server.http.unwrap();
    let from = async |last: u8| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
        socket.connect(address).await.unwrap()
    };
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(from(1).await);
    }
    // From the same address: health is answered, and all else with the reason, however many wait without a question.
    let version = r#"{"jsonrpc":"2.0","id":1,"method":"net_version"}"#;
    for _ in 0..10 {
        let (head, body) = ask(address, "GET /health HTTP/1.1\r\nHost: localhost", "").await;
        assert!(head.starts_with("HTTP/1.1 503") && body.contains("\"height\":63"), "{head} {body}");
        let (head, body) = ask(address, "GET /readiness?minPeers=0 HTTP/1.1\r\nHost: localhost", "").await;
        assert!(head.starts_with("HTTP/1.1 200") && body.contains("UP"), "{head} {body}");
        let (head, body) = ask(address, POST, version).await;
        assert!(head.starts_with("HTTP/1.1 503") && body.contains("all 4 connections"), "{head} {body}");
        assert!(head.to_lowercase().contains("connection: close"), "{head}");
    }
    // A guest that asks nothing is cut, and so is one that goes on after its answer.
    let mut silent = from(1).await;
    let mut nothing = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(20), silent.read_to_end(&mut nothing)).await.unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    // From others: a place each, until each has its share.
    let mut others = Vec::new();
    for last in [2, 3, 3] {
        let mut stream = from(last).await;
        let text = format!("{POST}\r\nContent-Length: {}\r\n\r\n{version}", version.len());
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, if others.len() < 2 { b"HTTP/1.1 200" } else { b"HTTP/1.1 503" });
        others.push(stream);
    }
    drop(held);
    let mut last = (String::new(), String::new());
    for _ in 0..200 {
        last = ask(address, POST, version).await;
        if last.0.starts_with("HTTP/1.1 200") {
            break;
        }
    }
    assert!(last.0.starts_with("HTTP/1.1 200"), "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_hear_blocks_and_their_logs() {
    let api = api();
    let server = start(&api, config()).await;
    let url = format!("ws://localhost:{}/", server.ws.unwrap().port());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let mut ask = async |body: &str| -> Value {
        socket.send(Message::text(body)).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(10), socket.next()).await.unwrap().unwrap().unwrap();
        serde_json::from_str(answer.to_text().unwrap()).unwrap()
    };
    assert_eq!(ask(r#"{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}"#).await["result"], "0x9e5b5");
    let heads = ask(r#"{"jsonrpc":"2.0","id":2,"method":"eth_subscribe","params":["newHeads"]}"#).await;
    let logs = ask(r#"{"jsonrpc":"2.0","id":3,"method":"eth_subscribe","params":["logs",{}]}"#).await;
    let gone = ask(r#"{"jsonrpc":"2.0","id":4,"method":"eth_subscribe","params":["syncing"]}"#).await;
    let bad = ask(r#"{"jsonrpc":"2.0","id":5,"method":"eth_subscribe","params":["weather"]}"#).await;
    assert_eq!(bad["error"]["code"], -32602);
    let unsubscribe = format!(r#"{{"jsonrpc":"2.0","id":6,"method":"eth_unsubscribe","params":[{}]}}"#, gone["result"]);
    assert_eq!(ask(&unsubscribe).await["result"], true);
    assert_eq!(ask(&unsubscribe).await["error"]["message"], "Subscription not found");

    // A recorded block with logs is announced as if it had just been imported.
    let ledger = &api.backend.ledger;
    let stored = (0..=63)
        .filter_map(|n| ledger.stored(n).unwrap())
        .find(|s| s.receipts.iter().any(|r| !alloy_consensus::TxReceipt::logs(r).is_empty()))
        .unwrap();
    let expected: usize = stored.receipts.iter().map(|r| alloy_consensus::TxReceipt::logs(r).len()).sum();
    let number = stored.block.header.number;
    let news = Notification::Imported(Arc::new(Imported {
        block: stored.block.clone(),
        hash: stored.hash,
        receipts: stored.receipts.clone(),
        senders: stored.senders.clone(),
        sealers: Arc::default(),
        total_difficulty: ledger.total_difficulty(number),
    }));
    api.backend.notifications.send(news).unwrap();
    let (mut seen_heads, mut seen_logs) = (0, 0);
    while seen_heads + seen_logs < expected + 1 {
        let event = tokio::time::timeout(Duration::from_secs(10), socket.next()).await.unwrap().unwrap().unwrap();
        let event: Value = serde_json::from_str(event.to_text().unwrap()).unwrap();
        assert_eq!(event["method"], "eth_subscription");
        let result = &event["params"]["result"];
        if event["params"]["subscription"] == heads["result"] {
            seen_heads += 1;
            assert_eq!(result["hash"], json!(stored.hash));
        } else {
            seen_logs += 1;
            assert_eq!(event["params"]["subscription"], logs["result"]);
            assert_eq!(result["blockHash"], json!(stored.hash));
        }
    }
    assert_eq!((seen_heads, seen_logs), (1, expected));
    server.shutdown(Duration::from_secs(5)).await;
}

/// Every block is held against everything that is subscribed to.
#[tokio::test(flavor = "multi_thread")]
async fn what_subscriptions_want_is_bounded_by_connection_and_in_all() {
    let api = api();
    let server = start(&api, config()).await;
    let url = format!("ws://localhost:{}/", server.ws.unwrap().port());
    let addresses: Vec<String> = (0..1_000).map(|number| format!("0x{number:040x}")).collect();
    let wide =
        json!({"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["logs", {"address": addresses}]}).to_string();
    let mut sockets = Vec::new();
    let mut taken = 0;
    for connection in 0..10 {
        let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
        for subscription in 0..3 {
            socket.send(Message::text(wide.as_str())).await.unwrap();
            let answer = tokio::time::timeout(Duration::from_secs(10), socket.next()).await.unwrap().unwrap().unwrap();
            let answer: Value = serde_json::from_str(answer.to_text().unwrap()).unwrap();
            let message = answer["error"]["message"].as_str().unwrap_or_default();
            match (connection, subscription) {
                (0..=5, 0 | 1) => assert!(answer["result"].is_string(), "{connection} {subscription}: {answer}"),
                (0..=5, _) => assert!(message.contains("of this connection"), "{answer}"),
                _ => assert!(message.contains("together"), "{answer}"),
            }
            taken += usize::from(answer["result"].is_string());
        }
        sockets.push(socket);
    }
    // Three quarters: the rest is for other addresses.
    assert_eq!(taken, 12);
    // What a connection had is another's once it is gone.
    sockets.remove(0).close(None).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    let mut answer = Value::Null;
    for _ in 0..200 {
        socket.send(Message::text(wide.as_str())).await.unwrap();
        let said = tokio::time::timeout(Duration::from_secs(10), socket.next()).await.unwrap().unwrap().unwrap();
        answer = serde_json::from_str(said.to_text().unwrap()).unwrap();
        if answer["result"].is_string() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(answer["result"].is_string(), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let api = api();
    let server = start(&api, config()).await;
    let again = HttpConfig { address: server.http.unwrap(), ..config() };
    let error = serve(api, ServerConfig { http: Some(again), ..ServerConfig::default() }).await.unwrap_err().to_string();
    assert!(error.contains(&server.http.unwrap().to_string()) && error.contains("choose another"), "{error}");
}

/// What one call makes the node keep is bounded: filters in all, subscriptions of a connection, and the range of a search.
#[tokio::test(flavor = "multi_thread")]
async fn filters_subscriptions_and_ranges_have_their_bounds() {
    let api = api();
    let server = start(&api, config()).await;
    let address = server.http.unwrap();
    let one = r#"{"jsonrpc":"2.0","id":1,"method":"eth_newBlockFilter","params":[]}"#;
    let thousand = format!("[{}]", vec![one; 1000].join(","));
    let answers = post(address, &thousand).await;
    assert_eq!(answers.as_array().unwrap().iter().filter(|answer| answer["result"].is_string()).count(), 750);
    let refused = post(address, one).await;
    assert!(refused["error"]["code"].is_i64(), "{refused}");
    // The rest is for other addresses.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
    let mut other = socket.connect(address).await.unwrap();
    let text = format!("{POST}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{one}", one.len());
    other.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    other.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("\"result\""), "{answer}");
    let gone = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"eth_uninstallFilter","params":[{}]}}"#, answers[0]["result"]);
    assert_eq!(post(address, &gone).await["result"], true);
    assert!(post(address, one).await["result"].is_string(), "an uninstalled filter makes room");

    {
        let method = "eth_getLogs";
        let range = |to: u64| {
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":[{{"fromBlock":"0x0","toBlock":"{to:#x}"}}]}}"#)
        };
        assert!(post(address, &range(5_000)).await["result"].is_array());
        assert!(post(address, &range(5_001)).await["error"]["code"].is_i64(), "more than 5,000 blocks were searched");
    }

    let url = format!("ws://localhost:{}/", server.ws.unwrap().port());
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    let most = config().max_subscriptions;
    for count in 0..=most {
        let subscribe = r#"{"jsonrpc":"2.0","id":2,"method":"eth_subscribe","params":["newHeads"]}"#;
        socket.send(Message::text(subscribe)).await.unwrap();
        let answer = tokio::time::timeout(Duration::from_secs(10), socket.next()).await.unwrap().unwrap().unwrap();
        let answer: Value = serde_json::from_str(answer.to_text().unwrap()).unwrap();
        assert_eq!(answer["result"].is_string(), count < most, "subscription {count}: {answer}");
    }
    server.shutdown(Duration::from_secs(5)).await;
}
