//! What executing transactions may take of this node. Gas bounds no time: the same gas is a microsecond in one contract and
//! two in another, and a block may hold as much gas as its network likes. So whoever builds or judges a block says how long
//! that may take, and execution stops inside the EVM when it has taken that long. A block that a quorum has sealed is never
//! stopped: it is part of the chain whatever it costs.

/// How much a block, and one transaction in it, may take. Executing stops at the first bound.
#[derive(Clone, Copy)]
pub struct Bound<'a> {
    /// Time left for the block, µs, asked again and again while transactions run.
    pub left_us: &'a dyn Fn() -> u64,
    /// Longest that the next transaction may run, µs, asked when it begins.
    pub tx_us: &'a dyn Fn() -> u64,
    /// Most gas that a single transaction may use, which is not the limit that it names: where gas costs nothing, clients name
    /// what the block holds.
    pub tx_gas: u64,
    /// Most memory of a single transaction's call frames together, bytes.
    pub memory: u64,
}

impl Bound<'_> {
    /// Nothing is stopped: for what is final, and for tests.
    pub const NONE: Bound<'static> = Bound { left_us: &|| u64::MAX, tx_us: &|| u64::MAX, tx_gas: u64::MAX, memory: u64::MAX };
}

impl Bound<'_> {
    /// Whether nothing is stopped.
    pub(crate) fn is_none(&self) -> bool {
        self.tx_gas == u64::MAX && self.memory == u64::MAX && (self.left_us)() == u64::MAX && (self.tx_us)() == u64::MAX
    }
}

impl std::fmt::Debug for Bound<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bound({} us, {} gas, {} bytes a transaction)", (self.tx_us)(), self.tx_gas, self.memory)
    }
}

/// A transaction was stopped while it ran. Nothing of it remains in the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// How long it ran, µs.
    pub ran_us: u64,
    /// Gas that it had used, without what is due before the first instruction.
    pub used_gas: u64,
    /// What it would have exceeded.
    pub over: Over,
}

/// What a transaction that was stopped would have exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// The time of the block: it may be quick and have come late.
    BlockTime,
    /// The time of a transaction.
    TxTime {
        /// How long it might run, µs.
        most_us: u64,
    },
    /// The gas that this node lets a transaction use.
    Gas {
        /// What it might use.
        most: u64,
    },
    /// The memory that this node gives to a transaction.
    Memory {
        /// Bytes.
        most: u64,
    },
}

impl Cut {
    /// Whether the transaction itself is too large; else it only came when the block's time was about to end.
    pub fn is_its_own(&self) -> bool {
        self.over != Over::BlockTime
    }
}

impl std::fmt::Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ran_ms = self.ran_us / 1_000;
        match self.over {
            Over::BlockTime => write!(f, "the time for the block ended when it had run for {ran_ms} ms"),
            Over::TxTime { most_us } => {
                write!(f, "it takes longer than the {} ms that a transaction may run for here", most_us / 1_000)
            }
            Over::Gas { most } => write!(f, "it had used {} gas, and a transaction may use {most} here", self.used_gas),
            Over::Memory { most } => write!(f, "it asked for more memory than the {} MiB that a transaction gets here", most >> 20),
        }
    }
}
