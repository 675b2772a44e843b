//! The networks that are simulated and what happens to them.

use ipe_types::Topology;
use ipe_types::fork::Fork;

use crate::disk::CrashPoint;
use crate::faults::Faults;
use crate::villains::Kind;

/// A network with its faults.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Name on the command line.
    pub name: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// Shape.
    pub topology: Topology,
    /// Validators of block 1, one an institution.
    pub validators: usize,
    /// Further institutions with a validator node that is voted in and out.
    pub standby: usize,
    /// The last so many of the validators are of an implementation that knows no sentry network: they have no boots, connect
    /// to each other, and send consensus to validators only.
    pub foreign: usize,
    /// Boots of the first so many institutions carry sessions between their validator and each foreign one.
    pub carried: usize,
    /// Boots of each institution.
    pub boots: usize,
    /// Institutions with a writer.
    pub writers: usize,
    /// Whether there are an observer-boot and an observer.
    pub observers: bool,
    /// Rules of the chain from block 1 on.
    pub fork: Fork,
    /// Block period, ms.
    pub period_ms: u64,
    /// Period of empty blocks, s; 0 = off.
    pub empty_period_s: u64,
    /// Request timeout, s.
    pub timeout_s: u64,
    /// Time over every line at all times, ms; 0 = up to 30, drawn for each.
    pub delay_ms: u64,
    /// Lines of villains are faster than all others: what they spoil arrives before the honest copy.
    pub near: bool,
    /// Request timeouts within which a block must follow the one before, whatever the delays; 0 = the usual promise.
    pub bound: u64,
    /// Least number of blocks, percent of what the period allows; 0 = not looked at.
    pub least_pace: u64,
    /// Within which 99 of 100 consensus messages are to be passed on by a boot, ms; 0 = not looked at.
    pub relay_ms: u64,
    /// Blocks between epochs.
    pub epoch: u64,
    /// Longest that the signer of a validator takes for an answer, ms; 0 = keys in the validators' processes.
    pub signer_ms: u64,
    /// Gas limit of a block.
    pub gas_limit: u64,
    /// Mean time between two transactions of one writer, ms; 0 = none.
    pub load_ms: u64,
    /// Storms, each followed by a calm.
    pub cycles: u32,
    /// Length of a storm, ms.
    pub storm_ms: u64,
    /// Length of a calm, ms: longer than the promise of a block (two request timeouts and one for each villain, the longest wait
    /// for a retransmission, and the room).
    pub calm_ms: u64,
    /// Mean time between two strikes of the nemesis, ms.
    pub strike_ms: u64,
    /// A crash of the node with this number in one certain write.
    pub crash: Option<(usize, CrashPoint)>,
    /// What it strikes with.
    pub faults: Faults,
    /// Villains, one an institution and at most f of them.
    pub villains: &'static [Kind],
    /// So many of `villains` are drawn from the seed instead of taking them in order; 0 = in order.
    pub drawn: usize,
    /// Checkers that are not asked: for who looks for what else a scenario finds.
    pub unseen: &'static [&'static str],
}

/// Scenarios that take too long for a test at every change: half a minute of both processors each. They are run by name.
pub const SLOW: &[&str] =
    &["derived", "derived-boot", "derived-mesh", "derived-cancun", "derived-two", "derived-storm", "slow-liars"];

const QUIET: Faults = Faults {
    delay_us: 0,
    loss: 0,
    duplication: 0,
    reordering: 0,
    partition: 0,
    flap: 0,
    skew_ms: 0,
    jump: 0,
    crash: 0,
    crash_at_write: 0,
    disk_full: 0,
    slow_disk: 0,
    slow_execution: 0,
    set_change: 0,
    boot_replaced: 0,
    rot: 0,
    wipe: 0,
    signer: 0,
};

const NETWORK: Faults = Faults { delay_us: 400_000, loss: 40, duplication: 30, reordering: 60, partition: 500, flap: 300, ..QUIET };

const CRASHES: Faults = Faults { crash: 250, crash_at_write: 500, ..QUIET };

const DISKS: Faults = Faults { crash_at_write: 200, disk_full: 350, slow_disk: 300, slow_execution: 150, ..QUIET };

const WIPES: Faults = Faults { wipe: 60, ..QUIET };

const ROT: Faults = Faults { rot: 350, wipe: 150, crash: 60, flap: 100, ..QUIET };

const CLOCKS: Faults = Faults { skew_ms: 20_000, jump: 600, delay_us: 100_000, ..QUIET };

