use std::collections::BTreeMap;

use ipe_qbft::PreparedCertificate;
use ipe_types::message::{PreparePayload, ProposalPayload, RoundChangePayload, Signed};
use ipe_types::{Block, Dialect, Header};

use super::*;
use crate::journal::{Fault, MemoryJournal, newborn};

const CHAIN: B256 = B256::repeat_byte(0xc4);

fn key(n: u8) -> NodeKey {
    NodeKey::from_bytes([n; 32]).unwrap()
}

fn open(disk: &MemoryJournal) -> (Gate, Option<Restored>) {
    Gate::open(Signer::Local(key(1)), Box::new(disk.clone()), CHAIN).unwrap()
}

/// The disk of a validator whose key has signed nothing.
fn fresh() -> MemoryJournal {
    let disk = MemoryJournal::new();
    disk.set_content(newborn(CHAIN, key(1).address()));
    disk
}

fn block(salt: u64) -> Arc<Block> {
    Arc::new(Block { header: Header { number: 5, gas_limit: salt, ..Header::default() }, ..Block::default() })
}

fn digest(salt: u64) -> B256 {
    B256::from(alloy_primitives::U256::from(salt + 1))
}

fn certificate(height: u64, round: u32, salt: u64) -> Arc<PreparedCertificate> {
    let prepares = (2..5)
        .map(|n| {
            let payload = PreparePayload { height, round, digest: digest(salt) };
            Signed::sign_with(payload, |hash| key(n).sign(hash)).unwrap()
        })
        .collect();
    Arc::new(PreparedCertificate { round, digest: digest(salt), block: block(salt), access_list: None, prepares })
}

fn proposal(height: u64, round: u32, salt: u64) -> Draft {
    let payload = ProposalPayload { height, round, block: block(salt), access_list: None };
    Draft::Proposal { payload, round_changes: vec![], prepares: vec![] }
}

fn prepare(height: u64, round: u32, salt: u64) -> Draft {
    Draft::Prepare(PreparePayload { height, round, digest: digest(salt) })
}

fn commit(height: u64, round: u32, salt: u64) -> Draft {
    let certificate = certificate(height, round, salt);
    Draft::Commit { height, round, digest: digest(salt), commit_hash: digest(salt + 1000), certificate }
}

fn round_change(height: u64, round: u32, prepared: Option<(u32, u64)>) -> Draft {
    let payload = RoundChangePayload { height, round, prepared: prepared.map(|(round, salt)| (round, digest(salt))) };
    let certificate = prepared.map(|(round, salt)| certificate(height, round, salt));
    Draft::RoundChange { payload, certificate, dialect: Dialect::Legacy }
}

/// A message by a key that is here.
fn at_once(made: Result<Signing, SignRefusal>) -> Message {
    let Ok(Signing::Signed(message)) = made else { panic!("signed at once, and not {made:?}") };
    *message
}

#[test]
fn the_same_is_signed_again_and_another_is_refused() {
    let disk = fresh();
    let (mut gate, restored) = open(&disk);
    assert!(restored.is_none());
    for (one, other) in [
        (proposal(5, 0, 1), proposal(5, 0, 2)),
        (prepare(5, 0, 1), prepare(5, 0, 2)),
        (commit(5, 0, 1), commit(5, 0, 2)),
        (round_change(5, 1, Some((0, 1))), round_change(5, 1, Some((0, 2)))),
    ] {
        let message = at_once(gate.sign(&one));
        assert_eq!(message.author(), key(1).address());
        let writes = disk.writes();
        assert_eq!(at_once(gate.sign(&one)), message);
        assert_eq!(disk.writes(), writes, "a known message costs no write");
        assert!(matches!(gate.sign(&other), Err(SignRefusal::Conflict { height: 5, .. })));
        let (mut again, restored) = open(&disk);
        assert!(matches!(again.sign(&other), Err(SignRefusal::Conflict { .. })));
        assert_eq!(at_once(again.sign(&one)), message);
        let restored = restored.unwrap();
        assert_eq!(restored.height, 5);
        // All but the proposal come back byte for byte.
        assert_eq!(restored.messages.iter().any(|kept| **kept == message), one.kind() != Kind::Proposal);
    }
}

#[test]
fn one_durable_write_for_each_message() {
    let disk = fresh();
    let (mut gate, _) = open(&disk);
    let before = disk.writes();
    for draft in [proposal(5, 0, 1), prepare(5, 0, 1), commit(5, 0, 1)] {
        gate.sign(&draft).unwrap();
    }
    assert_eq!(disk.writes() - before, 3);
}

