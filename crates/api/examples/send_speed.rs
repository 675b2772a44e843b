//! What one `eth_sendRawTransaction` costs: recovery alone, the dispatcher, and over HTTP with keep-alive.
//!
//! `cargo run --release -p ipe-api --example send_speed [COUNT]`
#![allow(clippy::unwrap_used, clippy::panic)]

use alloy_consensus::{SignableTransaction, TxEnvelope, TxLegacy};
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, Signature, TxKind, U256, hex};
use ipe_api::conformance::dispatcher;
use ipe_api::{Groups, HttpConfig, Release, ServerConfig, serve};
use ipe_types::NodeKey;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CHAIN: u64 = 1337;
const CONNECTIONS: usize = 16;

fn signed(key: &NodeKey, nonce: u64) -> Vec<u8> {
    let tx = TxLegacy {
        chain_id: Some(CHAIN),
        nonce,
        gas_price: 0,
        gas_limit: 21_000,
        to: TxKind::Call(Address::repeat_byte(0x77)),
        value: U256::from(1),
        input: alloy_primitives::Bytes::new(),
    };
    let raw = key.sign(tx.signature_hash());
    let signature = Signature::from_raw(raw.as_slice()).unwrap();
    TxEnvelope::Legacy(tx.into_signed(signature)).encoded_2718()
}

fn main() {
    let count: usize = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(8_000);
    let keys: Vec<NodeKey> = (1..=200u64).map(|n| NodeKey::from_bytes(B256::from(U256::from(n + 1000)).0).unwrap()).collect();
    let alloc: Vec<String> =
        keys.iter().map(|k| format!("\"{:x}\":{{\"balance\":\"0xd3c21bcecceda1000000\"}}", k.address())).collect();
    let validator = keys[0].address();
    let extra = ipe_types::ExtraData::genesis(vec![validator]).encode();
    let genesis = format!(
        r#"{{"config":{{"chainId":{CHAIN},"berlinBlock":0,"contractSizeLimit":2147483647,"qbft":{{"blockperiodseconds":1,"epochlength":30000,"requesttimeoutseconds":4}}}},"nonce":"0x0","timestamp":"0x58ee40ba","gasLimit":"0x5f5e100","difficulty":"0x1","mixHash":"0x63746963616c2062797a616e74696e65206661756c7420746f6c6572616e6365","coinbase":"0x0000000000000000000000000000000000000000","extraData":"{extra}","alloc":{{{}}}}}"#,
        alloc.join(",")
    );
    let raws: Vec<Vec<u8>> = (0..2 * count).map(|i| signed(&keys[i % keys.len()], (i / keys.len()) as u64)).collect();

    let started = Instant::now();
    for raw in &raws[..count] {
        let tx = alloy_eips::eip2718::Decodable2718::decode_2718(&mut raw.as_slice()).unwrap();
        ipe_chain::Candidate::recover(tx).unwrap();
    }
    let recovery = started.elapsed().as_secs_f64() * 1e6 / count as f64;
    println!("decode, hash and recover: {recovery:.1} µs");

    let api = dispatcher(&genesis, &[], &[], Release::Besu25).unwrap();
    let groups = Groups::all();
    let body = |raw: &[u8], id: usize| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"eth_sendRawTransaction","params":["0x{}"]}}"#, hex::encode(raw))
    };
    let bodies: Vec<String> = raws.iter().enumerate().map(|(i, raw)| body(raw, i)).collect();
    let mut refused = 0;
    let mut said = String::new();
    let started = Instant::now();
    for body in &bodies[..count] {
        let answer = api.answer_here(body.as_bytes(), groups, 10).body;
        if !answer.windows(8).any(|w| w == b"\"result\"") {
            refused += 1;
            said = String::from_utf8_lossy(&answer).into_owned();
        }
    }
    let each = started.elapsed().as_secs_f64() * 1e6 / count as f64;
    println!("dispatcher: {each:.1} µs a request, {:.1} µs beside recovery ({refused} refused {said})", each - recovery);

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let http = HttpConfig { groups, ..HttpConfig::at(SocketAddr::from(([127, 0, 0, 1], 0))) };
        let server = serve(api, ServerConfig { http: Some(http), ..ServerConfig::default() }).await.unwrap();
        let address = server.http.unwrap();
        let bodies = Arc::new(bodies);
        let cpu = cpu_seconds();
        let started = Instant::now();
        let tasks: Vec<_> = (0..CONNECTIONS)
            .map(|c| {
                let bodies = Arc::clone(&bodies);
                tokio::spawn(async move {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    stream.set_nodelay(true).unwrap();
                    let mut buffer = vec![0; 4096];
                    for body in bodies[count..].iter().skip(c).step_by(CONNECTIONS) {
                        let head = format!(
                            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                            body.len()
                        );
                        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
                        let mut read = 0;
                        // The answer is one small packet with its length in front; the last byte is the object's end.
                        while read == 0 || buffer[read - 1] != b'}' {
                            let n = stream.read(&mut buffer[read..]).await.unwrap();
                            assert!(n > 0, "closed");
                            read += n;
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let rate = count as f64 / started.elapsed().as_secs_f64();
        let each = (cpu_seconds() - cpu) * 1e6 / count as f64;
        println!("HTTP, {CONNECTIONS} connections: {rate:.0} requests/s; {each:.1} µs CPU a request, client included");
    });
}

/// Processor time of this process, user and system, in seconds.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|t| t.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
