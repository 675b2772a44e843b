//! An open session: messages in, messages out, until either side ends it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ipe_types::eth::{MAX_MESSAGE_BYTES, code};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::OwnedSemaphorePermit;

use crate::capability::{BASE, Shared as SharedCapabilities};
use crate::carry;
use crate::disconnect::Reason;
use crate::event::{Inbound, NetEvent, Protocol};
use crate::frame::{FRAME_SLACK, FrameError, FrameReader, FrameWriter};
use crate::greeting::{DISCONNECT, EMPTY_LIST, HELLO, MAX_BASE, PING, PONG, Wire, join};
use crate::ipe::{self, IpeStatus};
use crate::link::{Close, Link, Next, Outgoing, Payload, is_gossip, is_question, short};
use crate::network::Shared;
use crate::session::{GOODBYE, Session};
use crate::snappy::{self, SnappyError};

/// Where a batch of frames is written out, bytes: a few messages a system call, without delaying the first.
const WRITE_BATCH: usize = 64 * 1024;
/// Output buffer kept between batches, bytes.
const KEEP_OUTPUT: usize = 64 * 1024;
/// Time in which a peer must take a [`WRITE_CHUNK`] of what we write.
const WRITE_STALL: Duration = Duration::from_secs(20);
/// Least that a peer must take in [`WRITE_STALL`], bytes: some 3 KiB a second, below the slowest line.
const WRITE_CHUNK: usize = 64 * 1024;
/// Time for a probed peer to show a sign of life.
const PROBE: Duration = Duration::from_secs(3);
/// Points that a malformed `ipe` message costs.
const MALFORMED_IPE: u32 = 20;

/// Passes messages until either side ends the session; tells why it ended.
pub(crate) async fn converse(shared: &Arc<Shared>, session: Session) -> String {
    let Session { wire, entered, info } = session;
    let link = Arc::clone(&entered.link);
    let (node, id) = (info.node, info.id);
    // They come and go as they like: lines are rationed, of strangers together.
    let told = match link.known || !info.inbound {
        true => shared.rations.allow(&node, Instant::now()),
        false => shared.log.allow(),
    };
    if let Some(suppressed) = told {
        tracing::info!(
            peer = %short(node), remote = %info.remote, inbound = info.inbound, client = %info.client, protocols = %join(info.shared.iter()),
            role = info.role.map_or("unknown", |role| role.name()), suppressed, "connected"
        );
    }
    link.hear();
    shared.registry.open(info.clone());
    if *shared.stop.borrow() {
        link.end(Some(Reason::Quitting), true);
    }
    let Wire { reader, writer, io, .. } = wire;
    let writer = tokio::spawn(write(Arc::clone(shared), Arc::clone(&link), writer, io));
    deliver(shared, &link, NetEvent::Connected(Box::new(info))).await;
    let close = tokio::select! {
        biased;
        close = link.closed() => close,
        () = read(shared, &link, reader) => link.closed().await,
    };
    shared.registry.leave(id);
    shared.counters.disconnect(close.by_us, close.reason);
    let why = match (close.reason, close.by_us) {
        (None, _) => "the connection broke".to_owned(),
        (Some(reason), true) => format!("we ended it: {reason}"),
        (Some(reason), false) => format!("it ended it: {reason}"),
    };
    if told.is_some() {
        tracing::info!(peer = %short(node), after_s = link.age().as_secs(), "disconnected: {why}");
    } else {
        tracing::debug!(peer = %short(node), after_s = link.age().as_secs(), "disconnected: {why}");
    }
    // The owner learns of every end, however full its queue is; when it is gone there is nobody to tell.
    let _ = shared.events.send(NetEvent::Disconnected { peer: id, node, reason: close.reason, by_us: close.by_us }).await;
    drop(entered);
    // The writer ends within its own bounds.
    let _ = writer.await;
    why
}

