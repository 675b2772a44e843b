//! Accounts and nodes: what the second generation's tests do not know about.

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_sol_types::SolCall;
use ipe_types::crypto::NodeKey;
use ipe_types::role::Role;
use ipe_types::topology::{Place, Topology};

use crate::abi::{Acc, Node, Org};
use crate::bed::{Network, Sent, account};

fn number(n: u64) -> U256 {
    U256::from(n)
}

/// A node's key and its public key in halves.
fn node(n: u8) -> (NodeKey, (B256, B256)) {
    let key = NodeKey::from_bytes([n; 32]).unwrap();
    let public = key.node_id();
    let bytes = public.as_slice();
    (key, (B256::from_slice(&bytes[..32]), B256::from_slice(&bytes[32..])))
}

fn add(network: &mut Network, who: u8, id: (B256, B256), kind: u8) -> Sent {
    let add = Node::addLocalNodeCall { high: id.0, low: id.1, nodeType: kind, name: "node".to_owned() };
    network.bed.send(account(who), network.node, add)
}

/// An Ethereum signature with 27 or 28 at its end.
fn signed(key: &NodeKey, digest: B256) -> Bytes {
    let mut bytes = key.sign(digest).as_slice().to_vec();
    bytes[64] += 27;
    bytes.into()
}

fn add_proven(network: &mut Network, who: u8, id: (B256, B256), kind: u8, signature: Bytes) -> Sent {
    let add = Node::addProvenNodeCall { high: id.0, low: id.1, nodeType: kind, name: "node".to_owned(), signature };
    network.bed.send(account(who), network.node, add)
}

fn digest(network: &mut Network, id: (B256, B256), org: u64) -> B256 {
    network.bed.ask(network.node, Node::possessionDigestCall { high: id.0, low: id.1, orgId: number(org) })
}

#[test]
fn who_holds_a_nodes_key_gets_the_node() {
    let mut network = Network::new();
    let (key, id) = node(1);
    // Organisation 3 squats on organisation 1's key.
    add(&mut network, 3, id, 2).ok();
    assert_eq!(add(&mut network, 1, id, 1).err(), "DuplicateNode");
    // Signed by another key, for another organisation, or for nothing: refused.
    let (stranger, _) = node(2);
    let (for_one, for_two) = (digest(&mut network, id, 1), digest(&mut network, id, 2));
    for signature in [signed(&stranger, for_one), signed(&key, for_two), Bytes::new(), vec![0; 65].into()] {
        assert_eq!(add_proven(&mut network, 1, id, 1, signature).err(), "PossessionNotProved");
    }
    // The other signature of the same digest, with the higher s.
    let mut malleable = signed(&key, for_one).to_vec();
    let order = U256::from_str_radix("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141", 16).unwrap();
    let high = order - U256::from_be_slice(&malleable[32..64]);
    malleable[32..64].copy_from_slice(&high.to_be_bytes::<32>());
    malleable[64] = 27 + 28 - malleable[64];
    assert_eq!(add_proven(&mut network, 1, id, 1, malleable.into()).err(), "PossessionNotProved");

    let proof = signed(&key, for_one);
    add_proven(&mut network, 1, id, 1, proof.clone()).ok();
    let active = Node::isNodeActiveCall { high: id.0, low: id.1 };
    assert!(network.bed.ask(network.node, active));
    assert_eq!(network.bed.ask(network.node, Node::getNumberOfNodesCall {}), number(1));
    // The proof has been used: who saw it cannot use it, nor can organisation 1 once the node is somebody else's.
    assert_eq!(add_proven(&mut network, 1, id, 1, proof).err(), "PossessionNotProved");
    let proof = signed(&key, digest(&mut network, id, 2));
    add_proven(&mut network, 2, id, 1, proof).ok();
}

#[test]
fn governance_may_demand_proofs() {
    let mut network = Network::new();
    network.master(network.node, Node::setPossessionRequiredCall { required: true }).ok();
    let (key, id) = node(1);
    assert_eq!(add(&mut network, 1, id, 2).err(), "PossessionNotProved");
    let proof = signed(&key, digest(&mut network, id, 1));
    add_proven(&mut network, 1, id, 2, proof).ok();
    assert_eq!(
        network.bed.send(account(1), network.node, Node::setPossessionRequiredCall { required: false }).err(),
        "UnauthorizedAccess"
    );
}

