//! Blocks that somebody damaged are refused, never accepted as another block and never a panic.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::sync::Arc;

use alloy_primitives::Bytes;
use ipe_chain::RawBlock;
use support::{NOW_MS, chain, fixtures};

fn next(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) as usize
}

#[test]
fn a_damaged_block_is_refused() {
    for (folder, height) in
        [("besu-26.8.0-execution-osaka", 6), ("besu-25.5.0-header-votes", 12), ("quorum-24.4.1-header-votes", 12)]
    {
        let chain = chain(&fixtures().join(folder));
        let (_, ledger) = chain.ledger();
        chain.import(&ledger, height - 1).unwrap();
        let original = &chain.blocks[height - 1];
        let hash = RawBlock(original.clone()).decode().unwrap().hash().unwrap();
        let (mut random, mut decoded, mut accepted) = (height as u64, 0, 0);
        for _ in 0..1_500 {
            let mut bytes = original.to_vec();
            for _ in 0..=next(&mut random) % 3 {
                let at = next(&mut random) % bytes.len();
                match next(&mut random) % 4 {
                    0 => bytes[at] ^= 1 << (next(&mut random) % 8),
                    1 => bytes[at] = next(&mut random) as u8,
                    2 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, next(&mut random) as u8),
                }
            }
            let Ok(block) = RawBlock(Bytes::from(bytes)).decode() else { continue };
            decoded += 1;
            if let Ok(checked) = ledger.check_sealed(Arc::new(block), NOW_MS, &|_| None) {
                assert_eq!(checked.hash(), hash, "{folder}");
                accepted += 1;
            }
        }
        assert!(decoded > 300, "{folder}: only {decoded} decoded");
        assert!(accepted < 50, "{folder}: {accepted} accepted");
    }
}
