//! The RLPx v4 handshake: who both ends are, and the secrets of the session.
//!
//! The dialling end sends `auth`, the other answers `ack`; both in the EIP-8 form (a size, then ECIES over an RLP list
//! with random padding). The older plain forms are read too, and a plain auth is answered with a plain ack.
//! Sources: devp2p `rlpx.md`, EIP-8 (its vectors are the tests).

use alloy_primitives::Keccak256;
use alloy_rlp::{Decodable, Encodable, Header};
use ipe_types::crypto::{HighS, Signature65, node_id_of, recover_node_id};
use ipe_types::{B256, NodeId, keccak256};
use rand::Rng;
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, PublicKey, SECP256K1, SecretKey};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::door::Place;
use crate::ecies;

/// Version of the handshake that is sent.
const VERSION: u8 = 4;
/// Plain text of a plain auth: signature, hash of the ephemeral key, key, nonce, one zero.
const PLAIN_AUTH: usize = 65 + 32 + 64 + 32 + 1;
/// Plain text of a plain ack: ephemeral key, nonce, one zero.
const PLAIN_ACK: usize = 64 + 32 + 1;
/// Largest size of an EIP-8 packet that is read: the fields take about 200 bytes and clients pad by up to 300.
const MAX_PACKET: usize = 2048;
/// Longest auth with its size before it.
pub const MAX_AUTH: usize = MAX_PACKET + 2;

/// Why the handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The connection broke.
    #[error("connection lost in the RLPx handshake: {0}")]
    Io(#[from] std::io::Error),
    /// The packet is not for our key, or is damaged.
    #[error("RLPx {packet}: {source}")]
    Ecies {
        /// `auth` or `ack`.
        packet: &'static str,
        /// What failed.
        source: ecies::EciesError,
        /// The whole packet, as it came.
        bytes: Vec<u8>,
    },
    /// The packet's contents are malformed.
    #[error("RLPx {packet} is malformed: {what}")]
    Malformed {
        /// `auth` or `ack`.
        packet: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// The key dialled is no point of the curve.
    #[error("the node id dialled is not a public key; correct the enode")]
    NoSuchKey,
}

/// What the session's two codecs start from.
#[derive(Clone)]
pub struct Secrets {
    /// Key of the frames' AES-256-CTR.
    pub aes: B256,
    /// Key of the MACs' AES-256.
    pub mac: B256,
    /// Running MAC of what we send.
    pub egress: Keccak256,
    /// Running MAC of what we receive.
    pub ingress: Keccak256,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Secrets(..)")
    }
}

/// What one end keeps while it shakes hands.
struct End {
    key: SecretKey,
    ephemeral: SecretKey,
    nonce: B256,
}

impl End {
    fn new(key: SecretKey) -> Self {
        End { key, ephemeral: ecies::random_key(), nonce: B256::from(rand::random::<[u8; 32]>()) }
    }
}

/// What the other end's packet says.
struct Remote {
    ephemeral: PublicKey,
    nonce: B256,
}

/// Shakes hands as the dialling end with the node `expected`, which alone can answer.
///
/// # Errors
/// The connection breaks, or the answer is not this node's.
pub async fn initiate<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    key: &SecretKey,
    expected: &NodeId,
) -> Result<Secrets, HandshakeError> {
    let public = ecies::public_key(expected).ok_or(HandshakeError::NoSuchKey)?;
    let end = End::new(*key);
    let auth = seal(&public, write_auth(&end, &public));
    stream.write_all(&auth).await?;
    let (ack, plain) = read_packet(stream, "ack", key, PLAIN_ACK, None).await?;
    let remote = if ack.plain { read_plain_ack(&plain)? } else { read_ack(&plain)? };
    Ok(secrets(&end, &remote, &auth, &ack.bytes, true))
}

/// Shakes hands as the dialled end; tells who dialled.
///
/// # Errors
/// The connection breaks, or the auth is not for our key or malformed.
pub async fn respond<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    key: &SecretKey,
) -> Result<(NodeId, Secrets), HandshakeError> {
    respond_at(stream, key, None).await
}

/// [`respond`] for a connection that has a place at the door: there it pays before its first packet is decrypted, and shows
/// whose it is before that is answered.
pub(crate) async fn respond_at<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    key: &SecretKey,
    place: Option<&Place>,
) -> Result<(NodeId, Secrets), HandshakeError> {
    let (auth, plain) = read_packet(stream, "auth", key, PLAIN_AUTH, place).await?;
    let (node, remote) = if auth.plain { read_plain_auth(&plain, key)? } else { read_auth(&plain, key)? };
    let public = ecies::public_key(&node).ok_or(HandshakeError::Malformed { packet: "auth", what: "no public key" })?;
    // The nonce is under the signature: its owner uses it once, and nobody else can change it.
    if place.is_some_and(|place| !place.claim(node, remote.nonce)) {
        return Err(bad_auth("it has been used before"));
    }
    let end = End::new(*key);
    let ack = if auth.plain { ecies::encrypt(&public, &plain_ack(&end), &[]) } else { seal(&public, write_ack(&end)) };
    stream.write_all(&ack).await?;
    Ok((node, secrets(&end, &remote, &auth.bytes, &ack, false)))
}

