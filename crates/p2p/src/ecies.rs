//! ECIES as RLPx uses it: secp256k1, AES-128-CTR, HMAC-SHA-256, the NIST concatenation KDF.
//!
//! A message is `04 ‖ R(64) ‖ iv(16) ‖ ciphertext ‖ tag(32)` (devp2p `rlpx.md`, "ECIES Encryption").

use aes::Aes128;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use hmac::{Hmac, Mac};
use ipe_types::NodeId;
use secp256k1::{PublicKey, SecretKey};
use sha2::{Digest, Sha256};

/// Bytes that encryption adds.
pub const OVERHEAD: usize = 65 + 16 + 32;

/// The bytes are no message for this key: garbage, or meant for another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not encrypted for this node's key, or damaged")]
pub struct EciesError;

/// A fresh secret key.
pub fn random_key() -> SecretKey {
    loop {
        // All but one in 2^128 random numbers are keys.
        if let Ok(key) = SecretKey::from_byte_array(rand::random()) {
            return key;
        }
    }
}

/// The public key of a node id; none when it is no point of the curve.
pub fn public_key(id: &NodeId) -> Option<PublicKey> {
    let mut bytes = [4u8; 65];
    bytes[1..].copy_from_slice(id.as_slice());
    PublicKey::from_slice(&bytes).ok()
}

/// The x coordinate of the Diffie-Hellman point.
pub fn agree(public: &PublicKey, secret: &SecretKey) -> [u8; 32] {
    let point = secp256k1::ecdh::shared_secret_point(public, secret);
    let mut x = [0; 32];
    x.copy_from_slice(&point[..32]);
    x
}

/// Encryption key and MAC key of an agreed secret.
fn derive(shared: &[u8; 32]) -> ([u8; 16], [u8; 32]) {
    let derived = Sha256::new().chain_update(1u32.to_be_bytes()).chain_update(shared).finalize();
    let mut encryption = [0; 16];
    encryption.copy_from_slice(&derived[..16]);
    (encryption, Sha256::digest(&derived[16..]).into())
}

fn tag(key: &[u8; 32], parts: [&[u8]; 3]) -> Hmac<Sha256> {
    // HMAC takes keys of any length.
    let mut hmac = <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC accepts every key length");
    parts.iter().for_each(|part| hmac.update(part));
    hmac
}

/// Encrypts `plain` for `recipient`; `authenticated` is covered by the tag but not sent.
pub fn encrypt(recipient: &PublicKey, plain: &[u8], authenticated: &[u8]) -> Vec<u8> {
    let ephemeral = random_key();
    let (key, mac_key) = derive(&agree(recipient, &ephemeral));
    let iv: [u8; 16] = rand::random();
    let mut out = Vec::with_capacity(plain.len() + OVERHEAD);
    out.extend_from_slice(&ephemeral.public_key(secp256k1::SECP256K1).serialize_uncompressed());
    out.extend_from_slice(&iv);
    out.extend_from_slice(plain);
    Ctr128BE::<Aes128>::new(&key.into(), &iv.into()).apply_keystream(&mut out[81..]);
    let tag = tag(&mac_key, [&iv, &out[81..], authenticated]).finalize().into_bytes();
    out.extend_from_slice(&tag);
    out
}

/// Decrypts a message for `secret`; the plain text is left in `message` and returned as a part of it.
///
/// # Errors
/// Too short, no point of the curve, or the tag is wrong.
pub fn decrypt<'a>(secret: &SecretKey, message: &'a mut [u8], authenticated: &[u8]) -> Result<&'a mut [u8], EciesError> {
    if message.len() < OVERHEAD || message[0] != 4 {
        return Err(EciesError);
    }
    let sender = PublicKey::from_slice(&message[..65]).map_err(|_| EciesError)?;
    let (key, mac_key) = derive(&agree(&sender, secret));
    let tag_at = message.len() - 32;
    let (sealed, expected) = message.split_at_mut_checked(tag_at).ok_or(EciesError)?;
    let body = sealed.get_mut(65..).ok_or(EciesError)?;
    let (iv, cipher_text) = body.split_at_mut_checked(16).ok_or(EciesError)?;
    tag(&mac_key, [iv, cipher_text, authenticated]).verify_slice(expected).map_err(|_| EciesError)?;
    let iv: [u8; 16] = (&*iv).try_into().map_err(|_| EciesError)?;
    Ctr128BE::<Aes128>::new(&key.into(), &iv.into()).apply_keystream(cipher_text);
    Ok(cipher_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encrypted_comes_back_for_the_right_key_only() {
        let (key, other) = (random_key(), random_key());
        let public = key.public_key(secp256k1::SECP256K1);
        let sealed = encrypt(&public, b"ola", b"size");
        assert_eq!(decrypt(&key, &mut sealed.clone(), b"size").map(|plain| plain.to_vec()), Ok(b"ola".to_vec()));
        assert!(decrypt(&other, &mut sealed.clone(), b"size").is_err());
        assert!(decrypt(&key, &mut sealed.clone(), b"else").is_err());
        for at in [0, 1, 70, 82, sealed.len() - 1] {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(decrypt(&key, &mut damaged, b"size").is_err(), "byte {at}");
        }
        assert!(decrypt(&key, &mut sealed[..OVERHEAD - 1].to_vec(), b"size").is_err());
    }
}
