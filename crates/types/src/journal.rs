//! Append-only journals: what a file of them must be able to do, and the framing of their records.
//!
//! Two framings. [`chain`] is that of the signing journal, where nothing that was acknowledged may be lost unnoticed.
//! [`Frames`] is for what may be lost: `length (u32 LE) ‖ crc32 (u32 LE, of the payload) ‖ payload`, length 1 or more; a
//! reader stops at the first record that is cut short or whose checksum fails. Signing journals up to 0.1.0 have it too.

pub mod chain;

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

    /// Writes the mark: some bytes, the same number every time, in another file than the journal, which tell how far the
    /// journal has come. Survives a crash of the process; after one of the machine it may be an older mark. A file that
    /// is there without its journal, or is ahead of it, shows that the journal was lost or is an older copy.
    ///
    /// # Errors
    /// The mark could not be written; the former one or none is left.
    fn write_mark(&mut self, _mark: &[u8]) -> io::Result<()> {
        Ok(())
    }

    /// The newest mark, at most 4 KiB of it; empty when there is none.
    ///
    /// # Errors
    /// The mark cannot be read.
    fn read_mark(&mut self) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    /// Keeps a copy of the content as it is, for whoever looks into what happened to it, in the place of an earlier copy.
    ///
    /// # Errors
    /// No copy was made; the content is as before.
    fn set_aside(&mut self) -> io::Result<()> {
        Ok(())
    }
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

    fn write_mark(&mut self, mark: &[u8]) -> io::Result<()> {
        (**self).write_mark(mark)
    }

    fn read_mark(&mut self) -> io::Result<Vec<u8>> {
        (**self).read_mark()
    }

    fn set_aside(&mut self) -> io::Result<()> {
        (**self).set_aside()
    }
}

/// Appends one framed record to `out`. Empty payloads and those above [`MAX_RECORD`] are a bug of the caller and are
/// refused by the reader.
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
        // Zeros, which a power cut can leave, would be records without content.
        if length == 0 || length > MAX_RECORD {
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
        let payloads: [&[u8]; 4] = [b"one", b"2", b"three is longer", &[0; 300]];
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
    fn zeros_after_the_records_are_no_records() {
        let mut bytes = Vec::new();
        frame(&mut bytes, b"first");
        let end = bytes.len();
        bytes.resize(end + 4_096, 0);
        let mut frames = Frames::new(&bytes);
        assert_eq!(frames.by_ref().collect::<Vec<_>>(), [b"first".as_slice()]);
        assert_eq!(frames.sound_len(), end);
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
