//! Who granted what, when and why; and that an account knows of it.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::{SolCall, SolValue};
use ipe_types::crypto::NodeKey;

use crate::abi::{Acc, Node};
use crate::bed::{Network, account};

// Acts as the contracts number them.
const ADDED: u8 = 0;
const UPDATED: u8 = 1;
const DELETED: u8 = 2;
const DEACTIVATED: u8 = 4;
const RESTRICTED: u8 = 5;
const ACKNOWLEDGED: u8 = 7;

fn add(who: Address) -> Acc::addLocalAccountCall {
    Acc::addLocalAccountCall { account: who, roleId: keccak256("USER_ROLE"), dataHash: keccak256("d") }
}

fn with_reason(reason: &str, call: Vec<u8>) -> Acc::withReasonCall {
    Acc::withReasonCall { reason: reason.to_owned(), call: call.into() }
}

fn records(network: &mut Network, contract: Address, subject: B256) -> Vec<Acc::Record> {
    let count: u64 = network.bed.ask(contract, Acc::getNumberOfRecordsCall { subject }).to();
    (0..count).map(|index| network.bed.ask(contract, Acc::getRecordCall { subject, index: U256::from(index) })).collect()
}

#[test]
fn every_act_is_recorded_with_actor_block_and_reason() {
    let mut network = Network::new();
    let (acc, who) = (network.acc, account(0x50));
    let added_at = network.bed.block();
    network.bed.send(account(1), acc, with_reason("contract 12/2026", add(who).abi_encode())).ok();
    network.bed.mine(5);
    let targets = vec![account(0x99)];
    let restrict = Acc::setAccountTargetAccessCall { account: who, restricted: true, allowedTargets: targets };
    network.bed.send(account(1), acc, restrict).ok();
    let off = Acc::updateLocalAccountStatusCall { account: who, active: false };
    network.bed.send(account(1), acc, with_reason("key lost", off.abi_encode())).ok();
    let delete = Acc::deleteAccountCall { account: who }.abi_encode();
    network.decide(&[(acc, delete)]).ok();
    let found: Vec<_> = records(&mut network, acc, who.into_word())
        .into_iter()
        .map(|record| (record.act, record.actor, u64::try_from(record.actorOrgId).unwrap(), record.proposalId, record.reason))
        .collect();
    let expected = [
        (ADDED, account(1), 1, 0, "contract 12/2026".to_owned()),
        (RESTRICTED, account(1), 1, 0, String::new()),
        (DEACTIVATED, account(1), 1, 0, "key lost".to_owned()),
        (DELETED, network.gov, 0, 1, String::new()),
    ];
    assert_eq!(found, expected);
    let first = network.bed.ask(acc, Acc::getRecordCall { subject: who.into_word(), index: U256::ZERO });
    assert_eq!(u64::try_from(first.blockNumber).unwrap(), added_at);
}

#[test]
fn a_reason_gives_nobody_a_right_and_does_not_stay() {
    let mut network = Network::new();
    let acc = network.acc;
    let call = add(account(0x50)).abi_encode();
    assert_eq!(network.bed.send(account(9), acc, with_reason("r", call.clone())).err(), "UnauthorizedAccess");
    assert_eq!(network.bed.send(account(1), acc, with_reason("", call.clone())).err(), "NestedReason");
    let nested = with_reason("r", call.clone()).abi_encode();
    assert_eq!(network.bed.send(account(1), acc, with_reason("r", nested)).err(), "NestedReason");
    network.bed.send(account(1), acc, with_reason("r", call)).ok();
    network.bed.send(account(1), acc, add(account(0x51))).ok();
    let of_the_second = records(&mut network, acc, account(0x51).into_word());
    assert_eq!(of_the_second[0].reason, "");
}

