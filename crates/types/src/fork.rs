//! Protocol forks: which rules are in force at a block, as the genesis file's fork keys say.

use std::fmt;

/// A set of EVM and header rules, oldest first; the order is the order of activation.
///
/// Forks that change nothing in the EVM of a private network (DAO, Muir Glacier, Arrow Glacier, Gray Glacier, blob
/// parameter changes) have no variant of their own: they only count in the fork id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fork {
    /// The rules of block 0 of the first Ethereum network.
    Frontier,
    /// EIP-2, EIP-7.
    Homestead,
    /// EIP-150, key `eip150Block`.
    Tangerine,
    /// EIP-155, 160, 161, 170, key `eip158Block`.
    SpuriousDragon,
    /// EIP-140, 196, 197, 198, 211, 214, 658.
    Byzantium,
    /// EIP-145, 1014, 1052, 1283.
    Constantinople,
    /// Constantinople without EIP-1283.
    Petersburg,
    /// EIP-152, 1108, 1344, 1884, 2028, 2200.
    Istanbul,
    /// EIP-2565, 2718, 2929, 2930.
    Berlin,
    /// EIP-1559, 3198, 3529, 3541.
    London,
    /// EIP-4399 (PREVRANDAO); key `mergeNetSplitBlock`, and implied by every fork that is keyed by time.
    Paris,
    /// EIP-3651, 3855, 3860, 4895.
    Shanghai,
    /// EIP-1153, 4844, 4788, 5656, 6780, 7516.
    Cancun,
    /// EIP-2537, 2935, 7623, 7685, 7702.
    Prague,
    /// EIP-7823, 7825, 7883, 7934, 7939, 7951.
    Osaka,
}

impl Fork {
    /// Every fork, oldest first.
    pub const ALL: [Fork; 15] = [
        Fork::Frontier,
        Fork::Homestead,
        Fork::Tangerine,
        Fork::SpuriousDragon,
        Fork::Byzantium,
        Fork::Constantinople,
        Fork::Petersburg,
        Fork::Istanbul,
        Fork::Berlin,
        Fork::London,
        Fork::Paris,
        Fork::Shanghai,
        Fork::Cancun,
        Fork::Prague,
        Fork::Osaka,
    ];

    /// Lower-case name, as flags and files write it.
    pub fn name(self) -> &'static str {
        match self {
            Fork::Frontier => "frontier",
            Fork::Homestead => "homestead",
            Fork::Tangerine => "tangerine",
            Fork::SpuriousDragon => "spuriousdragon",
            Fork::Byzantium => "byzantium",
            Fork::Constantinople => "constantinople",
            Fork::Petersburg => "petersburg",
            Fork::Istanbul => "istanbul",
            Fork::Berlin => "berlin",
            Fork::London => "london",
            Fork::Paris => "paris",
            Fork::Shanghai => "shanghai",
            Fork::Cancun => "cancun",
            Fork::Prague => "prague",
            Fork::Osaka => "osaka",
        }
    }

    /// The fork of that name, any letter case.
    pub fn from_name(name: &str) -> Option<Fork> {
        Fork::ALL.into_iter().find(|fork| fork.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Fork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What makes a fork or a transition come into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// From this block number on.
    Block(u64),
    /// From the first block whose timestamp (unix seconds) is at least this.
    Time(u64),
}

impl Activation {
    /// Whether it is in force for a block with this number and timestamp (seconds).
    pub fn active(self, number: u64, timestamp: u64) -> bool {
        match self {
            Activation::Block(at) => number >= at,
            Activation::Time(at) => timestamp >= at,
        }
    }

    /// The raw value, block number or unix seconds.
    pub fn value(self) -> u64 {
        match self {
            Activation::Block(value) | Activation::Time(value) => value,
        }
    }
}

/// One fork key that the genesis file defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForkPoint {
    /// Key as documented, for example `berlinBlock`.
    pub key: &'static str,
    /// The rules it brings; several keys may bring the same rules.
    pub fork: Fork,
    /// When they begin.
    pub at: Activation,
}

/// How a fork key is written in the genesis file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForkKey {
    pub(crate) key: &'static str,
    pub(crate) alias: Option<&'static str>,
    pub(crate) fork: Fork,
    pub(crate) by_time: bool,
}

const fn block_key(key: &'static str, fork: Fork) -> ForkKey {
    ForkKey { key, alias: None, fork, by_time: false }
}

const fn time_key(key: &'static str, fork: Fork) -> ForkKey {
    ForkKey { key, alias: None, fork, by_time: true }
}

/// All fork keys in the order in which forks may be activated (besu `GenesisConfigOptions`).
pub(crate) const FORK_KEYS: [ForkKey; 23] = [
    block_key("homesteadBlock", Fork::Homestead),
    block_key("daoForkBlock", Fork::Homestead),
    block_key("eip150Block", Fork::Tangerine),
    block_key("eip158Block", Fork::SpuriousDragon),
    block_key("byzantiumBlock", Fork::Byzantium),
    block_key("constantinopleBlock", Fork::Constantinople),
    ForkKey { key: "petersburgBlock", alias: Some("constantinopleFixBlock"), fork: Fork::Petersburg, by_time: false },
    block_key("istanbulBlock", Fork::Istanbul),
    block_key("muirGlacierBlock", Fork::Istanbul),
    block_key("berlinBlock", Fork::Berlin),
    block_key("londonBlock", Fork::London),
    block_key("arrowGlacierBlock", Fork::London),
    block_key("grayGlacierBlock", Fork::London),
    block_key("mergeNetSplitBlock", Fork::Paris),
    time_key("shanghaiTime", Fork::Shanghai),
    time_key("cancunTime", Fork::Cancun),
    time_key("pragueTime", Fork::Prague),
    time_key("osakaTime", Fork::Osaka),
    time_key("bpo1Time", Fork::Osaka),
    time_key("bpo2Time", Fork::Osaka),
    time_key("bpo3Time", Fork::Osaka),
    time_key("bpo4Time", Fork::Osaka),
    time_key("bpo5Time", Fork::Osaka),
];

