//! What the operations cost, on a page that is written by `IPE_BLESS=1`.

use alloy_primitives::{Address, Bytes, U256, keccak256};
use alloy_sol_types::SolCall;

use crate::abi::{Acc, Gov, Node, Org};
use crate::bed::{BLOCK_GAS, Network, account, folder};

fn number(n: u64) -> U256 {
    U256::from(n)
}

/// The operations of a year: one of each, in a network of ten organisations.
fn rows() -> Vec<(String, u64)> {
    let mut network = Network::of(&[
        (2, true),
        (2, true),
        (1, true),
        (1, true),
        (1, true),
        (1, true),
        (1, true),
        (1, true),
        (0, false),
        (0, false),
    ]);
    let mut rows: Vec<(String, u64)> = network
        .bed
        .gas
        .iter()
        .filter(|(what, _)| what.starts_with("deploy") && !what.contains("Mock"))
        .map(|(what, gas)| (what.clone(), *gas))
        .collect();
    let (org, acc, node, gov) = (network.org, network.acc, network.node, network.gov);
    let (high, low, user) = (keccak256("high"), keccak256("low"), account(0x50));
    let targets: Vec<Address> = (1..=64).map(Address::with_last_byte).collect();
    let mut row = |what: &str, sent: crate::bed::Sent| {
        rows.push((what.to_owned(), sent.gas));
        sent.ok()
    };
    let bed = &mut network.bed;
    let add = Acc::addLocalAccountCall { account: user, roleId: keccak256("USER_ROLE"), dataHash: keccak256("d") };
    row("addLocalAccount", bed.send(account(1), acc, add));
    let reason = "contract 12/2026".to_owned();
    let add = Acc::addLocalAccountCall { account: account(0x51), roleId: keccak256("USER_ROLE"), dataHash: keccak256("d") };
    row("addLocalAccount with a reason", bed.send(account(1), acc, Acc::withReasonCall { reason, call: add.abi_encode().into() }));
    let update = Acc::updateLocalAccountCall { account: user, roleId: keccak256("DEPLOYER_ROLE"), dataHash: keccak256("e") };
    row("updateLocalAccount", bed.send(account(1), acc, update));
    row("updateLocalAccountStatus", bed.send(account(1), acc, Acc::updateLocalAccountStatusCall { account: user, active: true }));
    let one = Acc::setAccountTargetAccessCall { account: user, restricted: true, allowedTargets: targets[..1].to_vec() };
    row("setAccountTargetAccess, 1 target", bed.send(account(1), acc, one));
    let all = Acc::setAccountTargetAccessCall { account: user, restricted: true, allowedTargets: targets };
    row("setAccountTargetAccess, 64 targets", bed.send(account(1), acc, all));
    let ask = |sender, target| Acc::transactionAllowedCall {
        sender,
        target,
        value: U256::ZERO,
        gasPrice: U256::ZERO,
        gasLimit: U256::ZERO,
        payload: Bytes::new(),
    };
    // What asking costs beside the 21,000 of a transaction.
    row("transactionAllowed, a call", bed.send(account(9), acc, ask(account(0x51), gov)));
    row(
        "transactionAllowed, a call of a restricted account with 64 targets",
        bed.send(account(9), acc, ask(user, Address::with_last_byte(64))),
    );
    row("transactionAllowed, a creation", bed.send(account(9), acc, ask(account(1), Address::ZERO)));
    row("transactionAllowed, an unknown account", bed.send(account(9), acc, ask(account(0x59), gov)));
    row("acknowledge", bed.send(account(0x51), acc, Acc::acknowledgeCall {}));
    row("deleteLocalAccount", bed.send(account(1), acc, Acc::deleteLocalAccountCall { account: user }));
    let add = Node::addLocalNodeCall { high, low, nodeType: 1, name: "validator01".to_owned() };
    row("addLocalNode", bed.send(account(1), node, add));
    let status = Node::updateLocalNodeStatusCall { high, low, active: true };
    row("updateLocalNodeStatus", bed.send(account(1), node, status));
    let connection = Node::connectionAllowedCall {
        sourceEnodeHigh: high,
        sourceEnodeLow: low,
        sourceEnodeIp: Default::default(),
        sourceEnodePort: 0,
        destinationEnodeHigh: high,
        destinationEnodeLow: low,
        destinationEnodeIp: Default::default(),
        destinationEnodePort: 0,
    };
    row("connectionAllowed", bed.send(account(9), node, connection));
    row("deleteLocalNode", bed.send(account(1), node, Node::deleteLocalNodeCall { high, low }));
    let create = Gov::createProposalCall {
        targets: vec![org],
        calldatas: vec![
            Org::addOrganizationCall { cnpj: "1".to_owned() + &"0".repeat(13), name: "New".to_owned(), orgType: 1, canVote: true }
                .abi_encode()
                .into(),
        ],
        blocksDuration: number(30_000),
        description: "a proposal".to_owned(),
    };
    row("createProposal, one call, 8 voters", bed.send(account(1), gov, create.clone()));
    let vote = |approve| Gov::castVoteCall { proposalId: number(1), approve };
    row("castVote, the first", bed.send(account(1), gov, vote(true)));
    for who in 2..=4 {
        bed.send(account(who), gov, vote(true)).ok();
    }
    row("castVote, the one that decides", bed.send(account(5), gov, vote(true)));
    row("executeProposal, an organisation added", bed.send(account(1), gov, Gov::executeProposalCall { proposalId: number(1) }));
    bed.send(account(1), gov, create).ok();
    let cancel = Gov::cancelProposalCall { proposalId: number(2), reason: "r".to_owned() };
    row("cancelProposal", bed.send(account(1), gov, cancel));
    rows
}

fn page() -> String {
    let mut text = "# Gas of the contracts\n\nGenerated by `IPE_BLESS=1 cargo test --workspace --test contracts gas`: what one transaction uses, its 21,000 and\n\
        its data included, on a chain of the Berlin rules with ten organisations, eight of which vote. An RBB block has 16,000,000.\n\n\
        | Operation | Gas |\n|---|---:|\n"
        .to_owned();
    for (what, gas) in rows() {
        let digits = gas.to_string();
        let grouped: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|part| std::str::from_utf8(part).unwrap()).collect();
        text.push_str(&format!("| {what} | {} |\n", grouped.join(",")));
    }
    text
}

#[test]
fn gas_page_is_what_the_contracts_use() {
    let path = folder().join("../docs/contracts-gas.md");
    let page = page();
    if std::env::var_os("IPE_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == page, "docs/contracts-gas.md is old: IPE_BLESS=1 writes it anew");
}

#[test]
fn everything_fits_a_block() {
    for (what, gas) in rows() {
        assert!(gas < BLOCK_GAS / 2, "{what} uses {gas}");
    }
}
