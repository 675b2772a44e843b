//! What breaks things: strikes while a storm lasts, and the healing of everything when it ends.

use std::collections::BTreeSet;

use ipe_engine::{Input, VoteControl};
use ipe_types::Role;

use crate::checkers::Promise;
use crate::disk::{CrashPoint, Remains, Room, Rot};
use crate::faults::Fault;
use crate::setup::{self, START_US, class};
use crate::villains::Kind;
use crate::world::{Happening, World};

/// Room in the promise of a block for connecting, starting and the way of messages, ms.
const ROOM_MS: u64 = 1_500;

/// A fault that ends by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mend {
    /// A link passes both ways again, unless it was blocked anew.
    Unblock { link: usize, epoch: u64 },
    /// A session over a link that is still blocked ends.
    Hangup { link: usize, epoch: u64 },
    /// A disk takes writes again, at full speed.
    Disk(usize),
    /// A processor is fast again.
    Processor(usize),
}

impl World {
    pub(crate) fn begin_storm(&mut self) {
        self.storm = true;
        self.note(20, || "a storm begins".to_owned());
        self.at(0, Happening::Strike);
    }

    pub(crate) fn strike(&mut self) {
        if !self.storm || self.scenario.storm_ms == 0 {
            return;
        }
        let pause = self.nemesis.between(self.scenario.strike_ms * 500, self.scenario.strike_ms * 1_500);
        self.at(pause, Happening::Strike);
        let faults = self.scenario.faults;
        if self.nemesis.chance(faults.partition) {
            self.partition();
        }
        if self.nemesis.chance(faults.flap) {
            let link = self.nemesis.below(self.links.len() as u64) as usize;
            if self.links[link].session.is_some() {
                self.counts.count(Fault::Flap);
                let redial = self.nemesis.between(100_000, 2_000_000);
                self.close(link, redial);
            }
        }
        if faults.skew_ms > 0 && self.nemesis.chance(300) {
            let node = self.any_node();
            let by = self.nemesis.between(0, 2 * faults.skew_ms) as i64 - faults.skew_ms as i64;
            self.nodes[node].skew_us = by * 1_000;
            self.counts.count(Fault::Skew);
        }
        if self.nemesis.chance(faults.jump) {
            let node = self.any_node();
            let (looks, by) = (self.nemesis.below(8) as u32, self.nemesis.between(0, 10_000_000) as i64 - 5_000_000);
            self.nodes[node].jump = Some((looks, by));
        }
        if self.nemesis.chance(faults.crash) {
            let node = self.any_node();
            if self.nodes[node].alive.is_some() {
                self.counts.count(Fault::Crash);
                let pause = self.nemesis.between(100_000, 12_000_000);
                self.die(node, pause);
            }
        }
        if self.nemesis.chance(faults.crash_at_write) {
            let node = self.any_node();
            let remains = match self.nemesis.below(3) {
                0 => Remains::Nothing,
                1 => Remains::Part(self.nemesis.below(1_000) as u32),
                _ => Remains::All,
            };
            let at_write = self.nodes[node].disk.writes() + self.nemesis.below(12);
            self.nodes[node].disk.crash_at(CrashPoint { at_write, remains });
            self.counts.count(remains.fault());
        }
        if self.nemesis.chance(faults.disk_full) {
            let room = if self.nemesis.chance(500) { Room::None } else { Room::Scarce };
            // One of them, or, as when all were set up on one day with one size, all at once.
            let together = self.nemesis.chance(250);
            let nodes = if together { (0..self.nodes.len()).collect() } else { vec![self.any_node()] };
            for node in nodes {
                self.nodes[node].disk.set_room(room);
                let pause = self.nemesis.between(500_000, 12_000_000);
                self.at(pause, Happening::Mend(Mend::Disk(node)));
            }
        }
        if self.nemesis.chance(faults.slow_disk) {
            let node = self.any_node();
            let slow = self.nemesis.between(20_000, 3_000_000);
            self.nodes[node].disk.set_slow(slow);
            let pause = self.nemesis.between(1_000_000, 8_000_000);
            self.at(pause, Happening::Mend(Mend::Disk(node)));
        }
        if self.nemesis.chance(faults.slow_execution) {
            let node = self.any_node();
            self.nodes[node].slow_us = self.nemesis.between(1_000, 150_000);
            let pause = self.nemesis.between(1_000_000, 8_000_000);
            self.at(pause, Happening::Mend(Mend::Processor(node)));
        }
        if self.nemesis.chance(faults.signer) {
            let node = self.any_node();
            self.nodes[node].signer_gone_us = self.now_us + self.nemesis.between(200_000, 8_000_000);
            // It says so.
            self.nodes[node].complains = true;
        }
        if self.nemesis.chance(faults.set_change) {
            self.change_set();
        }
        if self.nemesis.chance(faults.rot) {
            self.rot();
        }
        if self.nemesis.chance(faults.wipe) {
            self.wipe();
        }
        if self.nemesis.chance(faults.boot_replaced) {
            self.replace_boot();
        }
    }

