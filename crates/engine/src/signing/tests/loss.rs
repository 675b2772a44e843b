//! A journal that is lost, damaged, cut, older or shared never lets the key contradict itself.

use ipe_types::journal::{Frames, frame};

use super::*;
use crate::journal::MAGIC;

/// One height with everything in it, small enough to try every bit.
fn small() -> Vec<(Draft, Draft)> {
    vec![
        (proposal(5, 0, 1), proposal(5, 0, 91)),
        (prepare(5, 0, 1), prepare(5, 0, 91)),
        (commit(5, 0, 1), commit(5, 0, 91)),
        (round_change(5, 1, Some((0, 1))), round_change(5, 1, None)),
        (prepare(5, 1, 1), prepare(5, 1, 91)),
    ]
}

/// A disk on which all of the script was signed, and what the disk was after each message.
fn signed(script: &[(Draft, Draft)]) -> (MemoryJournal, Vec<Vec<u8>>, Witness) {
    let (disk, mut witness) = (fresh(), Witness::default());
    let mut copies = vec![disk.content()];
    let (mut gate, _) = open(&disk);
    for (draft, _) in script {
        gate.sign(draft).unwrap();
        witness.hears(draft);
        copies.push(disk.content());
    }
    (disk, copies, witness)
}

/// Opens a disk with this content and offers the contrary of everything that was said; whether the gate abstains.
fn tempt(disk: &MemoryJournal, content: Vec<u8>, script: &[(Draft, Draft)], witness: &mut Witness) -> bool {
    let disk = disk.copy();
    disk.set_content(content);
    let Ok((mut gate, restored)) = Gate::open(Signer::Local(key(1)), Box::new(disk.clone()), CHAIN) else { return true };
    let doubt = gate.doubt();
    assert!(doubt.is_none() || restored.is_none());
    for (_, contrary) in script {
        if gate.sign(contrary).is_ok() {
            witness.hears(contrary);
        }
    }
    if doubt.is_some() {
        // It is written down, so the next life knows it too.
        assert_eq!(open(&disk).0.doubt(), doubt);
    } else {
        // All that was acknowledged is known.
        let (mut gate, _) = open(&disk);
        script.iter().for_each(|(draft, _)| assert!(gate.sign(draft).is_ok(), "{draft:?} is forgotten"));
    }
    doubt.is_some()
}

#[test]
fn no_flipped_bit_lets_the_key_contradict_itself() {
    let script = small();
    let (disk, copies, mut witness) = signed(&script);
    let whole = copies.last().unwrap();
    let bare = disk.copy();
    bare.set_mark(Vec::new());
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut content = whole.clone();
            content[at] ^= 1 << bit;
            // With the mark beside it or without.
            let disk = if (at + bit) % 2 == 0 { &disk } else { &bare };
            assert!(tempt(disk, content, &script, &mut witness), "bit {bit} of byte {at} of {}", whole.len());
        }
    }
}

#[test]
fn no_cut_lets_the_key_contradict_itself_with_zeros_after_it_or_without() {
    let script = small();
    let (disk, copies, mut witness) = signed(&script);
    let whole = copies.last().unwrap();
    for cut in 0..whole.len() {
        assert!(tempt(&disk, whole[..cut].to_vec(), &script, &mut witness), "cut at {cut}");
        let mut zeroed = whole[..cut].to_vec();
        zeroed.resize(whole.len(), 0);
        assert!(tempt(&disk, zeroed, &script, &mut witness), "zeros from {cut}");
    }
}

