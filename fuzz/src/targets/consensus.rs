//! QBFT: messages, certificates, and the core under any events.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use alloy_primitives::B256;
use arbitrary::Unstructured;
use ipe_qbft::{Effect, Event, HeadInfo, PreparedCertificate, Restored, Settings, State, Timer, step};
use ipe_types::crypto::{HighS, recover_address};
use ipe_types::header::commit_hash;
use ipe_types::message::peek;
use ipe_types::{Dialect, ExtraData, Kind, Message};

use crate::events::{KEYS, Scene, below, block, byte, round, short, validators};
use crate::{Target, fixtures};

/// Payloads of istanbul/100.
pub(super) const MESSAGES: Target = Target {
    name: "istanbul",
    about: "payloads of istanbul/100",
    longest: 16_384,
    memory: Some((64 << 10, 2_048)),
    seeds: || {
        let ours = fixtures::messages().into_iter().filter(|message| message.protocol == "istanbul");
        ours.map(|message| [&[message.code][..], &message.payload].concat()).collect()
    },
    run: |input| {
        let Some((code, payload)) = input.split_first() else { return };
        if let Some(kind) = Kind::from_code(*code) {
            let _ = peek(kind, payload);
        }
        let Ok(message) = Message::decode(*code, payload) else { return };
        assert_eq!(message.encode().as_ref(), payload, "what was signed is kept as it came");
        let again = Message::decode(*code, &message.encode()).expect("it was read before");
        assert_eq!(again.author(), message.author(), "the author stays who it is");
        assert_eq!(again, message);
        let place = (message.height(), message.round());
        assert_eq!(peek(message.kind(), payload).ok(), Some(place), "a relay sees the same height and round");
    },
};

/// A prepared certificate as the journal keeps it.
pub(super) const CERTIFICATE: Target = Target {
    name: "certificate",
    about: "a prepared certificate in the signing journal",
    longest: 16_384,
    memory: Some((64 << 10, 2_048)),
    seeds: || (0..8u8).map(|mark| scene().certificate(&mut Unstructured::new(&[mark; 40])).to_bytes()).collect(),
    run: |input| {
        if let Ok(certificate) = PreparedCertificate::from_bytes(input) {
            let again = PreparedCertificate::from_bytes(&certificate.to_bytes());
            assert_eq!(again.ok().as_ref(), Some(&certificate));
        }
    },
};

/// The consensus core with its gate, under any order of messages, answers, timers, heads and restarts.
pub(super) const STEP: Target = Target {
    name: "step",
    about: "qbft::step under any events",
    longest: 1_024,
    memory: Some((32 << 20, 256 << 10)),
    seeds: || {
        let mut dice = crate::mutate::Dice(7);
        (0..24).map(|_| (0..400).map(|_| dice.roll() as u8).collect()).collect()
    },
    run: machine,
};

const HEIGHT: u64 = 9;
const PARENT_S: u64 = 1_700_000_000;

fn scene() -> Scene {
    Scene { height: HEIGHT, parent: B256::repeat_byte(8), timestamp: PARENT_S + 1 }
}

fn head(number: u64) -> HeadInfo {
    HeadInfo {
        number,
        hash: B256::repeat_byte(number as u8),
        timestamp_s: PARENT_S,
        coinbase: KEYS[0].address(),
        validators: validators(),
        period_ms: 1_000,
        empty_period_ms: 0,
        request_timeout_ms: 1_000,
    }
}

/// What is durable of one validator.
#[derive(Default)]
struct Gate {
    signed: BTreeMap<(u64, u32, Kind), (B256, Arc<Message>)>,
    certificate: Option<(u64, Arc<PreparedCertificate>)>,
}

impl Gate {
    /// Signs what contradicts nothing.
    fn sign(&mut self, me: usize, draft: &ipe_qbft::Draft) -> Event {
        let place = (draft.height(), draft.round(), draft.kind());
        if let Some((identity, message)) = self.signed.get(&place) {
            return if *identity == draft.identity() {
                Event::Received(message.clone())
            } else {
                Event::SignRefused { height: place.0, round: place.1, kind: place.2 }
            };
        }
        if let Some(certificate) = draft.certificate() {
            self.certificate = Some((place.0, certificate.clone()));
        }
        let message = Arc::new(draft.sign_with(|hash| KEYS[me].sign(hash)).expect("our keys sign"));
        self.signed.insert(place, (draft.identity(), message.clone()));
        Event::Received(message)
    }

    fn restored(&self, height: u64) -> Option<Restored> {
        let at = || self.signed.iter().filter(|((signed, ..), _)| *signed == height);
        Some(Restored {
            height,
            round: at().map(|((_, round, _), _)| *round).max()?,
            certificate: self.certificate.as_ref().filter(|(at, _)| *at == height).map(|(_, held)| held.clone()),
            messages: at().map(|(_, (_, message))| message.clone()).collect(),
        })
    }
}

