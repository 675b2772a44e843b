//! An honest node passes on only what validators of the height have signed, and with it only what can justify it: what
//! nobody signed as a whole must have been verified before it goes on.

use alloy_primitives::Address;
use ipe_types::Message;
use ipe_types::message::Signed;

use super::Who;

pub(super) fn check(who: &Who<'_>, message: &Message, validators: &[Address]) -> Result<(), String> {
    // Of a height whose validators nobody knows yet, whoever validates now may speak.
    if validators.is_empty() {
        return Ok(());
    }
    let (author, height) = (message.author(), message.height());
    if !validators.contains(&author) {
        return Err(format!("{} passed on a {:?} of {author}, who is no validator of height {height}", who.name, message.kind()));
    }
    match unjustified(message, validators) {
        None => Ok(()),
        Some(what) => Err(format!("{} passed on a {:?} of {author} for height {height} with {what}", who.name, message.kind())),
    }
}

/// What is in the part that the author has not signed and does not belong there.
fn unjustified(message: &Message, validators: &[Address]) -> Option<String> {
    let (height, round) = (message.height(), message.round());
    let (changes, prepares): (&[_], &[_]) = match message {
        Message::Proposal(proposal) => (&proposal.round_changes, &proposal.prepares),
        Message::RoundChange(change) => (&[], &change.prepares),
        Message::Prepare(_) | Message::Commit(_) => return None,
    };
    if let Some(change) = changes.iter().find(|change| change.height() != height || change.round() != round) {
        return Some(format!("a RoundChange for height {} round {}, its own round is {round}", change.height(), change.round()));
    }
    if let Some(prepare) = prepares.iter().find(|prepare| prepare.height() != height || prepare.round() >= round) {
        return Some(format!("a Prepare for height {} round {}, its own round is {round}", prepare.height(), prepare.round()));
    }
    let authors = [changes.iter().map(Signed::author).collect::<Vec<_>>(), prepares.iter().map(Signed::author).collect()];
    for authors in authors {
        for (index, author) in authors.iter().enumerate() {
            if !validators.contains(author) || authors.iter().take(index).any(|other| other == author) {
                return Some(format!("the justification of {author}, who is no validator or is there twice"));
            }
        }
    }
    None
}
