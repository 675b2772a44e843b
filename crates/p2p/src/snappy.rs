//! Snappy block compression of every message after Hello (EIP-706), with the length judged before anything is allocated.

use bytes::Bytes;

/// Why a payload could not be decompressed.
#[derive(Debug, thiserror::Error)]
pub enum SnappyError {
    /// It states a length over the limit of its message.
    #[error("the message would be {got} bytes, its limit is {limit}")]
    TooLong {
        /// The stated length.
        got: usize,
        /// The limit.
        limit: usize,
    },
    /// It is no snappy block.
    #[error("not a snappy block: {0}")]
    Malformed(#[from] snap::Error),
}

/// Compresses one message.
pub fn compress(raw: &[u8]) -> Bytes {
    let mut out = vec![0; snap::raw::max_compress_len(raw.len())];
    // The only errors are an output too small, which `max_compress_len` rules out, and an input of 4 GiB, which no
    // queue accepts; an empty message then says so to the peer, who ends the session.
    let length = snap::raw::Encoder::new().compress(raw, &mut out).unwrap_or(0);
    out.truncate(length);
    out.shrink_to_fit();
    out.into()
}

/// The length that a message says it has when it is decompressed.
///
/// # Errors
/// It is no snappy block.
pub fn declared(compressed: &[u8]) -> Result<usize, SnappyError> {
    Ok(snap::raw::decompress_len(compressed)?)
}

/// Decompresses one message of at most `limit` bytes.
///
/// # Errors
/// A stated length over the limit, before allocating; anything that is no snappy block.
pub fn decompress(compressed: &[u8], limit: usize) -> Result<Vec<u8>, SnappyError> {
    let got = declared(compressed)?;
    if got > limit {
        return Err(SnappyError::TooLong { got, limit });
    }
    let mut out = vec![0; got];
    let length = snap::raw::Decoder::new().decompress(compressed, &mut out)?;
    out.truncate(length);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bomb_is_refused_before_allocating() {
        // States 4 GiB - 1 in five bytes.
        let bomb = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
        assert!(matches!(decompress(&bomb, 10 << 20), Err(SnappyError::TooLong { got: 0xffff_ffff, .. })));
        let zeros = compress(&vec![0; 1 << 20]);
        assert!(zeros.len() < 64 << 10);
        assert!(matches!(decompress(&zeros, (1 << 20) - 1), Err(SnappyError::TooLong { .. })));
        assert_eq!(decompress(&zeros, 1 << 20).map(|out| out.len()).ok(), Some(1 << 20));
        assert!(decompress(&[], 10).is_err() || decompress(&[], 10).is_ok_and(|out| out.is_empty()));
        assert!(matches!(decompress(&[5, 1, 2], 10), Err(SnappyError::Malformed(_))));
    }
}
