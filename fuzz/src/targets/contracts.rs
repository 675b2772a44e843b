//! What a node answers about the permissioning contracts: call data, refusals, events, and what functions return.

use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_sol_types::{Revert, SolCall, SolError};
use ipe_rules::abi::{Accounts, Governance, Nodes, Organizations};
use ipe_rules::{answer, catalogue, refusal, words};

use crate::Target;

fn proposal() -> Governance::ProposalData {
    let add = Accounts::addAccountCall {
        account: Address::repeat_byte(7),
        orgId: U256::from(2),
        roleId: words::USER_ROLE,
        dataHash: B256::ZERO,
    };
    Governance::ProposalData {
        id: U256::from(1),
        proponentOrgId: U256::from(2),
        targets: vec![Address::repeat_byte(1), Address::repeat_byte(2)],
        calldatas: vec![add.abi_encode().into(), Bytes::new()],
        blocksDuration: U256::from(30_000),
        description: "descrição".to_owned(),
        creationBlock: U256::from(12),
        status: 0,
        result: 1,
        organizations: vec![U256::from(1), U256::from(2)],
        votes: vec![1, 0],
        cancelationReason: "x".to_owned(),
    }
}

/// The first byte says what the rest is.
pub(super) const CONTRACTS: Target = Target {
    name: "contracts",
    about: "call data, refusals, events and answers of the permissioning contracts",
    longest: 4_096,
    // Parts of call data may overlap: 4,096 bytes decode to at most their square over 128, and what keeps them.
    memory: Some((1 << 20, 256)),
    seeds: || {
        let proposal = proposal();
        let create = Governance::createProposalCall {
            targets: proposal.targets.clone(),
            calldatas: proposal.calldatas.clone(),
            blocksDuration: proposal.blocksDuration,
            description: proposal.description.clone(),
        };
        let org = Organizations::OrganizationData {
            id: U256::from(1),
            cnpj: "1".to_owned(),
            name: "TCU".to_owned(),
            orgType: 2,
            canVote: true,
        };
        let node = Nodes::NodeData {
            enodeHigh: B256::ZERO,
            enodeLow: B256::ZERO,
            nodeType: 1,
            name: "boot01".to_owned(),
            orgId: U256::from(1),
            active: true,
        };
        let voted = alloy_primitives::keccak256("OrganizationVoted(uint256,uint256,bool)");
        let event = [
            voted.as_slice(),
            B256::with_last_byte(1).as_slice(),
            B256::with_last_byte(2).as_slice(),
            B256::with_last_byte(1).as_slice(),
        ]
        .concat();
        let with = |kind: u8, bytes: Vec<u8>| [vec![kind], bytes].concat();
        vec![
            with(0, create.abi_encode()),
            with(1, Revert::from("no".to_owned()).abi_encode()),
            with(2, event),
            with(3, Governance::getProposalCall::abi_encode_returns(&proposal)),
            with(4, Organizations::getOrganizationsCall::abi_encode_returns(&vec![org])),
            with(5, Nodes::getNodesCall::abi_encode_returns(&vec![node])),
        ]
    },
    run: |input| {
        let Some((kind, bytes)) = input.split_first() else { return };
        match kind % 6 {
            0 => {
                if let Ok(call) = catalogue::call(None, bytes) {
                    assert!(call.surplus <= bytes.len() && !call.name.is_empty());
                }
            }
            1 => {
                if let Ok(error) = catalogue::error(bytes) {
                    let _ = refusal::explain(&error);
                }
            }
            2 => {
                // Two topics at most in the seeds; the rest is data.
                let topics: Vec<B256> = bytes.chunks_exact(32).take(2).map(B256::from_slice).collect();
                let _ = catalogue::event(&topics, bytes.get(64..).unwrap_or_default());
            }
            3 => {
                if let Ok(proposal) = answer::decode::<Governance::getProposalCall>(bytes) {
                    let all: usize = proposal.calldatas.iter().map(|call| call.len()).sum();
                    assert!(all <= bytes.len(), "an answer decodes to more than it has");
                }
            }
            4 => {
                if let Ok(orgs) = answer::decode::<Organizations::getOrganizationsCall>(bytes) {
                    assert!(orgs.iter().map(|org| org.name.len() + org.cnpj.len()).sum::<usize>() <= 3 * bytes.len());
                }
            }
            _ => {
                let _ = answer::decode::<Nodes::getNodesCall>(bytes);
            }
        }
    },
};
