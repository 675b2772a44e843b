//! JSON-RPC: any body that a client posts.

use std::sync::{Arc, LazyLock};

use ipe_api::backend::{Api, Release};
use ipe_api::conformance::dispatcher;
use ipe_api::table::Groups;
use ipe_api::wire;

use crate::{Target, fixtures};

const RECORDING: &str = "besu-26.8.0-execution-osaka";

fn requests() -> Vec<Vec<u8>> {
    let one = fixtures::requests(RECORDING).into_iter().chain(fixtures::requests("besu-26.8.0-header-votes"));
    let mut seeds: Vec<Vec<u8>> = one.map(String::into_bytes).filter(|body| body.len() <= 4_096).collect();
    seeds
        .push(br#"[{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber"},{"id":"x","method":"net_version","params":[]},7]"#.to_vec());
    seeds.push(br#"{"id":1,"method":"eth_newFilter","params":[{"fromBlock":"0x0","topics":[null,["0x00"]]}]}"#.to_vec());
    seeds
}

/// Of any JSON, also with numbers beyond a double: an id is given back as it came.
fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<&serde_json::value::RawValue>(body).is_ok()
}

/// Splitting a body into calls.
pub(super) const RPC_BODY: Target = Target {
    name: "rpc-body",
    about: "the framing of a JSON-RPC body",
    longest: 4_096,
    memory: Some((16 << 10, 256)),
    seeds: requests,
    run: |input| {
        if let Err(body) = wire::split(input, wire::MAX_BATCH) {
            assert!(is_json(&body), "an error is JSON too");
        }
    },
};

/// A body answered by the node's dispatcher over a recorded chain: whatever is asked, the answer is JSON.
pub(super) const RPC: Target = Target {
    name: "rpc",
    about: "JSON-RPC bodies answered over a recorded chain",
    longest: 4_096,
    memory: None,
    seeds: requests,
    run: |input| {
        /// Small, so that a run is not spent on the same call many times.
        const BATCH: usize = 8;
        let body = API.answer_here(input, Groups::all(), BATCH).body;
        assert!(body.is_empty() || is_json(&body), "not JSON: {}", String::from_utf8_lossy(&body));
    },
};

static API: LazyLock<Arc<Api>> = LazyLock::new(|| {
    let (genesis, blocks) = fixtures::chain(RECORDING);
    dispatcher(&genesis, &blocks, &[], Release::default()).expect("a recorded chain")
});
