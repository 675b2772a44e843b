//! Besu's JSON-RPC methods, all of them, and for those that are not served the reason: the content of
//! `docs/besu-methods.md`. The names are those of Besu 25.5.0 and 26; `engine_*` is left to its group's line.

use crate::backend::Release;
use crate::table::METHODS;
use std::fmt::Write as _;

/// In Besu 25.5 and 26.
const BOTH: &[&str] = &[
    "admin_addPeer",
    "admin_changeLogLevel",
    "admin_generateLogBloomCache",
    "admin_logsRemoveCache",
    "admin_logsRepairCache",
    "admin_nodeInfo",
    "admin_peers",
    "admin_removePeer",
    "debug_accountAt",
    "debug_accountRange",
    "debug_batchSendRawTransaction",
    "debug_getBadBlocks",
    "debug_getRawBlock",
    "debug_getRawHeader",
    "debug_getRawReceipts",
    "debug_getRawTransaction",
    "debug_metrics",
    "debug_replayBlock",
    "debug_resyncWorldState",
    "debug_setHead",
    "debug_standardTraceBadBlockToFile",
    "debug_standardTraceBlockToFile",
    "debug_storageRangeAt",
    "debug_traceBlock",
    "debug_traceBlockByHash",
    "debug_traceBlockByNumber",
    "debug_traceCall",
    "debug_traceTransaction",
    "eth_accounts",
    "eth_blobBaseFee",
    "eth_blockNumber",
    "eth_call",
    "eth_chainId",
    "eth_coinbase",
    "eth_createAccessList",
    "eth_estimateGas",
    "eth_feeHistory",
    "eth_gasPrice",
    "eth_getBalance",
    "eth_getBlockByHash",
    "eth_getBlockByNumber",
    "eth_getBlockReceipts",
    "eth_getBlockTransactionCountByHash",
    "eth_getBlockTransactionCountByNumber",
    "eth_getCode",
    "eth_getFilterChanges",
    "eth_getFilterLogs",
    "eth_getLogs",
    "eth_getProof",
    "eth_getStorageAt",
    "eth_getTransactionByBlockHashAndIndex",
    "eth_getTransactionByBlockNumberAndIndex",
    "eth_getTransactionByHash",
    "eth_getTransactionCount",
    "eth_getTransactionReceipt",
    "eth_getUncleByBlockHashAndIndex",
    "eth_getUncleByBlockNumberAndIndex",
    "eth_getUncleCountByBlockHash",
    "eth_getUncleCountByBlockNumber",
    "eth_maxPriorityFeePerGas",
    "eth_mining",
    "eth_newBlockFilter",
    "eth_newFilter",
    "eth_newPendingTransactionFilter",
    "eth_protocolVersion",
    "eth_sendRawTransaction",
    "eth_sendTransaction",
    "eth_simulateV1",
    "eth_subscribe",
    "eth_syncing",
    "eth_uninstallFilter",
    "eth_unsubscribe",
    "ibft_discardValidatorVote",
    "ibft_getPendingVotes",
    "ibft_getSignerMetrics",
    "ibft_getValidatorsByBlockHash",
    "ibft_getValidatorsByBlockNumber",
    "ibft_proposeValidatorVote",
    "miner_changeTargetGasLimit",
    "miner_getExtraData",
    "miner_getMinGasPrice",
    "miner_getMinPriorityFee",
    "miner_setExtraData",
    "miner_setMinGasPrice",
    "miner_setMinPriorityFee",
    "miner_start",
    "miner_stop",
    "net_enode",
    "net_listening",
    "net_peerCount",
    "net_services",
    "net_version",
    "perm_addAccountsToAllowlist",
    "perm_addAccountsToWhitelist",
    "perm_addNodesToAllowlist",
    "perm_addNodesToWhitelist",
    "perm_getAccountsAllowlist",
    "perm_getAccountsWhitelist",
    "perm_getNodesAllowlist",
    "perm_getNodesWhitelist",
    "perm_reloadPermissionsFromFile",
    "perm_removeAccountsFromAllowlist",
    "perm_removeNodesFromAllowlist",
    "plugins_reloadPluginConfig",
    "qbft_discardValidatorVote",
    "qbft_getPendingVotes",
    "qbft_getRequestTimeoutSeconds",
    "qbft_getSignerMetrics",
    "qbft_getValidatorsByBlockHash",
    "qbft_getValidatorsByBlockNumber",
    "qbft_proposeValidatorVote",
    "rpc_modules",
    "trace_block",
    "trace_call",
    "trace_callMany",
    "trace_filter",
    "trace_get",
    "trace_rawTransaction",
    "trace_replayBlockTransactions",
    "trace_transaction",
    "txpool_besuPendingTransactions",
    "txpool_besuStatistics",
    "txpool_besuTransactions",
    "web3_clientVersion",
    "web3_sha3",
];

