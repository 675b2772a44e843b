//! The load itself: offers, answers, blocks and the clock, in one loop.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use alloy_primitives::B256;
use serde_json::json;
use tokio::sync::mpsc;

use crate::http::Connection;
use crate::lane::{Lane, Made, Signed, Signers};
use crate::plan::{LoadPlan, Pace};
use crate::report::{Latency, Progress, Report};
use crate::rpc::{Reply, RpcError, replies};
use crate::setup::{Stage, Verdict};
use crate::watch::{Sight, watch};

/// How often offers are made: fine against the latencies measured, coarse enough to fill requests.
const TICK: Duration = Duration::from_millis(5);
/// Transactions signed for a lane at a time once the load runs.
const SIGN_AT_ONCE: u64 = 16;
/// Transactions signed before the load begins, over all lanes: half a minute of signing, some hundred MB.
const SIGN_BEFORE: u64 = 400_000;
/// Different refusal texts that are kept apart.
const MAX_REASONS: usize = 64;
/// How long a sender rests after a refusal in a closed loop, so that it does not spin.
const REST: Duration = Duration::from_millis(100);

/// A request to be posted.
struct Batch {
    items: Vec<(usize, Signed)>,
}

/// How it ended.
struct Done {
    items: Vec<(usize, Signed)>,
    outcome: Result<Vec<Reply>, RpcError>,
    took: Duration,
}

/// Where a sender stands after the node lost track of it.
struct Resync {
    lane: usize,
    nonce: Option<u64>,
}

struct Load {
    lanes: Vec<Lane>,
    /// Lanes that may offer, by endpoint, the longest rested first.
    idle: Vec<VecDeque<usize>>,
    resting: VecDeque<(Instant, usize)>,
    /// Offered and neither refused nor seen in a block.
    in_flight: HashMap<B256, Instant>,
    /// Accepted among `in_flight` is what remains missing at the end.
    unanswered: usize,
    report: Report,
    latency: Latency,
    answer: Latency,
    interval: Latency,
    counts_from: Instant,
    sights: Vec<Counted>,
    last_sight: Option<Instant>,
    last_inclusion: Option<Instant>,
    block: u64,
}

/// What of a block the rates need.
struct Counted {
    number: u64,
    at: Instant,
    ours: u64,
    gas: u64,
}

