//! The generator against a node of a hundred lines: blocks every 100 ms with room for some transactions, a pool that refuses
//! what does not fit, connections that break.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alloy_eips::eip2718::Decodable2718;
use alloy_primitives::{Address, B256};
use ipe_load::{Kind, LoadPlan, Pace, Report};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Default)]
struct Chain {
    nonces: HashMap<Address, u64>,
    pool: Vec<B256>,
    blocks: Vec<Vec<B256>>,
    code: HashMap<Address, bool>,
    capacity: usize,
    room: usize,
    /// Every so many requests the connection is cut instead of an answer; 0 = never.
    cut_every: usize,
    requests: usize,
}

impl Chain {
    fn answer(&mut self, call: &Value) -> Result<Value, (i64, &'static str)> {
        let params = &call["params"];
        let quantity = |value: u64| Ok(json!(format!("{value:#x}")));
        let address = || params[0].as_str().and_then(|text| text.parse::<Address>().ok()).unwrap_or_default();
        match call["method"].as_str().unwrap_or_default() {
            "eth_chainId" => quantity(7),
            "eth_gasPrice" | "eth_getBalance" => quantity(0),
            "eth_blockNumber" => quantity(self.blocks.len() as u64),
            "eth_getTransactionCount" => quantity(self.nonces.get(&address()).copied().unwrap_or(0)),
            "eth_getCode" => Ok(json!(if self.code.contains_key(&address()) { "0x60" } else { "0x" })),
            "eth_getBlockByNumber" => {
                let asked = params[0].as_str().unwrap_or_default();
                let number = match asked {
                    "latest" => self.blocks.len(),
                    hex => usize::from_str_radix(&hex[2..], 16).unwrap(),
                };
                let hashes = match number {
                    0 => &Vec::new(),
                    _ => match self.blocks.get(number - 1) {
                        Some(hashes) => hashes,
                        None => return Ok(Value::Null),
                    },
                };
                Ok(json!({ "number": format!("{number:#x}"), "gasUsed": "0x5208", "transactions": hashes }))
            }
            "eth_getBlockReceipts" => {
                let number = usize::from_str_radix(&params[0].as_str().unwrap()[2..], 16).unwrap();
                let status = |index: usize| if index == 0 { "0x0" } else { "0x1" };
                Ok(self.blocks[number - 1].iter().enumerate().map(|(index, _)| json!({ "status": status(index) })).collect())
            }
            "eth_sendRawTransaction" => {
                let raw = hex::decode(&params[0].as_str().unwrap()[2..]).unwrap();
                let tx = ipe_types::Transaction::decode_2718(&mut &raw[..]).unwrap();
                let sender = tx.recover_signer().unwrap();
                let next = self.nonces.entry(sender).or_default();
                if tx.nonce() < *next {
                    return Err((-32001, "Nonce too low"));
                }
                assert_eq!(tx.nonce(), *next, "nonces of a sender come in order");
                if self.pool.len() >= self.room {
                    return Err((-32005, "Node is at capacity: 12 wait"));
                }
                if tx.to().is_none() {
                    self.code.insert(sender.create(*next), true);
                }
                *next += 1;
                self.pool.push(*tx.tx_hash());
                Ok(json!(tx.tx_hash()))
            }
            _ => Err((-32601, "Method not found")),
        }
    }

    fn respond(&mut self, body: &[u8]) -> Option<String> {
        self.requests += 1;
        let calls: Value = serde_json::from_slice(body).unwrap();
        let cut = self.cut_every > 0 && self.requests.is_multiple_of(self.cut_every);
        let mut one = |call: &Value| {
            let id = &call["id"];
            match self.answer(call) {
                Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
                Err((code, message)) => {
                    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
                }
            }
        };
        let answer = match &calls {
            Value::Array(calls) => Value::Array(calls.iter().map(&mut one).collect()),
            call => one(call),
        };
        (!cut).then(|| answer.to_string())
    }
}

async fn serve(mut stream: TcpStream, chain: Arc<Mutex<Chain>>) {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8(buffer[..end].to_vec()).unwrap();
        let length: usize = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")?.parse().ok()).unwrap();
        while buffer.len() < end + length {
            stream.read_buf(&mut buffer).await.unwrap();
        }
        let answer = chain.lock().unwrap().respond(&buffer[end..end + length]);
        buffer.drain(..end + length);
        let Some(answer) = answer else { return };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
        stream.write_all(format!("{head}{answer}").as_bytes()).await.unwrap();
    }
}

