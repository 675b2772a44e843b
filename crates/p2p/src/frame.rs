//! RLPx frames: AES-256-CTR with running Keccak MACs over header and body.
//!
//! A frame is `header(16) ‖ header MAC(16) ‖ body, padded to 16 ‖ body MAC(16)`, all but the MACs encrypted. The body is
//! the RLP of the message id followed by the payload (devp2p `rlpx.md`, "Framing"). The two directions share nothing
//! but the keys, so reader and writer live in different tasks.

use aes::Aes256;
use aes::cipher::{BlockEncrypt, KeyInit};
use alloy_primitives::Keccak256;
use alloy_rlp::{Decodable, Encodable};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};

use crate::handshake::Secrets;

/// Bytes of header and header MAC.
const HEADER: usize = 32;
const MAC: usize = 16;
/// Most bytes read before more memory is taken: a frame's stated size is believed only as far as it arrives.
const READ_STEP: usize = 64 * 1024;
/// A buffer above this is given back after its message, so that idle peers hold little.
const KEEP_BUFFER: usize = 64 * 1024;
/// Buffer of the socket's reader, per peer.
const SOCKET_BUFFER: usize = 8 * 1024;
/// What frames may hold beyond the largest message: its id, and what snappy adds to incompressible data.
pub const FRAME_SLACK: usize = 1024 + 10 * 1024 * 1024 / 6;

/// Why a frame could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection broke.
    #[error("connection lost: {0}")]
    Io(#[from] std::io::Error),
    /// A MAC is wrong.
    #[error("the {0} MAC of a frame is wrong")]
    Mac(&'static str),
    /// The frame states a size over what the moment allows.
    #[error("a frame of {got} bytes, at most {limit} are read now")]
    TooLong {
        /// The stated size.
        got: usize,
        /// The limit.
        limit: usize,
    },
    /// The body does not begin with a message id.
    #[error("a frame without a message id")]
    NoId,
}

struct Cipher {
    stream: Ctr128BE<Aes256>,
    mac_key: Aes256,
    running: Keccak256,
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Cipher(..)")
    }
}

impl Cipher {
    fn new(secrets: &Secrets, running: &Keccak256) -> Self {
        let zero_iv = [0u8; 16];
        Cipher {
            stream: Ctr128BE::<Aes256>::new(&secrets.aes.0.into(), &zero_iv.into()),
            mac_key: Aes256::new(&secrets.mac.0.into()),
            running: running.clone(),
        }
    }

    fn digest(&self) -> [u8; MAC] {
        let full = self.running.clone().finalize();
        let mut digest = [0; MAC];
        digest.copy_from_slice(&full[..MAC]);
        digest
    }

    /// Mixes `seed` into the running MAC and tells the new one.
    fn mix(&mut self, seed: &[u8; MAC]) -> [u8; MAC] {
        let mut block = self.digest().into();
        self.mac_key.encrypt_block(&mut block);
        for (byte, other) in block.iter_mut().zip(seed) {
            *byte ^= other;
        }
        self.running.update(block);
        self.digest()
    }

    fn header_mac(&mut self, encrypted: &[u8; MAC]) -> [u8; MAC] {
        self.mix(encrypted)
    }

    fn body_mac(&mut self, encrypted: &[u8]) -> [u8; MAC] {
        self.running.update(encrypted);
        let seed = self.digest();
        self.mix(&seed)
    }
}

/// The sending direction of a session.
#[derive(Debug)]
pub struct FrameWriter {
    cipher: Cipher,
}

impl FrameWriter {
    /// Starts from the handshake's secrets.
    pub fn new(secrets: &Secrets) -> Self {
        FrameWriter { cipher: Cipher::new(secrets, &secrets.egress) }
    }

