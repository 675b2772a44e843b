//! The engine's journal, as fjall 3.1 writes it (`journal/entry.rs`): batches one after the other, and zeros to the end of the file.
//!
//! ```text
//! 1 ‖ rows u32 ‖ sequence u64                                                                       begin
//! 2 ‖ kind ‖ compression ‖ keyspace u64 ‖ key u16 ‖ value u32 ‖ stored u32 ‖ key ‖ stored value     row
//! 4 ‖ keyspace u64                                                                                  clear
//! 3 ‖ XXH3-64 of all rows and clears as they stand ‖ "FJL" 3                                        end
//! ```
//!
//! Sequence numbers only grow. The engine cuts a journal at the first entry that it cannot read, which is right after a crash: the last
//! batch may be there in part. Where a sound batch follows it is wrong, since tables that were written from memory meanwhile may hold
//! what the journal then lacks.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use xxhash_rust::xxh3::Xxh3;

/// End of every batch.
const END: [u8; 4] = [b'F', b'J', b'L', 3];
/// A sequence number is not so far from the one before.
const FAR: u64 = 1 << 40;
/// Bytes with which a batch begins.
const BEGIN: usize = 13;
/// The batch after the next few thousand ones, and the rows that one may have, when a place is looked for where one begins.
const SOON: u64 = 1 << 20;
const MANY: u32 = 1 << 24;
/// Such places that are tried.
const TRIES: usize = 4_096;

/// What a journal holds.
pub(super) struct Journal {
    pub(super) ending: Ending,
    /// Bytes of the file.
    pub(super) bytes: u64,
    /// Sequence number of the last sound batch.
    pub(super) sequence: Option<u64>,
}

/// How it ends.
pub(super) enum Ending {
    /// With a batch and zeros.
    Whole,
    /// With a batch that is not whole, and nothing sound after it.
    Torn { at: u64 },
    /// It was changed after it was written.
    Damaged(String),
}

/// Why a batch is none.
enum Fault {
    /// Its entries do not follow each other, or the file ends.
    Shape,
    /// It is whole and its checksum differs, or its sequence number is not after the one before.
    Content(&'static str),
}

/// Reads a journal whose first batch comes after `before`.
pub(super) fn read(mut file: File, before: Option<u64>) -> io::Result<Journal> {
    let bytes = file.metadata()?.len();
    let mut sequence = before;
    let mut at = 0;
    let mut reader = Reader::at(&mut file, 0)?;
    let ending = loop {
        if reader.ends()? {
            break Ending::Whole;
        }
        // Zeros between batches are a batch that is none.
        let batch = if reader.at == at { reader.batch(sequence)? } else { Err(Fault::Shape) };
        match batch {
            Ok(found) => {
                sequence = Some(found);
                at = reader.at;
            }
            Err(Fault::Content(what)) => {
                break Ending::Damaged(format!("in the batch at byte {at} {what}: it was changed after it was written"));
            }
            Err(Fault::Shape) => {
                break match sound_after(&mut file, at, sequence)? {
                    Some(next) => Ending::Damaged(format!(
                        "the batch at byte {at} does not decode, and a sound one follows at byte {next}: it was changed after it was written"
                    )),
                    None => Ending::Torn { at },
                };
            }
        }
    };
    Ok(Journal { ending, bytes, sequence })
}

/// Where a sound batch begins after a bad one at `from`: what looks like the beginning of one that comes soon after the last sound
/// one is read.
fn sound_after(file: &mut File, from: u64, sequence: Option<u64>) -> io::Result<Option<u64>> {
    let before = sequence.unwrap_or(0);
    let mut reader = Reader::at(file, from + 1)?;
    let mut window = [0; BEGIN];
    let mut starts = Vec::new();
    while starts.len() < TRIES {
        let Some(byte) = reader.byte()? else { break };
        window.rotate_left(1);
        window[BEGIN - 1] = byte;
        let [1, r0, r1, r2, r3, rest @ ..] = window else { continue };
        let (rows, next) = (u32::from_le_bytes([r0, r1, r2, r3]), u64::from_le_bytes(rest));
        if rows > 0 && rows < MANY && next >= before && next - before < SOON && reader.at > from + BEGIN as u64 {
            starts.push(reader.at - BEGIN as u64);
        }
    }
    for start in starts {
        let mut reader = Reader::at(file, start)?;
        if reader.batch(sequence)?.is_ok() {
            return Ok(Some(start));
        }
    }
    Ok(None)
}

struct Reader<'a> {
    file: BufReader<&'a mut File>,
    at: u64,
    hasher: Xxh3,
}