#[test]
fn zeros_after_the_newest_record_are_a_torn_tail_and_the_start_goes_on() {
    let script = small();
    let (disk, copies, mut witness) = signed(&script);
    for zeros in [1, 8, 60, 4_096, 1 << 20] {
        let mut content = copies.last().unwrap().clone();
        content.resize(content.len() + zeros, 0);
        assert!(!tempt(&disk, content, &script, &mut witness), "{zeros} zeros");
    }
    // Also where the crash was in the middle of a record that was never acknowledged: its mark was never written.
    let mut next = Witness::default();
    let disk = fresh();
    let (mut gate, _) = open(&disk);
    for (draft, _) in &script {
        let (before, mark) = (disk.content(), disk.mark());
        gate.sign(draft).unwrap();
        let after = disk.content();
        for cut in before.len()..after.len() {
            let mut content = after[..cut].to_vec();
            content.resize(after.len() + 4_096, 0);
            let torn = MemoryJournal::new();
            torn.set_content(content);
            torn.set_mark(mark.clone());
            assert_eq!(open(&torn).0.doubt(), None, "cut at {cut}");
        }
        next.hears(draft);
    }
}

#[test]
fn no_repeated_tail_and_no_older_copy_lets_the_key_contradict_itself() {
    let script = small();
    let (disk, copies, mut witness) = signed(&script);
    let whole = copies.last().unwrap();
    for from in copies.iter().map(Vec::len) {
        if from < whole.len() {
            let repeated = [&whole[..], &whole[from..]].concat();
            assert!(tempt(&disk, repeated, &script, &mut witness), "{from} again");
        }
    }
    for (older, copy) in copies.iter().enumerate().take(script.len()) {
        assert!(tempt(&disk, copy.clone(), &script, &mut witness), "as it was after {older} messages");
    }
    assert!(!tempt(&disk, whole.clone(), &script, &mut witness));
}

#[test]
fn an_absent_or_overwritten_journal_makes_the_validator_abstain() {
    let script = small();
    let (disk, _, mut witness) = signed(&script);
    let bare = disk.copy();
    bare.set_mark(Vec::new());
    let opened = |disk: &MemoryJournal, content: &[u8]| {
        let disk = disk.copy();
        disk.set_content(content.to_vec());
        open(&disk).0.doubt().unwrap()
    };
    assert_eq!(opened(&disk, &[]), Doubt { cause: Cause::Absent, through: 5 });
    assert_eq!(opened(&bare, &[]), Doubt { cause: Cause::Absent, through: 0 });
    for garbage in [&[0u8; 100][..], &[0xff; 300], b"x", MAGIC, &MAGIC[..9]] {
        assert_eq!(opened(&bare, garbage).cause, Cause::Damaged, "{garbage:?}");
        assert!(tempt(&disk, garbage.to_vec(), &script, &mut witness));
    }
    // The mark of a former journal of another key or chain says nothing about this one.
    let other = fresh();
    other.set_mark(disk.mark());
    let (gate, _) = Gate::open(Signer::Local(key(1)), Box::new(other), CHAIN).unwrap();
    assert_eq!(gate.doubt().map(|doubt| doubt.cause), Some(Cause::Older));
    let other = MemoryJournal::new();
    other.set_content(newborn(CHAIN, key(2).address()));
    other.set_mark(disk.mark());
    assert_eq!(Gate::open(Signer::Local(key(2)), Box::new(other), CHAIN).unwrap().0.doubt(), None);
}

/// A journal as release 0.1.0 wrote it: the same records in frames without a chain.
fn of_old(content: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let (mut old, mut ends) = (Vec::new(), vec![0]);
    for record in crate::journal::frames(content) {
        frame(&mut old, record);
        ends.push(old.len());
    }
    (old, ends)
}

#[test]
fn a_journal_of_the_first_release_is_read_whole_and_written_anew() {
    let script = small();
    let (disk, copies, mut witness) = signed(&script);
    let (old, ends) = of_old(copies.last().unwrap());
    let bare = disk.copy();
    bare.set_mark(Vec::new());
    assert!(!tempt(&bare, old.clone(), &script, &mut witness));
    let upgraded = bare.copy();
    upgraded.set_content(old.clone());
    let (gate, restored) = open(&upgraded);
    assert_eq!((gate.doubt(), restored.unwrap().height), (None, 5));
    assert!(upgraded.content().starts_with(MAGIC));
    // Damage in the middle, a torn tail, and an old copy that was put back after the upgrade.
    for at in 0..ends[ends.len() - 2] {
        let mut content = old.clone();
        content[at] ^= 4;
        assert!(tempt(&bare, content, &script, &mut witness), "bit of byte {at}");
    }
    let mut torn = old[..ends[ends.len() - 2]].to_vec();
    torn.extend_from_slice(&old[torn.len()..][..20]);
    torn.resize(torn.len() + 512, 0);
    let stopped = bare.copy();
    stopped.set_content(torn);
    assert_eq!(open(&stopped).0.doubt(), None, "what was torn off was never signed");
    assert!(tempt(&disk, old, &script, &mut witness));
}

