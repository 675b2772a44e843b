//! The seals of a final block are of a quorum of that height's validators, over this block and its round.

use std::collections::BTreeSet;

use alloy_primitives::Address;
use ipe_types::crypto::{HighS, recover_address};
use ipe_types::header::commit_hash;
use ipe_types::{ExtraData, Header};

pub(super) fn check(header: &Header, validators: &[Address]) -> Result<(), String> {
    let extra = ExtraData::decode(&header.extra_data).map_err(|error| error.to_string())?;
    let sealed = commit_hash(header, extra.round).map_err(|error| error.to_string())?;
    let mut sealers = BTreeSet::new();
    for seal in &extra.seals {
        let author = recover_address(sealed, seal, HighS::Allowed).map_err(|error| error.to_string())?;
        if !validators.contains(&author) {
            return Err(format!("{author} sealed it and is no validator of its height"));
        }
        if !sealers.insert(author) {
            return Err(format!("{author} sealed it twice"));
        }
    }
    // At least two thirds.
    if 3 * sealers.len() < 2 * validators.len() {
        return Err(format!("{} of {} validators sealed it", sealers.len(), validators.len()));
    }
    Ok(())
}
