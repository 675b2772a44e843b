//! Verdicts that are kept, each with all that its evaluation read of the state, until a block changes one of these facts.
//!
//! An answer may only be used on the state on which it holds: whoever asks says which moment it asks about, and nothing is
//! given or taken for another one. A block that becomes final moves the moment and drops what it contradicts. An evaluation
//! that looked at what every block changes (its number, time, proposer, a hash) holds for one moment alone.
//!
//! Facts are kept once, whoever reads them; most evaluations share nearly all of theirs.

use std::num::NonZeroUsize;

use alloy_primitives::map::{AddressMap, HashMap, HashSet};
use alloy_primitives::{Address, B256, U256};
use ipe_types::fork::Fork;
use lru::LruCache;

use crate::verdict::Verdict;

/// Verdicts kept: a thousand accounts that each do sixteen kinds of things. About 3 MB.
const MOST_ANSWERS: usize = 16_384;
/// Facts that one evaluation may have read for its verdict to be kept: a rules contract that reads more walks lists.
const MOST_READ: usize = 512;
/// References from verdicts to facts, 4 bytes each.
const MOST_REFERENCES: usize = 1 << 20;

/// Nonce, balance and code hash of an account.
pub type Fields = (u64, U256, B256);

/// Something that an evaluation read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact {
    /// An account, or that there is none.
    Account(Address, Option<Fields>),
    /// A slot's value.
    Slot(Address, U256, U256),
}

/// What a block did to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// This holds now.
    To(Fact),
    /// Every slot that the account had before the block is zero, unless another change names it.
    Wiped(Address),
}

/// All that an evaluation read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reads {
    /// Of the state.
    pub facts: Vec<Fact>,
    /// Whether it looked at what every block changes.
    pub of_the_block: bool,
}

/// A state, and what a question on it may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Height of the block after which the state holds.
    pub number: u64,
    /// Rules of the EVM.
    pub fork: Fork,
    /// Most gas of a question.
    pub gas: u64,
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// This input.
    Exact {
        /// Who is asked.
        contract: Address,
        /// keccak of the call's input.
        input: B256,
    },
    /// Any input that differs from one that was asked in what the evaluation handed around without looking at it: value, prices,
    /// gas and the payload's bytes.
    Alike {
        /// Who is asked.
        contract: Address,
        /// The transaction's.
        sender: Address,
        /// Zero for a creation.
        target: Address,
        /// Bytes of payload.
        payload: usize,
    },
}

#[derive(Debug)]
struct Answer {
    verdict: Verdict,
    reads: Box<[u32]>,
    of_the_block: bool,
}

#[derive(Debug)]
struct Known {
    fact: Fact,
    readers: u32,
}

#[derive(Debug, Default)]
struct At {
    account: Option<u32>,
    slots: HashMap<U256, u32>,
}

/// The kept verdicts of one moment.
#[derive(Debug)]
pub struct Answers {
    moment: Moment,
    answers: LruCache<Question, Answer>,
    references: usize,
    facts: Vec<Option<Known>>,
    free: Vec<u32>,
    places: AddressMap<At>,
}

impl Answers {
    /// None yet.
    pub fn new(moment: Moment) -> Self {
        Self {
            moment,
            answers: LruCache::new(NonZeroUsize::new(MOST_ANSWERS).unwrap_or(NonZeroUsize::MIN)),
            references: 0,
            facts: Vec::new(),
            free: Vec::new(),
            places: AddressMap::default(),
        }
    }

    /// How many verdicts are kept.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// The verdict on a question that was asked before, if it holds at this moment.
    pub fn get(&mut self, moment: Moment, question: &Question) -> Option<Verdict> {
        (moment == self.moment).then(|| self.answers.get(question)).flatten().map(|answer| answer.verdict.clone())
    }

