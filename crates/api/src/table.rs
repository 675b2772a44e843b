//! The one closed list of methods. Dispatch, `rpc_modules` and `docs/rpc.md` are read from it.

use crate::access::Access;
use crate::allowance::Allowance;
use crate::backend::{Api, Release};
use crate::error::RpcError;
use crate::params::Params;
use crate::wire::Call;
use crate::{
    admin, debug, eth_blocks, eth_call, eth_fees, eth_logs, eth_send, eth_state, ipe, miner, net, perm, qbft, simulate, trace,
    txpool,
};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::time::Instant;

/// A group of methods, enabled together as by Besu's `--rpc-http-api`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Group {
    /// Peers, node identity, log level.
    Admin,
    /// Tracing and raw data.
    Debug,
    /// The Ethereum API.
    Eth,
    /// What only this node has.
    Ipe,
    /// What this node puts into its blocks.
    Miner,
    /// Network id, peers.
    Net,
    /// Local allow-lists.
    Perm,
    /// Validators and votes.
    Qbft,
    /// Parity-style traces.
    Trace,
    /// The pool.
    Txpool,
    /// Client version, hashing.
    Web3,
    /// Always enabled.
    Rpc,
}

impl Group {
    /// Every group in order of name.
    pub const ALL: [Self; 12] = [
        Self::Admin,
        Self::Debug,
        Self::Eth,
        Self::Ipe,
        Self::Miner,
        Self::Net,
        Self::Perm,
        Self::Qbft,
        Self::Trace,
        Self::Txpool,
        Self::Web3,
        Self::Rpc,
    ];

    /// Name as in method names and `rpc_modules`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Debug => "debug",
            Self::Eth => "eth",
            Self::Ipe => "ipe",
            Self::Miner => "miner",
            Self::Net => "net",
            Self::Perm => "perm",
            Self::Qbft => "qbft",
            Self::Trace => "trace",
            Self::Txpool => "txpool",
            Self::Web3 => "web3",
            Self::Rpc => "rpc",
        }
    }
}

/// A set of groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Groups(u16);

impl Groups {
    /// Besu's default (`ETH,NET,WEB3`) and our own.
    pub fn besu_default() -> Self {
        Self::default().with(Group::Eth).with(Group::Net).with(Group::Web3).with(Group::Ipe)
    }

    /// Every group.
    pub fn all() -> Self {
        Group::ALL.into_iter().fold(Self::default(), Self::with)
    }

    /// The set with one more.
    #[must_use]
    pub const fn with(self, group: Group) -> Self {
        Self(self.0 | 1 << group as u16)
    }

    /// Membership; [`Group::Rpc`] is in every set.
    pub const fn has(self, group: Group) -> bool {
        matches!(group, Group::Rpc) || self.0 & (1 << group as u16) != 0
    }

    /// From names as in Besu's option (`ETH,NET,…`, any case). `IBFT`, `PLUGINS`, `ENGINE`, `TESTING` are accepted
    /// and mean nothing here.
    ///
    /// # Errors
    /// The name that is no group.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut set = Self::default();
        for name in names {
            let wanted = name.trim().to_ascii_lowercase();
            match Group::ALL.into_iter().find(|g| g.name() == wanted) {
                Some(group) => set = set.with(group),
                None if matches!(wanted.as_str(), "ibft" | "plugins" | "engine" | "testing" | "") => {}
                None => {
                    let known: Vec<_> = Group::ALL.iter().map(|g| g.name().to_ascii_uppercase()).collect();
                    return Err(format!("unknown API group {name:?}; known are {}", known.join(", ")));
                }
            }
        }
        Ok(set)
    }

    /// The members.
    pub fn iter(self) -> impl Iterator<Item = Group> {
        Group::ALL.into_iter().filter(move |g| *g != Group::Rpc && self.has(*g))
    }
}

/// What a call may cost, deciding where it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cost {
    /// A few reads: on the thread that read the request.
    Light,
    /// Reads a whole block or its receipts, whose size others decide, or takes what is shared by address: on one of a few threads.
    Block,
    /// Executes, traces or searches: on one of a bounded number of threads, with a time bound.
    Heavy,
    /// Asks the node and waits: as heavy ones.
    Waits,
}

