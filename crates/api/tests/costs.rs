//! What one client can cost: requests that ask for more than they may, and clients that do not wait for what they asked.
#![allow(clippy::unwrap_used, clippy::panic)]

use futures_util::SinkExt;
use ipe_api::conformance::{Exchange, dispatcher};
use ipe_api::{Api, Groups, HttpConfig, Release, RunningServer, ServerConfig, Settings, serve};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;

/// A loop without end: JUMPDEST, PUSH1 0, JUMP.
const LOOP: &str = "0x5b600056";
/// Calls of an account without code, with a mebibyte each.
const INPUTS: &str = "0x6000_63000fffff_53_5b_6000_6000_6300100000_6000_6000_60ff_61ffff_f1_50_6008_56";
/// Calls of the identity precompile, which gives back a mebibyte each.
const OUTPUTS: &str = "0x6000_63000fffff_53_5b_6000_6000_6300100000_6000_6000_6004_5a_f1_50_6008_56";
/// Writes one slot after the other, each under what gas is left.
const SLOTS: &str = "0x5b_5a_80_55_6000_56";
/// A mebibyte of memory, and then the loop.
const MEMORY: &str = "0x6000_63000fffff_53_5b_6008_56";
/// A call of itself with a quarter of a mebibyte of memory, over and over.
const DEEP: &str = "0x6000_6203ffff_53_6000_6000_6000_6000_6000_30_5a_f1";

fn code(text: &str) -> String {
    text.replace('_', "")
}

/// The loop, with seventeen words on the stack of which SWAP16 exchanges two.
fn swaps() -> String {
    format!("0x{}5b9f602256", "6000".repeat(17))
}

fn api(settings: Settings) -> Arc<Api> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/besu-25.5.0-header-votes");
    let genesis = std::fs::read_to_string(dir.join("genesis.json")).unwrap();
    let blocks = std::fs::read(dir.join("blocks.rlp")).unwrap();
    let none: [Exchange; 0] = [];
    let api = dispatcher(&genesis, &blocks, &none, Release::Besu25).unwrap();
    Api::new(api.backend.clone(), settings)
}

async fn start(api: &Arc<Api>) -> RunningServer {
    let config = || HttpConfig { groups: Groups::all(), ..HttpConfig::at(SocketAddr::from(([127, 0, 0, 1], 0))) };
    serve(api.clone(), ServerConfig { http: Some(config()), ws: Some(config()), ..ServerConfig::default() }).await.unwrap()
}

fn head(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len())
}

/// A connection that stays open.
struct Client(TcpStream);

impl Client {
    async fn at(address: SocketAddr, last: u8) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
        Self(socket.connect(address).await.unwrap())
    }

    async fn send(&mut self, body: &str) {
        self.0.write_all(format!("{}{body}", head(body)).as_bytes()).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let mut text = Vec::new();
        let (start, length) = loop {
            let mut piece = vec![0; 64 << 10];
            let read = self.0.read(&mut piece).await.unwrap();
            assert!(read > 0, "the connection was closed after {:?}", String::from_utf8_lossy(&text));
            text.extend_from_slice(&piece[..read]);
            let Some(at) = text.windows(4).position(|w| w == b"\r\n\r\n") else { continue };
            let head = String::from_utf8_lossy(&text[..at]).to_lowercase();
            let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
            break (at + 4, length.parse::<usize>().unwrap());
        };
        let mut rest = vec![0; start + length - text.len()];
        self.0.read_exact(&mut rest).await.unwrap();
        text.extend_from_slice(&rest);
        serde_json::from_slice(&text[start..]).unwrap()
    }

    async fn ask(&mut self, method: &str, params: Value) -> Value {
        self.send(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()).await;
        self.hear().await
    }
}