#[test]
fn what_is_past_is_refused() {
    let disk = fresh();
    let (mut gate, _) = open(&disk);
    gate.sign(&prepare(5, 0, 1)).unwrap();
    gate.sign(&round_change(5, 2, None)).unwrap();
    assert!(matches!(gate.sign(&prepare(5, 1, 1)), Err(SignRefusal::RoundLeft { left_for: 2, .. })));
    assert!(matches!(gate.sign(&commit(5, 0, 1)), Err(SignRefusal::RoundLeft { .. })));
    gate.sign(&prepare(5, 2, 1)).unwrap();
    gate.sign(&prepare(6, 0, 1)).unwrap();
    for mut gate in [gate, open(&disk).0] {
        assert!(matches!(gate.sign(&prepare(5, 3, 1)), Err(SignRefusal::BelowFloor { height: 5, floor: 6 })));
    }
}

#[test]
fn a_round_change_carries_what_was_prepared() {
    let disk = fresh();
    let (mut gate, _) = open(&disk);
    gate.sign(&commit(5, 1, 7)).unwrap();
    for mut gate in [gate, open(&disk).0] {
        for forgetful in [None, Some((0, 7))] {
            let refusal = gate.sign(&round_change(5, 2, forgetful)).unwrap_err();
            assert!(matches!(refusal, SignRefusal::ForgetsCertificate { prepared: 1, .. }));
        }
        gate.sign(&round_change(5, 2, Some((1, 7)))).unwrap();
    }
}

#[test]
fn a_commit_needs_the_certificate_of_its_round() {
    let (mut gate, _) = open(&fresh());
    let Draft::Commit { height, digest, commit_hash, .. } = commit(5, 1, 7) else { unreachable!() };
    let draft = Draft::Commit { height, round: 1, digest, commit_hash, certificate: certificate(5, 0, 7) };
    assert!(matches!(gate.sign(&draft), Err(SignRefusal::Unprepared { round: 1, .. })));
}

#[test]
fn another_chain_or_key_is_named() {
    let disk = fresh();
    open(&disk);
    let other = Gate::open(Signer::Local(key(1)), Box::new(disk.clone()), B256::ZERO).unwrap_err();
    assert!(matches!(other, JournalError::OtherChain { found: CHAIN, .. }));
    let other = Gate::open(Signer::Local(key(2)), Box::new(disk.clone()), CHAIN).unwrap_err();
    assert!(matches!(other, JournalError::OtherKey { .. }));
}

/// What a validator says over two heights with round changes, and what it would say if it had forgotten everything.
fn script() -> Vec<(Draft, Draft)> {
    vec![
        (proposal(5, 0, 1), proposal(5, 0, 91)),
        (prepare(5, 0, 1), prepare(5, 0, 91)),
        (commit(5, 0, 1), commit(5, 0, 91)),
        (round_change(5, 1, Some((0, 1))), round_change(5, 1, None)),
        (prepare(5, 1, 1), prepare(5, 1, 91)),
        (commit(5, 1, 1), commit(5, 1, 91)),
        (round_change(5, 2, Some((1, 1))), round_change(5, 2, Some((0, 1)))),
        (prepare(6, 0, 2), prepare(6, 0, 92)),
        (commit(6, 0, 2), commit(6, 0, 92)),
    ]
}

/// Everything ever signed, by all lives of one validator.
#[derive(Default)]
struct Witness {
    said: BTreeMap<(u64, u32, Kind), B256>,
    committed: BTreeMap<u64, u32>,
}

impl Witness {
    fn hears(&mut self, draft: &Draft) {
        let said = self.said.entry((draft.height(), draft.round(), draft.kind())).or_insert(draft.identity());
        assert_eq!(*said, draft.identity(), "two messages for {} {}", draft.height(), draft.round());
        if draft.kind() == Kind::Commit {
            self.committed.insert(draft.height(), draft.round());
        }
    }

    fn judges(&self, restored: Option<&Restored>) {
        let Some(height) = self.said.keys().map(|(height, _, _)| *height).max() else { return };
        let round = self.said.keys().filter(|(at, _, _)| *at == height).map(|(_, round, _)| *round).max();
        let restored = restored.expect("something was signed");
        assert!(restored.height >= height);
        if restored.height == height {
            assert!(Some(restored.round) >= round);
            if let Some(committed) = self.committed.get(&height) {
                let certificate = restored.certificate.as_ref().expect("a Commit was signed");
                assert!(certificate.round >= *committed);
                assert_eq!(certificate.prepares.len(), 3);
            }
        }
    }
}

