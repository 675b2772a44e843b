//! Damage, from a seed: for the short run, which has to be the same every time.

use ipe_sim::mutation::{Mutation, apply};
use ipe_sim::tree::Item;

/// Deterministic numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `most`, which must not be 0.
    pub fn below(&mut self, most: usize) -> usize {
        (self.roll() % most as u64) as usize
    }
}

/// Bytes that decoders like to stumble over: lengths of RLP, limits of integers, digits and brackets of JSON.
const INTERESTING: [u8; 16] = [0x00, 0x01, 0x7f, 0x80, 0x81, 0xb7, 0xb8, 0xbf, 0xc0, 0xc1, 0xf7, 0xf8, 0xff, b'0', b'[', b'"'];

/// A copy of `input` with one item changed, where it is RLP from end to end: what the derived villains of the simulator do.
fn mutate_item(dice: &mut Dice, input: &[u8], other: &[u8]) -> Option<Vec<u8>> {
    let mut tree = Item::read(input)?;
    let places = tree.places();
    if places.is_empty() {
        return None;
    }
    let place = &places[dice.below(places.len())];
    let mutation = Mutation::ALL[dice.below(Mutation::ALL.len())];
    let other = Item::read(other);
    let mut below = |end: u64| if end == 0 { 0 } else { dice.roll() % end };
    apply(&mut tree, place, mutation, other.as_ref(), 256, &mut below).then(|| tree.write())
}

/// A damaged copy of `input`, with pieces of `other`, of at most `longest` bytes.
pub fn mutate(dice: &mut Dice, input: &[u8], other: &[u8], longest: usize) -> Vec<u8> {
    if dice.below(3) == 0
        && let Some(bytes) = mutate_item(dice, input, other)
        && bytes.len() <= longest
    {
        return bytes;
    }
    let mut bytes = input.to_vec();
    for _ in 0..1 + dice.below(4) {
        let at = dice.below(bytes.len() + 1);
        let length = 1 + dice.below(16);
        match dice.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, dice.roll() as u8),
            2 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
            3 | 4 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = INTERESTING[dice.below(INTERESTING.len())];
                }
            }
            5 => drop(bytes.drain(at..(at + length).min(bytes.len()))),
            6 => {
                let piece: Vec<u8> = bytes[at..(at + length).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
            _ => {
                let from = dice.below(other.len() + 1);
                let piece = other[from..(from + length).min(other.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
    bytes.truncate(longest);
    bytes
}