/// A batch of calls each of which uses all the gas that it may.
fn batch(calls: usize) -> String {
    let one = json!({"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [{"data": LOOP}, "latest"]}).to_string();
    format!("[{}]", vec![one; calls].join(","))
}

/// Waits until nothing works for a client any more.
async fn idle(api: &Arc<Api>, others: usize) {
    let began = Instant::now();
    while Arc::strong_count(api) > others {
        assert!(began.elapsed() < Duration::from_secs(20), "still {} at work", Arc::strong_count(api) - others);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_has_the_time_of_one_request() {
    let api = api(Settings { time_limit: Duration::from_millis(1500), ..Settings::default() });
    let server = start(&api).await;
    let mut client = Client::at(server.http.unwrap(), 1).await;
    client.send(&batch(1024)).await;
    let answer = tokio::time::timeout(Duration::from_secs(20), client.hear()).await.unwrap();
    let answers = answer.as_array().unwrap();
    assert_eq!(answers.len(), 1024);
    let late = answers.iter().filter(|answer| answer["error"]["message"] == "Timeout expired").count();
    assert!(late > 900, "{late} of 1,024 were late");
    // Who asked for nothing of that is answered.
    assert_eq!(client.ask("eth_chainId", json!([])).await["result"], "0x9e5b5");
}

/// The work for a client ends with its connection.
#[tokio::test(flavor = "multi_thread")]
async fn who_hangs_up_is_not_worked_for() {
    let api = api(Settings { time_limit: Duration::from_secs(600), ..Settings::default() });
    let server = start(&api).await;
    let others = Arc::strong_count(&api);
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = Client::at(server.http.unwrap(), 1).await;
        client.send(&batch(1024)).await;
        clients.push(client);
    }
    let mut sockets = Vec::new();
    for _ in 0..2 {
        let url = format!("ws://localhost:{}/", server.ws.unwrap().port());
        let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
        socket.send(Message::text(batch(1024))).await.unwrap();
        sockets.push(socket);
    }
    let began = Instant::now();
    while Arc::strong_count(&api) < others + 8 {
        assert!(began.elapsed() < Duration::from_secs(20), "eight requests are at work");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop((clients, sockets));
    idle(&api, others).await;
}

/// Whoever has many long requests waits behind itself.
#[tokio::test(flavor = "multi_thread")]
async fn long_requests_let_short_ones_pass() {
    let api = api(Settings { time_limit: Duration::from_secs(600), ..Settings::default() });
    let server = start(&api).await;
    let others = Arc::strong_count(&api);
    let mut greedy = Vec::new();
    for number in 0..24 {
        let mut client = Client::at(server.http.unwrap(), 1 + number % 3).await;
        client.send(&batch(1024)).await;
        greedy.push(client);
    }
    let began = Instant::now();
    while Arc::strong_count(&api) < others + 24 {
        assert!(began.elapsed() < Duration::from_secs(20), "all are at work");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // One of an address of its own, and one of the address of others.
    for last in [9, 1] {
        let mut polite = Client::at(server.http.unwrap(), last).await;
        for _ in 0..20 {
            let answer =
                polite.ask("eth_call", json!([{"to": "0x0000000000000000000000000000000000000004", "data": "0x12"}, "latest"]));
            // Without turns it would wait for a batch of minutes.
            let answer = tokio::time::timeout(Duration::from_secs(5), answer).await.unwrap();
            assert_eq!(answer["result"], "0x12", "{answer}");
        }
    }
    drop(greedy);
    idle(&api, others + 1).await;
}

/// One block of so many calls.
fn simulated(calls: Vec<Value>) -> Value {
    json!([{"blockStateCalls": [{"blockOverrides": {"gasLimit": "0x2540be400"}, "calls": calls}]}, "latest"])
}

/// Every tracer ends where a request may hold no more, with an error that says so.
#[tokio::test(flavor = "multi_thread")]
async fn tracers_stop_where_a_request_may_hold_no_more() {
    // No bound but the request's own.
    let api = api(Settings { time_limit: Duration::from_secs(600), gas_cap: 0, ..Settings::default() });
    let server = start(&api).await;
    let mut client = Client::at(server.http.unwrap(), 1).await;
    let of = |text: &str| json!({"data": code(text)});
    let whom = "0x00000000000000000000000000000000000000aa";
    for (method, params) in [
        ("trace_call", json!([of(LOOP), ["vmTrace"], "latest"])),
        ("trace_call", json!([of(&swaps()), ["vmTrace"], "latest"])),
        ("trace_call", json!([of(LOOP), ["trace", "vmTrace", "stateDiff"], "latest"])),
        ("trace_call", json!([of(INPUTS), ["trace"], "latest"])),
        ("trace_call", json!([of(OUTPUTS), ["trace"], "latest"])),
        ("debug_traceCall", json!([of(MEMORY), "latest", {}])),
        ("debug_traceCall", json!([of(LOOP), "latest", {"disableMemory": true, "disableStorage": true}])),
        ("debug_traceCall", json!([of(INPUTS), "latest", {"tracer": "callTracer"}])),
        ("debug_traceCall", json!([of(OUTPUTS), "latest", {"tracer": "callTracer", "tracerConfig": {"withLog": true}}])),
        ("debug_traceCall", json!([of(INPUTS), "latest", {"tracer": "4byteTracer"}])),
        ("eth_call", json!([{"to": whom}, "latest", {whom: {"code": code(DEEP)}}])),
        // What one call leaves stays for the next ones.
        ("trace_callMany", json!([vec![json!([{"data": code(SLOTS), "gas": "0x989680"}, []]); 1000], "latest"])),
        ("eth_simulateV1", simulated(vec![json!({"data": code(SLOTS), "gas": "0x989680"}); 1000])),
    ] {
        let answer = client.ask(method, params.clone()).await;
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        let bounded = message.contains("more memory than one request") || message.contains("exceeds the size limit");
        assert!(bounded, "{method} {params}: {answer:.200}");
    }
    // What needs little is answered, also by the tracers.
    for (method, params) in [
        ("trace_call", json!([{"data": "0x600160015500"}, ["trace", "vmTrace", "stateDiff"], "latest"])),
        ("debug_traceCall", json!([{"data": "0x600160015500"}, "latest", {}])),
        ("debug_traceCall", json!([{"data": "0x600160015500"}, "latest", {"tracer": "callTracer"}])),
        ("debug_traceCall", json!([{"data": "0x600160015500"}, "latest", {"tracer": "prestateTracer"}])),
        ("debug_traceCall", json!([{"data": "0x600160015500"}, "latest", {"tracer": "4byteTracer"}])),
    ] {
        let answer = client.ask(method, params.clone()).await;
        assert!(answer["result"].is_object(), "{method} {params}: {answer:.200}");
    }
}
