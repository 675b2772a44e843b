//! Validators by contract: every hazard of the design that it improves on (fact sheet D.5).

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::Encodable;
use alloy_sol_types::{SolCall, SolConstructor, SolValue};
use ipe_types::ExtraData;
use ipe_types::crypto::NodeKey;
use ipe_types::header::{Header, block_hash, with_round_and_seals};

use crate::abi::{Answer, Node, Sel, SelIngress};
use crate::bed::{MASTER, Network, Sent, account};

// Why a validator is out of office, as the contract numbers it.
const SILENT: u8 = 1;
const OWNER: u8 = 2;
const GOVERNANCE: u8 = 3;

/// Blocks of silence that are too many, and between selections.
const SILENCE: u64 = 40;
const BETWEEN: u64 = 60;

fn number(n: u64) -> U256 {
    U256::from(n)
}

fn key(n: u8) -> NodeKey {
    NodeKey::from_bytes([n; 32]).unwrap()
}

fn halves(n: u8) -> (B256, B256) {
    let id = key(n).node_id();
    let bytes = id.as_slice();
    (B256::from_slice(&bytes[..32]), B256::from_slice(&bytes[32..]))
}

/// A selection of validators with keys 1 to n, in automatic mode.
struct Office {
    network: Network,
    sel: Address,
}

impl Office {
    fn of(validators: u8) -> Self {
        let mut network = Network::new();
        let next = network.bed.block() + BETWEEN;
        let arguments = Sel::constructorCall {
            admins: network.admin,
            accs: network.acc,
            nodes: network.node,
            initial: (1..=validators).map(|n| key(n).address()).collect(),
            between: number(BETWEEN),
            without: number(SILENCE),
            next: number(next),
        };
        let sel = network.bed.deploy(account(MASTER), "ValidatorSelection", &arguments.abi_encode()).unwrap();
        network.master(sel, Sel::setOperationModeCall { mode: 1 }).ok();
        Self { network, sel }
    }

    /// The keys' numbers of those in office.
    fn office(&mut self) -> Vec<u8> {
        let validators = self.network.bed.ask(self.sel, Sel::getValidatorsCall {});
        let mut numbers: Vec<u8> = validators.iter().map(|who| (1..=30).find(|n| key(*n).address() == *who).unwrap()).collect();
        numbers.sort_unstable();
        numbers
    }

    fn absence(&mut self, n: u8) -> u8 {
        self.network.bed.ask(self.sel, Sel::absenceCall { validator: key(n).address() })
    }

    /// Each of these proposes a block with a monitoring transaction in it, in turns, for so many blocks.
    fn propose(&mut self, who: &[u8], blocks: u64) {
        for index in 0..blocks {
            self.network.bed.mine(1);
            self.network.bed.proposer(key(who[index as usize % who.len()]).address());
            self.network.bed.send(account(9), self.sel, Sel::executeMonitoringCall {}).ok();
        }
    }

    /// The first cycle, in which all are protected.
    fn settle(&mut self, who: &[u8]) {
        self.propose(who, BETWEEN + 1);
    }

    fn heartbeat(&mut self, n: u8, of: u64, by: u8) -> Sent {
        let validator = key(n).address();
        let digest = self.network.bed.ask(self.sel, Sel::heartbeatDigestCall { validator, blockNumber: number(of) });
        let mut signature = key(by).sign(digest).as_slice().to_vec();
        signature[64] += 27;
        let beat = Sel::heartbeatCall { validator, blockNumber: number(of), signature: signature.into() };
        self.network.bed.send(account(9), self.sel, beat)
    }

    fn register(&mut self, org: u8, n: u8, kind: u8) {
        let (high, low) = halves(n);
        let add = Node::addLocalNodeCall { high, low, nodeType: kind, name: "validator".to_owned() };
        self.network.bed.send(account(org), self.network.node, add).ok();
        self.network.bed.send(account(9), self.sel, Sel::linkNodeCall { high, low }).ok();
    }
}

