//! What goes wrong in a run: how often and how badly, in one struct; and the count of what was injected.

use std::collections::BTreeMap;

/// Faults of a scenario. All of it happens in storms only; in a calm every fault is healed. Zero turns a fault off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Longest extra delay of a message, µs.
    pub delay_us: u64,
    /// Messages lost on the way, per mille. As by TCP, a lost one and all after it wait for a retransmission (0.2 s, then twice
    /// as long each time), and the connection ends when six were in vain.
    pub loss: u32,
    /// Messages delivered twice, per mille, which is worse than TCP.
    pub duplication: u32,
    /// Messages that overtake or fall behind others of their connection, per mille, which is worse than TCP.
    pub reordering: u32,
    /// Directions of links blocked, per mille of strikes. When they open again, half of them let a retransmission of the same
    /// connection through, and half reset the connection.
    pub partition: u32,
    /// Links cut and dialled again, per mille of strikes.
    pub flap: u32,
    /// Farthest that a clock is off, ms.
    pub skew_ms: u64,
    /// Clocks set to another time in the middle of the work, per mille of strikes.
    pub jump: u32,
    /// Processes killed between two inputs, per mille of strikes.
    pub crash: u32,
    /// Processes killed in one of their next journal or store writes, per mille of strikes: the write may be lost, torn or
    /// whole on the disk.
    pub crash_at_write: u32,
    /// Disks that are full for a while, per mille of strikes: one node's or, in a quarter of them, those of all nodes; half of
    /// them refuse every write, half only blocks, which are larger than the records of a journal.
    pub disk_full: u32,
    /// Disks that take up to three seconds for a write, per mille of strikes.
    pub slow_disk: u32,
    /// Processors on which everything takes long, per mille of strikes.
    pub slow_execution: u32,
    /// Votes that add or drop a validator, per mille of strikes.
    pub set_change: u32,
    /// Boots lost for good and replaced by others with another key, per mille of strikes.
    pub boot_replaced: u32,
    /// Signing journals that rot while their process does not run, per mille of strikes; of one validator in a run: one bit
    /// flipped, zeros behind the end, lost, halved, or an older copy.
    pub rot: u32,
    /// Nodes that lose their tables and keep everything else, per mille of strikes; of the validators only the one whose
    /// journal rots.
    pub wipe: u32,
    /// Signers that refuse, or answer nothing, for up to eight seconds, per mille of strikes.
    pub signer: u32,
}

impl Faults {
    /// Whether nothing goes wrong but what villains do, and nodes that are wiped.
    pub fn is_none(&self) -> bool {
        Self { wipe: 0, ..*self } == Self::default()
    }

    /// Whether nothing goes wrong, and the set of validators changes.
    pub fn is_only_change(&self) -> bool {
        Self { set_change: 0, ..*self } == Self::default()
    }
}

/// Kinds of fault, as they are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A message took longer.
    Delay,
    /// A message, or a retransmission of it, was lost.
    Loss,
    /// A message came twice.
    Duplication,
    /// A message came out of order.
    Reordering,
    /// One direction of a link was blocked.
    Partition,
    /// A link was cut.
    Flap,
    /// A clock was put off.
    Skew,
    /// A clock jumped while its node worked.
    Jump,
    /// A process was killed.
    Crash,
    /// A process was killed in a write that never reached the disk.
    LostWrite,
    /// A process was killed in a write of which a part reached the disk.
    TornWrite,
    /// A process was killed after a write reached the disk, before it knew.
    UnacknowledgedWrite,
    /// A write was refused.
    DiskFull,
    /// A write took long.
    SlowDisk,
    /// A step of a node took long.
    SlowExecution,
    /// A vote about a validator was begun.
    SetChange,
    /// A boot was replaced.
    BootReplaced,
    /// A bit of a signing journal was flipped.
    FlippedBit,
    /// Zeros were put behind a signing journal.
    ZeroTail,
    /// A signing journal was lost.
    LostFile,
    /// Half of a signing journal was lost.
    HalvedFile,
    /// An older copy of a signing journal was put back.
    OlderFile,
    /// A node lost its tables.
    Wipe,
    /// A signer did not sign.
    Signer,
    /// A villain did something that no honest node does.
    Villainy,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Fault; 25] = [
        Fault::Delay,
        Fault::Loss,
        Fault::Duplication,
        Fault::Reordering,
        Fault::Partition,
        Fault::Flap,
        Fault::Skew,
        Fault::Jump,
        Fault::Crash,
        Fault::LostWrite,
        Fault::TornWrite,
        Fault::UnacknowledgedWrite,
        Fault::DiskFull,
        Fault::SlowDisk,
        Fault::SlowExecution,
        Fault::SetChange,
        Fault::BootReplaced,
        Fault::FlippedBit,
        Fault::ZeroTail,
        Fault::LostFile,
        Fault::HalvedFile,
        Fault::OlderFile,
        Fault::Wipe,
        Fault::Signer,
        Fault::Villainy,
    ];

    /// Name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Delay => "delay",
            Fault::Loss => "loss",
            Fault::Duplication => "duplication",
            Fault::Reordering => "reordering",
            Fault::Partition => "partition",
            Fault::Flap => "link_flap",
            Fault::Skew => "clock_skew",
            Fault::Jump => "clock_jump",
            Fault::Crash => "crash",
            Fault::LostWrite => "lost_write",
            Fault::TornWrite => "torn_write",
            Fault::UnacknowledgedWrite => "unacknowledged_write",
            Fault::DiskFull => "disk_full",
            Fault::SlowDisk => "slow_disk",
            Fault::SlowExecution => "slow_execution",
            Fault::SetChange => "set_change",
            Fault::BootReplaced => "boot_replaced",
            Fault::FlippedBit => "flipped_bit",
            Fault::ZeroTail => "zero_tail",
            Fault::LostFile => "lost_file",
            Fault::HalvedFile => "halved_file",
            Fault::OlderFile => "older_file",
            Fault::Wipe => "wipe",
            Fault::Signer => "signer",
            Fault::Villainy => "villainy",
        }
    }
}

/// How many faults of each kind were injected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts(BTreeMap<Fault, u64>);

impl FaultCounts {
    /// One more.
    pub fn count(&mut self, fault: Fault) {
        self.add(fault, 1);
    }

    /// So many more.
    pub fn add(&mut self, fault: Fault, count: u64) {
        if count > 0 {
            *self.0.entry(fault).or_default() += count;
        }
    }

    /// So many of a kind.
    pub fn of(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or(0)
    }

    /// Kinds that happened, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (Fault, u64)> {
        self.0.iter().map(|(fault, count)| (*fault, *count))
    }

    /// Adds what another run counted.
    pub fn merge(&mut self, other: &FaultCounts) {
        other.iter().for_each(|(fault, count)| self.add(fault, count));
    }

    /// Counts by name.
    pub fn by_name(&self) -> BTreeMap<&'static str, u64> {
        self.iter().map(|(fault, count)| (fault.name(), count)).collect()
    }
}