/// In Besu 25.5, gone in 26.
const ONLY_25: &[&str] = &[
    "clique_discard",
    "clique_getSignerMetrics",
    "clique_getSigners",
    "clique_getSignersAtHash",
    "clique_proposals",
    "clique_propose",
    "eea_sendRawTransaction",
    "eth_getMinerDataByBlockHash",
    "eth_getMinerDataByBlockNumber",
    "eth_getWork",
    "eth_hashrate",
    "eth_sendRawPrivateTransaction",
    "eth_submitHashrate",
    "eth_submitWork",
    "miner_setCoinbase",
    "miner_setEtherbase",
    "priv_call",
    "priv_createPrivacyGroup",
    "priv_debugGetStateRoot",
    "priv_deletePrivacyGroup",
    "priv_distributeRawTransaction",
    "priv_findPrivacyGroup",
    "priv_getCode",
    "priv_getEeaTransactionCount",
    "priv_getFilterChanges",
    "priv_getFilterLogs",
    "priv_getLogs",
    "priv_getPrivacyPrecompileAddress",
    "priv_getPrivateTransaction",
    "priv_getTransactionCount",
    "priv_getTransactionReceipt",
    "priv_newFilter",
    "priv_subscribe",
    "priv_traceTransaction",
    "priv_uninstallFilter",
    "priv_unsubscribe",
    "privx_findFlexiblePrivacyGroup",
    "privx_findOnchainPrivacyGroup",
];

/// New in Besu 26.
const ONLY_26: &[&str] = &[
    "debug_getRawBlockAccessList",
    "eth_baseFee",
    "eth_capabilities",
    "eth_config",
    "eth_getBlockAccessList",
    "eth_getStorageValues",
    "eth_getTransactionBySenderAndNonce",
    "testing_buildBlockV1",
    "txpool_content",
    "txpool_contentFrom",
    "txpool_inspect",
    "txpool_status",
];

/// What WebSocket serves beside the table of methods.
const SUBSCRIPTIONS: [&str; 2] = ["eth_subscribe", "eth_unsubscribe"];

/// Why a method is not served; a name that ends with `*` stands for all that begin so. The first that fits counts.
const ABSENT: &[(&str, &str)] = &[
    ("eth_getBlockAccessList", "block access lists belong to a fork that QBFT chains do not activate"),
    ("debug_getRawBlockAccessList", "block access lists belong to a fork that QBFT chains do not activate"),
    ("eth_getWork", "there is no proof of work"),
    ("eth_submitWork", "there is no proof of work"),
    ("eth_submitHashrate", "there is no proof of work"),
    ("eth_sendRawPrivateTransaction", "private transactions were removed from Besu too"),
    ("eea_*", "private transactions were removed from Besu too"),
    ("priv_*", "private transactions were removed from Besu too"),
    ("privx_*", "private transactions were removed from Besu too"),
    ("ibft_*", "this is a QBFT node; the `qbft_` methods answer the same questions"),
    ("clique_*", "another consensus mechanism, removed from Besu too"),
    ("engine_*", "a QBFT node has no consensus client beside it"),
    ("testing_*", "blocks are made by consensus only"),
    ("miner_start", "a validator proposes when the chain names it; to pause one, stop it or vote it out"),
    ("miner_stop", "a validator proposes when the chain names it; to pause one, stop it or vote it out"),
    ("miner_setCoinbase", "the coinbase of a QBFT block is its proposer's address"),
    ("miner_setEtherbase", "the coinbase of a QBFT block is its proposer's address"),
    ("miner_getMinPriorityFee", "transactions are not chosen by their tip alone; `miner_getMinGasPrice` is the floor"),
    ("miner_setMinPriorityFee", "transactions are not chosen by their tip alone; `miner_setMinGasPrice` is the floor"),
    ("plugins_*", "there are no plugins"),
    ("perm_addAccountsToWhitelist", "a name only, in Besu too; `perm_addAccountsToAllowlist` serves"),
    ("perm_addNodesToWhitelist", "a name only, in Besu too; `perm_addNodesToAllowlist` serves"),
    ("perm_getAccountsWhitelist", "a name only, in Besu too; `perm_getAccountsAllowlist` serves"),
    ("perm_getNodesWhitelist", "a name only, in Besu too; `perm_getNodesAllowlist` serves"),
    ("admin_generateLogBloomCache", "logs have an index, not a cache"),
    ("admin_logsRepairCache", "logs have an index, not a cache"),
    ("admin_logsRemoveCache", "logs have an index, not a cache"),
    ("debug_setHead", "final blocks are never taken back"),
    ("debug_resyncWorldState", "there is one state, kept with the blocks; `ipe blocks import` rebuilds it"),
    ("debug_replayBlock", "blocks are executed when they are imported; `debug_traceBlockByNumber` executes one again"),
    ("debug_metrics", "metrics are at `/metrics`"),
    ("debug_standardTraceBlockToFile", "nothing is written to files at a client's wish"),
    ("debug_standardTraceBadBlockToFile", "nothing is written to files at a client's wish"),
    ("debug_batchSendRawTransaction", "a batch of `eth_sendRawTransaction` does the same"),
];

