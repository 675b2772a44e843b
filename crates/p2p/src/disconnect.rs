//! Disconnect: the message that ends a session, and its reasons.

use alloy_rlp::{Decodable, Encodable, Header};

/// Why a session ended, as on the wire (devp2p base protocol; use as Besu's).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// 0x00: wished by an operator, or the node is no longer permitted.
    Requested,
    /// 0x01: the TCP connection failed.
    TcpError,
    /// 0x02: malformed or misplaced message, or repeated misbehaviour.
    BreachOfProtocol,
    /// 0x03: nothing in common, or of no use.
    UselessPeer,
    /// 0x04: no slot is free.
    TooManyPeers,
    /// 0x05: there is a session already.
    AlreadyConnected,
    /// 0x06: p2p version below 5.
    IncompatibleVersion,
    /// 0x07: the node id is null.
    NullIdentity,
    /// 0x08: the client shuts down.
    Quitting,
    /// 0x09: another identity than expected.
    UnexpectedIdentity,
    /// 0x0a: connected to itself.
    ConnectedToSelf,
    /// 0x0b: no answer in time.
    Timeout,
    /// 0x10: a sub-protocol's reason: wrong network, genesis or fork.
    SubprotocolReason,
    /// Any other code; `Other(0xff)` when none was given.
    Other(u8),
}

impl Reason {
    /// The code on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Reason::Requested => 0x00,
            Reason::TcpError => 0x01,
            Reason::BreachOfProtocol => 0x02,
            Reason::UselessPeer => 0x03,
            Reason::TooManyPeers => 0x04,
            Reason::AlreadyConnected => 0x05,
            Reason::IncompatibleVersion => 0x06,
            Reason::NullIdentity => 0x07,
            Reason::Quitting => 0x08,
            Reason::UnexpectedIdentity => 0x09,
            Reason::ConnectedToSelf => 0x0a,
            Reason::Timeout => 0x0b,
            Reason::SubprotocolReason => 0x10,
            Reason::Other(code) => code,
        }
    }

    /// The reason of a code.
    pub const fn from_code(code: u8) -> Reason {
        match code {
            0x00 => Reason::Requested,
            0x01 => Reason::TcpError,
            0x02 => Reason::BreachOfProtocol,
            0x03 => Reason::UselessPeer,
            0x04 => Reason::TooManyPeers,
            0x05 => Reason::AlreadyConnected,
            0x06 => Reason::IncompatibleVersion,
            0x07 => Reason::NullIdentity,
            0x08 => Reason::Quitting,
            0x09 => Reason::UnexpectedIdentity,
            0x0a => Reason::ConnectedToSelf,
            0x0b => Reason::Timeout,
            0x10 => Reason::SubprotocolReason,
            other => Reason::Other(other),
        }
    }

    /// Besu's name of the reason, the value of its metric label `disconnectReason`.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::Requested => "REQUESTED",
            Reason::TcpError => "TCP_SUBSYSTEM_ERROR",
            Reason::BreachOfProtocol => "BREACH_OF_PROTOCOL",
            Reason::UselessPeer => "USELESS_PEER",
            Reason::TooManyPeers => "TOO_MANY_PEERS",
            Reason::AlreadyConnected => "ALREADY_CONNECTED",
            Reason::IncompatibleVersion => "INCOMPATIBLE_P2P_PROTOCOL_VERSION",
            Reason::NullIdentity => "NULL_NODE_ID",
            Reason::Quitting => "CLIENT_QUITTING",
            Reason::UnexpectedIdentity => "UNEXPECTED_ID",
            Reason::ConnectedToSelf => "LOCAL_IDENTITY",
            Reason::Timeout => "TIMEOUT",
            Reason::SubprotocolReason => "SUBPROTOCOL_TRIGGERED",
            Reason::Other(_) => "UNKNOWN",
        }
    }

    /// The payload: a list of the one code.
    pub fn encode(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(3);
        Header { list: true, payload_length: self.code().length() }.encode(&mut out);
        self.code().encode(&mut out);
        out
    }

    /// Reads a payload: a list of one, an empty list, a bare scalar or nothing (all are sent by living clients).
    /// What is none of these has no reason: the session ends anyway.
    pub fn decode(mut payload: &[u8]) -> Reason {
        let none = Reason::Other(0xff);
        let is_list = payload.first().is_some_and(|first| *first >= 0xc0);
        let read = if is_list {
            Header::decode_bytes(&mut payload, true).and_then(|mut items| u8::decode(&mut items))
        } else {
            u8::decode(&mut payload)
        };
        read.map_or(none, Reason::from_code)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:#04x} {}", self.code(), self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_on_the_wire_is_read() {
        assert_eq!(Reason::decode(&[0xc1, 0x04]), Reason::TooManyPeers);
        assert_eq!(Reason::decode(&[0x10]), Reason::SubprotocolReason);
        assert_eq!(Reason::decode(&[0xc1, 0x80]), Reason::Requested);
        assert_eq!(Reason::decode(&[0x80]), Reason::Requested);
        for payload in [&[][..], &[0xc0], &[0xff, 0xff], &[0xc2, 0xc1, 0x01]] {
            assert_eq!(Reason::decode(payload), Reason::Other(0xff));
        }
        for code in 0..=0xff {
            let reason = Reason::from_code(code);
            assert_eq!(reason.code(), code);
            assert_eq!(Reason::decode(&reason.encode()), reason);
        }
    }
}
