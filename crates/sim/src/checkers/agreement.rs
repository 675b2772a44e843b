//! One block hash per height, and the chain that follows from the first sight of each.

use alloy_primitives::{Address, B256};
use ipe_types::Header;

use super::members::Members;

/// What was seen of a block.
pub(crate) enum Seen {
    /// Nobody had it before.
    First,
    /// It is known.
    Again,
    /// There is another one at its height.
    Other(String),
}

struct Known {
    hash: B256,
    header: Header,
}

/// The chain as it was first seen.
pub(crate) struct Chain {
    blocks: Vec<Known>,
    /// By height, who validates it; one longer than `blocks`.
    validators: Vec<Vec<Address>>,
    members: Members,
}

impl Chain {
    pub(crate) fn new(genesis: &Header, epoch: u64) -> Self {
        let members = Members::of(genesis, epoch);
        let first = members.set();
        let hash = ipe_types::header::block_hash(genesis).unwrap_or_default();
        Self { blocks: vec![Known { hash, header: genesis.clone() }], validators: vec![first.clone(), first], members }
    }

    pub(crate) fn height(&self) -> u64 {
        self.blocks.len() as u64 - 1
    }

    pub(crate) fn head(&self) -> &Header {
        &self.blocks[self.blocks.len() - 1].header
    }

    pub(crate) fn saw(&self, who: &str, number: u64, hash: B256) -> Seen {
        match self.blocks.get(number as usize) {
            Some(known) if known.hash == hash => Seen::Again,
            Some(known) => Seen::Other(format!(
                "{who} has block {number} {hash}, others have {}: two blocks are final at one height",
                known.hash
            )),
            None => Seen::First,
        }
    }

    pub(crate) fn take(&mut self, number: u64, hash: B256, header: Header) -> Result<(), String> {
        if number != self.height() + 1 {
            return Err(format!("block {number} is final before block {}", self.height() + 1));
        }
        self.members.block(&header);
        self.validators.push(self.members.set());
        self.blocks.push(Known { hash, header });
        Ok(())
    }

    pub(crate) fn parent_of(&self, number: u64) -> Option<&Header> {
        self.blocks.get(number.checked_sub(1)? as usize).map(|known| &known.header)
    }

    /// Ascending; empty for a height that nobody can know yet.
    pub(crate) fn validators_of(&self, number: u64) -> &[Address] {
        self.validators.get(number as usize).map_or(&[], Vec::as_slice)
    }
}