#[test]
fn the_longest_silent_go_first_and_never_more_than_a_faulty_third() {
    let mut office = Office::of(10);
    office.settle(&(1..=10).collect::<Vec<_>>());
    assert_eq!(office.office().len(), 10, "all are protected in the first cycle");
    // 7 to 10 propose for a while, then all but 1 to 4 are silent: six are, of whom three may go, the longest silent first.
    office.propose(&[1, 2, 3, 4, 7, 8, 9, 10], 16);
    office.propose(&[1, 2, 3, 4], BETWEEN - 16);
    assert_eq!(office.office(), [1, 2, 3, 4, 8, 9, 10], "5, 6 and 7 went");
    assert_eq!([5, 6, 7, 8].map(|n| office.absence(n)), [SILENT, SILENT, SILENT, 0]);
    // Next time two of seven, and then none: four stay.
    office.propose(&[1, 2, 3, 4], BETWEEN);
    assert_eq!(office.office(), [1, 2, 3, 4, 10]);
    office.propose(&[1, 2, 3, 4], BETWEEN);
    assert_eq!(office.office(), [1, 2, 3, 4]);
    office.propose(&[1], 4 * BETWEEN);
    assert_eq!(office.office(), [1, 2, 3, 4], "four stay, whoever is silent");
}

#[test]
fn nobody_goes_in_manual_mode_or_while_protected() {
    let mut office = Office::of(7);
    office.network.master(office.sel, Sel::setOperationModeCall { mode: 0 }).ok();
    office.propose(&[1], 5 * BETWEEN);
    assert_eq!(office.office().len(), 7);
    office.network.master(office.sel, Sel::setOperationModeCall { mode: 1 }).ok();
    office.propose(&[1], BETWEEN - 1);
    assert_eq!(office.office().len(), 7);
}

#[test]
fn monitoring_costs_nothing_and_says_nothing_the_second_time_in_a_block() {
    let mut office = Office::of(4);
    office.propose(&[1], 1);
    let again = office.network.bed.send(account(9), office.sel, Sel::executeMonitoringCall {});
    assert!(again.logs.is_empty());
    again.ok();
}

#[test]
fn headers_credit_their_proposers() {
    let mut office = Office::of(4);
    let at = office.network.bed.block();
    let header = |n: u8, number: u64| {
        let extra = ExtraData { vanity: vec![0; 32].into(), ..ExtraData::default() };
        let header = Header { number, beneficiary: key(n).address(), extra_data: extra.encode(), ..Header::default() };
        // As it is hashed: without round and seals.
        let hashed = with_round_and_seals(&header, 0, Vec::new()).unwrap();
        let mut bytes = Vec::new();
        hashed.encode(&mut bytes);
        assert_eq!(keccak256(&bytes), block_hash(&header).unwrap());
        Bytes::from(bytes)
    };
    office.network.bed.mine(3);
    let headers: Vec<Bytes> = [(1, at), (2, at + 1)].into_iter().map(|(n, height)| header(n, height)).collect();
    for (index, bytes) in headers.iter().enumerate() {
        office.network.bed.block_hash(at + index as u64, keccak256(bytes));
    }
    let credit = |numbers: &[u64], headers: &[Bytes]| Sel::creditHeadersCall {
        blockNumbers: numbers.iter().map(|n| number(*n)).collect(),
        headers: headers.to_vec(),
    };
    let sel = office.sel;
    office.network.bed.send(account(9), sel, credit(&[at, at + 1], &headers)).ok();
    let last =
        |office: &mut Office, n: u8| office.network.bed.ask(sel, Sel::lastBlockProposedByCall { validator: key(n).address() });
    assert_eq!([1, 2, 3].map(|n| last(&mut office, n)), [number(at), number(at + 1), U256::ZERO]);
    // Another block's header, one that was never hashed, one from long ago.
    let forged = header(3, at + 1);
    for (height, bytes) in [(at + 1, headers[0].clone()), (at + 1, forged), (at + 1, Bytes::new()), (1, headers[0].clone())] {
        assert_eq!(office.network.bed.send(account(9), sel, credit(&[height], &[bytes])).err(), "HeaderNotOfBlock");
    }
}

#[test]
fn who_was_silent_comes_back_by_its_own_word() {
    let mut office = Office::of(5);
    office.settle(&[1, 2, 3, 4, 5]);
    office.propose(&[1, 2, 3, 4], 10);
    let early = office.network.bed.block() - 1;
    office.propose(&[1, 2, 3, 4], BETWEEN - 10);
    assert_eq!(office.office(), [1, 2, 3, 4]);
    assert_eq!(office.heartbeat(5, early, 5).err(), "HeartbeatRefused", "signed before it went");
    office.network.bed.mine(5);
    let now = office.network.bed.block();
    for (of, by) in [(now, 5), (now + 1, 5), (now - 2, 4)] {
        assert_eq!(office.heartbeat(5, of, by).err(), "HeartbeatRefused", "block {of} by {by}");
    }
    office.heartbeat(5, now - 1, 5).ok();
    assert_eq!(office.office(), [1, 2, 3, 4, 5]);
    assert_eq!(office.heartbeat(5, now - 1, 5).err(), "HeartbeatRefused", "it is in office");
    assert_eq!(office.heartbeat(9, now - 1, 9).err(), "HeartbeatRefused", "not eligible");
}

