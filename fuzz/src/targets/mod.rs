//! The targets, by who speaks: the wire of a session, datagrams, consensus, blocks, files, clients; and the machines that
//! are fed by them.

mod chain;
mod clients;
mod consensus;
mod contracts;
mod discovery;
mod files;
mod machines;
mod wire;

use crate::Target;

/// Every target.
pub const TARGETS: &[Target] = &[
    wire::HANDSHAKE,
    wire::FRAMES,
    wire::HELLO,
    wire::SESSION,
    wire::ETH,
    wire::CARRY,
    wire::SNAPPY,
    discovery::PACKETS,
    discovery::RECORD,
    discovery::MACHINE,
    consensus::MESSAGES,
    consensus::CERTIFICATE,
    consensus::STEP,
    chain::EXTRA,
    chain::HEADER,
    chain::BLOCK,
    chain::TRANSACTION,
    chain::ROWS,
    chain::STORE,
    files::GENESIS,
    files::CONFIG,
    files::ENODE,
    files::STATIC_NODES,
    files::MEMBERS,
    files::JOURNAL,
    files::LOCAL_TRANSACTIONS,
    clients::RPC,
    clients::RPC_BODY,
    contracts::CONTRACTS,
    machines::POOL,
    machines::SYNC,
    machines::REPLICA,
];