/// Runs the load to its end.
pub(crate) async fn drive(plan: &LoadPlan, stage: Stage, stop: Arc<AtomicBool>, progress: &mut dyn FnMut(&Progress)) -> Report {
    let Stage { urls, keys, addresses, nonces, recipe } = stage;
    let mut report = Report { kind: plan.kind.name().into(), senders: keys.len(), ..Report::default() };
    match plan.pace {
        Pace::Rate(rate) => report.target_rate = Some(rate),
        Pace::InFlight(count) => report.target_in_flight = Some(count),
    }
    let (mut signers, mut made) = match Signers::start(plan.signers, &recipe, &keys) {
        Ok(started) => started,
        Err(error) => {
            report.last_transport_error = Some(format!("signing threads: {error}"));
            return report;
        }
    };
    let mut lanes: Vec<Lane> = addresses
        .iter()
        .zip(&nonces)
        .enumerate()
        .map(|(index, (address, nonce))| Lane {
            address: *address,
            endpoint: index % urls.len(),
            ready: VecDeque::new(),
            asked_until: *nonce,
            next: *nonce,
            waiting: false,
            generation: 0,
        })
        .collect();

    // Sign ahead, so that signing takes nothing from the network while it is measured.
    let ahead = plan.per_sender().min(SIGN_BEFORE / lanes.len() as u64).max(2);
    for (index, lane) in lanes.iter_mut().enumerate() {
        signers.ask(index, lane, ahead);
    }
    let mut signed_lanes = 0;
    let mut told = Instant::now();
    while signed_lanes < lanes.len() && !stop.load(Ordering::Relaxed) {
        let Some(batch) = made.recv().await else { break };
        take_made(&mut lanes, batch);
        signed_lanes += 1;
        if told.elapsed() > Duration::from_secs(1) {
            told = Instant::now();
            let share = 100 * signed_lanes / lanes.len();
            progress(&Progress { stage: format!("signing {share} %"), ..Progress::default() });
        }
    }

    let (done_in, mut done) = mpsc::unbounded_channel();
    let (sights_in, mut sights) = mpsc::unbounded_channel();
    let (resync_in, mut resyncs) = mpsc::unbounded_channel();
    let mut queues = Vec::new();
    for url in &urls {
        let (batches_in, batches) = async_channel(plan.connections * 2);
        for _ in 0..plan.connections {
            tokio::spawn(post(Connection::new(url.clone()), batches.clone(), done_in.clone()));
        }
        queues.push(batches_in);
    }
    let mut probe = Connection::new(urls[0].clone());
    let head = probe.quantity("eth_blockNumber", json!([])).await.map_or(0, |height| height.saturating_to());
    let watcher = tokio::spawn(watch(Connection::new(urls[0].clone()), head, plan.poll, sights_in));

    let began = Instant::now();
    let mut load = Load {
        idle: vec![VecDeque::new(); urls.len()],
        resting: VecDeque::new(),
        in_flight: HashMap::new(),
        unanswered: 0,
        report,
        latency: Latency::default(),
        answer: Latency::default(),
        interval: Latency::default(),
        counts_from: began + plan.warmup,
        sights: Vec::new(),
        last_sight: None,
        last_inclusion: None,
        block: head,
        lanes,
    };
    for (index, lane) in load.lanes.iter().enumerate() {
        load.idle[lane.endpoint].push_back(index);
    }
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut next_endpoint = 0;
    let mut told = Instant::now();
    // Transactions of the rate that were offered or given up.
    let mut made_up = 0u64;
    let mut ended: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            Some(batch) = done.recv() => {
                for lane in load.answered(batch, plan) {
                    let (url, address, out) = (urls[load.lanes[lane].endpoint].clone(), load.lanes[lane].address, resync_in.clone());
                    tokio::spawn(async move {
                        let mut node = Connection::new(url);
                        let nonce = node.nonces(&[address], "pending").await.ok().and_then(|found| found.first().copied());
                        let _ = out.send(Resync { lane, nonce });
                    });
                }
            }
            Some(sight) = sights.recv() => load.seen(sight),
            Some(batch) = made.recv() => take_made(&mut load.lanes, batch),
            Some(resync) = resyncs.recv() => load.resync(&resync),
            _ = tick.tick() => {
                let now = Instant::now();
                while load.resting.front().is_some_and(|(until, _)| *until <= now) {
                    if let Some((_, lane)) = load.resting.pop_front() {
                        let endpoint = load.lanes[lane].endpoint;
                        load.idle[endpoint].push_back(lane);
                    }
                }
                if ended.is_none() && (began.elapsed() >= plan.duration || stop.load(Ordering::Relaxed)) {
                    ended = Some(now);
                    if let Pace::Rate(rate) = plan.pace {
                        let due = (began.elapsed().as_secs_f64() * rate) as u64;
                        load.report.not_offered += due.saturating_sub(made_up);
                    }
                    load.report.duration_s = began.elapsed().as_secs_f64();
                }
                if let Some(ended) = ended {
                    let nothing_left = load.unanswered == 0 && load.in_flight.is_empty();
                    if nothing_left || ended.elapsed() >= plan.drain || stop.load(Ordering::Relaxed) {
                        break;
                    }
                } else {
                    let want = match plan.pace {
                        Pace::Rate(rate) => {
                            let due = (began.elapsed().as_secs_f64() * rate) as u64;
                            // What was late is made up for, but not more than a second of it: a load that stood still
                            // does not come back as a wave.
                            let late = (due - made_up).saturating_sub(rate.ceil() as u64);
                            load.report.not_offered += late;
                            made_up += late;
                            (due - made_up) as usize
                        }
                        Pace::InFlight(count) => count.saturating_sub(load.in_flight.len()),
                    };
                    made_up += load.offer(want, plan, &queues, &mut signers, &mut next_endpoint) as u64;
                }
                if told.elapsed() >= Duration::from_secs(1) {
                    told = now;
                    progress(&load.progress(began, if ended.is_some() { "waiting for the rest" } else { "load" }));
                }
            }
        }
    }
    watcher.abort();
    let mut report = load.finish(began);
    let numbers: Vec<u64> = load.sights.iter().filter(|sight| sight.ours > 0).map(|sight| sight.number).collect();
    if report.included > 0 {
        progress(&Progress { stage: "receipts".into(), ..Progress::default() });
        count_failures(&mut probe, &numbers, &mut report).await;
    }
    report
}

