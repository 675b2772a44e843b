//! Versions of a keyspace as lsm-tree 3.1 writes them (`version/persist.rs`, `version/recovery.rs`, in the archive format of sfa 1.0),
//! and the names of keyspaces (`meta_keyspace.rs` of fjall 3.1). All numbers are little endian but for those in keys.

use std::collections::BTreeMap;

/// Longest version file: 33 bytes for each file of a table, of which a terabyte has some ten thousand.
pub(super) const MOST_BYTES: u64 = 16 << 20;
/// Trailer of an archive: `SFA!`, version, kind of checksum, XXH3-128, position and length of its contents.
const TRAILER: usize = 4 + 1 + 1 + 16 + 8 + 8;

/// What a version names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Files of rows with their XXH3-128.
    pub(super) tables: Vec<(u64, u128)>,
}

/// A reader that fails at the end.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

/// Reads a `current` file: the newest version and its checksum.
pub(super) fn current(bytes: &[u8]) -> Result<(u64, u128), String> {
    let mut rest = Bytes(bytes);
    let found = (|| Some((rest.u64()?, rest.array().map(u128::from_le_bytes)?, rest.u8()?)))();
    match found {
        Some((number, checksum, 0)) if rest.0.is_empty() => Ok((number, checksum)),
        Some((.., kind)) if rest.0.is_empty() => Err(format!("it names checksums of kind {kind}, expected 0")),
        _ => Err(format!("it has {} bytes, expected 25", bytes.len())),
    }
}

/// Reads a version.
pub(super) fn parse(bytes: &[u8]) -> Result<Manifest, String> {
    let section = section(bytes, b"tables").ok_or("it names no files: its table of contents does not decode")?;
    tables(Bytes(section)).ok_or_else(|| "its list of files does not decode".to_owned())
}

fn section<'a>(bytes: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let mut trailer = Bytes(bytes.get(bytes.len().checked_sub(TRAILER)?..)?);
    if trailer.array()? != *b"SFA!" || trailer.array()? != [1, 0] {
        return None;
    }
    let _checksum = trailer.take(16)?;
    let position = usize::try_from(trailer.u64()?).ok()?;
    let mut contents = Bytes(bytes.get(position..)?);
    if contents.array()? != *b"TOC!" {
        return None;
    }
    let count = contents.array().map(u32::from_le_bytes)?;
    for _ in 0..count {
        let (from, length) = (usize::try_from(contents.u64()?).ok()?, usize::try_from(contents.u64()?).ok()?);
        let name_length = contents.array().map(u16::from_le_bytes)?;
        if contents.take(usize::from(name_length))? == wanted {
            return bytes.get(from..from.checked_add(length)?);
        }
    }
    None
}

/// Levels of runs of files.
fn tables(mut bytes: Bytes<'_>) -> Option<Manifest> {
    let mut manifest = Manifest::default();
    for _level in 0..bytes.u8()? {
        for _run in 0..bytes.u8()? {
            let count = bytes.array().map(u32::from_le_bytes)?;
            for _ in 0..count {
                let (table, kind) = (bytes.u64()?, bytes.u8()?);
                let (checksum, _sequence) = (bytes.array().map(u128::from_le_bytes)?, bytes.u64()?);
                if kind != 0 {
                    return None;
                }
                manifest.tables.push((table, checksum));
            }
        }
    }
    Some(manifest)
}

/// Finds names in a file of keyspace 0, whose rows are not compressed: 9, `n`, keyspace (big endian), length, name. It is only for
/// telling, so a row that is not found costs a name.
pub(super) fn names(bytes: &[u8], names: &mut BTreeMap<u64, String>) {
    for (at, pair) in bytes.windows(2).enumerate() {
        if pair != [9, b'n'] {
            continue;
        }
        let mut row = Bytes(bytes.get(at + 2..).unwrap_or_default());
        let named = (|| {
            let keyspace = row.array().map(u64::from_be_bytes)?;
            let length = row.u8()?;
            Some((keyspace, row.take(usize::from(length))?))
        })();
        if let Some((keyspace, name)) = named
            && keyspace < 10_000
            && !name.is_empty()
            && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.'))
        {
            let name = String::from_utf8_lossy(name);
            // The digit says with which options it was made.
            names.insert(keyspace, name.split('.').next().unwrap_or_default().to_owned());
        }
    }
}
