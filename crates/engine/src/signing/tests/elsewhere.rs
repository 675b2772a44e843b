//! A key that is elsewhere: asked after the record, answered late, wrongly or never.

use super::*;

fn away(disk: &MemoryJournal) -> (Gate, Option<Restored>) {
    Gate::open(Signer::Elsewhere(key(1).address()), Box::new(disk.clone()), CHAIN).unwrap()
}

fn asked(made: Result<Signing, SignRefusal>) -> SignRequest {
    let Ok(Signing::Asked(request)) = made else { panic!("asked for, and not {made:?}") };
    request
}

fn by(n: u8, request: &SignRequest) -> SignAnswer {
    request.draft.signatures(|hash| Ok(key(n).sign(hash)))
}

fn every() -> [Draft; 4] {
    [proposal(5, 0, 1), prepare(5, 0, 1), commit(5, 0, 1), round_change(5, 1, Some((0, 1)))]
}

#[test]
fn a_message_is_the_same_wherever_its_key_is() {
    for draft in every() {
        let (here, there) = (fresh(), fresh());
        let message = at_once(open(&here).0.sign(&draft));
        let (mut gate, _) = away(&there);
        let request = asked(gate.sign(&draft));
        assert_eq!(there.content(), here.content(), "the journal has it before the signer is asked");
        let answer = by(1, &request);
        let (about, made) = gate.answered(request.id, answer.clone()).expect("it waits");
        assert_eq!((&*about, made.unwrap()), (&draft, message));
        assert!(gate.answered(request.id, answer).is_none(), "once");
        assert_eq!(gate.asked.len(), 0);
    }
}

#[test]
fn what_is_waited_for_is_not_asked_for_twice_and_nothing_else_is_asked_for_instead() {
    let (mut gate, _) = away(&fresh());
    let request = asked(gate.sign(&prepare(5, 0, 1)));
    assert!(matches!(gate.sign(&prepare(5, 0, 1)), Ok(Signing::Waiting)));
    assert!(matches!(gate.sign(&prepare(5, 0, 2)), Err(SignRefusal::Conflict { .. })));
    let (_, made) = gate.answered(request.id, Err("the token is gone".to_owned())).expect("it waits");
    assert!(matches!(made, Err(SignRefusal::Unsigned(reason)) if reason == "the token is gone"));
    // The journal takes it for signed all the same; the same may be asked for again.
    assert!(matches!(gate.sign(&prepare(5, 0, 2)), Err(SignRefusal::Conflict { .. })));
    assert!(asked(gate.sign(&prepare(5, 0, 1))).id > request.id);
}

#[test]
fn an_answer_is_worth_what_its_signatures_prove() {
    for draft in every() {
        let (mut gate, _) = away(&fresh());
        let sound = by(1, &asked(gate.sign(&draft))).unwrap();
        let foreign = draft.signatures(|hash| Ok::<_, ()>(key(2).sign(hash))).unwrap();
        let other = prepare(5, 0, 9).signatures(|hash| Ok::<_, ()>(key(1).sign(hash))).unwrap();
        let mut wrong = vec![foreign, Signatures { message: other.message, ..sound }];
        wrong.push(match sound.seal {
            Some(_) => Signatures { seal: None, ..sound },
            None => Signatures { seal: Some(sound.message), ..sound },
        });
        if sound.seal.is_some() {
            // A seal of the key over something else, in a message that is signed soundly.
            let mut first = true;
            let mixed = draft.signatures(|hash| {
                let hash = if std::mem::take(&mut first) { digest(77) } else { hash };
                Ok::<_, ()>(key(1).sign(hash))
            });
            wrong.push(mixed.unwrap());
        }
        for answer in wrong {
            let (mut gate, _) = away(&fresh());
            let request = asked(gate.sign(&draft));
            let (_, made) = gate.answered(request.id, Ok(answer)).expect("it waits");
            assert!(matches!(made, Err(SignRefusal::Signer(of)) if of == key(1).address()), "{draft:?}: {made:?}");
        }
    }
}

#[test]
fn answers_about_what_is_past_and_while_there_is_a_doubt_are_nothing() {
    let (mut gate, _) = away(&fresh());
    let early = asked(gate.sign(&prepare(5, 0, 1)));
    let next = asked(gate.sign(&prepare(6, 0, 1)));
    assert!(gate.answered(early.id, by(1, &early)).is_none(), "its height is decided");
    assert_eq!(gate.asked.len(), 1, "and it is forgotten");
    gate.abstain(Doubt { cause: Cause::Twin, through: 6 }).unwrap();
    assert!(gate.answered(next.id, by(1, &next)).is_none());
    assert!(gate.answered(99, by(1, &next)).is_none());
}

#[test]
fn a_signer_that_never_answers_is_asked_a_bounded_number_of_times() {
    let (mut gate, _) = away(&fresh());
    for round in 1..=MAX_ASKED as u32 {
        asked(gate.sign(&round_change(5, round, None)));
    }
    assert!(matches!(gate.sign(&round_change(5, 1_000, None)), Err(SignRefusal::Overdue(MAX_ASKED))));
    // The next height is another matter.
    asked(gate.sign(&prepare(6, 0, 1)));
    assert_eq!(gate.asked.len(), 1);
}

/// What a former life signed is asked for again, and is byte for byte what it was.
#[test]
fn a_later_life_asks_for_what_was_signed() {
    let disk = fresh();
    let (mut gate, _) = away(&disk);
    let said: Vec<Message> = every()
        .iter()
        .map(|draft| {
            let request = asked(gate.sign(draft));
            gate.answered(request.id, by(1, &request)).expect("it waits").1.unwrap()
        })
        .collect();
    let (mut gate, restored) = away(&disk);
    let restored = restored.expect("something was signed");
    assert_eq!((restored.height, restored.round, restored.messages.len()), (5, 1, 0));
    let again: Vec<Message> = gate
        .unsigned()
        .iter()
        .map(|draft| {
            let request = asked(gate.sign(draft));
            gate.answered(request.id, by(1, &request)).expect("it waits").1.unwrap()
        })
        .collect();
    assert_eq!(again.len(), 3, "all but the proposal");
    assert!(again.iter().all(|message| said.contains(message)));
    assert_eq!(open(&disk).1.expect("the same").messages.len(), 3);
    assert!(open(&disk).0.unsigned().is_empty());
}