fn take_made(lanes: &mut [Lane], made: Made) {
    let Some(lane) = lanes.get_mut(made.lane) else { return };
    if lane.generation == made.generation {
        lane.ready.extend(made.signed);
        lane.waiting = false;
    }
}

impl Load {
    /// Offers up to `want` transactions, turn by turn over the endpoints; returns how many.
    fn offer(&mut self, want: usize, plan: &LoadPlan, queues: &[Queue], signers: &mut Signers, next_endpoint: &mut usize) -> usize {
        let mut offered = 0;
        let endpoints = self.idle.len();
        let share = want.div_ceil(endpoints);
        for _ in 0..endpoints {
            let endpoint = *next_endpoint;
            *next_endpoint = (*next_endpoint + 1) % endpoints;
            let mut left = share.min(want - offered);
            while left > 0 {
                let mut items = Vec::with_capacity(left.min(plan.batch));
                let mut looked = self.idle[endpoint].len();
                while items.len() < plan.batch.min(left) && looked > 0 {
                    looked -= 1;
                    let Some(index) = self.idle[endpoint].pop_front() else { break };
                    let lane = &mut self.lanes[index];
                    if lane.ready.len() < SIGN_AT_ONCE as usize / 2 && !lane.waiting {
                        signers.ask(index, lane, SIGN_AT_ONCE);
                    }
                    match lane.ready.front() {
                        Some(signed) => items.push((index, signed.clone())),
                        None => self.idle[endpoint].push_back(index),
                    }
                }
                if items.is_empty() {
                    break;
                }
                let count = items.len();
                let hashes: Vec<B256> = items.iter().map(|(_, signed)| signed.hash).collect();
                if let Err(batch) = queues[endpoint].try_send(Batch { items }) {
                    // Every connection is busy and the queue is full: these lanes try again first.
                    for (index, _) in batch.items.into_iter().rev() {
                        self.idle[endpoint].push_front(index);
                    }
                    break;
                }
                let now = Instant::now();
                for hash in hashes {
                    self.in_flight.entry(hash).or_insert(now);
                }
                self.unanswered += count;
                self.report.offered += count as u64;
                offered += count;
                left -= count;
            }
        }
        offered
    }

