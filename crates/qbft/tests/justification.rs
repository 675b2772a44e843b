//! Quorums and justifications of every size from 4 to 10: enumerated, not imagined.

#![allow(clippy::unwrap_used, clippy::panic)]

mod network;

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use ipe_qbft::justify::{self, Digests, Rules};
use ipe_qbft::{PreparedCertificate, Reason};
use ipe_types::header::{block_hash, digest, with_round_and_seals};
use ipe_types::message::{Payload, PreparePayload, Proposal, ProposalPayload, RoundChange, RoundChangePayload, Signed};
use ipe_types::{Block, NodeKey, ValidatorSet};
use network::block;

struct Scene {
    keys: Vec<NodeKey>,
    rules: Rules,
    block: Block,
    round: u32,
}

const PREPARED: u32 = 1;

impl Scene {
    /// `n` validators, in round 3 of height 9; a block was prepared in round 1.
    fn new(n: usize) -> Self {
        let keys: Vec<NodeKey> = (0..n + 1).map(network::key).collect();
        let validators: ValidatorSet = keys[..n].iter().map(NodeKey::address).collect();
        let previous_proposer = validators.as_slice()[n / 2];
        let block = block(9, B256::repeat_byte(1), previous_proposer, 77, PREPARED, 1, &validators);
        Self { keys, rules: Rules { height: 9, validators, previous_proposer }, block, round: 3 }
    }

    fn sign<P: Payload>(&self, who: usize, payload: P) -> Signed<P> {
        Signed::sign_with(payload, |hash| self.keys[who].sign(hash)).unwrap()
    }

    fn prepare(&self, who: usize, digest: B256) -> Signed<PreparePayload> {
        self.sign(who, PreparePayload { height: 9, round: PREPARED, digest })
    }

    fn change(&self, who: usize, prepared: Option<(u32, B256)>) -> Signed<RoundChangePayload> {
        self.sign(who, RoundChangePayload { height: 9, round: self.round, prepared })
    }

    fn digests(&self) -> Digests {
        Digests::of(&self.block.header, PREPARED).unwrap()
    }

    fn proposer(&self) -> usize {
        let address = self.rules.proposer(self.round);
        self.keys.iter().position(|key| key.address() == address).unwrap()
    }

    fn judge(
        &self,
        block: &Block,
        round_changes: Vec<Signed<RoundChangePayload>>,
        prepares: Vec<Signed<PreparePayload>>,
    ) -> Result<(), Reason> {
        let header = with_round_and_seals(&block.header, self.round, vec![]).unwrap();
        let block = Arc::new(Block { header, body: block.body.clone() });
        let payload = ProposalPayload { height: 9, round: self.round, block, access_list: None };
        let signed = self.sign(self.proposer(), payload);
        justify::proposal(&self.rules, &Proposal { signed, round_changes, prepares })
    }

    /// A block of the proposer in hand.
    fn fresh(&self) -> Block {
        let proposer = self.keys[self.proposer()].address();
        block(9, B256::repeat_byte(1), proposer, 78, self.round, 2, &self.rules.validators)
    }
}

/// What each validator says: nothing, a RoundChange with nothing prepared, with the block prepared, in the other form
/// of its digest, or with a lie about another block. Every mix of counts for every size.
#[test]
fn every_mix_of_round_changes() {
    for n in 4..=10 {
        let scene = Scene::new(n);
        let (quorum, f) = (scene.rules.quorum(), scene.rules.validators.f());
        let Digests { with_round, without_round } = scene.digests();
        let lie = B256::repeat_byte(0xee);
        let say = |prepared: Option<(u32, B256)>| -> Vec<_> { (0..n).map(|who| scene.change(who, prepared)).collect() };
        let (nothing, held, other, lies, older) = (
            say(None),
            say(Some((PREPARED, with_round))),
            say(Some((PREPARED, without_round))),
            say(Some((PREPARED, lie))),
            say(Some((0, lie))),
        );
        let prepares: Vec<_> = (0..n).map(|who| scene.prepare(who, with_round)).collect();
        let fresh = scene.fresh();
        for a in 0..=n {
            for b in 0..=n - a {
                for c in 0..=(n - a - b).min(2) {
                    for d in 0..=(n - a - b - c).min(2) {
                        for e in 0..=(n - a - b - c - d).min(2) {
                            let said = a + b + c + d + e;
                            let mut changes = Vec::new();
                            for (who, list) in [(a, &nothing), (b, &held), (c, &other), (d, &lies), (e, &older)]
                                .into_iter()
                                .flat_map(|(count, list)| std::iter::repeat_n(list, count))
                                .enumerate()
                            {
                                changes.push(list[who].clone());
                            }
                            let prepared = b + c + d + e > 0;
                            let honest = b + c > 0;
                            let enough = said >= quorum;
                            // A new block: when a quorum is there and nobody was prepared.
                            let new_block = scene.judge(&fresh, changes.clone(), vec![]);
                            assert_eq!(new_block.is_ok(), enough && !prepared, "{n}: {a} {b} {c} {d} {e}: {new_block:?}");
                            // The prepared block with its prepares: when the latest prepared round is about it alone.
                            let again = scene.judge(&scene.block, changes.clone(), prepares[..quorum].to_vec());
                            let expected = enough && honest && d == 0;
                            assert_eq!(again.is_ok(), expected, "{n}: {a} {b} {c} {d} {e}: {again:?}");
                            // Another block with these prepares, or this one without: never.
                            assert!(scene.judge(&fresh, changes.clone(), prepares[..quorum].to_vec()).is_err());
                            let short = scene.judge(&scene.block, changes, prepares[..quorum - 1].to_vec());
                            assert!(short.is_err(), "{short:?}");
                        }
                    }
                }
            }
        }
        assert!(quorum + f <= n);
    }
}