    /// Appends the frame of one message to `out`. The payload must be below 16 MiB, which every queue sees to.
    pub fn append(&mut self, id: u8, payload: &[u8], out: &mut Vec<u8>) {
        let size = id.length() + payload.len();
        let start = out.len();
        let padded = size.next_multiple_of(16);
        out.reserve(HEADER + padded + MAC);
        out.extend_from_slice(&(size as u32).to_be_bytes()[1..]);
        out.extend_from_slice(&[0xc2, 0x80, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        let header: &mut [u8] = &mut out[start..];
        self.cipher.stream.apply_keystream(header);
        let mut encrypted = [0; MAC];
        encrypted.copy_from_slice(header);
        out.extend_from_slice(&self.cipher.header_mac(&encrypted));
        let body = out.len();
        id.encode(out);
        out.extend_from_slice(payload);
        out.resize(body + padded, 0);
        self.cipher.stream.apply_keystream(&mut out[body..]);
        let mac = self.cipher.body_mac(&out[body..]);
        out.extend_from_slice(&mac);
    }
}

/// The receiving direction of a session.
#[derive(Debug)]
pub struct FrameReader<R> {
    io: BufReader<R>,
    cipher: Cipher,
    buffer: Vec<u8>,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Starts from the handshake's secrets.
    pub fn new(io: R, secrets: &Secrets) -> Self {
        let cipher = Cipher::new(secrets, &secrets.ingress);
        FrameReader { io: BufReader::with_capacity(SOCKET_BUFFER, io), cipher, buffer: Vec::new() }
    }

    /// Starts from the handshake's secrets and never reads beyond the frame asked for, so that [`Self::into_inner`] gives
    /// the stream back whole.
    pub fn unbuffered(io: R, secrets: &Secrets) -> Self {
        let cipher = Cipher::new(secrets, &secrets.ingress);
        // A read of at least the buffer's size goes past an empty buffer, and none is shorter than one byte.
        FrameReader { io: BufReader::with_capacity(1, io), cipher, buffer: Vec::new() }
    }

    /// The stream behind the frames read so far; none when more of it has been read already.
    pub fn into_inner(self) -> Option<R> {
        self.io.buffer().is_empty().then(|| self.io.into_inner())
    }

    /// Reads one message of at most `limit` bytes: its id and its payload as sent (compressed after Hello).
    ///
    /// Not safe to cancel and continue: a reader whose call was dropped must be dropped.
    ///
    /// # Errors
    /// The connection breaks, a MAC is wrong, the stated size is over the limit.
    pub async fn read(&mut self, limit: usize) -> Result<(u64, &[u8]), FrameError> {
        let size = self.header(limit).await?;
        self.body(size).await
    }

    /// The first half of [`Self::read`]: the size that the frame states, within the limit. Nothing of that size is allocated.
    ///
    /// # Errors
    /// See [`Self::read`].
    pub async fn header(&mut self, limit: usize) -> Result<usize, FrameError> {
        if self.buffer.capacity() > KEEP_BUFFER {
            self.buffer = Vec::new();
        }
        let mut header = [0; MAC];
        let mut mac = [0; MAC];
        self.io.read_exact(&mut header).await?;
        self.io.read_exact(&mut mac).await?;
        if self.cipher.header_mac(&header) != mac {
            return Err(FrameError::Mac("header"));
        }
        self.cipher.stream.apply_keystream(&mut header);
        let size = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        if size > limit {
            return Err(FrameError::TooLong { got: size, limit });
        }
        Ok(size)
    }

    /// The second half of [`Self::read`], after a header of this size.
    ///
    /// # Errors
    /// See [`Self::read`].
    pub async fn body(&mut self, size: usize) -> Result<(u64, &[u8]), FrameError> {
        let mut mac = [0; MAC];
        let padded = size.next_multiple_of(16);
        self.buffer.clear();
        while self.buffer.len() < padded {
            let have = self.buffer.len();
            self.buffer.resize(padded.min(have + have.max(READ_STEP)), 0);
            self.io.read_exact(&mut self.buffer[have..]).await?;
        }
        self.io.read_exact(&mut mac).await?;
        if self.cipher.body_mac(&self.buffer) != mac {
            return Err(FrameError::Mac("body"));
        }
        self.cipher.stream.apply_keystream(&mut self.buffer);
        let mut body = &self.buffer[..size];
        let id = u64::decode(&mut body).map_err(|_| FrameError::NoId)?;
        Ok((id, body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::B256;

    fn pair() -> (Secrets, Secrets) {
        let mac = |byte| {
            let mut running = Keccak256::new();
            running.update([byte]);
            running
        };
        let (aes, key) = (B256::repeat_byte(7), B256::repeat_byte(9));
        (Secrets { aes, mac: key, egress: mac(1), ingress: mac(2) }, Secrets { aes, mac: key, egress: mac(2), ingress: mac(1) })
    }

    #[tokio::test]
    async fn frames_of_every_length_come_back() {
        let (ours, theirs) = pair();
        let mut writer = FrameWriter::new(&ours);
        let mut wire = Vec::new();
        let payloads: Vec<Vec<u8>> = [0, 1, 14, 15, 16, 17, 1000, 300_000].map(|length| vec![0x5a; length]).to_vec();
        for (id, payload) in payloads.iter().enumerate() {
            writer.append(id as u8 * 17, payload, &mut wire);
        }
        let mut reader = FrameReader::new(wire.as_slice(), &theirs);
        for (id, payload) in payloads.iter().enumerate() {
            let (read_id, read) = reader.read(1 << 20).await.expect("an honest frame");
            assert_eq!((read_id, read), (id as u64 * 17, payload.as_slice()));
        }
        assert!(matches!(reader.read(1 << 20).await, Err(FrameError::Io(_))));
    }

    #[tokio::test]
    async fn damage_and_oversize_are_noticed() {
        let (ours, theirs) = pair();
        let mut wire = Vec::new();
        FrameWriter::new(&ours).append(3, &[1; 40], &mut wire);
        for at in 0..wire.len() {
            let mut damaged = wire.clone();
            damaged[at] ^= 0x40;
            assert!(FrameReader::new(damaged.as_slice(), &theirs).read(1 << 20).await.is_err(), "byte {at}");
        }
        let refused = FrameReader::new(wire.as_slice(), &theirs).read(40).await.map(|_| ());
        assert!(matches!(refused, Err(FrameError::TooLong { got: 41, limit: 40 })));
    }
}