#[test]
fn quotas_hold_for_each_organisation() {
    let mut network = Network::new();
    network.master(network.node, Node::setNodeQuotaCall { orgId: number(0), most: number(2) }).ok();
    network.master(network.node, Node::setNodeQuotaCall { orgId: number(2), most: number(3) }).ok();
    network.master(network.acc, Acc::setAccountQuotaCall { orgId: number(0), most: number(2) }).ok();
    for (org, most) in [(1, 2), (2, 3)] {
        for n in 0..4 {
            assert_eq!(add(&mut network, org, node(10 * org + n).1, 2).is_ok(), n < most, "node {n} of organisation {org}");
        }
        for n in 0..2 {
            let add = Acc::addLocalAccountCall {
                account: account(0x40 + 4 * org + n),
                roleId: keccak256("USER_ROLE"),
                dataHash: keccak256("d"),
            };
            // One account, its administrator, is there already.
            assert_eq!(network.bed.send(account(org), network.acc, add).is_ok(), n < 1);
        }
    }
}

#[test]
fn a_pause_stops_administrators_only_and_ends_by_itself() {
    let mut network = Network::new();
    add(&mut network, 1, node(1).1, 2).ok();
    for contract in [network.acc, network.node] {
        assert!(!network.bed.send(account(1), contract, Acc::pauseLocalChangesCall { blocks: number(10) }).is_ok());
        assert_eq!(network.master(contract, Acc::pauseLocalChangesCall { blocks: number(324_001) }).err(), "PauseTooLong");
        network.master(contract, Acc::pauseLocalChangesCall { blocks: number(10) }).ok();
    }
    let user = |n: u8| Acc::addLocalAccountCall { account: account(n), roleId: keccak256("USER_ROLE"), dataHash: keccak256("d") };
    network.bed.mine(10);
    assert_eq!(add(&mut network, 1, node(2).1, 2).err(), "LocalChangesArePaused");
    assert_eq!(network.bed.send(account(1), network.acc, user(0x51)).err(), "LocalChangesArePaused");
    // Nodes get their answers and governance goes on.
    assert!(network.allowed(account(1), account(0x99)) && network.connected(node(1).1, node(1).1));
    let (_, id) = node(3);
    let by_governance = Node::addNodeCall { high: id.0, low: id.1, nodeType: 2, name: "n".to_owned(), orgId: number(1) };
    network.decide(&[(network.node, by_governance.abi_encode())]).ok();
    network.bed.mine(1);
    add(&mut network, 1, node(2).1, 2).ok();
    network.bed.send(account(1), network.acc, user(0x51)).ok();
}

#[test]
fn an_administrator_suspends_itself_but_not_the_last() {
    let mut network = Network::new();
    assert!(network.bed.send(account(1), network.acc, Acc::suspendSelfCall {}).err().contains("no other"));
    let second = Acc::addAccountCall {
        account: account(0x60),
        orgId: number(1),
        roleId: keccak256("GLOBAL_ADMIN_ROLE"),
        dataHash: B256::ZERO,
    };
    network.master(network.acc, second).ok();
    network.bed.send(account(1), network.acc, Acc::suspendSelfCall {}).ok();
    assert!(!network.allowed(account(1), network.gov));
    assert!(network.bed.send(account(0x60), network.acc, Acc::suspendSelfCall {}).err().contains("no other"));
    network.master(network.acc, Acc::updateAccountStatusCall { account: account(1), active: true }).ok();
    assert!(network.allowed(account(1), network.gov));
}

#[test]
fn a_proof_or_a_restriction_does_not_outlive_a_list() {
    let mut network = Network::new();
    let who = account(0x50);
    let add = Acc::addLocalAccountCall { account: who, roleId: keccak256("DEPLOYER_ROLE"), dataHash: keccak256("d") };
    network.bed.send(account(1), network.acc, add).ok();
    let set = |network: &mut Network, targets: Vec<Address>| {
        let set = Acc::setAccountTargetAccessCall { account: who, restricted: !targets.is_empty(), allowedTargets: targets };
        network.bed.send(account(1), network.acc, set).ok();
    };
    let (one, two) = (account(0x71), account(0x72));
    set(&mut network, vec![one, Address::ZERO]);
    assert_eq!([one, two, Address::ZERO].map(|to| network.allowed(who, to)), [true, false, true]);
    // Replaced: nothing of the old list is left.
    set(&mut network, vec![two]);
    assert_eq!([one, two, Address::ZERO].map(|to| network.allowed(who, to)), [false, true, false]);
    set(&mut network, vec![]);
    assert_eq!([one, two, Address::ZERO].map(|to| network.allowed(who, to)), [true; 3]);
}

/// Types of nodes as the contracts number them, and their roles.
const TYPES: [(u8, Role); 6] =
    [(0, Role::Boot), (1, Role::Validator), (2, Role::Writer), (3, Role::Writer), (4, Role::ObserverBoot), (5, Role::Observer)];