#[test]
fn nodes_have_their_records_too() {
    let mut network = Network::new();
    let (high, low) = (keccak256("high"), keccak256("low"));
    let add = Node::addLocalNodeCall { high, low, nodeType: 2, name: "writer01".to_owned() };
    network.bed.send(account(2), network.node, with_reason("second site", add.abi_encode())).ok();
    let change = Node::updateLocalNodeCall { high, low, nodeType: 0, name: "boot01".to_owned() };
    network.bed.send(account(2), network.node, change).ok();
    network.decide(&[(network.node, Node::deleteNodeCall { high, low }.abi_encode())]).ok();
    let subject = keccak256([high, low].concat());
    let node = network.node;
    let found = records(&mut network, node, subject);
    assert_eq!(found.iter().map(|record| record.act).collect::<Vec<_>>(), [ADDED, UPDATED, DELETED]);
    assert_eq!(found[0].reason, "second site");
    assert_eq!((found[2].actor, found[2].proposalId), (network.gov, 1));
}

#[test]
fn an_account_acknowledges_its_registration_as_it_is() {
    let mut network = Network::new();
    let acc = network.acc;
    let key = NodeKey::from_bytes([0x21; 32]).unwrap();
    let who = key.address();
    network.bed.send(account(1), acc, add(who)).ok();
    let asked = |network: &mut Network| network.bed.ask(acc, Acc::isAcknowledgedCall { account: who });
    assert!(!asked(&mut network));

    // The EIP-712 digest, made here from its definition.
    let chain = U256::from(network.bed.chain_id());
    let domain_type = keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    let domain = keccak256((domain_type, keccak256("AccountRulesV2"), keccak256("1"), chain, acc).abi_encode());
    let content_type = keccak256("Acknowledgement(address account,uint256 orgId,bytes32 roleId,bytes32 dataHash)");
    let content = (content_type, who, U256::from(1), keccak256("USER_ROLE"), keccak256("d")).abi_encode();
    let digest = keccak256([&[0x19, 0x01][..], domain.as_slice(), keccak256(content).as_slice()].concat());
    assert_eq!(network.bed.ask(acc, Acc::acknowledgementDigestCall { account: who }), digest);

    let mut signature = key.sign(digest).as_slice().to_vec();
    signature[64] += 27;
    let hand_in = |signature: Vec<u8>| Acc::acknowledgeForCall { account: who, signature: Bytes::from(signature) };
    let stranger = NodeKey::from_bytes([0x22; 32]).unwrap();
    let mut forged = stranger.sign(digest).as_slice().to_vec();
    forged[64] += 27;
    assert!(network.bed.send(account(9), acc, hand_in(forged)).err().contains("not signed by the account"));
    network.bed.send(account(9), acc, hand_in(signature.clone())).ok();
    assert!(asked(&mut network));
    let last = records(&mut network, acc, who.into_word()).pop().unwrap();
    assert_eq!(last.act, ACKNOWLEDGED);

    // A changed registration is not acknowledged, and the old signature is no acknowledgement of it.
    let update = Acc::updateLocalAccountCall { account: who, roleId: keccak256("USER_ROLE"), dataHash: keccak256("e") };
    network.bed.send(account(1), acc, update).ok();
    assert!(!asked(&mut network));
    assert!(!network.bed.send(account(9), acc, hand_in(signature)).is_ok());
    network.bed.send(who, acc, Acc::acknowledgeCall {}).ok();
    assert!(asked(&mut network));
    assert_eq!(network.bed.send(account(9), acc, Acc::acknowledgeCall {}).err(), "AccountNotFound");
    network.bed.send(account(1), acc, Acc::deleteLocalAccountCall { account: who }).ok();
    assert!(!asked(&mut network));
}

#[test]
fn a_registrations_digest_is_bound_to_chain_account_and_organisation() {
    let mut network = Network::new();
    let (acc, who, record) = (network.acc, account(0x50), keccak256("the record and its salt"));
    let ask = |account, org, hash| Acc::registrationDigestCall { account, orgId: U256::from(org), recordHash: hash };
    let chain = U256::from(network.bed.chain_id());
    let expected = keccak256((keccak256("ipe registration 1"), chain, who, U256::from(1), record).abi_encode());
    assert_eq!(network.bed.ask(acc, ask(who, 1, record)), expected);
    for other in [ask(account(0x51), 1, record), ask(who, 2, record), ask(who, 1, keccak256("another"))] {
        assert_ne!(network.bed.ask(acc, other), expected);
    }
}