/// Hands an event over, waiting for room, unless the session ends meanwhile.
async fn deliver(shared: &Shared, link: &Link, event: NetEvent) {
    let event = match shared.events.try_send(event) {
        Ok(()) => return,
        Err(tokio::sync::mpsc::error::TrySendError::Full(event)) => event,
        Err(tokio::sync::mpsc::error::TrySendError::Closed(_)) => return link.end(Some(Reason::Quitting), true),
    };
    link.set_stalled(true);
    // An opened session is told even when it ends at once, or its end would come without a beginning.
    let must = matches!(event, NetEvent::Connected(_));
    tokio::select! {
        sent = shared.events.send(event) => if sent.is_err() {
            link.end(Some(Reason::Quitting), true);
        },
        _ = link.closed(), if !must => {}
    }
    link.set_stalled(false);
}

/// Reads messages until the session ends.
async fn read(shared: &Arc<Shared>, link: &Link, mut reader: FrameReader<OwnedReadHalf>) {
    let mut shown_ipe = None;
    while link.closing().is_none() {
        // Held until the message has been handed over.
        let (_large, id, body) = match next_frame(shared, link, &mut reader).await {
            Ok(frame) => frame,
            Err(FrameError::Io(_)) => return link.end(None, false),
            // Whoever can write into the connection's bytes can do this: it is no proof against the node.
            Err(FrameError::Mac(_)) => return link.end(Some(Reason::BreachOfProtocol), true),
            Err(error) => return shared.ban(link, &error.to_string()),
        };
        let arrived = Instant::now();
        link.hear();
        if id < u64::from(BASE) {
            if id != DISCONNECT && !link.charge(false, body.len(), 0).await {
                continue;
            }
            match id {
                DISCONNECT => {
                    let raw = snappy::decompress(body, MAX_BASE);
                    let reason = raw.map_or_else(|_| Reason::decode(body), |raw| Reason::decode(&raw));
                    return link.end(Some(reason), false);
                }
                PING => link.pong(),
                HELLO => return shared.ban(link, "a second Hello"),
                // Pong needs nothing done; other ids of the base protocol are reserved.
                _ => {}
            }
            continue;
        }
        let Some((protocol, code)) = link.capabilities.locate(id) else {
            return shared.ban(link, &format!("message id {id} belongs to no shared protocol"));
        };
        if is_question(protocol, code) && !link.room_for_an_answer().await {
            return;
        }
        let (limit, wire) = (limit(protocol, code), body.len());
        let malformed = |error: SnappyError| shared.ban(link, &format!("{} message {code:#04x}: {error}", protocol.name()));
        let declared = match snappy::declared(body) {
            Ok(got) if got > limit => return malformed(SnappyError::TooLong { got, limit }),
            Ok(declared) => declared,
            Err(error) => return malformed(error),
        };
        // All that is to be paid for is paid for before anything is decompressed.
        if !link.charge(is_gossip(protocol, code), wire, declared).await {
            shared.counters.shed();
            continue;
        }
        let mut credit = None;
        match protocol {
            Protocol::Ipe => {}
            Protocol::Eth if code == ipe_types::eth::code::STATUS => return shared.ban(link, "a second Status"),
            Protocol::Eth | Protocol::Istanbul => {
                credit = link.credit(protocol, code, declared).await;
                if credit.is_none() {
                    shared.counters.shed();
                    continue;
                }
            }
        }
        let payload = match snappy::decompress(body, limit) {
            Ok(payload) => payload,
            Err(error) => return malformed(error),
        };
        shared.counters.message(true, protocol, link.capabilities.eth(), code, payload.len());
        match credit {
            None => hear_ipe(shared, link, code, &payload, &mut shown_ipe),
            Some(credit) => {
                let (peer, payload) = (link.id, payload.into());
                deliver(shared, link, NetEvent::Message(Inbound { peer, protocol, code, payload, credit, arrived })).await;
                link.hear();
            }
        }
    }
}