/// One method.
pub struct Method {
    /// Full name.
    pub name: &'static str,
    /// Group that must be enabled.
    pub group: Group,
    /// Where it runs.
    pub cost: Cost,
    /// Which release has it, when not both.
    pub only: Option<Release>,
    /// One line for the documentation: parameters and result.
    pub about: &'static str,
    handler: Handler,
}

type Handler = fn(&Api, &Params<'_>, Groups, &Allowance) -> Result<Vec<u8>, RpcError>;

macro_rules! methods {
    ($($name:ident $group:ident $cost:ident $handler:path, $about:literal $(, $only:ident)?;)*) => {
        /// Every method of this node, in the order of the documentation.
        pub static METHODS: &[Method] = &[$(Method {
            name: stringify!($name),
            group: Group::$group,
            cost: Cost::$cost,
            only: methods!(@only $($only)?),
            about: $about,
            handler: |api, params, groups, allowance| {
                let _ = (groups, allowance);
                methods!(@call $name $cost $handler, api, params, groups, allowance)
            },
        }),*];
    };
    (@only) => { None };
    (@only $only:ident) => { Some(Release::$only) };
    (@call rpc_modules Light $handler:path, $api:ident, $params:ident, $groups:ident, $allowance:ident) => {
        $handler($api, $params, $groups)
    };
    (@call eth_sendRawTransaction Light $handler:path, $api:ident, $params:ident, $groups:ident, $allowance:ident) => {
        $handler($api, $params, $allowance)
    };
    (@call $name:ident Light $handler:path, $api:ident, $params:ident, $groups:ident, $allowance:ident) => { $handler($api, $params) };
    (@call $name:ident Waits $handler:path, $api:ident, $params:ident, $groups:ident, $allowance:ident) => { $handler($api, $params) };
    // What may cost more than a few reads has an allowance.
    (@call $name:ident $cost:ident $handler:path, $api:ident, $params:ident, $groups:ident, $allowance:ident) => {
        $handler($api, $params, $allowance)
    };
}

methods! {
    rpc_modules Rpc Light net::modules, "() → enabled groups with their version";
    web3_clientVersion Web3 Light net::client_version, "() → client name and version";
    web3_sha3 Web3 Light net::sha3, "(data) → Keccak-256";
    net_version Net Light net::version, "() → network id, decimal text";
    net_listening Net Light net::listening, "() → whether peer-to-peer networking is on";
    net_peerCount Net Light net::peer_count, "() → connected peers, hex";
    net_enode Net Light net::enode, "() → own enode URL";
    net_services Net Light net::services, "() → enabled services with host and port";

    eth_accounts Eth Light net::accounts, "() → []: this node holds no account keys";
    eth_protocolVersion Eth Light net::protocol_version, "() → highest eth version, hex";
    eth_chainId Eth Light eth_blocks::chain_id, "() → chain id";
    eth_blockNumber Eth Light eth_blocks::block_number, "() → number of the newest final block";
    eth_syncing Eth Light eth_blocks::syncing, "() → false or {startingBlock, currentBlock, highestBlock}";
    eth_mining Eth Light net::mining, "() → whether this node may propose", Besu25;
    eth_hashrate Eth Light net::hashrate, "() → 0x0", Besu25;
    eth_coinbase Eth Light net::coinbase, "() → own address; disabled from Besu 26";
    eth_getBlockByNumber Eth Block eth_blocks::block_by_number, "(block, full transactions?) → block or null";
    eth_getBlockByHash Eth Block eth_blocks::block_by_hash, "(hash, full transactions?) → block or null";
    eth_getBlockReceipts Eth Block eth_blocks::block_receipts, "(block or hash) → receipts or null";
    eth_getBlockTransactionCountByNumber Eth Block eth_blocks::transaction_count_by_number, "(block) → number of transactions or null";
    eth_getBlockTransactionCountByHash Eth Block eth_blocks::transaction_count_by_hash, "(hash) → number of transactions or null";
    eth_getUncleCountByBlockNumber Eth Light eth_blocks::uncle_count_by_number, "(block) → 0x0 or null";
    eth_getUncleCountByBlockHash Eth Light eth_blocks::uncle_count_by_hash, "(hash) → 0x0 or null";
    eth_getUncleByBlockNumberAndIndex Eth Light eth_blocks::uncle_by_number, "(block, index) → null: there are no uncles";
    eth_getUncleByBlockHashAndIndex Eth Light eth_blocks::uncle_by_hash, "(hash, index) → null: there are no uncles";
    eth_getTransactionByHash Eth Block eth_blocks::transaction_by_hash, "(hash) → mined or pending transaction, or null";
    eth_getTransactionByBlockNumberAndIndex Eth Block eth_blocks::transaction_by_number_and_index, "(block, index) → transaction or null";
    eth_getTransactionByBlockHashAndIndex Eth Block eth_blocks::transaction_by_hash_and_index, "(hash, index) → transaction or null";
    eth_getTransactionBySenderAndNonce Eth Heavy eth_blocks::transaction_by_sender_and_nonce, "(sender, nonce) → mined or pending transaction, or null";
    eth_getTransactionReceipt Eth Block eth_blocks::transaction_receipt, "(hash) → receipt or null";
    eth_getMinerDataByBlockNumber Eth Block eth_blocks::miner_data_by_number, "(block) → rewards and coinbase", Besu25;
    eth_getMinerDataByBlockHash Eth Block eth_blocks::miner_data_by_hash, "(hash) → rewards and coinbase", Besu25;
    eth_capabilities Eth Light eth_blocks::capabilities, "() → head, and from which block on state, transactions, logs, receipts, blocks and proofs are kept", Besu26;
    eth_config Eth Light eth_blocks::config, "() → current, next and last fork with precompiles", Besu26;

    eth_getBalance Eth Light eth_state::balance, "(address, block or hash) → wei";
    eth_getCode Eth Light eth_state::code, "(address, block or hash) → code";
    eth_getStorageAt Eth Light eth_state::storage_at, "(address, slot, block or hash) → 32 bytes";
    eth_getStorageValues Eth Heavy eth_state::storage_values, "({address: [slots]}, block or hash?) → {address: [32 bytes]}; 1,024 slots at most", Besu26;
    eth_getTransactionCount Eth Light eth_state::transaction_count, "(address, block or hash; `pending` counts the pool) → nonce";
    eth_getProof Eth Heavy eth_state::proof, "(address, slots, block or hash) → account and storage proofs";

    eth_call Eth Heavy eth_call::call, "(call, block or hash, state overrides?, block overrides?) → returned bytes";
    eth_estimateGas Eth Heavy eth_call::estimate_gas, "(call, block or hash?, state overrides?) → gas";
    eth_simulateV1 Eth Heavy simulate::simulate, "({blockStateCalls, validation?, traceTransfers?, returnFullTransactions?}, block or hash) → blocks that do not exist, on that one; 256 blocks, 4,096 calls at most";
    eth_createAccessList Eth Heavy eth_call::create_access_list, "(call, block or hash?) → {accessList, gasUsed}";

    eth_gasPrice Eth Light eth_fees::gas_price, "() → suggested price in wei";
    eth_maxPriorityFeePerGas Eth Light eth_fees::max_priority_fee, "() → suggested tip in wei";
    eth_blobBaseFee Eth Light eth_fees::blob_base_fee, "() → blob base fee in wei";
    eth_baseFee Eth Light eth_fees::base_fee, "() → base fee of the next block";
    eth_feeHistory Eth Heavy eth_fees::fee_history, "(blocks, newest block, percentiles?) → base fees, gas ratios, rewards";

    eth_getLogs Eth Heavy eth_logs::get_logs, "(filter) → logs";
    eth_newFilter Eth Block eth_logs::new_filter, "(filter) → filter id";
    eth_newBlockFilter Eth Block eth_logs::new_block_filter, "() → filter id";
    eth_newPendingTransactionFilter Eth Block eth_logs::new_pending_filter, "() → filter id";
    eth_getFilterChanges Eth Heavy eth_logs::filter_changes, "(id) → what is new since the last question";
    eth_getFilterLogs Eth Heavy eth_logs::filter_logs, "(id) → all logs of the filter";
    eth_uninstallFilter Eth Light eth_logs::uninstall_filter, "(id) → whether it existed";

    eth_sendRawTransaction Eth Light eth_send::send_raw, "(signed transaction) → hash";
    eth_sendTransaction Eth Light eth_send::send_transaction, "always refused: this node holds no account keys";

    qbft_getValidatorsByBlockNumber Qbft Light qbft::validators_by_number, "(block) → addresses or null; `pending` = set after the head";
    qbft_getValidatorsByBlockHash Qbft Light qbft::validators_by_hash, "(hash) → addresses or null";
    qbft_proposeValidatorVote Qbft Waits qbft::propose_vote, "(address, add?) → true";
    qbft_discardValidatorVote Qbft Waits qbft::discard_vote, "(address) → true";
    qbft_getPendingVotes Qbft Waits qbft::pending_votes, "() → {address: add?}";
    qbft_getSignerMetrics Qbft Heavy qbft::signer_metrics, "(from?, to?) → proposed blocks by validator";
    qbft_getRequestTimeoutSeconds Qbft Light qbft::request_timeout, "() → seconds";

    txpool_besuStatistics Txpool Light txpool::besu_statistics, "() → {maxSize, localCount, remoteCount}";
    txpool_besuTransactions Txpool Heavy txpool::besu_transactions, "() → [{hash, addedToPoolAt, isReceivedFromLocalSource}]";
    txpool_besuPendingTransactions Txpool Heavy txpool::besu_pending, "(limit?, filter?) → transactions";
    txpool_status Txpool Light txpool::status, "() → {pending, queued}";
    txpool_content Txpool Heavy txpool::content, "() → transactions by sender and nonce";
    txpool_contentFrom Txpool Heavy txpool::content_from, "(address) → that sender's transactions by nonce";
    txpool_inspect Txpool Heavy txpool::inspect, "() → one line per transaction";

    admin_peers Admin Waits admin::peers, "() → connected peers";
    admin_nodeInfo Admin Waits admin::node_info, "() → own identity, head, genesis";
    admin_addPeer Admin Waits admin::add_peer, "(enode) → true when newly added";
    admin_removePeer Admin Waits admin::remove_peer, "(enode) → true when it was known";
    admin_changeLogLevel Admin Light admin::change_log_level, "(level, targets?) → \"Success\"";

    debug_traceTransaction Debug Heavy debug::trace_transaction, "(hash, options?) → struct logs, or the chosen tracer's result";
    debug_traceCall Debug Heavy debug::trace_call, "(call, block or hash, options?) → as debug_traceTransaction";
    debug_traceBlockByNumber Debug Heavy debug::trace_block_by_number, "(block, options?) → one trace per transaction";
    debug_traceBlockByHash Debug Heavy debug::trace_block_by_hash, "(hash, options?) → one trace per transaction";
    debug_traceBlock Debug Heavy debug::trace_block, "(block RLP, options?) → one trace per transaction; parent must be known";
    debug_getRawHeader Debug Light debug::raw_header, "(block or hash) → RLP";
    debug_getRawBlock Debug Block debug::raw_block, "(block or hash) → RLP";
    debug_getRawReceipts Debug Block debug::raw_receipts, "(block or hash) → RLP of each";
    debug_getRawTransaction Debug Block debug::raw_transaction, "(hash) → RLP";
    debug_getBadBlocks Debug Light debug::bad_blocks, "() → []: invalid blocks are not kept";
    debug_accountRange Debug Light debug::account_range, "(block or hash, index, address hash, limit) → {addressMap: {}}: addresses are kept as hashes only";
    debug_accountAt Debug Heavy debug::account_at, "(hash, index, address) → account after that transaction";
    debug_storageRangeAt Debug Heavy debug::storage_range_at, "(hash, index, address, from slot, limit) → slots";

    trace_block Trace Heavy trace::block, "(block) → flat traces of the block";
    trace_transaction Trace Heavy trace::transaction, "(hash) → flat traces of the transaction";
    trace_get Trace Heavy trace::get, "(hash, trace address) → one flat trace or null";
    trace_filter Trace Heavy trace::filter, "({fromBlock, toBlock, fromAddress, toAddress, after, count}) → flat traces";
    trace_call Trace Heavy trace::call, "(call, trace types, block) → traces of a simulated call";
    trace_callMany Trace Heavy trace::call_many, "([[call, trace types], …], block) → traces of calls one after the other; 1,024 calls at most";
    trace_rawTransaction Trace Heavy trace::raw_transaction, "(signed transaction, trace types) → traces of it on the head, without sending it";
    trace_replayTransaction Trace Heavy trace::replay_transaction, "(hash, trace types) → traces of a mined transaction, or null";
    trace_replayBlockTransactions Trace Heavy trace::replay_block, "(block, trace types) → traces per transaction";

    miner_changeTargetGasLimit Miner Waits miner::change_target_gas_limit, "(gas limit, decimal) → \"Success\"; until the next start";
    miner_dropTransaction Miner Light miner::drop_transaction, "(transaction hash) → whether it waited here; not taken again until the next start";
    miner_getMinGasPrice Miner Light miner::get_min_gas_price, "() → wei";
    miner_setMinGasPrice Miner Waits miner::set_min_gas_price, "(wei, hex) → true; until the next start";
    miner_getExtraData Miner Waits miner::get_extra_data, "() → vanity of proposed blocks";
    miner_setExtraData Miner Waits miner::set_extra_data, "(hex of at most 32 bytes) → true; until the next start";

    perm_getAccountsAllowlist Perm Waits perm::accounts, "() → permitted senders; an error when the list is not enabled";
    perm_addAccountsToAllowlist Perm Waits perm::add_accounts, "(addresses) → \"Success\"";
    perm_removeAccountsFromAllowlist Perm Waits perm::remove_accounts, "(addresses) → \"Success\"; what waits of them leaves the pool";
    perm_getNodesAllowlist Perm Waits perm::nodes, "() → permitted nodes; an error when the list is not enabled";
    perm_addNodesToAllowlist Perm Waits perm::add_nodes, "(enodes) → \"Success\"";
    perm_removeNodesFromAllowlist Perm Waits perm::remove_nodes, "(enodes) → \"Success\"; they are cut";
    perm_reloadPermissionsFromFile Perm Waits perm::reload, "() → \"Success\"; both lists are read again";

    ipe_status Ipe Light ipe::status, "() → height, checkpoint, round, peers by role, fault margin, pool, last error";
    ipe_whyNotMined Ipe Block ipe::why_not_mined, "(transaction hash) → what keeps it from being mined";
}

/// Bytes of parameters that are long.
const LONG: usize = 64 << 10;
/// Bytes that values read from JSON take at most for each byte of text: maps of short keys.
const VALUES_PER_TEXT: usize = 16;

fn lookup(name: &str) -> Option<&'static Method> {
    static BY_NAME: OnceLock<HashMap<&'static str, &'static Method>> = OnceLock::new();
    BY_NAME.get_or_init(|| METHODS.iter().map(|m| (m.name, m)).collect()).get(name).copied()
}