fn machine(input: &[u8]) {
    let mut source = Unstructured::new(input);
    let me = below(&mut source, 4);
    let settings = Settings { local: KEYS[me].address(), dialect: Dialect::Legacy };
    let mut state = State::new(settings);
    let mut gate = Gate::default();
    let mut number = HEIGHT - 1;
    let mut now = PARENT_S * 1_000 + 500;
    let mut decided = BTreeSet::new();
    let mut due: [Option<(Timer, u64)>; Timer::SLOTS] = [None; Timer::SLOTS];
    let mut queue = VecDeque::from([Event::HeadAdvanced(head(number))]);
    let mut left = 96;
    loop {
        while let Some(event) = queue.pop_front() {
            for effect in step(&mut state, now.into(), event) {
                match effect {
                    Effect::Sign(draft) => {
                        assert_eq!(draft.height(), number + 1, "only the height in hand is signed");
                        assert!(draft.round() <= 1_000);
                        queue.push_back(gate.sign(me, &draft));
                    }
                    Effect::SetTimer { timer, at } => due[timer.slot()] = Some((timer, at)),
                    Effect::CancelTimer(timer) => due[timer.slot()] = None,
                    Effect::Decide { block, hash, round } => {
                        assert!(decided.insert(block.header.number), "two decisions at one height");
                        assert_eq!(block.hash().ok(), Some(hash));
                        let extra = ExtraData::decode(&block.header.extra_data).expect("it was read before");
                        let sealed = commit_hash(&block.header, round).expect("it was read before");
                        let committers: BTreeSet<_> = extra
                            .seals
                            .iter()
                            .map(|seal| recover_address(sealed, seal, HighS::Allowed).expect("a seal has an author"))
                            .collect();
                        assert_eq!((extra.round, committers.len()), (round, extra.seals.len()));
                        assert!(committers.len() >= 3 && committers.iter().all(|who| validators().contains(who)));
                    }
                    Effect::BuildBlock { height, round, timestamp_s } => {
                        let parent = B256::repeat_byte(number as u8);
                        let block = Arc::new(block(height, parent, KEYS[me].address(), timestamp_s, round, 9));
                        if !byte(&mut source).is_multiple_of(4) {
                            queue.push_back(Event::BlockBuilt { height, round, block, empty: round % 2 == 0 });
                        }
                    }
                    Effect::CheckBlock { height, round, hash, .. } => {
                        let verdict = if byte(&mut source).is_multiple_of(4) { Err("no".to_owned()) } else { Ok(()) };
                        queue.push_back(Event::BlockChecked { height, round, hash, verdict });
                    }
                    _ => {}
                }
            }
        }
        if source.is_empty() || left == 0 {
            return;
        }
        left -= 1;
        let scene = Scene { height: number + 1, parent: B256::repeat_byte(number as u8), timestamp: PARENT_S + 1 };
        let event = match byte(&mut source) {
            0..=175 => Event::Received(Arc::new(scene.message(&mut source))),
            176..=215 => {
                // The timer that is due next, at its time.
                let Some((timer, at)) = due.iter().flatten().min_by_key(|(_, at)| *at).copied() else { continue };
                now = now.max(at);
                due[timer.slot()] = None;
                Event::TimerFired(timer)
            }
            216..=222 => Event::TimerFired(Timer::Round { height: number + 1, round: round(&mut source) }),
            223..=228 => {
                now += u64::from(short(&mut source));
                continue;
            }
            229..=233 => Event::TransactionsAnswered { height: number + 1, waiting: byte(&mut source).is_multiple_of(2) },
            234..=236 => Event::TransactionsWaiting,
            237..=240 => {
                let kind = [Kind::Proposal, Kind::Prepare, Kind::Commit, Kind::RoundChange][below(&mut source, 4)];
                Event::SignRefused { height: number + 1, round: round(&mut source), kind }
            }
            241..=246 => {
                number += 1;
                Event::HeadAdvanced(head(number))
            }
            247..=252 => {
                // A restart: what is durable comes back.
                state = State::new(settings);
                decided.remove(&(number + 1));
                due = [None; Timer::SLOTS];
                queue.extend(gate.restored(number + 1).map(Event::Restored));
                Event::HeadAdvanced(head(number))
            }
            _ => Event::BlockChecked {
                height: number + 1,
                round: round(&mut source),
                hash: scene.block(&mut source).hash().unwrap_or_default(),
                verdict: Ok(()),
            },
        };
        queue.push_back(event);
    }
}
