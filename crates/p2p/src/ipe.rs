//! `ipe/1`, our own capability: what neighbours tell each other for monitoring. Negotiated, never required.
//!
//! Message 0 is Status `[role, institution, name, height]`, sent once the session is open and again when it has changed, as
//! the height does with each block, at most every [`STATUS_INTERVAL`]. It is a claim: nothing is admitted or refused because
//! of it. Messages 1 and 2 are
//! [`crate::carry`]'s.

use std::time::Duration;

use alloy_rlp::{Decodable, Encodable, Header};
use ipe_types::Role;

/// Version offered.
pub const VERSION: u64 = 1;
/// Ids reserved, so that messages can be added without moving `istanbul`.
pub const LENGTH: u8 = 16;
/// Code of Status.
pub const STATUS: u8 = 0;
/// Code of [`crate::carry::Offer`].
pub const OFFER: u8 = 1;
/// Code of [`crate::carry::Decline`].
pub const DECLINE: u8 = 2;
/// Shortest time between two Status messages to a peer: monitoring needs seconds, not blocks.
pub const STATUS_INTERVAL: Duration = Duration::from_secs(5);
/// Longest institution or node name accepted, bytes.
pub const MAX_NAME: usize = 64;

/// What a node tells about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpeStatus {
    /// Its role.
    pub role: Role,
    /// Its institution's short name.
    pub institution: String,
    /// Its own name.
    pub name: String,
    /// Its head's number. What a node tells of itself has the head of the moment, whatever stands here.
    pub height: u64,
}

impl IpeStatus {
    /// The message's payload.
    pub fn encode(&self) -> Vec<u8> {
        let items: [&dyn Encodable; 4] = [&self.role.name(), &clip(&self.institution), &clip(&self.name), &self.height];
        let payload_length = items.iter().map(|item| item.length()).sum();
        let mut out = Vec::with_capacity(payload_length + 3);
        Header { list: true, payload_length }.encode(&mut out);
        items.iter().for_each(|item| item.encode(&mut out));
        out
    }

    /// Reads a payload; items that later versions append are ignored.
    ///
    /// # Errors
    /// Not a list of four, an unknown role, a name over [`MAX_NAME`] bytes or with control characters.
    pub fn decode(mut payload: &[u8]) -> Result<IpeStatus, alloy_rlp::Error> {
        let mut items = Header::decode_bytes(&mut payload, true)?;
        let role = Header::decode_str(&mut items)?.parse().map_err(|_| alloy_rlp::Error::Custom("unknown role"))?;
        let institution = name(&mut items)?;
        let name = name(&mut items)?;
        let height = u64::decode(&mut items)?;
        Ok(IpeStatus { role, institution, name, height })
    }
}

fn clip(text: &str) -> &str {
    let mut end = text.len().min(MAX_NAME);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn name(items: &mut &[u8]) -> Result<String, alloy_rlp::Error> {
    let text = Header::decode_str(items)?;
    if text.len() > MAX_NAME || text.chars().any(char::is_control) {
        return Err(alloy_rlp::Error::Custom("name too long or not printable"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_comes_back_and_a_long_name_is_refused() {
        let status = IpeStatus { role: Role::Boot, institution: "bndes".into(), name: "boot-1".into(), height: 77 };
        assert_eq!(IpeStatus::decode(&status.encode()), Ok(status.clone()));
        let clipped = IpeStatus { name: "é".repeat(40), ..status };
        assert_eq!(IpeStatus::decode(&clipped.encode()).map(|read| read.name), Ok("é".repeat(32)));
        let mut long = Vec::new();
        let items: [&dyn Encodable; 4] = [&"boot", &"x".repeat(65), &"n", &1u64];
        Header { list: true, payload_length: items.iter().map(|item| item.length()).sum() }.encode(&mut long);
        items.iter().for_each(|item| item.encode(&mut long));
        assert!(IpeStatus::decode(&long).is_err());
    }
}