/// Kills the process in every write, with every length of what reached the disk, and starts it again.
#[test]
fn no_crash_makes_it_contradict_itself_or_forget() {
    let script = script();
    let healthy = fresh();
    let (mut gate, _) = open(&healthy);
    let mut sizes = vec![healthy.content().len()];
    for (draft, _) in &script {
        gate.sign(draft).unwrap();
        sizes.push(healthy.content().len());
    }
    let mut crashes = 0;
    for write in 0..healthy.writes() {
        let most = sizes[write + 1] - sizes[write];
        // Every length for short records, a spread of them for certificates.
        let step = (most / 97).max(1);
        for bytes in (0..=most).step_by(step).chain([most]) {
            let disk = fresh();
            disk.break_at(Fault { at_write: write, bytes });
            let mut witness = Witness::default();
            let mut said = 0;
            if let Ok((mut gate, _)) = Gate::open(Signer::Local(key(1)), Box::new(disk.clone()), CHAIN) {
                for (draft, _) in &script {
                    if gate.sign(draft).is_err() {
                        break;
                    }
                    witness.hears(draft);
                    said += 1;
                }
            }
            disk.repair();
            // The next life knows what was said; offered anything else first, it refuses, and then goes on.
            let (mut gate, restored) = open(&disk);
            witness.judges(restored.as_ref());
            for (_, forgetful) in &script[..said] {
                if gate.sign(forgetful).is_ok() {
                    witness.hears(forgetful);
                }
            }
            for (draft, _) in &script[said..] {
                gate.sign(draft).unwrap();
                witness.hears(draft);
            }
            witness.judges(open(&disk).1.as_ref());
            crashes += 1;
        }
    }
    assert!(crashes > 500, "{crashes}");
}

/// A write that fails without killing the process leaves the gate shut until the disk works, and the journal sound.
#[test]
fn a_failed_write_signs_nothing_and_heals() {
    let script = script();
    for bytes in [0, 3, 40, 10_000] {
        for write in 0..script.len() {
            let disk = fresh();
            let (mut gate, _) = open(&disk);
            disk.break_at(Fault { at_write: write, bytes });
            let mut witness = Witness::default();
            for (draft, _) in &script {
                if gate.sign(draft).is_err() {
                    assert!(matches!(gate.sign(draft), Err(SignRefusal::Journal(_))));
                    disk.repair();
                    gate.sign(draft).unwrap();
                }
                witness.hears(draft);
                witness.judges(open(&disk).1.as_ref());
            }
        }
    }
}

#[test]
fn a_long_journal_is_replaced_at_a_new_height() {
    let disk = fresh();
    let (mut gate, _) = open(&disk);
    let mut largest = 0;
    let mut shrunk = false;
    for height in 1..30 {
        let mut certificate = (*certificate(height, 0, height)).clone();
        let header = Header { number: height, extra_data: vec![0; 1 << 20].into(), ..Header::default() };
        certificate.block = Arc::new(Block { header, ..Block::default() });
        let draft =
            Draft::Commit { height, round: 0, digest: digest(height), commit_hash: digest(0), certificate: Arc::new(certificate) };
        gate.sign(&draft).unwrap();
        let length = disk.content().len();
        shrunk |= length < largest;
        largest = largest.max(length);
        let (_, restored) = open(&disk);
        assert_eq!(restored.unwrap().certificate.unwrap().block.header.number, height);
    }
    assert!(shrunk && largest < 11 << 20, "{largest}");
    assert!(matches!(gate.sign(&prepare(1, 0, 1)), Err(SignRefusal::BelowFloor { floor: 29, .. })));
}

#[test]
fn a_strange_record_is_not_passed_over() {
    let disk = fresh();
    open(&disk);
    for record in [&[9u8][..], &[1, 0, 0], &[2, 0, 0, 0, 0, 0, 0, 0, 9, 0xff]] {
        let mut content = disk.content();
        let mut frames = crate::journal::frames(&content);
        assert_eq!(frames.by_ref().count(), 1);
        frames.reached().frame(&mut content, record);
        let strange = MemoryJournal::new();
        strange.set_content(content);
        let opened = Gate::open(Signer::Local(key(1)), Box::new(strange), CHAIN);
        assert!(matches!(opened, Err(JournalError::Unreadable(_))), "{record:?}");
    }
}

mod elsewhere;
mod loss;