    /// The process of one validator, the same throughout a run, dies, and its signing journal rots before it starts again.
    fn rot(&mut self) {
        let Some(victim) = self.victim() else { return };
        if self.nodes[victim].alive.is_none() {
            return;
        }
        let rot = match self.nemesis.below(5) {
            0 => Rot::FlippedBit(self.nemesis.below(1_000) as u32),
            1 => Rot::ZeroTail(self.nemesis.between(1, 64) as usize),
            2 => Rot::Lost,
            3 => Rot::Halved,
            _ => Rot::Older,
        };
        let pause = self.nemesis.between(50_000, 3_000_000);
        self.die(victim, pause);
        self.nodes[victim].disk.rot(rot);
        self.counts.count(rot.fault());
        self.note(23, || format!("the journal of node {victim} rots: {rot:?}"));
    }

    /// The one validator of a run whose disk rots: whoever abstains is missing for the quorum, and one may.
    fn victim(&self) -> Option<usize> {
        let honest = |index: &usize| self.nodes[*index].role == Role::Validator && self.nodes[*index].is_honest();
        let validators: Vec<usize> = (0..self.nodes.len()).filter(honest).collect();
        validators.get((self.rotten % validators.len().max(1) as u64) as usize).copied()
    }

    fn wipe(&mut self) {
        let node = self.any_node();
        let rots = self.scenario.faults.rot > 0 && self.victim() == Some(node);
        let may = self.nodes[node].role != Role::Validator || rots;
        if self.nodes[node].alive.is_none() || !may {
            return;
        }
        let pause = self.nemesis.between(50_000, 3_000_000);
        self.die(node, pause);
        self.nodes[node].disk.wipe();
        self.checkers.wiped(node);
        self.counts.count(Fault::Wipe);
        self.note(24, || format!("node {node} is wiped"));
    }

    fn any_node(&mut self) -> usize {
        // Validators are struck twice as often as others.
        let count = self.nodes.len();
        let validators = (self.scenario.validators + self.scenario.standby).min(count);
        let index = self.nemesis.below((count + validators) as u64) as usize;
        if index < count { index } else { index - count }
    }

    fn partition(&mut self) {
        if self.links.is_empty() {
            return;
        }
        let pause = self.nemesis.between(500_000, 20_000_000);
        let forgotten = self.nemesis.chance(500);
        let ways = self.nemesis.below(3);
        let links: Vec<usize> = if self.nemesis.chance(350) {
            // A node alone.
            let node = self.any_node();
            (0..self.links.len()).filter(|link| self.links[*link].from == node || self.links[*link].to == node).collect()
        } else {
            vec![self.nemesis.below(self.links.len() as u64) as usize]
        };
        for index in links {
            let link = &mut self.links[index];
            link.epoch += 1;
            let epoch = link.epoch;
            for (side, direction) in link.directions.iter_mut().enumerate() {
                if ways == 2 || ways == side as u64 {
                    direction.blocked = true;
                    link.forgotten |= forgotten;
                    self.counts.count(Fault::Partition);
                }
            }
            self.at(pause, Happening::Mend(Mend::Unblock { link: index, epoch }));
            self.session_patience(index);
        }
    }

