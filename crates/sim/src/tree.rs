//! RLP as a tree: every message and every block, whatever its type, as lists of items that can be walked and changed. What
//! works on the tree covers each field of each message, those that somebody adds tomorrow too.

/// Deepest nesting that is read: a transaction's access list in a block in a proposal has nine.
const DEPTH: usize = 16;
/// Items of a list that are walked when places are listed: lists of equals are represented by their first ones.
const WALKED: usize = 26;

/// An item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A string.
    Word(Vec<u8>),
    /// A list.
    List(Vec<Item>),
    /// A string that is the encoding of a list, as the extra data of a header.
    Nested(Vec<Item>),
    /// Bytes that are written as they are: an encoding that no encoder makes.
    Raw(Vec<u8>),
}

/// Where an item is: position in the root's list, position in that item's, and so on.
pub type Place = Vec<usize>;

impl Item {
    /// Reads one item that fills `bytes`; `None` when it does not, or is nested too deep.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let item = read(&mut rest, 0)?;
        rest.is_empty().then_some(item)
    }

    /// Its encoding; canonical but for [`Item::Raw`].
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_to(&mut out);
        out
    }

    fn write_to(&self, out: &mut Vec<u8>) {
        match self {
            Item::Raw(bytes) => out.extend_from_slice(bytes),
            Item::Word(bytes) if bytes.len() == 1 && bytes[0] < 0x80 => out.push(bytes[0]),
            Item::Word(bytes) => {
                head(0x80, bytes.len(), out);
                out.extend_from_slice(bytes);
            }
            Item::List(items) => {
                let body = joined(items);
                head(0xc0, body.len(), out);
                out.extend_from_slice(&body);
            }
            Item::Nested(items) => Item::Word(Item::List(items.clone()).write()).write_to(out),
        }
    }

    /// Items of a list, of whichever kind.
    pub fn items(&self) -> Option<&[Item]> {
        match self {
            Item::List(items) | Item::Nested(items) => Some(items),
            Item::Word(_) | Item::Raw(_) => None,
        }
    }

    fn items_mut(&mut self) -> Option<&mut Vec<Item>> {
        match self {
            Item::List(items) | Item::Nested(items) => Some(items),
            Item::Word(_) | Item::Raw(_) => None,
        }
    }

    /// The item at a place.
    pub fn at(&self, place: &[usize]) -> Option<&Item> {
        place.iter().try_fold(self, |item, index| item.items()?.get(*index))
    }

    /// The list that holds a place, and the position in it; `None` for the root and for places that do not exist.
    pub fn holder(&mut self, place: &[usize]) -> Option<(&mut Vec<Item>, usize)> {
        let (last, way) = place.split_last()?;
        let mut items = self.items_mut()?;
        for index in way {
            items = items.get_mut(*index)?.items_mut()?;
        }
        (*last < items.len()).then_some((items, *last))
    }

    /// Every place below the root, in the order of the encoding; of long lists the first items only.
    pub fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        self.walk(&mut Vec::new(), &mut places);
        places
    }

    fn walk(&self, here: &mut Place, places: &mut Vec<Place>) {
        for (index, item) in self.items().unwrap_or_default().iter().take(WALKED).enumerate() {
            here.push(index);
            places.push(here.clone());
            item.walk(here, places);
            here.pop();
        }
    }
}

fn joined(items: &[Item]) -> Vec<u8> {
    let mut body = Vec::new();
    items.iter().for_each(|item| item.write_to(&mut body));
    body
}

fn head(base: u8, length: usize, out: &mut Vec<u8>) {
    if length < 56 {
        out.push(base + length as u8);
    } else {
        let bytes = (length as u64).to_be_bytes();
        let digits = &bytes[bytes.iter().position(|byte| *byte != 0).unwrap_or(7)..];
        out.push(base + 55 + digits.len() as u8);
        out.extend_from_slice(digits);
    }
}

/// The same item with its length in the long form whatever it is: one encoding more of the same value.
pub fn long_form(item: &Item) -> Vec<u8> {
    let (base, body) = match item {
        Item::List(items) => (0xf7, joined(items)),
        Item::Nested(items) => (0xb7, Item::List(items.clone()).write()),
        Item::Word(bytes) | Item::Raw(bytes) => (0xb7, bytes.clone()),
    };
    // Four digits of a length that needs fewer.
    let mut out = vec![base + 4];
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(&body);
    out
}

fn read(rest: &mut &[u8], depth: usize) -> Option<Item> {
    if depth > DEPTH {
        return None;
    }
    let (first, after) = rest.split_first()?;
    let (list, offset, length) = match *first {
        byte @ ..0x80 => {
            *rest = after;
            return Some(Item::Word(vec![byte]));
        }
        byte @ 0x80..=0xb7 => (false, 1, usize::from(byte - 0x80)),
        byte @ 0xb8..=0xbf => (false, 1 + usize::from(byte - 0xb7), digits(after, byte - 0xb7)?),
        byte @ 0xc0..=0xf7 => (true, 1, usize::from(byte - 0xc0)),
        byte @ 0xf8.. => (true, 1 + usize::from(byte - 0xf7), digits(after, byte - 0xf7)?),
    };
    let body = rest.get(offset..offset.checked_add(length)?)?;
    *rest = &rest[offset + length..];
    if list {
        return Some(Item::List(items(body, depth + 1)?));
    }
    // Longer than a number or a hash, and a list from end to end.
    if body.len() > 33
        && let Some(Item::List(items)) = Item::read_at(body, depth + 1)
    {
        return Some(Item::Nested(items));
    }
    Some(Item::Word(body.to_vec()))
}

impl Item {
    fn read_at(bytes: &[u8], depth: usize) -> Option<Self> {
        let mut rest = bytes;
        let item = read(&mut rest, depth)?;
        rest.is_empty().then_some(item)
    }
}

fn items(mut body: &[u8], depth: usize) -> Option<Vec<Item>> {
    let mut items = Vec::new();
    while !body.is_empty() {
        items.push(read(&mut body, depth)?);
    }
    Some(items)
}

fn digits(bytes: &[u8], count: u8) -> Option<usize> {
    let digits = bytes.get(..usize::from(count))?;
    (digits.len() <= 4).then(|| digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_writes_what_it_read() {
        let long = vec![7u8; 300];
        let nested = Item::Nested(vec![Item::Word(long.clone()), Item::List(vec![])]);
        let tree = Item::List(vec![
            Item::Word(vec![]),
            Item::Word(vec![5]),
            Item::Word(long),
            nested,
            Item::List(vec![Item::Word(vec![0x80])]),
        ]);
        let bytes = tree.write();
        assert_eq!(Item::read(&bytes), Some(tree.clone()));
        assert_eq!(tree.places().len(), 8);
        assert_eq!(tree.at(&[3, 1]), Some(&Item::List(vec![])));
        assert_eq!(Item::read(&bytes[1..]), None);
        assert_eq!(Item::read(&[0xc2, 0xc1]), None);
    }
}