#[test]
fn the_first_release_refuses_a_journal_of_this_one() {
    let content = newborn(CHAIN, key(1).address());
    let first = Frames::new(&content).next().unwrap();
    assert!(first[0] > 2, "it knows the tags 0, 1 and 2, and stops at others with an error");
}

#[test]
fn a_doubt_ends_when_it_is_settled_and_nothing_below_is_signed() {
    let disk = MemoryJournal::new();
    let (mut gate, _) = open(&disk);
    assert!(matches!(gate.sign(&prepare(7, 0, 1)), Err(SignRefusal::Abstains(_))));
    disk.break_at(Fault { at_write: disk.writes(), bytes: 0 });
    assert!(gate.settle(9).is_err());
    assert!(matches!(gate.sign(&prepare(9, 0, 1)), Err(SignRefusal::Abstains(_))), "nothing is settled unwritten");
    disk.repair();
    gate.settle(9).unwrap();
    for mut gate in [gate, open(&disk).0] {
        assert_eq!(gate.doubt(), None);
        assert!(matches!(gate.sign(&prepare(8, 0, 1)), Err(SignRefusal::BelowFloor { floor: 9, .. })));
        gate.sign(&prepare(9, 0, 1)).unwrap();
    }
}

#[test]
fn a_message_of_an_earlier_life_makes_it_abstain_and_one_of_a_twin_until_an_operator_speaks() {
    let theirs = |draft: Draft| at_once(open(&fresh()).0.sign(&draft));
    let disk = fresh();
    let (mut gate, _) = open(&disk);
    let foreign = Gate::open(Signer::Local(key(2)), Box::new(MemoryJournal::new()), CHAIN).unwrap().0;
    assert_eq!(gate.heard_own(&foreign.make(&prepare(5, 0, 9)).unwrap()), Heard::Foreign);
    // Before anything was signed in this life it can only be of an earlier one.
    assert_eq!(gate.heard_own(&theirs(prepare(5, 0, 9))), Heard::Earlier);
    assert_eq!(gate.doubt(), Some(Doubt { cause: Cause::Older, through: 5 }));
    gate.settle(6).unwrap();
    assert_eq!(gate.heard_own(&theirs(prepare(5, 0, 9))), Heard::Known, "what is decided may be repeated");
    for (draft, again) in [(proposal(6, 0, 1), true), (commit(6, 0, 1), true), (round_change(6, 1, Some((0, 1))), true)] {
        let own = at_once(gate.sign(&draft));
        assert_eq!(gate.heard_own(&own) == Heard::Known, again);
    }
    assert_eq!(gate.doubt(), None);
    assert_eq!(gate.heard_own(&theirs(prepare(6, 1, 9))), Heard::Twin);
    for word in [None, Some(Word::OtherStopped), Some(Word::NothingElseSigned)] {
        let (mut gate, _) = open(&disk.copy());
        assert_eq!(gate.doubt(), Some(Doubt { cause: Cause::Twin, through: 6 }), "kept over a restart");
        let left = word.map(|word| gate.answer(word).unwrap());
        match word {
            None => assert!(gate.sign(&prepare(7, 0, 1)).is_err()),
            Some(Word::OtherStopped) => assert_eq!(left, Some(Some(Doubt { cause: Cause::Older, through: 6 }))),
            Some(Word::NothingElseSigned) => assert!(left == Some(None) && gate.sign(&prepare(7, 0, 1)).is_ok()),
        }
    }
}