#[test]
fn authors_count_once_and_only_validators() {
    for n in 4..=10 {
        let scene = Scene::new(n);
        let quorum = scene.rules.quorum();
        let fresh = scene.fresh();
        let honest: Vec<_> = (0..quorum).map(|who| scene.change(who, None)).collect();
        assert_eq!(scene.judge(&fresh, honest.clone(), vec![]), Ok(()));
        let mut twice = honest.clone();
        twice[quorum - 1] = twice[0].clone();
        assert!(matches!(scene.judge(&fresh, twice, vec![]), Err(Reason::DuplicateAuthor { .. })));
        let mut surplus = honest.clone();
        surplus.push(honest[0].clone());
        assert!(matches!(scene.judge(&fresh, surplus, vec![]), Err(Reason::DuplicateAuthor { .. })));
        let mut outsider = honest.clone();
        outsider[0] = scene.change(n, None);
        assert!(matches!(scene.judge(&fresh, outsider, vec![]), Err(Reason::JustifiedByOutsider { .. })));
        let mut elsewhere = honest.clone();
        elsewhere[0] = scene.sign(0, RoundChangePayload { height: 9, round: 2, prepared: None });
        assert!(matches!(scene.judge(&fresh, elsewhere, vec![]), Err(Reason::JustifiedElsewhere { .. })));
        let mut other_height = honest.clone();
        other_height[0] = scene.sign(0, RoundChangePayload { height: 8, round: 3, prepared: None });
        assert!(matches!(scene.judge(&fresh, other_height, vec![]), Err(Reason::JustifiedElsewhere { .. })));
        let mut not_below = honest.clone();
        not_below[0] = scene.change(0, Some((3, B256::ZERO)));
        assert!(matches!(scene.judge(&fresh, not_below, vec![]), Err(Reason::PreparedRound { .. })));
        let stray = scene.prepare(0, B256::ZERO);
        assert_eq!(scene.judge(&fresh, honest.clone(), vec![stray]), Err(Reason::UnexpectedPrepares));
        let mut coinbase = fresh.clone();
        coinbase.header.beneficiary = Address::ZERO;
        assert!(matches!(scene.judge(&coinbase, honest, vec![]), Err(Reason::Coinbase { .. })));
    }
}

/// Every subset of four validators' prepares, in either form of the digest, as the certificate of a RoundChange.
#[test]
fn every_certificate_of_four() {
    let scene = Scene::new(4);
    let Digests { with_round, without_round } = scene.digests();
    let prepared_block = Arc::new(scene.block.clone());
    for choice in 0..3usize.pow(5) {
        // Per author (the fifth is a stranger): silent, first form, second form.
        let mut rest = choice;
        let mut prepares = Vec::new();
        for who in 0..5 {
            match rest % 3 {
                1 => prepares.push(scene.prepare(who, with_round)),
                2 => prepares.push(scene.prepare(who, without_round)),
                _ => {}
            }
            rest /= 3;
        }
        let strangers = prepares.iter().any(|prepare| prepare.author() == scene.keys[4].address());
        let expected = !strangers && prepares.len() >= 3;
        for named in [with_round, without_round, B256::ZERO] {
            let change = RoundChange {
                signed: scene.change(0, Some((PREPARED, named))),
                block: Some(prepared_block.clone()),
                access_list: None,
                prepares: prepares.clone(),
            };
            let verdict = justify::round_change(&scene.rules, &change);
            assert_eq!(verdict.is_ok(), expected && named != B256::ZERO, "{choice}: {verdict:?}");
            let certificate = PreparedCertificate {
                round: PREPARED,
                digest: named,
                block: prepared_block.clone(),
                access_list: None,
                prepares: prepares.clone(),
            };
            assert_eq!(justify::certificate(&scene.rules, &certificate).is_ok(), expected && named != B256::ZERO);
        }
    }
}