/// Runs a plan against two doors of one such chain.
fn measure(chain: Chain, change: impl FnOnce(&mut LoadPlan)) -> Report {
    let chain = Arc::new(Mutex::new(chain));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut endpoints = Vec::new();
    for _ in 0..2 {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        endpoints.push(format!("http://{}", listener.local_addr().unwrap()));
        let chain = chain.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, chain.clone()));
            }
        });
    }
    let maker = chain.clone();
    runtime.spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tick.tick().await;
            let mut chain = maker.lock().unwrap();
            let fitting = chain.capacity.min(chain.pool.len());
            let block = chain.pool.drain(..fitting).collect();
            chain.blocks.push(block);
        }
    });
    let mut plan = LoadPlan {
        endpoints,
        senders: 40,
        duration: Duration::from_secs(2),
        drain: Duration::from_secs(10),
        batch: 5,
        ..LoadPlan::default()
    };
    change(&mut plan);
    let report = ipe_load::run(&plan, Arc::new(AtomicBool::new(false)), &mut |_| {}).unwrap();
    assert_eq!(report.accepted, report.included + report.missing);
    serde_json::to_string(&report).unwrap();
    assert!(!report.to_string().is_empty());
    report
}

fn roomy() -> Chain {
    Chain { capacity: 1_000, room: 10_000, ..Chain::default() }
}

#[test]
fn a_rate_that_fits_is_included_as_a_whole() {
    for kind in [Kind::Transfer, Kind::Erc20, Kind::Store, Kind::Deploy] {
        let report = measure(roomy(), |plan| {
            plan.kind = kind;
            plan.pace = Pace::Rate(200.0);
        });
        assert!(report.offered + report.not_offered >= 390, "{report}");
        assert!(report.not_offered < 100, "{report}");
        assert_eq!((report.refused, report.missing, report.transport_errors), (0, 0, 0), "{report}");
        assert_eq!(report.included, report.offered, "{report}");
        assert!(report.failed.is_some_and(|failed| failed > 0) && report.receipts_checked >= report.included);
        assert!(report.latency.p50 > 1.0 && report.latency.p50 < 2_000.0, "{report}");
    }
}

#[test]
fn what_does_not_fit_is_counted_as_refused_and_offered_again() {
    let chain = Chain { capacity: 10, room: 20, ..Chain::default() };
    let report = measure(chain, |plan| plan.pace = Pace::Rate(400.0));
    assert!(report.refused > 100, "{report}");
    assert_eq!(report.refused_by.len(), 1, "{report}");
    assert!(report.refused_by.keys().all(|reason| reason.contains("at capacity: # wait (-32005)")), "{report}");
    assert_eq!(report.missing, 0, "{report}");
    assert_eq!(report.offered, report.accepted + report.refused, "{report}");
}

#[test]
fn a_closed_loop_keeps_its_number_in_flight() {
    let report = measure(roomy(), |plan| plan.pace = Pace::InFlight(30));
    // At most thirty a block, and about twenty blocks.
    assert!(report.included > 100 && report.fullest_block <= 30, "{report}");
    assert_eq!((report.refused, report.missing), (0, 0), "{report}");
}

#[test]
fn broken_connections_are_survived() {
    let chain = Chain { cut_every: 9, ..roomy() };
    let report = measure(chain, |plan| plan.pace = Pace::Rate(150.0));
    assert!(report.included > 50, "{report}");
}

#[test]
fn a_stop_ends_it_early() {
    let stop = Arc::new(AtomicBool::new(true));
    let plan = LoadPlan { endpoints: vec!["http://127.0.0.1:1".into()], ..LoadPlan::default() };
    let error = ipe_load::run(&plan, stop.clone(), &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("http://127.0.0.1:1/"), "{error}");
    assert!(stop.load(Ordering::Relaxed));
}

#[test]
fn plans_that_cannot_be_are_named() {
    let wrong = |change: &dyn Fn(&mut LoadPlan)| {
        let mut plan = LoadPlan::default();
        change(&mut plan);
        plan.check().unwrap_err().to_string()
    };
    assert!(wrong(&|plan| plan.endpoints.clear()).contains("no endpoint"));
    assert!(wrong(&|plan| plan.endpoints = vec!["localhost".into()]).contains("localhost"));
    assert!(wrong(&|plan| plan.pace = Pace::Rate(0.0)).contains("rate"));
    assert!(wrong(&|plan| plan.pace = Pace::InFlight(0)).contains("closed"));
    assert!(wrong(&|plan| plan.senders = 0).contains("senders"));
    assert!(wrong(&|plan| plan.warmup = plan.duration).contains("warm-up"));
    assert!("mint".parse::<Kind>().unwrap_err().to_string().contains("mint"));
}
