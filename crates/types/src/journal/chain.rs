//! Frames that are chained: each names the one before, so that a missing, changed or repeated frame cannot pass.
//!
//! ```text
//! length u32 ‖ sequence u64 ‖ crc32 u32 (of these 12 bytes) ‖ a5 5a c3 3c   header, 20 bytes, little endian
//! payload                                                                   1 to MAX_RECORD bytes
//! link u128 ‖ a5                                                            trailer, 17 bytes
//! ```
//!
//! `link` is XXH3-128 over the link of the frame before (0 for the first), the header and the payload. Sequence numbers
//! go on by one, also when a file is replaced by a shorter one.
//!
//! What follows the last sound frame is a *torn tail* when an interrupted append can have left it: the beginning of one
//! frame and nothing else, or such a beginning and zeros to the end of the file, as ext4 and XFS leave after a power cut.
//! Everything else is *damage*: acknowledged frames may be lost. A header has its own checksum and both its end and the
//! end of a frame are never zero, so no flipped bit makes a frame look like a torn one.

use xxhash_rust::xxh3::Xxh3;

use super::MAX_RECORD;

const HEADER: usize = 20;
const HEADER_END: [u8; 4] = [0xa5, 0x5a, 0xc3, 0x3c];
const TRAILER: usize = 17;
const FRAME_END: u8 = 0xa5;

/// Where a chain stands: what the next frame must name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Sequence number of the next frame; `None` before the first frame of a file that is read, which may have any.
    next: Option<u64>,
    link: u128,
}

impl Chain {
    /// The beginning of a file whose first frame gets this sequence number.
    pub fn new(sequence: u64) -> Self {
        Self { next: Some(sequence), link: 0 }
    }

    /// Sequence number of the newest frame; 0 before any.
    pub fn sequence(&self) -> u64 {
        self.next.map_or(0, |next| next.saturating_sub(1))
    }

    /// Appends one frame to `out`. The payload must have 1 to [`MAX_RECORD`] bytes: the reader refuses others.
    pub fn frame(&mut self, out: &mut Vec<u8>, payload: &[u8]) {
        debug_assert!(!payload.is_empty() && payload.len() <= MAX_RECORD);
        let sequence = self.next.unwrap_or(1);
        let header = header(payload.len() as u32, sequence);
        self.link = link(self.link, &header, payload);
        self.next = Some(sequence.saturating_add(1));
        out.extend_from_slice(&header);
        out.extend_from_slice(payload);
        out.extend_from_slice(&self.link.to_le_bytes());
        out.push(FRAME_END);
    }
}

fn header(length: u32, sequence: u64) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..4].copy_from_slice(&length.to_le_bytes());
    out[4..12].copy_from_slice(&sequence.to_le_bytes());
    let crc = crc32fast::hash(&out[..12]);
    out[12..16].copy_from_slice(&crc.to_le_bytes());
    out[16..].copy_from_slice(&HEADER_END);
    out
}

fn link(before: u128, header: &[u8], payload: &[u8]) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(&before.to_le_bytes());
    hasher.update(header);
    hasher.update(payload);
    hasher.digest128()
}

/// How a file of chained frames ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a frame.
    Whole,
    /// With what an interrupted append left: nothing in it was acknowledged.
    Torn,
    /// With something else: frames that were acknowledged may be lost.
    Damaged,
}

/// The sound frames of a file, from its start or from a place that was read up to before.
#[derive(Clone, Copy, Debug)]
pub struct Chained<'a> {
    bytes: &'a [u8],
    at: usize,
    chain: Chain,
}

impl<'a> Chained<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, chain: Chain { next: None, link: 0 } }
    }

    /// Goes on in a file that has grown, after a former reading ended with this [`Chained::sound_len`] and
    /// [`Chained::reached`].
    pub fn resume(bytes: &'a [u8], at: usize, chain: Chain) -> Self {
        Self { bytes, at, chain }
    }

    /// Length of the sound part read so far.
    pub fn sound_len(&self) -> usize {
        self.at
    }

    /// Where the chain stands after what was read so far.
    pub fn reached(&self) -> Chain {
        self.chain
    }

    /// What is after the sound frames; to be asked when there are no more.
    pub fn ending(&self) -> Ending {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        // What an append that was interrupted there can have written of one frame: zeros after it were never written.
        let zeros = rest.iter().rev().take_while(|byte| **byte == 0).count();
        let written = rest.len() - zeros;
        if rest.is_empty() {
            return Ending::Whole;
        }
        if rest.len() < HEADER || written < HEADER {
            return Ending::Torn;
        }
        match parse_header(rest) {
            Some((length, sequence))
                if written < HEADER + length + TRAILER && self.chain.next.is_none_or(|next| next == sequence) =>
            {
                Ending::Torn
            }
            _ => Ending::Damaged,
        }
    }
}