/// The forks that a genesis file defines, in order of activation.
///
/// An undefined fork is active from the next defined later one: rules are cumulative, so the newest active point
/// decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForkSchedule {
    points: Vec<ForkPoint>,
    /// Keys and heights that change no rule here and count in the fork id.
    marks: Vec<(&'static str, u64)>,
}

impl ForkSchedule {
    /// A schedule of these points. `Err` names the first two whose order is impossible: a later fork may not begin
    /// before an earlier one of the same kind (block or time).
    pub fn new(points: Vec<ForkPoint>) -> Result<ForkSchedule, (ForkPoint, ForkPoint)> {
        for pair in [false, true] {
            let same_kind: Vec<&ForkPoint> =
                points.iter().filter(|point| matches!(point.at, Activation::Time(_)) == pair).collect();
            for (earlier, later) in same_kind.iter().zip(same_kind.iter().skip(1)) {
                if later.at.value() < earlier.at.value() {
                    return Err((**earlier, **later));
                }
            }
        }
        Ok(ForkSchedule { points, marks: Vec::new() })
    }

    /// The same with heights that count in the fork id only: those of GoQuorum's own features.
    pub(crate) fn with_marks(self, marks: Vec<(&'static str, u64)>) -> ForkSchedule {
        ForkSchedule { marks, ..self }
    }

    /// Keys and heights that change no rule and count in the fork id.
    pub fn marks(&self) -> &[(&'static str, u64)] {
        &self.marks
    }

    /// The points, oldest fork first.
    pub fn points(&self) -> &[ForkPoint] {
        &self.points
    }

    /// The rules for a block with this number and timestamp (unix seconds).
    pub fn at(&self, number: u64, timestamp: u64) -> Fork {
        self.points
            .iter()
            .filter(|point| point.at.active(number, timestamp))
            .map(|point| point.fork)
            .max()
            .unwrap_or(Fork::Frontier)
    }

    /// Whether a transition written as `"block": value` is read as a unix timestamp: Besu ≥ 26.4 does so when the
    /// newest fork in force at that raw value is one keyed by time (spec/qbft.md 2.2, timestamp caveat).
    pub fn reads_as_time(&self, value: u64) -> bool {
        self.points.iter().any(|point| matches!(point.at, Activation::Time(at) if at <= value))
    }

    /// Sorted distinct block numbers above 0 of the defined forks (EIP-2124) and of GoQuorum's features.
    pub fn block_numbers(&self) -> Vec<u64> {
        let forks = self.points.iter().filter_map(|point| match point.at {
            Activation::Block(number) => Some(number),
            Activation::Time(_) => None,
        });
        let marks = self.marks.iter().map(|(_, number)| *number);
        let mut numbers: Vec<u64> = forks.chain(marks).filter(|number| *number > 0).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// Sorted distinct timestamps after the genesis timestamp of the defined forks (EIP-6122).
    pub fn timestamps_after(&self, genesis_timestamp: u64) -> Vec<u64> {
        let mut times: Vec<u64> = self
            .points
            .iter()
            .filter_map(|point| match point.at {
                Activation::Time(time) if time > genesis_timestamp => Some(time),
                _ => None,
            })
            .collect();
        times.sort_unstable();
        times.dedup();
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(key: &'static str, fork: Fork, at: Activation) -> ForkPoint {
        ForkPoint { key, fork, at }
    }

    #[test]
    fn an_undefined_fork_begins_with_the_next_defined_one() {
        let schedule = ForkSchedule::new(vec![
            point("byzantiumBlock", Fork::Byzantium, Activation::Block(10)),
            point("berlinBlock", Fork::Berlin, Activation::Block(20)),
            point("cancunTime", Fork::Cancun, Activation::Time(1_000)),
        ])
        .expect("ordered");
        assert_eq!(schedule.at(9, 0), Fork::Frontier);
        assert_eq!(schedule.at(10, 0), Fork::Byzantium);
        assert_eq!(schedule.at(20, 999), Fork::Berlin);
        assert_eq!(schedule.at(20, 1_000), Fork::Cancun);
        assert!(schedule.reads_as_time(1_000) && !schedule.reads_as_time(999));
    }

    #[test]
    fn a_fork_may_not_begin_before_an_earlier_one() {
        let wrong = ForkSchedule::new(vec![
            point("berlinBlock", Fork::Berlin, Activation::Block(20)),
            point("londonBlock", Fork::London, Activation::Block(10)),
        ]);
        assert_eq!(wrong.map_err(|(a, b)| (a.key, b.key)), Err(("berlinBlock", "londonBlock")));
    }

    #[test]
    fn names_round_trip() {
        for fork in Fork::ALL {
            assert_eq!(Fork::from_name(&fork.name().to_uppercase()), Some(fork));
        }
    }
}