#[test]
fn an_absence_is_ended_by_who_decided_it() {
    let mut office = Office::of(6);
    let sel = office.sel;
    for n in [5, 6] {
        office.register(1, n, 1);
    }
    let (high, low) = halves(5);
    let remove = |n: u8| {
        let (high, low) = halves(n);
        Sel::removeOperationalValidatorByAdminCall { high, low }
    };
    assert_eq!(office.network.bed.send(account(2), sel, remove(5)).err(), "NotLocalNode");
    assert_eq!(office.network.bed.send(account(9), sel, remove(5)).err(), "UnauthorizedAccess");
    office.network.bed.send(account(1), sel, remove(5)).ok();
    assert_eq!((office.absence(5), office.office().len()), (OWNER, 5));
    office.network.bed.mine(5);
    let now = office.network.bed.block();
    assert_eq!(office.heartbeat(5, now - 1, 5).err(), "HeartbeatRefused", "its organisation took it out");
    let add = Sel::addOperationalValidatorCall { high, low };
    assert_eq!(office.network.bed.send(account(2), sel, add.clone()).err(), "NotLocalNode");
    office.network.bed.send(account(1), sel, add.clone()).ok();
    assert_eq!(office.absence(5), 0);

    office.network.master(sel, Sel::removeOperationalValidatorByAddressCall { validator: key(5).address() }).ok();
    assert_eq!(office.absence(5), GOVERNANCE);
    assert_eq!(office.network.bed.send(account(1), sel, add.clone()).err(), "AbsentByDecision");
    office.network.bed.mine(5);
    let now = office.network.bed.block();
    assert_eq!(office.heartbeat(5, now - 1, 5).err(), "HeartbeatRefused", "governance took it out");
    office.network.master(sel, add).ok();
    assert_eq!(office.absence(5), 0);
}

#[test]
fn governance_and_owners_leave_four() {
    let mut office = Office::of(5);
    office.register(1, 5, 1);
    office.register(1, 4, 1);
    let sel = office.sel;
    let (high, low) = halves(5);
    office.network.bed.send(account(1), sel, Sel::removeOperationalValidatorByAdminCall { high, low }).ok();
    let (high, low) = halves(4);
    let own = Sel::removeOperationalValidatorByAdminCall { high, low };
    assert_eq!(office.network.bed.send(account(1), sel, own).err(), "FewOperationalValidators");
    let validator = key(1).address();
    assert_eq!(
        office.network.master(sel, Sel::removeOperationalValidatorByAddressCall { validator }).err(),
        "FewOperationalValidators"
    );
    assert_eq!(
        office.network.master(sel, Sel::removeEligibleValidatorByAddressCall { validator }).err(),
        "FewOperationalValidators"
    );
}

#[test]
fn parameters_under_which_nobody_or_everybody_would_be_silent_are_refused() {
    let mut office = Office::of(10);
    let sel = office.sel;
    let mut set = |between: u64, without: u64| {
        office.network.master(sel, Sel::setSelectionParametersCall { between: number(between), without: number(without) }).result
    };
    assert_eq!(set(100, 19).unwrap_err(), "InvalidBlocksWithoutProposeThreshold", "fewer than two turns of ten");
    assert_eq!(set(20, 20).unwrap_err(), "InvalidBlocksBetweenSelection", "nobody would be silent for longer than a cycle");
    set(21, 20).unwrap();
    // An eligible one more raises both, so that they stay sound.
    let add = Sel::addEligibleValidatorByAddressCall { validator: key(20).address(), activate: true };
    office.network.master(sel, add).ok();
    assert_eq!(office.network.bed.ask(sel, Sel::blocksWithoutProposeThresholdCall {}), number(22));
    assert_eq!(office.network.bed.ask(sel, Sel::blocksBetweenSelectionCall {}), number(23));
}

