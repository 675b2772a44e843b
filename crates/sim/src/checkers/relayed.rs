//! An honest node passes on only what validators of the height have signed.

use alloy_primitives::Address;
use ipe_types::Message;

use super::Who;

pub(super) fn check(who: &Who<'_>, message: &Message, validators: &[Address]) -> Result<(), String> {
    // Of a height whose validators nobody knows yet, whoever validates now may speak.
    if validators.is_empty() || validators.contains(&message.author()) {
        return Ok(());
    }
    let (author, height) = (message.author(), message.height());
    Err(format!("{} passed on a {:?} of {author}, who is no validator of height {height}", who.name, message.kind()))
}