impl<'a> Reader<'a> {
    fn at(file: &'a mut File, at: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(at))?;
        Ok(Self { file: BufReader::with_capacity(super::PIECE, file), at, hasher: Xxh3::new() })
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        Ok(self.array::<1>(false)?.map(|[byte]| byte))
    }

    /// The next bytes; `None` at the end of the file.
    fn array<const N: usize>(&mut self, hashed: bool) -> io::Result<Option<[u8; N]>> {
        let mut bytes = [0; N];
        match self.file.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        self.at += N as u64;
        if hashed {
            self.hasher.update(&bytes);
        }
        Ok(Some(bytes))
    }

    /// Passes over bytes of a row; `false` at the end of the file.
    fn skip(&mut self, length: u64) -> io::Result<bool> {
        let mut left = length;
        let mut piece = [0; 8_192];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
            let read = self.file.read(&mut piece[..most])?;
            if read == 0 {
                return Ok(false);
            }
            self.hasher.update(&piece[..read]);
            left -= read as u64;
            self.at += read as u64;
        }
        Ok(true)
    }

    /// Whether the file is over, or nothing but zeros follows. Where there is more after zeros, they are passed over.
    fn ends(&mut self) -> io::Result<bool> {
        loop {
            let piece = self.file.fill_buf()?;
            if piece.is_empty() {
                return Ok(true);
            }
            let zeros = piece.iter().take_while(|byte| **byte == 0).count();
            let more = zeros < piece.len();
            self.file.consume(zeros);
            self.at += zeros as u64;
            if more {
                return Ok(false);
            }
        }
    }

    /// One batch: its sequence number.
    fn batch(&mut self, before: Option<u64>) -> io::Result<Result<u64, Fault>> {
        let Some([1]) = self.array(false)? else { return Ok(Err(Fault::Shape)) };
        let Some(rows) = self.array(false)?.map(u32::from_le_bytes) else { return Ok(Err(Fault::Shape)) };
        let Some(sequence) = self.array(false)?.map(u64::from_le_bytes) else { return Ok(Err(Fault::Shape)) };
        self.hasher.reset();
        for _ in 0..rows {
            if !self.row()? {
                return Ok(Err(Fault::Shape));
            }
        }
        let Some([3]) = self.array(false)? else { return Ok(Err(Fault::Shape)) };
        let Some(expected) = self.array(false)?.map(u64::from_le_bytes) else { return Ok(Err(Fault::Shape)) };
        if self.array(false)? != Some(END) {
            return Ok(Err(Fault::Shape));
        }
        if self.hasher.digest() != expected {
            return Ok(Err(Fault::Content("the checksum differs")));
        }
        if before.is_some_and(|before| sequence <= before || sequence - before > FAR) {
            return Ok(Err(Fault::Content("the sequence number does not follow the one before")));
        }
        Ok(Ok(sequence))
    }

    /// One row or clear; `false` when it is none.
    fn row(&mut self) -> io::Result<bool> {
        match self.array(true)? {
            Some([2]) => {
                let Some([_kind, _compression]) = self.array(true)? else { return Ok(false) };
                let Some(_keyspace) = self.array::<8>(true)? else { return Ok(false) };
                let Some(key) = self.array(true)?.map(u16::from_le_bytes) else { return Ok(false) };
                let Some(_value) = self.array::<4>(true)? else { return Ok(false) };
                let Some(stored) = self.array(true)?.map(u32::from_le_bytes) else { return Ok(false) };
                self.skip(u64::from(key) + u64::from(stored))
            }
            Some([4]) => Ok(self.array::<8>(true)?.is_some()),
            _ => Ok(false),
        }
    }
}