#[test]
fn the_node_rules_leave_out_whom_they_do_not_allow_while_enough_are_left() {
    let mut office = Office::of(6);
    for n in 1..=6 {
        // One is registered as a writer.
        office.register(1 + n % 3, n, if n == 6 { 2 } else { 1 });
    }
    assert_eq!(office.office().len(), 6);
    office.network.master(office.sel, Sel::setSafetyCall { rulesRequired: true, quota: false }).ok();
    assert_eq!(office.office(), [1, 2, 3, 4, 5]);
    let (high, low) = halves(5);
    office.network.master(office.network.node, Node::updateNodeStatusCall { high, low, active: false }).ok();
    assert_eq!(office.office(), [1, 2, 3, 4]);
    // A fifth that is not allowed does not come in; and with fewer than four allowed the rules are not asked.
    let (high, low) = halves(4);
    office.network.master(office.network.node, Node::updateNodeStatusCall { high, low, active: false }).ok();
    assert_eq!(office.office(), [1, 2, 3, 4, 5, 6]);
    let add = Sel::addEligibleValidatorByAddressCall { validator: key(7).address(), activate: true };
    assert_eq!(office.network.master(office.sel, add).err(), "NodeNotAllowed");
}

#[test]
fn an_organisation_stays_below_a_third() {
    let mut office = Office::of(6);
    for (n, org) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 3), (7, 1), (8, 1), (9, 1)] {
        office.register(org, n, 1);
    }
    office.network.master(office.sel, Sel::setSafetyCall { rulesRequired: false, quota: true }).ok();
    let mut add = |n: u8| {
        let add = Sel::addEligibleValidatorByAddressCall { validator: key(n).address(), activate: true };
        office.network.master(office.sel, add).result
    };
    // Two of seven is below a third, three of eight is not.
    add(7).unwrap();
    assert_eq!(add(8).unwrap_err(), "OrganizationQuotaExceeded");
    assert_eq!(add(20).unwrap_err(), "NodeNotAllowed", "nobody knows whose it is");
}

#[test]
fn the_ingress_never_halts_the_chain_nor_shrinks_it_to_one() {
    let mut office = Office::of(5);
    let network = &mut office.network;
    let ingress = |selection| SelIngress::constructorCall { admin: network.admin, selection }.abi_encode();
    let good: Vec<Address> = (1..=5).map(|n| key(n).address()).collect();
    let answer = network.bed.deploy(account(MASTER), "AnswerMock", &[]).unwrap();
    let set = |network: &mut Network, answer_bytes: Vec<u8>, reverts: bool| {
        network.master(answer, Answer::setAnswerCall { answer: answer_bytes.into(), reverts }).ok();
    };
    let code = ingress(answer);
    assert!(network.bed.deploy(account(MASTER), "ValidatorSelectionIngress", &code).is_err(), "answers nothing");
    set(network, good.abi_encode(), false);
    let ingress = network.bed.deploy(account(MASTER), "ValidatorSelectionIngress", &code).unwrap();
    assert_eq!(network.bed.ask(ingress, SelIngress::getValidatorsCall {}), good);

    let five: Vec<Address> = (11..=15).map(|n| key(n).address()).collect();
    let mut twice = five.clone();
    twice[1] = twice[0];
    let mut zero = five.clone();
    zero[2] = Address::ZERO;
    let long: Vec<Address> = (1..=101).map(Address::with_last_byte).collect();
    let mut dirty = five.abi_encode();
    dirty[64] = 1;
    let mut longer_than_said = five.abi_encode();
    longer_than_said[63] = 6;
    let mut elsewhere = five.abi_encode();
    elsewhere[31] = 64;
    for (what, bytes, reverts) in [
        ("empty list", Vec::<Address>::new().abi_encode(), false),
        ("one validator", five[..1].to_vec().abi_encode(), false),
        ("three validators", five[..3].to_vec().abi_encode(), false),
        ("a duplicate", twice.abi_encode(), false),
        ("the zero address", zero.abi_encode(), false),
        ("101 validators", long.abi_encode(), false),
        ("no answer", Vec::new(), false),
        ("half an answer", five.abi_encode()[..100].to_vec(), false),
        ("a length that is not there", longer_than_said, false),
        ("an offset elsewhere", elsewhere, false),
        ("words that are no addresses", dirty, false),
        ("a huge length", [[0; 31].as_slice(), &[32], &[0xff; 32]].concat(), false),
        ("a revert", Vec::new(), true),
        ("a loop", vec![1], true),
        ("megabytes", vec![1, 2], false),
    ] {
        set(network, bytes, reverts);
        let asked = network.bed.send(account(9), ingress, SelIngress::getValidatorsCall {});
        assert!(asked.gas < 5_500_000, "{what}: {} gas of whoever asks", asked.gas);
        assert_eq!(network.bed.ask(ingress, SelIngress::getValidatorsCall {}), good, "{what}");
        assert!(!network.bed.ask(ingress, SelIngress::isSelectionGoodCall {}), "{what}");
        let kept = network.bed.send(account(9), ingress, SelIngress::keepValidatorsCall {});
        assert_eq!(kept.logs.len(), 1, "{what}: LastGoodSetInForce");
        assert_eq!(network.bed.ask(ingress, SelIngress::getLastGoodValidatorsCall {}), good, "{what}");
    }
    // A good answer counts at once, and becomes the last good one when anybody asks for it.
    set(network, five[..4].to_vec().abi_encode(), false);
    assert_eq!(network.bed.ask(ingress, SelIngress::getValidatorsCall {}), five[..4]);
    network.bed.send(account(9), ingress, SelIngress::keepValidatorsCall {}).ok();
    set(network, Vec::new(), true);
    assert_eq!(network.bed.ask(ingress, SelIngress::getValidatorsCall {}), five[..4]);

    // Governance replaces what fails by what answers, and never loses the ingress.
    assert_eq!(
        network.master(ingress, SelIngress::updateValidatorSelectionContractCall { selection: network.org }).err(),
        "InvalidValidatorSelectionContract"
    );
    let selection = office.sel;
    let update = SelIngress::updateValidatorSelectionContractCall { selection };
    assert_eq!(network.bed.send(account(1), ingress, update.clone()).err(), "UnauthorizedAccess");
    network.master(ingress, update).ok();
    assert_eq!(network.bed.ask(ingress, SelIngress::getValidatorsCall {}), good);
    network.master(ingress, SelIngress::removeValidatorSelectionContractCall {}).ok();
    assert_eq!(network.bed.ask(ingress, SelIngress::getValidatorsCall {}), good, "the set stays");
    assert_eq!(network.master(ingress, SelIngress::removeAdminContractCall {}).err(), "InvalidAdminContract");
    let stranger = network.bed.deploy(account(0x66), "Admin", &[]).unwrap();
    assert_eq!(network.master(ingress, SelIngress::updateAdminContractCall { admin: stranger }).err(), "InvalidAdminContract");
    let own = network.bed.deploy(account(MASTER), "Admin", &[]).unwrap();
    network.master(ingress, SelIngress::updateAdminContractCall { admin: own }).ok();
}

