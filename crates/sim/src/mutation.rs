//! What can be done to one item of a message, whatever it means: for villains and for fuzzers.

use crate::tree::{Item, Place, long_form};

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutation {
    /// The item is not there.
    Absent,
    /// An empty string, or an empty list: zero.
    Zero,
    /// A number one higher.
    OneMore,
    /// A number one lower.
    OneLess,
    /// The greatest value of some width, or a length of its own.
    Extreme,
    /// One more item in the list, or behind the item.
    Extra,
    /// The item twice.
    Twice,
    /// A number with a leading zero.
    LeadingZero,
    /// A length in the long form where the short one does.
    LongForm,
    /// A list in the place of a string, or a string in the place of a list.
    OtherKind,
    /// One bit.
    Flipped,
    /// As long as the room lets it be.
    Padded,
    /// The item that stands there in another message of the same kind: of another height, round or author.
    Elsewhere,
}

impl Mutation {
    /// Every change.
    pub const ALL: [Mutation; 13] = [
        Mutation::Absent,
        Mutation::Zero,
        Mutation::OneMore,
        Mutation::OneLess,
        Mutation::Extreme,
        Mutation::Extra,
        Mutation::Twice,
        Mutation::LeadingZero,
        Mutation::LongForm,
        Mutation::OtherKind,
        Mutation::Flipped,
        Mutation::Padded,
        Mutation::Elsewhere,
    ];
}

/// Where chance comes from: any number below the one given.
pub type Below<'a> = &'a mut dyn FnMut(u64) -> u64;

/// Changes the item at `place`. `other` is another message of the kind, `room` the bytes that padding may add.
///
/// `false` when the change cannot be made there, or changes nothing.
pub fn apply(tree: &mut Item, place: &Place, mutation: Mutation, other: Option<&Item>, room: usize, below: Below<'_>) -> bool {
    let Some(before) = tree.at(place).cloned() else { return false };
    let stranger = other.and_then(|other| other.at(place)).cloned();
    let Some((items, index)) = tree.holder(place) else { return false };
    match mutation {
        Mutation::Absent => {
            items.remove(index);
            return true;
        }
        Mutation::Twice => {
            items.insert(index, before);
            return true;
        }
        Mutation::Extra => {
            let more = extra(&before, stranger, below);
            match (&mut items[index], below(2) == 0) {
                (Item::List(inner) | Item::Nested(inner), true) => inner.push(more),
                _ => items.insert(index + 1, more),
            }
            return true;
        }
        _ => {}
    }
    let after = match (mutation, &before) {
        (Mutation::Zero, Item::Word(_)) => Item::Word(Vec::new()),
        (Mutation::Zero, Item::List(_)) => Item::List(Vec::new()),
        (Mutation::Zero, Item::Nested(_)) => Item::Word(Vec::new()),
        (Mutation::OneMore | Mutation::OneLess, Item::Word(bytes)) => Item::Word(one_off(bytes, mutation == Mutation::OneMore)),
        (Mutation::Extreme, Item::Word(bytes)) => Item::Word(extreme(bytes.len(), below)),
        (Mutation::Extreme, Item::List(inner)) => {
            // Many of what it holds, or of nothing.
            let one = inner.first().cloned().unwrap_or(Item::Word(Vec::new()));
            Item::List(vec![one; 1_025])
        }
        (Mutation::LeadingZero, Item::Word(bytes)) => Item::Word([&[0], bytes.as_slice()].concat()),
        (Mutation::LongForm, item) => Item::Raw(long_form(item)),
        (Mutation::OtherKind, Item::Word(bytes)) => Item::List(vec![Item::Word(bytes.clone())]),
        (Mutation::OtherKind, Item::List(inner)) => Item::Word(Item::List(inner.clone()).write()),
        (Mutation::OtherKind, Item::Nested(inner)) => Item::List(inner.clone()),
        (Mutation::Flipped, Item::Word(bytes)) if !bytes.is_empty() => {
            let mut bytes = bytes.clone();
            let at = below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << below(8);
            Item::Word(bytes)
        }
        (Mutation::Padded, Item::Word(bytes)) => Item::Word([bytes.clone(), vec![0; room]].concat()),
        (Mutation::Padded, Item::List(inner)) => Item::List([inner.clone(), vec![Item::Word(vec![0; room])]].concat()),
        (Mutation::Padded, Item::Nested(inner)) => {
            // The first string grows: the vanity, which may have any length.
            let mut inner = inner.clone();
            match inner.first_mut() {
                Some(Item::Word(bytes)) => bytes.resize(bytes.len() + room, 0),
                _ => inner.push(Item::Word(vec![0; room])),
            }
            Item::Nested(inner)
        }
        (Mutation::Elsewhere, _) => stranger.unwrap_or_else(|| before.clone()),
        _ => before.clone(),
    };
    let changed = after != before;
    items[index] = after;
    changed
}

fn extra(before: &Item, stranger: Option<Item>, below: Below<'_>) -> Item {
    match below(4) {
        0 => Item::Word(Vec::new()),
        1 => Item::Word(extreme(8, below)),
        2 => stranger.and_then(|item| item.items().and_then(|items| items.first().cloned())).unwrap_or(Item::List(Vec::new())),
        _ => before.items().and_then(|items| items.first().cloned()).unwrap_or_else(|| before.clone()),
    }
}

fn one_off(bytes: &[u8], up: bool) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for at in (0..bytes.len()).rev() {
        let (next, carried) = if up { bytes[at].overflowing_add(1) } else { bytes[at].overflowing_sub(1) };
        bytes[at] = next;
        if !carried {
            return if bytes.first() == Some(&0) && bytes.len() < 20 { bytes.split_off(1) } else { bytes };
        }
    }
    // 255 becomes 256; below zero there is nothing.
    if up { [&[1], bytes.as_slice()].concat() } else { Vec::new() }
}

/// Greatest values, most often of the width that is there, so that the item still decodes.
fn extreme(width: usize, below: Below<'_>) -> Vec<u8> {
    match below(8) {
        0 => vec![0xff; 32],
        1 => vec![0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        2 => vec![0xff; 4],
        3 => vec![0xff; 9],
        4 | 5 if width >= 20 => vec![0xff; width],
        _ if width <= 8 => vec![0xff; 8],
        _ => vec![0xff; width],
    }
}
