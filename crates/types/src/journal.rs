//! Append-only journals: what a file of them must be able to do, and the framing of their records.
//!
//! A record is `length (u32 LE) ‖ crc32 (u32 LE, of the payload) ‖ payload`. A reader stops at the first record that is
//! cut short or whose checksum fails: everything after a torn write was never acknowledged.

use std::io;

/// Longest record: a prepared block with its certificate fits (a block travels in one devp2p message of at most 16 MiB),
/// and a damaged length cannot make the reader allocate more than this.
pub const MAX_RECORD: usize = 32 << 20;

/// A file that only grows, and can be replaced as a whole.
pub trait JournalFile: Send {
    /// Everything that is in the file, torn tail included.
    ///
    /// # Errors
    /// The file cannot be read.
    fn read_all(&mut self) -> io::Result<Vec<u8>>;

    /// Appends; on return the bytes survive a crash of process and machine. After an error the tail of the file is
    /// undefined: the caller must [`JournalFile::replace`] before it appends again.
    ///
    /// # Errors
    /// The bytes could not be written or made durable.
    fn append_durable(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Puts other content in the place of the whole file, atomically and durably: a crash leaves the old or the new.
    ///
    /// # Errors
    /// The new content could not be put in place; the old may or may not be there.
    fn replace(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl<F: JournalFile + ?Sized> JournalFile for Box<F> {
    fn read_all(&mut self) -> io::Result<Vec<u8>> {
        (**self).read_all()
    }

    fn append_durable(&mut self, bytes: &[u8]) -> io::Result<()> {
        (**self).append_durable(bytes)
    }

    fn replace(&mut self, bytes: &[u8]) -> io::Result<()> {
        (**self).replace(bytes)
    }
}

/// Appends one framed record to `out`.
///
/// # Panics
/// Never for payloads up to [`MAX_RECORD`]; longer ones are a bug of the caller and are refused by the reader.
pub fn frame(out: &mut Vec<u8>, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    out.extend_from_slice(payload);
}

/// The whole records of a journal, and where the sound part ends.
#[derive(Clone, Copy, Debug)]
pub struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    /// Reads from the start of a file's bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Length of the part read so far. After the last record: where a torn tail, if any, begins.
    pub fn sound_len(&self) -> usize {
        self.at
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.bytes.get(self.at..)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > MAX_RECORD {
            return None;
        }
        let payload = rest.get(..length)?;
        if crc32fast::hash(payload) != u32::from_le_bytes(*crc) {
            return None;
        }
        self.at += 8 + length;
        Some(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_leaves_whole_records_only() {
        let payloads: [&[u8]; 4] = [b"one", b"", b"three is longer", &[0; 300]];
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for payload in payloads {
            frame(&mut bytes, payload);
            ends.push(bytes.len());
        }
        for cut in 0..=bytes.len() {
            let mut frames = Frames::new(&bytes[..cut]);
            let read: Vec<_> = frames.by_ref().collect();
            let whole = ends.iter().filter(|end| **end <= cut).count() - 1;
            assert_eq!(read, payloads[..whole], "cut at {cut}");
            assert_eq!(frames.sound_len(), ends[whole]);
        }
    }

    #[test]
    fn a_flipped_bit_ends_the_journal() {
        let mut bytes = Vec::new();
        frame(&mut bytes, b"first");
        let end = bytes.len();
        frame(&mut bytes, b"second");
        for at in end..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Frames::new(&damaged).collect::<Vec<_>>(), [b"first".as_slice()], "bit of byte {at}");
        }
    }
}