/// Whether `auth`, a packet of the EIP-8 form with its size before it, is encrypted for this key.
pub fn opens(key: &SecretKey, auth: &[u8]) -> bool {
    auth.split_first_chunk::<2>().is_some_and(|(size, body)| {
        usize::from(u16::from_be_bytes(*size)) == body.len() && ecies::decrypt(key, &mut body.to_vec(), size).is_ok()
    })
}

/// A packet as it came over the wire, which the MACs start with.
struct Packet {
    bytes: Vec<u8>,
    plain: bool,
}

/// Reads and decrypts a packet of either form.
async fn read_packet<S: AsyncRead + Unpin>(
    stream: &mut S,
    packet: &'static str,
    key: &SecretKey,
    plain_length: usize,
    place: Option<&Place>,
) -> Result<(Packet, Vec<u8>), HandshakeError> {
    let mut bytes = vec![0; 2];
    stream.read_exact(&mut bytes).await?;
    // A plain packet begins with the 04 of a public key; an EIP-8 packet with its size, which may do so by chance.
    if bytes[0] == 4 {
        bytes.resize(plain_length + ecies::OVERHEAD, 0);
        stream.read_exact(&mut bytes[2..]).await?;
        pay(place).await;
        if let Ok(text) = ecies::decrypt(key, &mut bytes.clone(), &[]) {
            let text = text.to_vec();
            return Ok((Packet { bytes, plain: true }, text));
        }
    }
    let size = [bytes[0], bytes[1]];
    let length = usize::from(u16::from_be_bytes(size)) + 2;
    if length < bytes.len().max(ecies::OVERHEAD + 2) || length > MAX_PACKET + 2 {
        return Err(HandshakeError::Malformed { packet, what: "its size is out of range" });
    }
    let have = bytes.len();
    bytes.resize(length, 0);
    stream.read_exact(&mut bytes[have..]).await?;
    pay(place).await;
    let mut body = bytes[2..].to_vec();
    match ecies::decrypt(key, &mut body, &size) {
        Ok(text) => {
            let text = text.to_vec();
            Ok((Packet { bytes, plain: false }, text))
        }
        Err(source) => Err(HandshakeError::Ecies { packet, source, bytes }),
    }
}

async fn pay(place: Option<&Place>) {
    if let Some(place) = place {
        place.pay_for_keys().await;
    }
}

/// Pads and encrypts the list of an EIP-8 packet, with its size before it.
fn seal(recipient: &PublicKey, mut list: Vec<u8>) -> Vec<u8> {
    let padding = rand::rng().random_range(100..=250);
    list.resize(list.len() + padding, 0);
    let size = ((list.len() + ecies::OVERHEAD) as u16).to_be_bytes();
    let sealed = ecies::encrypt(recipient, &list, &size);
    [&size[..], &sealed].concat()
}

fn list(items: &[&dyn Encodable]) -> Vec<u8> {
    let payload_length = items.iter().map(|item| item.length()).sum();
    let mut out = Vec::with_capacity(payload_length + 3);
    Header { list: true, payload_length }.encode(&mut out);
    items.iter().for_each(|item| item.encode(&mut out));
    out
}

fn write_auth(end: &End, recipient: &PublicKey) -> Vec<u8> {
    let signed = B256::from(ecies::agree(recipient, &end.key)) ^ end.nonce;
    let signature = SECP256K1.sign_ecdsa_recoverable(Message::from_digest(signed.0), &end.ephemeral);
    let signature = signature_bytes(&signature);
    let id = node_id_of(&end.key.public_key(SECP256K1));
    list(&[&&signature[..], &id, &end.nonce, &VERSION])
}

fn signature_bytes(signature: &RecoverableSignature) -> [u8; 65] {
    let (recovery, compact) = signature.serialize_compact();
    let mut bytes = [0; 65];
    bytes[..64].copy_from_slice(&compact);
    bytes[64] = recovery as u8;
    bytes
}

fn write_ack(end: &End) -> Vec<u8> {
    list(&[&node_id_of(&end.ephemeral.public_key(SECP256K1)), &end.nonce, &VERSION])
}

fn plain_ack(end: &End) -> Vec<u8> {
    let ephemeral = node_id_of(&end.ephemeral.public_key(SECP256K1));
    [ephemeral.as_slice(), end.nonce.as_slice(), &[0]].concat()
}

fn bad_auth(what: &'static str) -> HandshakeError {
    HandshakeError::Malformed { packet: "auth", what }
}