/// Whether there is a method of this name, here or in Besu.
pub(crate) fn is_method(name: &str) -> bool {
    lookup(name).is_some() || crate::besu_methods::is_besus(name)
}

/// Bytes that parameters take once they are read; what is short takes none worth counting.
fn weight(params: Option<&RawValue>) -> usize {
    let bytes = params.map_or(0, |params| params.get().len());
    if bytes > LONG { bytes.saturating_mul(VALUES_PER_TEXT) } else { 0 }
}

impl Api {
    /// What the call costs.
    pub(crate) fn cost(&self, call: &Call<'_>) -> Cost {
        // Finding a revert's reason means executing the block again.
        let replays = self.settings.revert_reason && (call.method.ends_with("Receipt") || call.method.ends_with("Receipts"));
        if replays { Cost::Heavy } else { lookup(&call.method).map_or(Cost::Light, |method| method.cost) }
    }

    /// Carries out one call on the calling thread.
    ///
    /// # Errors
    /// What the method says; -32601 for unknown methods, -32604 for methods of groups that are not enabled, -40100 for those that
    /// are not permitted.
    pub(crate) fn call(&self, call: &Call<'_>, access: &Access, allowance: &Allowance) -> Result<Vec<u8>, RpcError> {
        let cost = self.cost(call);
        let method = lookup(&call.method)
            .filter(|m| m.only.is_none_or(|only| only == self.settings.release))
            .ok_or(RpcError::METHOD_NOT_FOUND)?;
        if !access.groups.has(method.group) {
            return Err(RpcError::METHOD_NOT_ENABLED);
        }
        if !access.permits(method.name) {
            let error = RpcError::UNAUTHORIZED;
            metrics::counter!("besu_rpc_errors_count_total", "rpcMethod" => method.name, "errorType" => error.kind()).increment(1);
            return Err(error);
        }
        let started = Instant::now();
        let held = allowance.held();
        let answer = Params::parse(call.params).and_then(|params| {
            allowance.begin(cost)?;
            allowance.hold(weight(call.params))?;
            (method.handler)(self, &params, access.groups, allowance)
        });
        // Its answer is counted by who puts it together.
        allowance.hold_only(held);
        metrics::histogram!("besu_rpc_request_time", "methodName" => method.name).record(started.elapsed().as_secs_f64());
        if let Err(error) = &answer {
            metrics::counter!("besu_rpc_errors_count_total", "rpcMethod" => method.name, "errorType" => error.kind()).increment(1);
        }
        answer
    }
}