#[test]
fn a_certificate_is_whole_or_absent() {
    let scene = Scene::new(4);
    let named = scene.digests().with_round;
    let prepares: Vec<_> = (0..3).map(|who| scene.prepare(who, named)).collect();
    let block = Some(Arc::new(scene.block.clone()));
    let judge = |prepared, block, prepares| {
        let signed = scene.change(0, prepared);
        justify::round_change(&scene.rules, &RoundChange { signed, block, access_list: None, prepares })
    };
    assert_eq!(judge(None, None, vec![]), Ok(()));
    assert_eq!(judge(Some((PREPARED, named)), block.clone(), prepares.clone()), Ok(()));
    assert_eq!(judge(None, None, prepares.clone()), Err(Reason::UnexpectedPrepares));
    assert_eq!(judge(None, block.clone(), vec![]), Err(Reason::IncompleteCertificate));
    assert_eq!(judge(Some((PREPARED, named)), None, prepares.clone()), Err(Reason::IncompleteCertificate));
    // In another round nobody proposed it in this form, and what was prepared there has another digest.
    assert_eq!(judge(Some((2, named)), block, prepares), Err(Reason::CarriedRound { got: PREPARED, round: 2 }));
}

/// The block hash takes no notice of the round; the digest of Besu does.
#[test]
fn two_names_of_one_block() {
    let scene = Scene::new(4);
    let names = scene.digests();
    assert_eq!(names.with_round, digest(&scene.block.header).unwrap());
    assert_eq!(names.without_round, block_hash(&scene.block.header).unwrap());
    assert_ne!(names.with_round, names.without_round);
    assert!(names.name(&names.with_round) && names.name(&names.without_round) && !names.name(&B256::ZERO));
}

/// What each Prepare of a certificate may be: sound in either form of the digest, or about another block, round or height,
/// or of a stranger, or there twice. Every mix of counts for every size, judged in a RoundChange, in a certificate and in a
/// Proposal, which must all say the same.
#[test]
fn every_mix_of_prepares() {
    for n in 4..=10 {
        let scene = Scene::new(n);
        let quorum = scene.rules.quorum();
        let Digests { with_round, without_round } = scene.digests();
        let of = |round, height, digest| -> Vec<_> {
            (0..=n).map(|who| scene.sign(who, PreparePayload { height, round, digest })).collect()
        };
        let (first, second) = (of(PREPARED, 9, with_round), of(PREPARED, 9, without_round));
        let (lie, round, height) = (of(PREPARED, 9, B256::repeat_byte(7)), of(2, 9, with_round), of(PREPARED, 8, with_round));
        let changes: Vec<_> = (0..quorum).map(|who| scene.change(who, Some((PREPARED, with_round)))).collect();
        let block = Arc::new(scene.block.clone());
        for a in 0..=n {
            for b in 0..=n - a {
                for faults in 0..32 {
                    let sound = (0..a).map(|who| &first[who]).chain((a..a + b).map(|who| &second[who]));
                    // Whoever is at fault is one more than the sound ones, where there is one more.
                    let next = (a + b).min(n - 1);
                    let extra = [&lie[next], &round[next], &height[next], &first[n], first.get(a / 2).unwrap_or(&first[0])];
                    let bad = (0..5).filter(|fault| faults >> fault & 1 == 1).map(|fault| extra[fault]);
                    let prepares: Vec<_> = sound.chain(bad).cloned().collect();
                    // The last fault is a repetition only if its author is among the sound ones already.
                    let repeated = faults >> 4 & 1 == 1 && a + b > a / 2;
                    let alone = faults >> 4 & 1 == 1 && !repeated;
                    let faulty = faults & 0xf != 0 || repeated;
                    let expected = !faulty && a + b + usize::from(alone) >= quorum;
                    let change = RoundChange {
                        signed: scene.change(0, Some((PREPARED, with_round))),
                        block: Some(block.clone()),
                        access_list: None,
                        prepares: prepares.clone(),
                    };
                    let case = format!("{n}: {a} {b} faults {faults:05b}");
                    let verdict = justify::round_change(&scene.rules, &change);
                    assert_eq!(verdict.is_ok(), expected, "{case}: {verdict:?}");
                    let digest = with_round;
                    let certificate = PreparedCertificate {
                        round: PREPARED,
                        digest,
                        block: block.clone(),
                        access_list: None,
                        prepares: prepares.clone(),
                    };
                    assert_eq!(justify::certificate(&scene.rules, &certificate), verdict, "{case}");
                    let again = scene.judge(&scene.block, changes.clone(), prepares);
                    assert_eq!(again.is_ok(), expected, "{case}: {again:?}");
                }
            }
        }
    }
}