const EVERYTHING: Faults = Faults {
    delay_us: 250_000,
    loss: 20,
    duplication: 20,
    reordering: 30,
    partition: 200,
    flap: 120,
    skew_ms: 5_000,
    jump: 100,
    crash: 100,
    crash_at_write: 200,
    disk_full: 90,
    slow_disk: 90,
    slow_execution: 60,
    set_change: 120,
    boot_replaced: 40,
    rot: 0,
    wipe: 0,
    signer: 0,
};

const BASE: Scenario = Scenario {
    name: "",
    about: "",
    topology: Topology::Sentry,
    validators: 4,
    standby: 0,
    foreign: 0,
    carried: 0,
    boots: 1,
    writers: 1,
    observers: false,
    fork: Fork::Shanghai,
    period_ms: 1_000,
    empty_period_s: 0,
    timeout_s: 4,
    delay_ms: 0,
    near: false,
    bound: 0,
    least_pace: 0,
    relay_ms: 0,
    epoch: 30_000,
    signer_ms: 0,
    gas_limit: 100_000_000,
    load_ms: 700,
    cycles: 3,
    storm_ms: 25_000,
    calm_ms: 20_000,
    strike_ms: 1_500,
    crash: None,
    faults: QUIET,
    villains: &[],
    drawn: 0,
    unseen: &[],
};

const MESH: Scenario = Scenario { topology: Topology::Mesh, boots: 1, ..BASE };

const ONE_VILLAIN: Scenario = Scenario { faults: Faults { flap: 250, crash: 60, ..QUIET }, ..BASE };

const FLOOD: Scenario = Scenario { villains: &[Kind::Flood], writers: 4, gas_limit: 20_000_000, load_ms: 150, cycles: 1, ..BASE };

const VOTES: Scenario = Scenario {
    writers: 0,
    load_ms: 0,
    cycles: 1,
    storm_ms: 600_000,
    calm_ms: 100_000,
    strike_ms: 20_000,
    faults: Faults { set_change: 1_000, ..QUIET },
    ..BASE
};

