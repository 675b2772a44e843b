//! RLP as a tree, and every way in which one of its items can be wrong: so that a field which is added to a message or a
//! header tomorrow is attacked without anybody thinking of it.

use alloy_rlp::{Encodable, Header};

/// Items of one tree that are looked at: those of a block with its header and extra data are some sixty.
const MAX_ITEMS: usize = 400;

/// One RLP item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A string.
    Bytes(Vec<u8>),
    /// A list.
    List(Vec<Item>),
    /// Bytes that stand for themselves, whether they are RLP or not.
    Raw(Vec<u8>),
}

impl Item {
    /// Reads one item that takes all of `bytes`; what does not parse stays as it is.
    pub fn parse(bytes: &[u8]) -> Item {
        let mut rest = bytes;
        match read(&mut rest) {
            Some(item) if rest.is_empty() => item,
            _ => Item::Raw(bytes.to_vec()),
        }
    }

    /// Its RLP.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// A number in its shortest form.
    pub fn number(value: u64) -> Item {
        let bytes = value.to_be_bytes();
        Item::Bytes(bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(8)..].to_vec())
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Item::Bytes(bytes) => bytes.as_slice().encode(out),
            Item::Raw(bytes) => out.extend_from_slice(bytes),
            Item::List(items) => {
                let mut body = Vec::new();
                items.iter().for_each(|item| item.write(&mut body));
                Header { list: true, payload_length: body.len() }.encode(out);
                out.extend_from_slice(&body);
            }
        }
    }

    fn at(&mut self, path: &[usize]) -> Option<&mut Item> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        match self {
            Item::List(items) => items.get_mut(*first)?.at(rest),
            Item::Bytes(_) | Item::Raw(_) => None,
        }
    }

    fn paths(&self, prefix: &mut Vec<usize>, out: &mut Vec<Vec<usize>>) {
        let Item::List(items) = self else { return };
        for (index, item) in items.iter().enumerate() {
            if out.len() >= MAX_ITEMS {
                return;
            }
            prefix.push(index);
            out.push(prefix.clone());
            item.paths(prefix, out);
            prefix.pop();
        }
    }
}

fn read(buffer: &mut &[u8]) -> Option<Item> {
    let start = *buffer;
    let header = Header::decode(buffer).ok()?;
    let (payload, rest) = buffer.split_at_checked(header.payload_length)?;
    *buffer = rest;
    if !header.list {
        // A single byte below 0x80 is its own header.
        let payload = if start.first().is_some_and(|byte| *byte < 0x80) { &start[..1] } else { payload };
        return Some(Item::Bytes(payload.to_vec()));
    }
    let (mut items, mut payload) = (Vec::new(), payload);
    while !payload.is_empty() {
        items.push(read(&mut payload)?);
    }
    Some(Item::List(items))
}

/// Every tree that differs from `tree` in one item, with a name that says where and how: `2.0.8 extreme`.
pub fn mutations(tree: &Item) -> Vec<(String, Item)> {
    let mut paths = Vec::new();
    tree.paths(&mut Vec::new(), &mut paths);
    let mut out = Vec::new();
    for path in paths {
        let place = path.iter().map(usize::to_string).collect::<Vec<_>>().join(".");
        let mut with = |how: &str, change: &dyn Fn(&Item) -> Option<Item>| {
            let mut changed = tree.clone();
            let Some(item) = changed.at(&path) else { return };
            let Some(new) = change(item).filter(|new| new != item) else { return };
            *item = new;
            out.push((format!("{place} {how}"), changed));
        };
        with("zero", &|item| {
            Some(match item {
                Item::List(_) => Item::List(Vec::new()),
                Item::Bytes(_) | Item::Raw(_) => Item::Bytes(Vec::new()),
            })
        });
        with("one more", &|item| match item {
            Item::Bytes(bytes) => Some(Item::Bytes(one_more(bytes))),
            Item::List(items) => Some(Item::List(items.iter().chain(items.last()).cloned().collect())),
            Item::Raw(_) => None,
        });
        with("extreme of its width", &|item| match item {
            Item::Bytes(bytes) => Some(Item::Bytes(vec![0xff; bytes.len().max(1)])),
            Item::List(_) | Item::Raw(_) => None,
        });
        with("2^64-1", &|item| matches!(item, Item::Bytes(_)).then(|| Item::Bytes(vec![0xff; 8])));
        with("2^63", &|item| matches!(item, Item::Bytes(_)).then(|| Item::number(1 << 63)));
        with("2^256-1", &|item| matches!(item, Item::Bytes(_)).then(|| Item::Bytes(vec![0xff; 32])));
        with("a kilobyte", &|item| matches!(item, Item::Bytes(_)).then(|| Item::Bytes(vec![0x5a; 1024])));
        with("leading zero", &|item| match item {
            Item::Bytes(bytes) => Some(Item::Bytes([&[0], bytes.as_slice()].concat())),
            Item::List(_) | Item::Raw(_) => None,
        });
        with("long form", &|item| Some(Item::Raw(long_form(item))));
        with("the other type", &|item| {
            Some(match item {
                Item::List(_) => Item::Bytes(vec![1; 32]),
                Item::Bytes(_) | Item::Raw(_) => Item::List(vec![Item::Bytes(vec![1])]),
            })
        });
        let Some((last, parent)) = path.split_last() else { continue };
        let mut shorter = tree.clone();
        if let Some(Item::List(items)) = shorter.at(parent) {
            items.remove(*last);
            out.push((format!("{place} absent"), shorter));
        }
    }
    out
}

fn one_more(bytes: &[u8]) -> Vec<u8> {
    let mut more = bytes.to_vec();
    for byte in more.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return more;
        }
    }
    more.insert(0, 1);
    more
}

/// The item with a length of length that a canonical encoding would not have.
fn long_form(item: &Item) -> Vec<u8> {
    let (base, body) = match item {
        Item::Bytes(bytes) | Item::Raw(bytes) => (0xb7, bytes.clone()),
        Item::List(items) => (0xf7, items.iter().flat_map(Item::encode).collect()),
    };
    let length = (body.len() as u64).to_be_bytes();
    [&[base + 8][..], &length, &body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_again() {
        let tree = Item::List(vec![
            Item::number(0),
            Item::number(5),
            Item::number(u64::MAX),
            Item::List(vec![Item::Bytes(vec![7; 60]), Item::List(Vec::new())]),
        ]);
        assert_eq!(Item::parse(&tree.encode()), tree);
        assert_eq!(Item::parse(&[0xc5, 1]), Item::Raw(vec![0xc5, 1]));
    }

    #[test]
    fn every_item_is_attacked_and_every_mutation_differs() {
        let tree = Item::List(vec![Item::number(5), Item::List(vec![Item::Bytes(vec![7; 32])])]);
        let (whole, all) = (tree.encode(), mutations(&tree));
        for place in ["0 ", "1 ", "1.0 "] {
            for how in ["absent", "zero", "one more", "long form"] {
                assert!(all.iter().any(|(name, _)| *name == format!("{place}{how}")), "{place}{how}");
            }
        }
        assert!(all.iter().all(|(_, changed)| changed.encode() != whole));
    }
}