/// Length of the payload and sequence number.
fn parse_header(bytes: &[u8]) -> Option<(usize, u64)> {
    let found = bytes.get(..HEADER)?;
    let length = u32::from_le_bytes(*found.first_chunk()?);
    let sequence = u64::from_le_bytes(*found.get(4..)?.first_chunk()?);
    let fits = (1..=MAX_RECORD).contains(&(length as usize));
    (fits && found == header(length, sequence)).then_some((length as usize, sequence))
}

impl<'a> Iterator for Chained<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.bytes.get(self.at..)?;
        let (length, sequence) = parse_header(rest)?;
        if self.chain.next.is_some_and(|next| next != sequence) {
            return None;
        }
        let (header, rest) = rest.split_at_checked(HEADER)?;
        let (payload, rest) = rest.split_at_checked(length)?;
        let (found, rest) = rest.split_first_chunk::<16>()?;
        let link = link(self.chain.link, header, payload);
        if rest.first() != Some(&FRAME_END) || u128::from_le_bytes(*found) != link {
            return None;
        }
        self.at += HEADER + length + TRAILER;
        self.chain = Chain { next: Some(sequence.saturating_add(1)), link };
        Some(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOADS: [&[u8]; 4] = [b"one", &[0; 40], b"three is longer", &[7, 0, 0]];

    fn file() -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut ends, mut chain) = (Vec::new(), vec![0], Chain::new(9));
        for payload in PAYLOADS {
            chain.frame(&mut bytes, payload);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn read(bytes: &[u8]) -> (Vec<&[u8]>, Ending) {
        let mut frames = Chained::new(bytes);
        (frames.by_ref().collect(), frames.ending())
    }

    #[test]
    fn every_cut_is_a_torn_tail_after_whole_frames_with_zeros_after_it_or_without() {
        let (bytes, ends) = file();
        for cut in 0..=bytes.len() {
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            for zeros in [0, 1, 19, 20, 100, 4_096] {
                let mut torn = bytes[..cut].to_vec();
                torn.resize(cut + zeros, 0);
                let (found, ending) = read(&torn);
                assert_eq!(found, PAYLOADS[..whole], "cut at {cut}, {zeros} zeros");
                let clean = ends.contains(&cut) && zeros == 0;
                assert_eq!(ending, if clean { Ending::Whole } else { Ending::Torn }, "cut at {cut}, {zeros} zeros");
            }
        }
    }

    #[test]
    fn no_flipped_bit_passes_for_a_frame_or_for_a_torn_tail() {
        let (bytes, ends) = file();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                let whole = ends.iter().filter(|end| **end <= at).count() - 1;
                assert_eq!(read(&damaged), (PAYLOADS[..whole].to_vec(), Ending::Damaged), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn frames_that_are_missing_repeated_or_of_another_file_are_damage() {
        let (bytes, ends) = file();
        for (from, to) in [(ends[0], ends[1]), (ends[1], ends[2]), (ends[1], ends[4]), (ends[3], ends[4])] {
            let repeated = [&bytes[..], &bytes[from..to]].concat();
            assert_eq!(read(&repeated), (PAYLOADS.to_vec(), Ending::Damaged), "{from} to {to} again");
        }
        let missing = [&bytes[..ends[1]], &bytes[ends[2]..]].concat();
        assert_eq!(read(&missing), (PAYLOADS[..1].to_vec(), Ending::Damaged));
        let cut = &missing[..ends[1] + ends[3] - ends[2] - 5];
        assert_eq!(read(cut), (PAYLOADS[..1].to_vec(), Ending::Damaged), "the torn frame is not the next one");
        let (mut other, mut chain) = (Vec::new(), Chain::new(9));
        chain.frame(&mut other, b"eno");
        let mixed = [&other[..], &bytes[ends[1]..]].concat();
        assert_eq!(read(&mixed), (vec![b"eno".as_slice()], Ending::Damaged), "the same sequence numbers, another chain");
        let zeroed = [&bytes[..ends[1]], &vec![0; ends[2] - ends[1]], &bytes[ends[2]..]].concat();
        assert_eq!(read(&zeroed), (PAYLOADS[..1].to_vec(), Ending::Damaged), "zeros that something follows");
    }

    #[test]
    fn a_reading_goes_on_where_it_ended() {
        let (bytes, ends) = file();
        let mut first = Chained::new(&bytes[..ends[2] + 3]);
        assert_eq!(first.by_ref().count(), 2);
        let rest: Vec<_> = Chained::resume(&bytes, first.sound_len(), first.reached()).collect();
        assert_eq!(rest, PAYLOADS[2..]);
        assert_eq!(first.reached().sequence(), 10);
    }
}