/// Whether a release of Besu has a method of this name.
pub(crate) fn is_besus(name: &str) -> bool {
    BOTH.iter().chain(ONLY_25).chain(ONLY_26).chain(&SUBSCRIPTIONS).any(|known| *known == name)
}

/// Why the method is absent; `None` when nobody said.
fn why_absent(name: &str) -> Option<&'static str> {
    let fits = |pattern: &str| pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start));
    ABSENT.iter().find(|(pattern, _)| fits(pattern)).map(|(_, why)| *why)
}

fn served(name: &str) -> Option<&'static str> {
    if SUBSCRIPTIONS.contains(&name) {
        return Some("over WebSocket");
    }
    METHODS.iter().find(|method| method.name == name).map(|method| match method.only {
        None => "",
        Some(Release::Besu25) => "when answers of Besu 25 are chosen (`rpc-release`)",
        Some(Release::Besu26) => "when answers of Besu 26 are chosen (`rpc-release`)",
    })
}

/// The page.
pub fn markdown() -> String {
    let mut all: Vec<(&str, &str)> = BOTH.iter().map(|name| (*name, "25, 26")).collect();
    all.extend(ONLY_25.iter().map(|name| (*name, "25")));
    all.extend(ONLY_26.iter().map(|name| (*name, "26")));
    all.sort_unstable();
    let yes = all.iter().filter(|(name, _)| served(name).is_some()).count();
    let mut out = format!(
        "# Besu's JSON-RPC methods\n\nGenerated from `crates/api/src/besu_methods.rs` and the dispatch table; a test keeps \
         them equal. {yes} of {} are served; [rpc.md](rpc.md) has their parameters, [rpc-differences.md](rpc-differences.md) \
         where an answer differs. `engine_*` ({}) and GraphQL are not served.\n\n| Method | Besu | Served | Why, or when |\n\
         |---|---|---|---|\n",
        all.len(),
        why_absent("engine_").unwrap_or_default(),
    );
    for (name, releases) in all {
        let (answer, text) = match served(name) {
            Some(when) => ("yes", when),
            None => ("no", why_absent(name).unwrap_or("not said")),
        };
        let _ = writeln!(out, "| `{name}` | {releases} | {answer} | {text} |");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_besu_is_served_or_has_a_reason() {
        let all: Vec<&str> = [BOTH, ONLY_25, ONLY_26].concat();
        let mut seen = std::collections::HashSet::new();
        for name in &all {
            assert!(seen.insert(*name), "{name} twice");
            assert!(served(name).is_some() != why_absent(name).is_some(), "{name}: served or absent with a reason, not both");
        }
        for (pattern, _) in ABSENT.iter().filter(|(pattern, _)| *pattern != "engine_*") {
            let start = pattern.trim_end_matches('*');
            assert!(all.iter().any(|name| name.starts_with(start)), "{pattern} stands for no method");
        }
        // What is served beyond Besu is this node's own group, and what an operator needs among those that change a node.
        for method in METHODS.iter().filter(|method| !seen.contains(method.name)) {
            assert!(
                method.name.starts_with("ipe_") || ["miner_dropTransaction", "trace_replayTransaction"].contains(&method.name),
                "{} is not Besu's",
                method.name
            );
        }
    }

    #[test]
    fn the_documented_page_is_this_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/besu-methods.md");
        let wanted = markdown();
        if std::env::var_os("IPE_BLESS").is_some() {
            std::fs::write(path, &wanted).expect("docs/besu-methods.md is writable");
        }
        let documented = std::fs::read_to_string(path).expect("docs/besu-methods.md exists");
        assert!(documented == wanted, "docs/besu-methods.md is not up to date; run this test with IPE_BLESS=1");
    }
}