    pub(crate) fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::Unblock { link, epoch } if self.links[link].epoch == epoch => self.unblock(link),
            Mend::Hangup { link, epoch } if self.links[link].epoch == epoch && self.links[link].is_blocked() => {
                self.close(link, 1_000_000);
            }
            Mend::Unblock { .. } | Mend::Hangup { .. } => {}
            Mend::Disk(node) => {
                self.nodes[node].disk.set_room(Room::Enough);
                self.nodes[node].disk.set_slow(0);
            }
            Mend::Processor(node) => self.nodes[node].slow_us = 0,
        }
    }

    fn unblock(&mut self, link: usize) {
        for direction in &mut self.links[link].directions {
            direction.blocked = false;
        }
        if self.links[link].forgotten {
            self.close(link, 0);
        }
    }

    /// All honest validators are told to vote for one change, and told again until it has happened: several at once could
    /// leave a set with more villains than it bears. The set keeps enough members for those it has. Where a villain lives on
    /// disagreement they are told once, half of them to vote for it and half against.
    fn change_set(&mut self) {
        let at_odds = self.scenario.villains.contains(&Kind::Seesaw);
        if at_odds && self.change.is_some() {
            return;
        }
        let height = self.checkers.chain.height() + 1;
        let set = self.checkers.chain.validators_of(height).to_vec();
        // An institution with a hostile boot is as faulty as one with a hostile validator: it can cut its own validator off.
        let hostile: BTreeSet<_> = self.nodes.iter().filter(|node| !node.is_honest()).map(|node| node.institution).collect();
        let votes = |node: &&crate::node::Node| node.role == Role::Validator && set.contains(&node.address);
        let faulty = self.nodes.iter().filter(votes).filter(|node| hostile.contains(&node.institution));
        let faulty: BTreeSet<_> = faulty.map(|node| node.address).collect();
        // One less may leave no more than f faulty ones.
        let one_less = set.len().saturating_sub(2) / 3 >= faulty.len().max(1);
        let candidates: Vec<usize> = (0..self.nodes.len())
            .filter(|index| self.nodes[*index].role == Role::Validator && self.nodes[*index].is_honest())
            .filter(|index| one_less || !set.contains(&self.nodes[*index].address))
            .collect();
        let under_way = self.change.filter(|(address, add)| set.contains(address) != *add);
        let address = match under_way {
            Some((address, _)) => address,
            None => match self.nemesis.pick(&candidates) {
                Some(subject) => self.address_of(*subject),
                None => return,
            },
        };
        let add = !set.contains(&address);
        self.change = Some((address, add));
        self.counts.count(Fault::SetChange);
        self.note(21, || format!("votes to {} {address} begin", if add { "add" } else { "drop" }));
        let mut told = 0;
        for index in 0..self.nodes.len() {
            if self.nodes[index].role == Role::Validator && self.nodes[index].is_honest() {
                let add = add == (!at_odds || told % 2 == 0);
                told += 1;
                let (at_ms, step) = (self.now_ms(), self.log.steps());
                self.checkers.at(at_ms, step);
                self.checkers.asked(self.nodes[index].address, address, add, !at_odds);
                let propose = VoteControl::Propose(address, add, Box::new(|_| {}));
                self.input(index, 13, address.as_slice(), Input::Vote(propose), || format!("is told to vote on {address}"));
            }
        }
    }

    /// A boot is lost with its key and its disk; its institution sets up another.
    fn replace_boot(&mut self) {
        let boots: Vec<usize> = (0..self.nodes.len())
            .filter(|index| self.nodes[*index].role == Role::Boot && self.nodes[*index].is_honest() && !self.nodes[*index].gone)
            .collect();
        let Some(lost) = self.nemesis.pick(&boots).copied() else { return };
        self.counts.count(Fault::BootReplaced);
        self.nodes[lost].gone = true;
        self.die(lost, 0);
        for link in &mut self.links {
            if link.from == lost || link.to == lost {
                link.gone = true;
            }
        }
        self.checkers.wiped(lost);
        self.others += 1;
        let institution = self.nodes[lost].institution;
        let number = self.others;
        let planned = setup::Planned {
            name: format!("b{institution}.{number}"),
            role: Role::Boot,
            institution,
            key: setup::key(class::OTHER, 1_000 + number),
        };
        let index = self.add(planned);
        self.tell_checkers();
        self.link_up(index);
        let pause = self.nemesis.between(500_000, 6_000_000);
        self.at(pause, Happening::Start(index));
    }

    /// Everything is healed: from here on the next block is promised.
    pub(crate) fn begin_calm(&mut self) {
        self.storm = false;
        self.note(22, || "everything is healed".to_owned());
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            node.disk.set_room(Room::Enough);
            node.disk.set_slow(0);
            node.slow_us = 0;
            node.signer_gone_us = 0;
            node.skew_us = 0;
            node.jump = None;
            node.complains = false;
            if node.gone {
                continue;
            }
            if node.alive.is_none() {
                self.at(0, Happening::Start(index));
            } else if !node.disk.crashed() && self.scenario.crash.is_none() {
                // A crash that was put at a later write does not come any more.
                node.disk.restart();
            }
        }
        for link in 0..self.links.len() {
            self.links[link].epoch += 1;
            self.unblock(link);
            if self.links[link].session.is_none() && !self.links[link].gone {
                self.links[link].dialling = false;
                let pause = self.network.between(5_000, 80_000);
                self.dial_in(link, pause);
            }
        }
        let head = self.checkers.chain.head();
        let due_us = (head.timestamp * 1_000_000).saturating_add(self.scenario.period_ms * 1_000);
        let due_us = due_us.max(head.timestamp * 1_000_000 + self.scenario.empty_period_s * 1_000_000);
        // What was lost before is under way until its retransmission.
        let waiting = self.links.iter().filter(|link| link.session.is_some()).flat_map(|link| &link.directions);
        let through_us = waiting.filter_map(|direction| direction.retransmission).map(|next| next.at_us).max();
        let healed_ms = self.now_ms();
        let through_ms = through_us.map_or(healed_ms, |at| (at - START_US).div_ceil(1_000));
        let earliest_ms = due_us.saturating_sub(START_US) / 1_000;
        // Twins are one validator, and an institution has one turn.
        let villains: BTreeSet<_> = self.nodes.iter().filter(|node| !node.is_honest()).map(|node| node.institution).collect();
        let timeouts = if self.scenario.bound > 0 { self.scenario.bound } else { 2 + villains.len() as u64 };
        let patience = timeouts * self.scenario.timeout_s * 1_000 + ROOM_MS;
        let latest_ms = healed_ms.max(through_ms).max(earliest_ms) + patience;
        self.checkers.liveness.promise(Promise { healed_ms, earliest_ms, latest_ms });
        self.at((latest_ms - healed_ms) * 1_000 + 1, Happening::Judge);
    }
}