    /// Keeps a verdict that was found at this moment; one of another moment is nothing that can be used.
    pub fn put(&mut self, moment: Moment, question: Question, verdict: Verdict, reads: &Reads) {
        if moment != self.moment || reads.facts.len() > MOST_READ || self.answers.contains(&question) {
            return;
        }
        while self.answers.len() >= MOST_ANSWERS || self.references + reads.facts.len() > MOST_REFERENCES {
            let Some((_, oldest)) = self.answers.pop_lru() else { break };
            self.forget(&oldest);
        }
        let ids: Box<[u32]> = reads.facts.iter().map(|fact| self.refer(*fact)).collect();
        self.references += ids.len();
        self.answers.put(question, Answer { verdict, reads: ids, of_the_block: reads.of_the_block });
    }

    /// Moves on to the state after a block with these changes. With other rules of the EVM or other gas nothing stays: the
    /// same code may do something else.
    pub fn advance(&mut self, to: Moment, changes: impl Iterator<Item = Change>) {
        let alike =
            to.fork == self.moment.fork && to.gas == self.moment.gas && self.moment.number.checked_add(1) == Some(to.number);
        self.moment = to;
        if !alike {
            self.clear();
            return;
        }
        if self.answers.is_empty() {
            return;
        }
        let mut broken: HashSet<u32> = HashSet::default();
        for change in changes {
            match change {
                Change::To(Fact::Account(address, now)) => {
                    let known = self.places.get(&address).and_then(|at| at.account);
                    broken.extend(known.filter(|id| self.fact(*id) != Some(Fact::Account(address, now))));
                }
                Change::To(Fact::Slot(address, slot, now)) => {
                    let known = self.places.get(&address).and_then(|at| at.slots.get(&slot)).copied();
                    broken.extend(known.filter(|id| self.fact(*id) != Some(Fact::Slot(address, slot, now))));
                }
                // Rare, and whoever destroys a contract with rules changes them.
                Change::Wiped(address) => {
                    broken.extend(self.places.get(&address).into_iter().flat_map(|at| at.slots.values().copied()));
                }
            }
        }
        let gone: Vec<Question> = self
            .answers
            .iter()
            .filter(|(_, answer)| answer.of_the_block || (!broken.is_empty() && answer.reads.iter().any(|id| broken.contains(id))))
            .map(|(question, _)| *question)
            .collect();
        for question in gone {
            if let Some(answer) = self.answers.pop(&question) {
                self.forget(&answer);
            }
        }
    }

    fn clear(&mut self) {
        self.answers.clear();
        self.references = 0;
        self.facts.clear();
        self.free.clear();
        self.places.clear();
    }

    fn fact(&self, id: u32) -> Option<Fact> {
        self.facts.get(id as usize)?.as_ref().map(|known| known.fact)
    }

    fn refer(&mut self, fact: Fact) -> u32 {
        let known = match fact {
            Fact::Account(address, _) => self.places.get(&address).and_then(|at| at.account),
            Fact::Slot(address, slot, _) => self.places.get(&address).and_then(|at| at.slots.get(&slot).copied()),
        };
        if let Some(id) = known
            && let Some(Some(known)) = self.facts.get_mut(id as usize)
        {
            assert_eq!(known.fact, fact, "a state has one value at one place");
            known.readers += 1;
            return id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.facts.push(None);
            (self.facts.len() - 1) as u32
        });
        self.facts[id as usize] = Some(Known { fact, readers: 1 });
        match fact {
            Fact::Account(address, _) => self.places.entry(address).or_default().account = Some(id),
            Fact::Slot(address, slot, _) => {
                self.places.entry(address).or_default().slots.insert(slot, id);
            }
        }
        id
    }

    fn forget(&mut self, answer: &Answer) {
        self.references -= answer.reads.len();
        for id in &answer.reads {
            let Some(Some(known)) = self.facts.get_mut(*id as usize) else { continue };
            known.readers -= 1;
            if known.readers > 0 {
                continue;
            }
            let fact = known.fact;
            self.facts[*id as usize] = None;
            self.free.push(*id);
            let (Fact::Account(address, _) | Fact::Slot(address, ..)) = fact;
            let Some(at) = self.places.get_mut(&address) else { continue };
            match fact {
                Fact::Account(..) => at.account = None,
                Fact::Slot(_, slot, _) => {
                    at.slots.remove(&slot);
                }
            }
            if at.account.is_none() && at.slots.is_empty() {
                self.places.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests;