type Frame<'a> = (Option<OwnedSemaphorePermit>, u64, &'a [u8]);

/// The next frame, with its room among strangers' large ones.
async fn next_frame<'a>(shared: &Shared, link: &Link, reader: &'a mut FrameReader<OwnedReadHalf>) -> Result<Frame<'a>, FrameError> {
    let size = reader.header(MAX_MESSAGE_BYTES + FRAME_SLACK).await?;
    let large = shared.room_for_large(link, size).await;
    let (id, body) = reader.body(size).await?;
    Ok((large, id, body))
}

/// Largest payload of a message, by what an honest client ever puts into it; the general limit where that is large.
fn limit(protocol: Protocol, message: u8) -> usize {
    // Lists of hashes: 4096 of them, with types and sizes, are under 160 KiB.
    const HASHES: usize = 256 * 1024;
    match (protocol, message) {
        (Protocol::Ipe, ipe::OFFER) => carry::MAX_WORD,
        (Protocol::Ipe, _) => 1024,
        (Protocol::Istanbul, 0x13 | 0x14) => 4 * 1024,
        (Protocol::Eth, code::STATUS | code::GET_BLOCK_HEADERS | code::BLOCK_RANGE_UPDATE) => 4 * 1024,
        (
            Protocol::Eth,
            code::NEW_BLOCK_HASHES
            | code::NEW_POOLED_TRANSACTION_HASHES
            | code::GET_BLOCK_BODIES
            | code::GET_POOLED_TRANSACTIONS
            | code::GET_RECEIPTS,
        ) => HASHES,
        (Protocol::Eth | Protocol::Istanbul, _) => MAX_MESSAGE_BYTES,
    }
}

fn hear_ipe(shared: &Arc<Shared>, link: &Link, code: u8, payload: &[u8], shown: &mut Option<Instant>) {
    let malformed = |what: &str, error: alloy_rlp::Error| {
        shared.penalise(link, MALFORMED_IPE, &format!("malformed ipe {what}: {error}"));
    };
    match code {
        ipe::STATUS => hear_status(shared, link, payload, shown),
        ipe::OFFER => match carry::Offer::decode(payload) {
            Ok(offer) => carry::validator::hear(shared, link, offer),
            Err(error) => malformed("Offer", error),
        },
        ipe::DECLINE => match (carry::Decline::decode(payload), &shared.carrier) {
            (Ok(decline), Some(carrier)) => carrier.decline(decline.token, &link.node),
            (Ok(_), None) => {}
            (Err(error), _) => malformed("Decline", error),
        },
        // Codes of later versions are ignored.
        _ => {}
    }
}

fn hear_status(shared: &Shared, link: &Link, payload: &[u8], shown: &mut Option<Instant>) {
    // Twice as often as agreed is already more than an honest clock's error.
    let early = shown.is_some_and(|at| at.elapsed() < shared.limits.ipe_status / 2);
    *shown = Some(Instant::now());
    match IpeStatus::decode(payload) {
        Ok(status) if !early => shared.registry.update(link.id, |info| info.ipe_status = Some(status)),
        Ok(_) => {
            shared.penalise(link, 1, "ipe Status too often");
        }
        Err(error) => {
            shared.penalise(link, MALFORMED_IPE, &format!("malformed ipe Status: {error}"));
        }
    }
}