    /// Takes the answers of one request; returns lanes whose nonce has to be asked for.
    fn answered(&mut self, done: Done, plan: &LoadPlan) -> Vec<usize> {
        let mut lost = Vec::new();
        self.unanswered -= done.items.len();
        self.answer.add(done.took.as_micros() as u64);
        let outcomes = match done.outcome {
            Ok(outcomes) => outcomes.into_iter().map(Some).collect::<Vec<_>>(),
            Err(RpcError::Refused { code, message, .. }) => {
                let refuse = |_| Some(Reply::Error { code, message: message.clone() });
                done.items.iter().map(refuse).collect()
            }
            Err(error) => {
                self.report.transport_errors += 1;
                self.report.last_transport_error = Some(error.to_string());
                done.items.iter().map(|_| None).collect()
            }
        };
        for ((index, signed), outcome) in done.items.into_iter().zip(outcomes) {
            let lane = &mut self.lanes[index];
            let endpoint = lane.endpoint;
            match outcome {
                Some(Reply::Result(_)) => {
                    self.report.accepted += 1;
                    lane.ready.pop_front();
                    lane.next += 1;
                    self.idle[endpoint].push_back(index);
                }
                Some(Reply::Error { code, message }) => match Verdict::of(code, &message) {
                    Verdict::Known => {
                        self.report.accepted += 1;
                        lane.ready.pop_front();
                        lane.next += 1;
                        self.idle[endpoint].push_back(index);
                    }
                    verdict => {
                        self.report.refused += 1;
                        self.refused(code, message);
                        self.in_flight.remove(&signed.hash);
                        if verdict == Verdict::NonceUsed {
                            lost.push(index);
                        } else if matches!(plan.pace, Pace::InFlight(_)) {
                            self.resting.push_back((Instant::now() + REST, index));
                        } else {
                            self.idle[endpoint].push_back(index);
                        }
                    }
                },
                // It may have arrived: the node knows better where the sender stands.
                None => {
                    self.in_flight.remove(&signed.hash);
                    lost.push(index);
                }
            }
        }
        lost
    }

    fn refused(&mut self, code: i64, message: String) {
        // Figures in a text would make every refusal a reason of its own.
        let text: String = message.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).collect();
        let mut short = String::with_capacity(text.len());
        for c in text.chars() {
            if !(c == '#' && short.ends_with('#')) {
                short.push(c);
            }
        }
        let reasons = &mut self.report.refused_by;
        let reason = format!("{short} ({code})");
        if reasons.len() < MAX_REASONS || reasons.contains_key(&reason) {
            *reasons.entry(reason).or_default() += 1;
        } else {
            *reasons.entry("(others)".into()).or_default() += 1;
        }
    }

    fn resync(&mut self, resync: &Resync) {
        let lane = &mut self.lanes[resync.lane];
        if let Some(nonce) = resync.nonce
            && nonce != lane.next
        {
            lane.generation += 1;
            lane.ready.clear();
            lane.waiting = false;
            lane.next = nonce;
            lane.asked_until = nonce;
        }
        self.resting.push_back((Instant::now() + REST, resync.lane));
    }

    fn seen(&mut self, sight: Sight) {
        let counts = sight.at >= self.counts_from;
        if let Some(last) = self.last_sight
            && counts
        {
            self.interval.add(sight.at.duration_since(last).as_micros() as u64);
        }
        self.last_sight = Some(sight.at);
        self.block = sight.number;
        let mut ours = 0;
        for hash in &sight.hashes {
            if let Some(offered_at) = self.in_flight.remove(hash) {
                ours += 1;
                if offered_at >= self.counts_from {
                    self.latency.add(sight.at.saturating_duration_since(offered_at).as_micros() as u64);
                }
            }
        }
        self.report.included += ours;
        if ours > 0 {
            self.last_inclusion = Some(sight.at);
        }
        let count = sight.hashes.len() as u64;
        self.report.fullest_block = self.report.fullest_block.max(count);
        self.report.empty_blocks += u64::from(count == 0);
        self.sights.push(Counted { number: sight.number, at: sight.at, ours, gas: sight.gas_used });
    }

    fn progress(&self, began: Instant, stage: &str) -> Progress {
        Progress {
            stage: stage.into(),
            elapsed_s: began.elapsed().as_secs_f64(),
            offered: self.report.offered,
            accepted: self.report.accepted,
            refused: self.report.refused,
            included: self.report.included,
            in_flight: self.in_flight.len(),
            block: self.block,
        }
    }

    fn finish(&mut self, began: Instant) -> Report {
        let mut report = std::mem::take(&mut self.report);
        report.missing = report.accepted.saturating_sub(report.included);
        report.latency = self.latency.spread();
        report.answer = self.answer.spread();
        report.interval = self.interval.spread();
        // Rates over the blocks seen while transactions were offered: the first one only opens the clock.
        let until = began + Duration::from_secs_f64(report.duration_s);
        let within: Vec<&Counted> = self.sights.iter().filter(|sight| sight.at >= self.counts_from && sight.at <= until).collect();
        if let (Some(first), Some(last)) = (within.first(), within.last()) {
            report.blocks = within.len() as u64;
            report.block_range = (first.number, last.number);
            let seconds = last.at.duration_since(first.at).as_secs_f64();
            if seconds > 0.0 {
                let sum = |of: fn(&Counted) -> u64| within[1..].iter().map(|sight| of(sight)).sum::<u64>() as f64;
                report.sustained_tps = sum(|sight| sight.ours) / seconds;
                report.gas_per_s = sum(|sight| sight.gas) / seconds;
            }
        }
        if let Some(last) = self.last_inclusion {
            let seconds = last.duration_since(began).as_secs_f64();
            if seconds > 0.0 {
                report.overall_tps = report.included as f64 / seconds;
            }
        }
        report
    }
}

