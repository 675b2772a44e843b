//! The multiplexer: which capabilities two nodes share, and where each one's message ids start.
//!
//! Shared capabilities are sorted by name, the highest common version of each; ids start at [`BASE`] and each takes as
//! many as its version has (devp2p, "Message-ID-Based Multiplexing").

use ipe_types::eth::EthVersion;

use crate::event::{Capability, Protocol};
use crate::ipe;

/// First id of the shared capabilities; those below are devp2p's own.
pub const BASE: u8 = 0x10;
/// The version of `istanbul` that QBFT speaks (Besu and GoQuorum).
pub const ISTANBUL_VERSION: u64 = 100;
/// Ids that `istanbul/100` takes; 0x12 to 0x15 are used.
pub const ISTANBUL_LENGTH: u8 = 22;

/// What we offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Versions of eth.
    pub eth: Vec<EthVersion>,
    /// Whether `istanbul/100` is offered.
    pub istanbul: bool,
    /// Whether `ipe/1` is offered.
    pub ipe: bool,
    /// Whether `carry/1` is offered: this node carries sessions of its validators. It has no messages in a session.
    pub carry: bool,
}

impl Offer {
    /// The list for our Hello, sorted.
    pub fn capabilities(&self) -> Vec<Capability> {
        let mut list: Vec<Capability> = self
            .eth
            .iter()
            .map(|version| Capability { name: Protocol::Eth.name().into(), version: version.number().into() })
            .collect();
        if self.istanbul {
            list.push(Capability { name: Protocol::Istanbul.name().into(), version: ISTANBUL_VERSION });
        }
        if self.ipe {
            list.push(Capability { name: Protocol::Ipe.name().into(), version: ipe::VERSION });
        }
        if self.carry {
            list.push(Capability { name: crate::carry::NAME.into(), version: crate::carry::VERSION });
        }
        list.sort();
        list.dedup();
        list
    }

    /// What is shared with a peer that offers `theirs`.
    pub fn shared(&self, theirs: &[Capability]) -> Shared {
        let has = |name: &str, version: u64| theirs.iter().any(|item| item.name == name && item.version == version);
        let eth = self.eth.iter().copied().filter(|version| has(Protocol::Eth.name(), version.number().into())).max();
        let ipe = self.ipe && has(Protocol::Ipe.name(), ipe::VERSION);
        let istanbul = self.istanbul && has(Protocol::Istanbul.name(), ISTANBUL_VERSION);
        Shared::new(eth, ipe, istanbul)
    }
}

/// The shared capabilities with the first id of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shared {
    eth: Option<(EthVersion, u8)>,
    ipe: Option<u8>,
    istanbul: Option<u8>,
    end: u8,
}

impl Shared {
    fn new(eth: Option<EthVersion>, ipe: bool, istanbul: bool) -> Self {
        let mut next = BASE;
        let mut take = |length: u8| {
            let start = next;
            next += length;
            start
        };
        // In the order of the names: eth, ipe, istanbul.
        let eth = eth.map(|version| (version, take(version.length())));
        let ipe = ipe.then(|| take(ipe::LENGTH));
        let istanbul = istanbul.then(|| take(ISTANBUL_LENGTH));
        Shared { eth, ipe, istanbul, end: next }
    }

    #[cfg(test)]
    pub(crate) fn all_for_tests() -> Self {
        Shared::new(Some(EthVersion::V69), true, true)
    }

    /// The eth version in use.
    pub fn eth(&self) -> Option<EthVersion> {
        self.eth.map(|(version, _)| version)
    }

    /// Whether messages of a protocol can be sent.
    pub fn has(&self, protocol: Protocol) -> bool {
        self.offset(protocol).is_some()
    }

    /// The first id of a protocol.
    pub fn offset(&self, protocol: Protocol) -> Option<u8> {
        match protocol {
            Protocol::Eth => self.eth.map(|(_, offset)| offset),
            Protocol::Ipe => self.ipe,
            Protocol::Istanbul => self.istanbul,
        }
    }

    /// The protocol and relative code of a message id; none when the id belongs to nobody.
    pub fn locate(&self, id: u64) -> Option<(Protocol, u8)> {
        let id = u8::try_from(id).ok().filter(|id| *id < self.end)?;
        Protocol::ALL
            .into_iter()
            .rev()
            .find_map(|protocol| self.offset(protocol).filter(|offset| *offset <= id).map(|offset| (protocol, id - offset)))
    }

    /// The list for display, in the order of the ids.
    pub fn capabilities(&self) -> Vec<Capability> {
        let versions = [
            (Protocol::Eth, self.eth.map(|(version, _)| version.number().into())),
            (Protocol::Ipe, self.ipe.map(|_| ipe::VERSION)),
            (Protocol::Istanbul, self.istanbul.map(|_| ISTANBUL_VERSION)),
        ];
        versions
            .into_iter()
            .filter_map(|(protocol, version)| Some(Capability { name: protocol.name().into(), version: version? }))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn theirs(list: &[(&str, u64)]) -> Vec<Capability> {
        list.iter().map(|(name, version)| Capability { name: (*name).into(), version: *version }).collect()
    }

    fn offer() -> Offer {
        Offer { eth: EthVersion::ALL.to_vec(), istanbul: true, ipe: true, carry: false }
    }

    #[test]
    fn istanbul_begins_where_the_clients_put_it() {
        let besu_25_5 = offer().shared(&theirs(&[("eth", 66), ("eth", 67), ("eth", 68), ("istanbul", 100), ("snap", 1)]));
        assert_eq!(besu_25_5.eth(), Some(EthVersion::V68));
        assert_eq!(besu_25_5.offset(Protocol::Istanbul), Some(0x21));
        let besu_26 = offer().shared(&theirs(&[("eth", 68), ("eth", 69), ("eth", 70), ("istanbul", 100)]));
        assert_eq!(besu_26.eth(), Some(EthVersion::V69));
        assert_eq!(besu_26.offset(Protocol::Istanbul), Some(0x22));
        let quorum = offer().shared(&theirs(&[("eth", 65), ("eth", 66), ("istanbul", 64), ("istanbul", 99), ("istanbul", 100)]));
        assert_eq!(quorum.eth(), Some(EthVersion::V66));
        assert_eq!(quorum.locate(0x33), Some((Protocol::Istanbul, 0x12)));
        let ours = offer().shared(&offer().capabilities());
        assert_eq!(ours.offset(Protocol::Ipe), Some(0x22));
        assert_eq!(ours.offset(Protocol::Istanbul), Some(0x32));
    }

    #[test]
    fn ids_outside_belong_to_nobody() {
        let shared = offer().shared(&theirs(&[("eth", 68), ("istanbul", 100)]));
        assert_eq!(shared.locate(0x10), Some((Protocol::Eth, 0)));
        assert_eq!(shared.locate(0x20), Some((Protocol::Eth, 16)));
        assert_eq!(shared.locate(0x21), Some((Protocol::Istanbul, 0)));
        assert_eq!(shared.locate(0x21 + 22), None);
        assert_eq!(shared.locate(u64::MAX), None);
        let nothing = offer().shared(&theirs(&[("eth", 67), ("snap", 1)]));
        assert_eq!((nothing.eth(), nothing.locate(0x10)), (None, None));
    }
}