/// Writes what is queued until the session ends, then says goodbye.
async fn write(shared: Arc<Shared>, link: Arc<Link>, mut frames: FrameWriter, mut io: OwnedWriteHalf) {
    let mut told: Option<(Instant, IpeStatus)> = None;
    let mut tick = tokio::time::interval(shared.limits.keepalive.div_f64(4.0).max(Duration::from_millis(10)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut out = Vec::new();
    let mut closed = std::pin::pin!(link.closed());
    let close = loop {
        while out.len() < WRITE_BATCH {
            let Some(next) = link.next() else { break };
            append(&shared, &link.capabilities, &mut frames, next, &mut out);
        }
        if out.is_empty() {
            tokio::select! {
                close = &mut closed => break Some(close),
                () = link.woken() => {}
                _ = tick.tick() => {
                    keep_alive(&link, shared.limits.keepalive);
                    let due = told.as_ref().is_none_or(|(at, _)| at.elapsed() >= shared.limits.ipe_status);
                    let status = shared.ipe_status().filter(|_| due && link.capabilities.has(Protocol::Ipe));
                    if let Some(status) = status
                        && told.as_ref().is_none_or(|(_, last)| *last != status)
                    {
                        tell_ipe(&link, &status);
                        told = Some((Instant::now(), status));
                    }
                }
            }
            continue;
        }
        let written = tokio::select! {
            // Written to the end before looking at the end of the session, unless the peer does not read.
            biased;
            written = write_all(&mut io, &out) => written,
            _ = &mut closed => break None,
        };
        match written {
            Ok(()) => {}
            Err(WriteError::Stalled) => {
                link.end(Some(Reason::Timeout), true);
                break None;
            }
            Err(WriteError::Io) => {
                link.end(None, false);
                break None;
            }
        }
        out.clear();
        if out.capacity() > KEEP_OUTPUT {
            out = Vec::new();
        }
    };
    if let Some(Close { reason: Some(reason), by_us: true }) = close {
        frames.append(DISCONNECT as u8, &snappy::compress(&reason.encode()), &mut out);
        // Best effort: the peer may be gone.
        let _ = tokio::time::timeout(GOODBYE, io.write_all(&out)).await;
    }
    let _ = tokio::time::timeout(GOODBYE, io.shutdown()).await;
}

fn append(shared: &Shared, capabilities: &SharedCapabilities, frames: &mut FrameWriter, next: Next, out: &mut Vec<u8>) {
    match next {
        Next::Ping => frames.append(PING as u8, &snappy::compress(&EMPTY_LIST), out),
        Next::Pong => frames.append(PONG as u8, &snappy::compress(&EMPTY_LIST), out),
        Next::Message(Outgoing { protocol, code, payload }) => {
            // The queue takes messages of shared protocols only.
            if let Some(offset) = capabilities.offset(protocol) {
                frames.append(offset.saturating_add(code), payload.compressed(), out);
                shared.counters.message(false, protocol, capabilities.eth(), code, payload.len());
            }
        }
    }
}

fn keep_alive(link: &Link, keepalive: Duration) {
    if link.stalled() {
        return;
    }
    let heard = link.heard();
    let silent = heard.elapsed();
    let dead = silent >= keepalive * 2 || link.probed(heard).is_some_and(|asked| asked.elapsed() >= PROBE);
    if dead {
        link.end(Some(Reason::Timeout), true);
    } else if silent >= keepalive {
        link.ping();
    }
}

fn tell_ipe(link: &Link, status: &IpeStatus) {
    let payload = Arc::new(Payload::new(status.encode().into()));
    link.push(Outgoing { protocol: Protocol::Ipe, code: ipe::STATUS, payload });
}

enum WriteError {
    Stalled,
    Io,
}

/// Writes everything, as long as the peer goes on taking some of it.
async fn write_all<W: AsyncWrite + Unpin>(io: &mut W, mut bytes: &[u8]) -> Result<(), WriteError> {
    while !bytes.is_empty() {
        let (chunk, rest) = bytes.split_at(bytes.len().min(WRITE_CHUNK));
        match tokio::time::timeout(WRITE_STALL, io.write_all(chunk)).await {
            Err(_) => return Err(WriteError::Stalled),
            Ok(Err(_)) => return Err(WriteError::Io),
            Ok(Ok(())) => bytes = rest,
        }
    }
    Ok(())
}