/// Blocks whose receipts are asked for at the end: enough to find what fails, without keeping the node busy for long.
const RECEIPT_BLOCKS: usize = 400;

/// Counts failed executions by the receipts of the load's blocks.
async fn count_failures(node: &mut Connection, numbers: &[u64], report: &mut Report) {
    let step = numbers.len().div_ceil(RECEIPT_BLOCKS).max(1);
    let (mut failed, mut checked) = (0u64, 0u64);
    for number in numbers.iter().step_by(step) {
        let Ok(answer) = node.call("eth_getBlockReceipts", json!([format!("{number:#x}")])).await else { return };
        let Some(list) = answer.as_array() else { return };
        checked += list.len() as u64;
        failed += list.iter().filter(|receipt| receipt.get("status").is_some_and(|status| status == "0x0")).count() as u64;
    }
    report.failed = Some(failed);
    report.receipts_checked = checked;
}

/// One connection: takes a batch, posts it, tells how it ended.
async fn post(mut node: Connection, batches: QueueEnd, out: mpsc::UnboundedSender<Done>) {
    let mut body = String::new();
    loop {
        let Some(batch) = batches.lock().await.recv().await else { return };
        body.clear();
        let single = batch.items.len() == 1;
        if !single {
            body.push('[');
        }
        for (id, (_, signed)) in batch.items.iter().enumerate() {
            if id > 0 {
                body.push(',');
            }
            body.push_str(r#"{"jsonrpc":"2.0","id":"#);
            body.push_str(&id.to_string());
            body.push_str(r#","method":"eth_sendRawTransaction","params":[""#);
            body.push_str(&signed.raw);
            body.push_str(r#""]}"#);
        }
        if !single {
            body.push(']');
        }
        let began = Instant::now();
        let answer = node.post(body.as_bytes()).await.map_err(RpcError::from);
        let took = began.elapsed();
        let outcome = answer.and_then(|answer| replies("eth_sendRawTransaction", &answer, batch.items.len()));
        if out.send(Done { items: batch.items, outcome, took }).is_err() {
            return;
        }
    }
}

type QueueEnd = Arc<tokio::sync::Mutex<mpsc::Receiver<Batch>>>;

/// Sending end of an endpoint's queue.
struct Queue(mpsc::Sender<Batch>);

impl Queue {
    fn try_send(&self, batch: Batch) -> Result<(), Batch> {
        self.0.try_send(batch).map_err(|error| match error {
            mpsc::error::TrySendError::Full(batch) | mpsc::error::TrySendError::Closed(batch) => batch,
        })
    }
}

fn async_channel(capacity: usize) -> (Queue, QueueEnd) {
    let (sender, receiver) = mpsc::channel(capacity);
    (Queue(sender), Arc::new(tokio::sync::Mutex::new(receiver)))
}
