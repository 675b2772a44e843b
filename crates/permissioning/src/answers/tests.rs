use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn moment(number: u64) -> Moment {
    Moment { number, fork: Fork::Berlin, gas: 50 }
}

fn question(n: u64) -> Question {
    Question::Exact { contract: Address::ZERO, input: B256::from(U256::from(n)) }
}

fn slot(address: u8, slot: u64, value: u64) -> Fact {
    Fact::Slot(Address::with_last_byte(address), U256::from(slot), U256::from(value))
}

fn reads(facts: Vec<Fact>) -> Reads {
    Reads { facts, of_the_block: false }
}

#[test]
fn a_verdict_stays_until_a_block_changes_what_it_rests_on() {
    let mut answers = Answers::new(moment(7));
    let account = Fact::Account(Address::with_last_byte(9), None);
    answers.put(moment(7), question(1), Verdict::Allowed, &reads(vec![account, slot(1, 1, 5)]));
    answers.put(moment(7), question(2), Verdict::Denied, &reads(vec![account, slot(1, 2, 6)]));
    assert_eq!(answers.get(moment(7), &question(1)), Some(Verdict::Allowed));
    // The same values again, and other places: nothing is dropped.
    let same = [Change::To(slot(1, 1, 5)), Change::To(slot(2, 1, 8)), Change::To(account)];
    answers.advance(moment(8), same.into_iter());
    assert_eq!(answers.get(moment(8), &question(1)), Some(Verdict::Allowed));
    answers.advance(moment(9), [Change::To(slot(1, 1, 4))].into_iter());
    assert_eq!(answers.get(moment(9), &question(1)), None);
    assert_eq!(answers.get(moment(9), &question(2)), Some(Verdict::Denied));
    let created = Fact::Account(Address::with_last_byte(9), Some((1, U256::ZERO, B256::ZERO)));
    answers.advance(moment(10), [Change::To(created)].into_iter());
    assert!(answers.is_empty() && answers.places.is_empty() && answers.references == 0);
}

#[test]
fn nothing_is_given_or_taken_for_another_moment() {
    let mut answers = Answers::new(moment(7));
    answers.put(moment(6), question(1), Verdict::Allowed, &Reads::default());
    answers.put(moment(8), question(1), Verdict::Allowed, &Reads::default());
    assert!(answers.is_empty());
    answers.put(moment(7), question(1), Verdict::Allowed, &Reads::default());
    assert_eq!(answers.get(moment(6), &question(1)), None);
    assert_eq!(answers.get(moment(8), &question(1)), None);
    // Other rules, other gas, or a block that was not seen: nothing can be known.
    for to in [Moment { fork: Fork::London, ..moment(8) }, Moment { gas: 49, ..moment(8) }, moment(9)] {
        let mut answers = Answers::new(moment(7));
        answers.put(moment(7), question(1), Verdict::Allowed, &Reads::default());
        answers.advance(to, std::iter::empty());
        assert!(answers.is_empty(), "{to:?}");
    }
}

#[test]
fn what_looked_at_the_block_holds_for_that_block() {
    let mut answers = Answers::new(moment(7));
    answers.put(moment(7), question(1), Verdict::Allowed, &Reads { facts: vec![slot(1, 1, 1)], of_the_block: true });
    assert_eq!(answers.get(moment(7), &question(1)), Some(Verdict::Allowed));
    answers.advance(moment(8), std::iter::empty());
    assert_eq!(answers.get(moment(8), &question(1)), None);
}

#[test]
fn a_contract_that_is_destroyed_takes_its_slots_along() {
    let mut answers = Answers::new(moment(7));
    answers.put(moment(7), question(1), Verdict::Allowed, &reads(vec![slot(1, 1, 1)]));
    answers.put(moment(7), question(2), Verdict::Allowed, &reads(vec![slot(2, 1, 1)]));
    answers.advance(moment(8), [Change::Wiped(Address::with_last_byte(1))].into_iter());
    assert_eq!((answers.get(moment(8), &question(1)), answers.len()), (None, 1));
}

#[test]
fn no_more_is_kept_than_the_bounds_say() {
    let mut answers = Answers::new(moment(7));
    answers.put(moment(7), question(0), Verdict::Allowed, &reads((0..=MOST_READ as u64).map(|n| slot(1, n, 1)).collect()));
    assert!(answers.is_empty(), "it read too much");
    for n in 0..MOST_ANSWERS as u64 + 5 {
        answers.put(moment(7), question(n), Verdict::Allowed, &reads(vec![slot(1, 0, 1), slot(1, n + 1, 1)]));
    }
    assert_eq!(answers.len(), MOST_ANSWERS);
    assert_eq!(answers.get(moment(7), &question(4)), None, "the oldest left");
    let facts = answers.facts.iter().flatten().count();
    assert_eq!((facts, answers.references), (MOST_ANSWERS + 1, 2 * MOST_ANSWERS));
    // Large ones: references are what is bounded then.
    let mut answers = Answers::new(moment(7));
    let many: Vec<Fact> = (0..MOST_READ as u64).map(|n| slot(1, n, 1)).collect();
    for n in 0..4_000 {
        answers.put(moment(7), question(n), Verdict::Allowed, &reads(many.clone()));
    }
    assert_eq!(answers.references, MOST_REFERENCES);
    assert_eq!(answers.len(), MOST_REFERENCES / MOST_READ);
}

proptest! {
    /// A kept verdict is the one that asking again would give, whatever blocks do: here the "contract" adds up some slots.
    #[test]
    fn what_is_kept_is_what_asking_again_would_say(
        steps in prop::collection::vec((prop::collection::vec((0u8..3, 0u64..4, 0u64..3), 0..4), 0u64..8, any::<bool>()), 1..60),
    ) {
        let mut state: BTreeMap<(u8, u64), u64> = BTreeMap::new();
        let mut answers = Answers::new(moment(0));
        for (number, (changes, asked, wipe)) in steps.into_iter().enumerate() {
            let now = moment(number as u64);
            let read: Vec<Fact> = (0..3u8)
                .map(|address| (address, asked % 4))
                .filter(|(address, _)| asked & u64::from(*address) == 0)
                .map(|(address, place)| slot(address, place, state.get(&(address, place)).copied().unwrap_or(0)))
                .collect();
            let sum: u64 = read.iter().map(|fact| match fact { Fact::Slot(_, _, value) => value.to::<u64>(), _ => 0 }).sum();
            let verdict = if sum.is_multiple_of(2) { Verdict::Allowed } else { Verdict::Denied };
            if let Some(kept) = answers.get(now, &question(asked)) {
                prop_assert_eq!(&kept, &verdict);
            }
            answers.put(now, question(asked), verdict, &reads(read));
            let mut told = Vec::new();
            if wipe {
                state.retain(|(address, _), _| *address != 1);
                told.push(Change::Wiped(Address::with_last_byte(1)));
            }
            for (address, place, value) in changes {
                state.insert((address, place), value);
                told.retain(|change| !matches!(change, Change::To(Fact::Slot(a, s, _)) if *a == Address::with_last_byte(address) && *s == U256::from(place)));
                told.push(Change::To(slot(address, place, value)));
            }
            answers.advance(moment(number as u64 + 1), told.into_iter());
        }
    }
}