#[test]
fn the_topology_is_the_one_of_our_nodes() {
    // Organisations 1 and 2 have boots, 4 (a partner) has none. Two nodes of each type in 1, one in 2, what it may in 4.
    let mut network = Network::new();
    let mut nodes = Vec::new();
    for (org, institution) in [(1, "one"), (1, "one"), (2, "two"), (4, "four")] {
        for (kind, role) in TYPES {
            if org == 4 && kind < 2 {
                continue;
            }
            let (_, id) = node(1 + nodes.len() as u8);
            add(&mut network, org, id, kind).ok();
            nodes.push((id, Place { role, institution, has_boot: org != 4 }));
        }
    }
    let (_, other) = node(0x70);
    add(&mut network, 1, other, 6).ok();
    let mut compared = 0;
    for (setting, topology) in [(0, None), (1, Some(Topology::Mesh)), (2, Some(Topology::Sentry))] {
        network.master(network.node, Node::setTopologyCall { topology: setting }).ok();
        for (a, place_a) in &nodes {
            for (b, place_b) in &nodes {
                let expected = topology.is_none_or(|topology| topology.links(*place_a, *place_b));
                assert_eq!(network.connected(*a, *b), expected, "{topology:?} {place_a:?} {place_b:?}");
                compared += 1;
            }
        }
        assert_eq!(network.connected(other, nodes[0].0), topology.is_none(), "a node of no role");
    }
    assert_eq!(compared, 3 * 22 * 22);
}

#[test]
fn an_organisation_without_active_boots_uses_those_of_all() {
    let mut network = Network::new();
    let [own, theirs, writer] = [1, 2, 3].map(|n| node(n).1);
    add(&mut network, 1, own, 0).ok();
    add(&mut network, 2, theirs, 0).ok();
    add(&mut network, 1, writer, 2).ok();
    network.master(network.node, Node::setTopologyCall { topology: 2 }).ok();
    assert_eq!([own, theirs].map(|boot| network.connected(writer, boot)), [true, false]);
    let off = Node::updateNodeStatusCall { high: own.0, low: own.1, active: false };
    network.master(network.node, off).ok();
    assert_eq!([own, theirs].map(|boot| network.connected(writer, boot)), [false, true]);
    let boots = Node::activeBootsCall { orgId: number(1) };
    assert_eq!(network.bed.ask(network.node, boots.clone()), U256::ZERO);
    let on = Node::updateLocalNodeStatusCall { high: own.0, low: own.1, active: true };
    network.bed.send(account(1), network.node, on).ok();
    // A type that changes, and the same node deleted, are counted once.
    let change = |kind| Node::updateLocalNodeCall { high: own.0, low: own.1, nodeType: kind, name: "n".to_owned() };
    for (kind, count) in [(0, 1), (2, 0), (0, 1)] {
        network.bed.send(account(1), network.node, change(kind)).ok();
        assert_eq!(network.bed.ask(network.node, boots.clone()), number(count));
    }
    network.bed.send(account(1), network.node, Node::deleteLocalNodeCall { high: own.0, low: own.1 }).ok();
    assert_eq!(network.bed.ask(network.node, boots), U256::ZERO);
}

#[test]
fn contracts_that_governance_names_are_not_restricted() {
    let mut network = Network::new();
    let ingress = account(0x99);
    let restrict = |contract: Address| Acc::setSmartContractSenderAccessCall {
        smartContract: contract,
        restricted: true,
        allowedSenders: vec![],
    };
    network.master(network.acc, restrict(ingress)).ok();
    let name = Acc::setNeverRestrictedCall { smartContract: ingress, never: true };
    assert_eq!(network.master(network.acc, name.clone()).err(), "InvalidAccount");
    let lift = Acc::setSmartContractSenderAccessCall { smartContract: ingress, restricted: false, allowedSenders: vec![] };
    network.master(network.acc, lift).ok();
    network.master(network.acc, name).ok();
    assert_eq!(network.master(network.acc, restrict(ingress)).err(), "InvalidAccount");
}

#[test]
fn organisations_keep_what_identifies_them() {
    let mut network = Network::new();
    let add = |cnpj: &str, name: &str| Org::addOrganizationCall {
        cnpj: cnpj.to_owned(),
        name: name.to_owned(),
        orgType: 1,
        canVote: false,
    };
    network.master(network.org, add("33.657.248/0001-89", "A")).ok();
    // An organisation may be updated to what it is; its CNPJ is free once it is gone.
    let same = Org::updateOrganizationCall {
        orgId: number(5),
        cnpj: "33657248000189".to_owned(),
        name: "A".to_owned(),
        orgType: 1,
        canVote: false,
    };
    network.master(network.org, same).ok();
    assert!(network.master(network.org, add("33657248/000189", "B")).err().contains("CNPJ"));
    network.master(network.org, Org::deleteOrganizationCall { orgId: number(5) }).ok();
    network.master(network.org, add("33657248/000189", "A")).ok();
    assert_eq!(network.bed.ask(network.org, Org::idSeedCall {}), number(6));
    assert_eq!(network.bed.ask(network.org, Org::numberOfVotersCall {}), number(3));
}