fn bad_ack(what: &'static str) -> HandshakeError {
    HandshakeError::Malformed { packet: "ack", what }
}

/// The items of an EIP-8 list; later items and the padding after the list are ignored.
fn read_auth(mut plain: &[u8], key: &SecretKey) -> Result<(NodeId, Remote), HandshakeError> {
    let mut read = || -> alloy_rlp::Result<([u8; 65], NodeId, B256)> {
        let mut items = Header::decode_bytes(&mut plain, true)?;
        Ok((<[u8; 65]>::decode(&mut items)?, NodeId::decode(&mut items)?, B256::decode(&mut items)?))
    };
    let (signature, node, nonce) = read().map_err(|_| bad_auth("no list of signature, key and nonce"))?;
    Ok((node, authenticate(signature, node, nonce, key)?))
}

fn read_plain_auth(plain: &[u8], key: &SecretKey) -> Result<(NodeId, Remote), HandshakeError> {
    let short = || bad_auth("too short");
    let (signature, rest) = plain.split_first_chunk::<65>().ok_or_else(short)?;
    let (hash, rest) = rest.split_first_chunk::<32>().ok_or_else(short)?;
    let (node, rest) = rest.split_first_chunk::<64>().ok_or_else(short)?;
    let nonce = rest.first_chunk::<32>().ok_or_else(short)?;
    let node = NodeId::from(*node);
    let remote = authenticate(*signature, node, B256::from(*nonce), key)?;
    if keccak256(node_id_of(&remote.ephemeral)) != *hash {
        return Err(bad_auth("the hash is not the ephemeral key's"));
    }
    Ok((node, remote))
}

/// The ephemeral key that signed, which only the owner of `node` can have made sign this.
fn authenticate(signature: [u8; 65], node: NodeId, nonce: B256, key: &SecretKey) -> Result<Remote, HandshakeError> {
    let public = ecies::public_key(&node).ok_or_else(|| bad_auth("the key is no point of the curve"))?;
    let signed = B256::from(ecies::agree(&public, key)) ^ nonce;
    let signature = Signature65::from_bytes(signature).map_err(|_| bad_auth("the signature is out of range"))?;
    let ephemeral = recover_node_id(signed, &signature, HighS::Allowed)
        .ok()
        .and_then(|id| ecies::public_key(&id))
        .ok_or_else(|| bad_auth("no key answers to the signature"))?;
    Ok(Remote { ephemeral, nonce })
}

fn read_ack(mut plain: &[u8]) -> Result<Remote, HandshakeError> {
    let mut read = || -> alloy_rlp::Result<(NodeId, B256)> {
        let mut items = Header::decode_bytes(&mut plain, true)?;
        Ok((NodeId::decode(&mut items)?, B256::decode(&mut items)?))
    };
    let (ephemeral, nonce) = read().map_err(|_| bad_ack("no list of ephemeral key and nonce"))?;
    let ephemeral = ecies::public_key(&ephemeral).ok_or_else(|| bad_ack("the key is no point of the curve"))?;
    Ok(Remote { ephemeral, nonce })
}

fn read_plain_ack(plain: &[u8]) -> Result<Remote, HandshakeError> {
    let (ephemeral, rest) = plain.split_first_chunk::<64>().ok_or_else(|| bad_ack("too short"))?;
    let nonce = rest.first_chunk::<32>().ok_or_else(|| bad_ack("too short"))?;
    let ephemeral = ecies::public_key(&NodeId::from(*ephemeral)).ok_or_else(|| bad_ack("the key is no point of the curve"))?;
    Ok(Remote { ephemeral, nonce: B256::from(*nonce) })
}

fn hash(parts: [&[u8]; 2]) -> B256 {
    let mut hasher = Keccak256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

fn secrets(end: &End, remote: &Remote, auth: &[u8], ack: &[u8], initiator: bool) -> Secrets {
    let agreed = ecies::agree(&remote.ephemeral, &end.ephemeral);
    let (initiator_nonce, recipient_nonce) = if initiator { (end.nonce, remote.nonce) } else { (remote.nonce, end.nonce) };
    let nonces = hash([recipient_nonce.as_slice(), initiator_nonce.as_slice()]);
    let shared = hash([&agreed, nonces.as_slice()]);
    let aes = hash([&agreed, shared.as_slice()]);
    let mac = hash([&agreed, aes.as_slice()]);
    let running = |nonce: B256, packet: &[u8]| {
        let mut running = Keccak256::new();
        running.update(mac ^ nonce);
        running.update(packet);
        running
    };
    let from_initiator = running(recipient_nonce, auth);
    let from_recipient = running(initiator_nonce, ack);
    let (egress, ingress) = if initiator { (from_initiator, from_recipient) } else { (from_recipient, from_initiator) };
    Secrets { aes, mac, egress, ingress }
}

#[cfg(test)]
#[path = "handshake_tests.rs"]
mod tests;