#[test]
fn a_hundred_validators_are_the_most_and_can_be_asked_for() {
    let mut office = Office::of(10);
    let sel = office.sel;
    let parameters = Sel::setSelectionParametersCall { between: number(1_000), without: number(500) };
    office.network.master(sel, parameters).ok();
    let add = |n: u8| Sel::addEligibleValidatorByAddressCall { validator: key(n).address(), activate: true };
    for n in 1..=100 {
        office.register(1 + n % 3, n, 1);
        if n > 10 {
            office.network.master(sel, add(n)).ok();
        }
    }
    assert_eq!(office.network.master(sel, add(101)).err(), "TooManyValidators");
    let arguments = SelIngress::constructorCall { admin: office.network.admin, selection: sel }.abi_encode();
    let ingress = office.network.bed.deploy(account(MASTER), "ValidatorSelectionIngress", &arguments).unwrap();
    for rules_required in [false, true] {
        office.network.master(sel, Sel::setSafetyCall { rulesRequired: rules_required, quota: false }).ok();
        assert!(office.network.bed.ask(ingress, SelIngress::isSelectionGoodCall {}));
        let sent = office.network.bed.send(account(9), ingress, SelIngress::getValidatorsCall {});
        println!("100 validators, node rules {rules_required}: {} gas", sent.gas);
        assert!(sent.gas < 5_500_000, "{} gas", sent.gas);
        assert_eq!(SelIngress::getValidatorsCall::abi_decode_returns(&sent.ok()).unwrap().len(), 100);
    }
}

#[test]
fn a_nodes_name_costs_whoever_reads_it_little() {
    let mut network = Network::new();
    let (high, low) = halves(1);
    for (length, accepted) in [(129, false), (128, true)] {
        let add = Node::addLocalNodeCall { high, low, nodeType: 1, name: "n".repeat(length) };
        assert_eq!(network.bed.send(account(1), network.node, add).is_ok(), accepted);
    }
}