/// Three blocks were prepared, in rounds 0, 1 and 2: every mix of who says which, or nothing. Only the block of the latest
/// round that anybody names may be proposed, and only with its own Prepares.
#[test]
fn every_mix_of_prepared_rounds() {
    for n in 4..=10 {
        let scene = Scene::new(n);
        let quorum = scene.rules.quorum();
        let blocks: Vec<Block> = (0..3u32)
            .map(|round| {
                let by = scene.rules.proposer(round);
                block(9, B256::repeat_byte(1), by, 77, round, 50 + u64::from(round), &scene.rules.validators)
            })
            .collect();
        let named: Vec<_> = (0..3u32).map(|round| (round, digest(&blocks[round as usize].header).unwrap())).collect();
        let say = |prepared| -> Vec<_> { (0..n).map(|who| scene.change(who, prepared)).collect() };
        let said = [say(None), say(Some(named[0])), say(Some(named[1])), say(Some(named[2]))];
        let prepares: Vec<Vec<_>> = named
            .iter()
            .map(|(round, digest)| {
                (0..quorum).map(|who| scene.sign(who, PreparePayload { height: 9, round: *round, digest: *digest })).collect()
            })
            .collect();
        let fresh = scene.fresh();
        for a in 0..=n {
            for b in 0..=n - a {
                for c in 0..=n - a - b {
                    for d in 0..=n - a - b - c {
                        let kinds = [a, b, c, d].into_iter().enumerate();
                        let kinds = kinds.flat_map(|(kind, count)| std::iter::repeat_n(kind, count)).enumerate();
                        let changes: Vec<_> = kinds.map(|(who, kind)| said[kind][who].clone()).collect();
                        let enough = changes.len() >= quorum;
                        let latest = [b, c, d].iter().rposition(|count| *count > 0);
                        let case = format!("{n}: {a} {b} {c} {d}");
                        let new = scene.judge(&fresh, changes.clone(), vec![]);
                        assert_eq!(new.is_ok(), enough && latest.is_none(), "{case}: {new:?}");
                        // With too few RoundChanges one block tells as much as three.
                        for round in 0..if enough { 3 } else { 1 } {
                            let again = scene.judge(&blocks[round], changes.clone(), prepares[round].clone());
                            assert_eq!(again.is_ok(), enough && latest == Some(round), "{case} block {round}: {again:?}");
                        }
                    }
                }
            }
        }
    }
}

/// Every round's proposer for every size, whoever made the block before: found by walking round the table one by one.
#[test]
fn the_turn_goes_round_in_every_size() {
    for n in 1..=10 {
        let everybody: ValidatorSet = (0..=n).map(|who| network::key(who).address()).collect();
        // Each of n+1 has left in one of the cases; whoever has left may have made the last block.
        for gone in everybody.iter() {
            let validators: ValidatorSet = everybody.iter().copied().filter(|who| who != gone).collect();
            for previous in everybody.iter().copied().chain([Address::ZERO, Address::repeat_byte(0xff)]) {
                let mut seat = validators.iter().position(|who| *who > previous).unwrap_or_default();
                let rules = Rules { height: 5, validators: validators.clone(), previous_proposer: previous };
                for round in 0..3 * n as u32 {
                    assert_eq!(rules.proposer(round), validators.as_slice()[seat], "{n} {previous} round {round}");
                    seat = if seat + 1 == n { 0 } else { seat + 1 };
                }
                for round in [1000, u32::MAX] {
                    assert!(validators.contains(&rules.proposer(round)));
                }
            }
        }
    }
}