/// The table of methods as Markdown, the content of `docs/rpc.md`.
pub fn markdown() -> String {
    let mut out = String::from(
        "# JSON-RPC methods\n\n\
         Generated from the dispatch table (`crates/api/src/table.rs`); a test keeps both equal. Groups are enabled as by \
         Besu's `--rpc-http-api`. \"Besu 25\" and \"Besu 26\" mark methods that exist only when the answers of that release \
         are chosen.\n\nOver WebSocket also `eth_subscribe` (`newHeads`, `logs`, `newPendingTransactions`, `syncing`) and \
         `eth_unsubscribe`.\n",
    );
    for group in Group::ALL {
        let methods: Vec<_> = METHODS.iter().filter(|m| m.group == group).collect();
        let always = if group == Group::Rpc { " (always enabled)" } else { "" };
        let _ = write!(
            out,
            "\n## {}{always}\n\n| Method | Parameters → result | Only |\n|---|---|---|\n",
            group.name().to_ascii_uppercase()
        );
        for method in methods {
            let only = match method.only {
                None => "",
                Some(Release::Besu25) => "Besu 25",
                Some(Release::Besu26) => "Besu 26",
            };
            let _ = writeln!(out, "| `{}` | {} | {only} |", method.name, method.about.replace('|', "\\|"));
        }
    }
    out.push_str("\nEvery method of Besu, served or not, with the reason: [besu-methods.md](besu-methods.md).\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of a block, of its receipts and of a transaction is decided by who filled it.
    #[test]
    fn what_reads_a_block_waits_for_a_turn() {
        let reads = |name: &str| {
            ["Receipt", "getBlockBy", "getBlockTransaction", "getRawBlock", "getRawTransaction", "getTransactionBy", "trace"]
                .iter()
                .any(|part| name.contains(part))
        };
        let wrong: Vec<&str> = METHODS.iter().filter(|m| reads(m.name) && m.cost == Cost::Light).map(|m| m.name).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        assert!(METHODS.iter().filter(|m| reads(m.name)).count() > 20);
        assert!(METHODS.iter().any(|m| m.name == "eth_blockNumber" && m.cost == Cost::Light));
    }

    #[test]
    fn names_are_unique_and_belong_to_their_group() {
        let mut seen = std::collections::HashSet::new();
        for method in METHODS {
            assert!(seen.insert(method.name), "{} twice", method.name);
            assert!(method.name.starts_with(&format!("{}_", method.group.name())), "{}", method.name);
        }
    }

    #[test]
    fn the_documented_table_is_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/rpc.md");
        let wanted = markdown();
        if std::env::var_os("IPE_BLESS").is_some() {
            std::fs::write(path, &wanted).expect("docs/rpc.md is writable");
        }
        let documented = std::fs::read_to_string(path).expect("docs/rpc.md exists");
        assert!(documented == wanted, "docs/rpc.md is not up to date; run this test with IPE_BLESS=1");
    }

    #[test]
    fn groups_by_name() {
        let set = Groups::parse(["ETH", " net", "IBFT"]).expect("known groups");
        assert!(set.has(Group::Eth) && set.has(Group::Net) && set.has(Group::Rpc) && !set.has(Group::Debug));
        assert!(Groups::parse(["ETHER"]).is_err());
    }
}