/// Every scenario, in the order of `ipe sim list`.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "idle",
        about: "four validators in a mesh, a block every five seconds, nothing else: how fast time passes",
        topology: Topology::Mesh,
        boots: 0,
        writers: 0,
        period_ms: 5_000,
        timeout_s: 10,
        load_ms: 0,
        cycles: 1,
        storm_ms: 0,
        calm_ms: 3_600_000,
        ..BASE
    },
    Scenario {
        name: "sentry",
        about: "validators behind boots, writers with clients, no faults",
        writers: 2,
        observers: true,
        ..BASE
    },
    Scenario { name: "mesh", about: "validators in a mesh, writers with clients, no faults", writers: 2, observers: true, ..MESH },
    Scenario {
        name: "network",
        about: "sentry: loss, delay, repetition, reordering, asymmetric partitions, flapping links; twice a second one of them",
        strike_ms: 500,
        faults: NETWORK,
        ..BASE
    },
    Scenario { name: "network-mesh", about: "the same in a mesh of seven", validators: 7, faults: NETWORK, ..MESH },
    Scenario {
        name: "crashes",
        about: "sentry: processes killed between inputs and in every kind of write",
        faults: CRASHES,
        ..BASE
    },
    Scenario { name: "crashes-mesh", about: "the same in a mesh", faults: CRASHES, ..MESH },
    Scenario { name: "disks", about: "full and slow disks, slow processors, torn writes", faults: DISKS, ..BASE },
    Scenario {
        name: "rot",
        about: "sentry: the signing journal of one validator rots at restarts, in every way; nodes are wiped",
        faults: ROT,
        ..BASE
    },
    Scenario {
        name: "rot-undecided",
        about: "the same beside a silent validator, so that a height is undecided while one starts without its journal; it may end there",
        villains: &[Kind::Silent],
        faults: Faults { rot: 350, flap: 100, ..QUIET },
        unseen: &["liveness", "transactions"],
        ..BASE
    },
    Scenario { name: "clocks", about: "clocks that are off by up to 20 s and jump", faults: CLOCKS, ..BASE },
    Scenario {
        name: "members",
        about: "validators voted in and out across short epochs while links and processes fail",
        validators: 5,
        standby: 2,
        epoch: 20,
        faults: Faults { set_change: 500, ..EVERYTHING },
        ..BASE
    },
    Scenario {
        name: "boots",
        about: "two boots an institution, lost for good and replaced",
        boots: 2,
        faults: Faults { boot_replaced: 400, flap: 200, crash: 100, ..QUIET },
        ..BASE
    },
    Scenario {
        name: "carried",
        about: "two institutions behind boots that carry sessions to two validators without any; links and processes fail",
        foreign: 2,
        carried: 2,
        faults: Faults { crash: 150, ..NETWORK },
        ..BASE
    },
    Scenario {
        name: "signers",
        about: "validators whose keys are elsewhere: signers that take up to 80 ms, out of order, fail, and answer nothing; crashes",
        signer_ms: 80,
        faults: Faults { signer: 400, crash: 150, crash_at_write: 250, flap: 150, ..QUIET },
        ..BASE
    },
    Scenario {
        name: "carried-bridge",
        about: "the same with one of the two carrying: the other is heard, and hears, through it; no faults",
        foreign: 2,
        carried: 1,
        ..BASE
    },
    Scenario {
        name: "empty-periods",
        about: "empty blocks are held back for ten seconds; faults of every kind",
        empty_period_s: 10,
        load_ms: 6_000,
        calm_ms: 30_000,
        faults: EVERYTHING,
        ..BASE
    },
    Scenario {
        name: "votes-idle",
        about: "empty blocks are held back for a minute, nobody sends transactions, and validators are voted in and out",
        standby: 1,
        empty_period_s: 60,
        ..VOTES
    },
    Scenario {
        name: "votes-at-odds",
        about: "the same with operators who disagree, and a villain that votes now with these and now with those",
        standby: 1,
        empty_period_s: 5,
        villains: &[Kind::Seesaw],
        ..VOTES
    },
    Scenario {
        name: "silent",
        about: "sentry of four, one of them a villain of this kind, flapping links",
        villains: &[Kind::Silent],
        ..ONE_VILLAIN
    },
    Scenario {
        name: "equivocating-proposer",
        about: "sentry of four, one of them a villain of this kind, flapping links",
        villains: &[Kind::EquivocatingProposer],
        ..ONE_VILLAIN
    },
    Scenario {
        name: "equivocating-voter",
        about: "sentry of four, one of them a villain of this kind, flapping links",
        villains: &[Kind::EquivocatingVoter],
        ..ONE_VILLAIN
    },
    Scenario {
        name: "twin",
        about: "sentry of four, one of them a villain of this kind, flapping links",
        villains: &[Kind::Twin],
        ..ONE_VILLAIN
    },
    Scenario {
        name: "stale",
        about: "sentry of four, one of them a villain of this kind, flapping links",
        villains: &[Kind::Stale],
        ..ONE_VILLAIN
    },
    Scenario {
        name: "impersonating",
        about: "sentry of four, one of them a villain of this kind, flapping links",
        villains: &[Kind::Impersonating],
        ..ONE_VILLAIN
    },
    Scenario {
        name: "wrong-round",
        about: "sentry of four, one of them a villain of this kind, flapping links",
        villains: &[Kind::WrongRound],
        ..ONE_VILLAIN
    },
    Scenario {
        name: "replaying",
        about: "sentry of four, one of them a villain of this kind, flapping links",
        villains: &[Kind::Replaying],
        ..ONE_VILLAIN
    },
    Scenario {
        name: "mutating",
        about: "sentry of four, one of them a villain of this kind, flapping links",
        villains: &[Kind::Mutating],
        ..ONE_VILLAIN
    },
    Scenario {
        name: "invalid-blocks",
        about: "sentry of four, one of them a villain of this kind, flapping links",
        villains: &[Kind::InvalidBlocks],
        ..ONE_VILLAIN
    },
    Scenario {
        name: "unruled",
        about: "sentry of four with account rules on chain, which change all the time; one validator does not ask them",
        villains: &[Kind::Unruled],
        ..ONE_VILLAIN
    },
    Scenario {
        name: "flooding-peer",
        about: "sentry of four, one of them a villain of this kind, flapping links",
        villains: &[Kind::FloodingPeer],
        ..ONE_VILLAIN
    },
    Scenario {
        name: "flood",
        about: "sentry of four, writer and boot of one send transactions as fast as they can: the others' are mined within three blocks",
        ..FLOOD
    },
    Scenario {
        name: "dear",
        about: "sentry of four, writer and boot of one send transactions that run long for their gas: blocks come, with the others' in them",
        villains: &[Kind::Dear],
        gas_limit: 1_000_000_000,
        relay_ms: 5,
        ..FLOOD
    },
    Scenario { name: "flood-mesh", about: "the same in a mesh", topology: Topology::Mesh, ..FLOOD },
    Scenario {
        name: "lying-sync",
        about: "sentry of four, one of them a villain of this kind, flapping links",
        villains: &[Kind::LyingSync],
        ..ONE_VILLAIN
    },
    Scenario {
        name: "derived",
        about: "sentry of four, one institution changes every item of every message; others are wiped",
        villains: &[Kind::Derived],
        observers: true,
        faults: WIPES,
        ..BASE
    },
    Scenario {
        name: "derived-boot",
        about: "the same by a boot without any validator's key, on the fastest lines",
        villains: &[Kind::DerivedBoot],
        near: true,
        ..BASE
    },
    Scenario {
        name: "derived-leaf",
        about: "the same by writers and observers",
        villains: &[Kind::DerivedLeaf],
        writers: 4,
        observers: true,
        ..BASE
    },
    Scenario { name: "derived-mesh", about: "the same by a validator of a mesh", villains: &[Kind::Derived], ..MESH },
    Scenario {
        name: "derived-cancun",
        about: "the same on a chain with the fields of blobs",
        villains: &[Kind::Derived],
        fork: Fork::Cancun,
        ..BASE
    },
    Scenario {
        name: "claimant",
        about: "sentry of four, one institution claims what does not exist and answers nothing; processes killed",
        villains: &[Kind::Claimant],
        writers: 4,
        ..ONE_VILLAIN
    },
    Scenario {
        name: "derived-two",
        about: "sentry of seven with two boots each, two institutions of these kinds",
        validators: 7,
        boots: 2,
        villains: &Kind::DERIVED,
        drawn: 2,
        ..BASE
    },
    Scenario {
        name: "derived-storm",
        about: "sentry of seven, two institutions of these kinds, and faults of every kind",
        validators: 7,
        villains: &Kind::DERIVED,
        drawn: 2,
        calm_ms: 26_000,
        faults: EVERYTHING,
        ..BASE
    },
    Scenario {
        name: "one-gone",
        about: "a mesh of four, one of them says nothing, no other faults: three quarters of the pace remain",
        villains: &[Kind::Silent],
        least_pace: 75,
        ..MESH
    },
    Scenario {
        name: "slow-links",
        about: "a mesh of four, every message takes two request timeouts, one validator is silent",
        villains: &[Kind::Silent],
        timeout_s: 1,
        delay_ms: 2_000,
        bound: 40,
        writers: 0,
        load_ms: 0,
        cycles: 1,
        storm_ms: 0,
        calm_ms: 400_000,
        ..MESH
    },
    Scenario {
        name: "slow-liars",
        about: "the same with a validator that speaks of the highest rounds",
        villains: &[Kind::WrongRound],
        timeout_s: 1,
        delay_ms: 2_000,
        bound: 40,
        writers: 0,
        load_ms: 0,
        cycles: 1,
        storm_ms: 0,
        calm_ms: 400_000,
        ..MESH
    },
    Scenario {
        name: "villain",
        about: "sentry of four, one of them a villain of any kind, no other faults",
        villains: &Kind::ALL,
        drawn: 1,
        ..BASE
    },
    Scenario { name: "villain-mesh", about: "the same in a mesh", villains: &Kind::ALL, drawn: 1, ..MESH },
    Scenario {
        name: "villains-storm",
        about: "a mesh of seven, two of them villains of any kind, and faults of every kind",
        validators: 7,
        villains: &Kind::ALL,
        drawn: 2,
        calm_ms: 26_000,
        faults: EVERYTHING,
        ..MESH
    },
    Scenario {
        name: "two-silent",
        about: "a mesh of seven, two of them silent, processes killed",
        validators: 7,
        villains: &[Kind::Silent, Kind::Silent],
        faults: Faults { crash: 300, ..QUIET },
        ..MESH
    },
    Scenario {
        name: "colluding",
        about: "a mesh of seven, two of them hand in glove",
        validators: 7,
        villains: &[Kind::Colluding, Kind::Colluding],
        ..MESH
    },
    Scenario {
        name: "colluding-storm",
        about: "the same while the network fails",
        validators: 7,
        calm_ms: 26_000,
        villains: &[Kind::Colluding, Kind::Colluding],
        faults: NETWORK,
        ..MESH
    },
    Scenario { name: "everything", about: "sentry: every fault", writers: 2, observers: true, faults: EVERYTHING, ..BASE },
    Scenario {
        name: "everything-mesh",
        about: "a mesh of seven: every fault",
        validators: 7,
        writers: 2,
        faults: EVERYTHING,
        ..MESH
    },
];

/// The scenario of that name.
pub fn by_name(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}
