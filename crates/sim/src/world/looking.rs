//! Looking at what nodes hold, and the end of a run.

use super::*;

impl World {
    pub(super) fn inspect(&mut self) {
        self.at(INSPECT_US, Happening::Inspect);
        self.checkers.at((self.now_us - START_US) / 1_000, self.log.steps());
        let validators = self.scenario.validators + self.scenario.standby;
        let slowed = self.scenario.faults.slow_disk > 0 || self.scenario.faults.slow_execution > 0;
        // Whom only villains tell of the network can be kept in the dark.
        let joined = if self.storm { Vec::new() } else { self.joined() };
        for (index, node) in self.nodes.iter_mut().enumerate().filter(|(_, node)| node.is_honest()) {
            let spent_us = std::mem::take(&mut node.spent_us);
            let Some(alive) = &node.alive else { continue };
            self.checkers.holds(&node.name, &alive.replica.holdings(), validators);
            let (head, status) = (alive.ledger.head().number, alive.status.get());
            let spent_us = if slowed { BTreeMap::new() } else { spent_us };
            self.checkers.looked_at(index, &node.name, INSPECT_US, &spent_us, &status, head, joined.contains(&index));
        }
    }

    pub(super) fn settle(&mut self) {
        // Who knows the network only through villains may be kept from it: an institution all of whose boots are hostile is
        // faulty itself.
        let joined = self.joined();
        let heads: Vec<(String, u64)> =
            joined.into_iter().map(|index| &self.nodes[index]).map(|node| (node.name.clone(), node.head().unwrap_or(0))).collect();
        self.checkers.at((self.now_us - START_US) / 1_000, self.log.steps());
        // Where messages take longer than blocks, somebody is always behind.
        if self.scenario.delay_ms == 0 {
            self.checkers.settled(&heads);
        }
    }

    pub(super) fn finish(mut self) -> Report {
        self.checkers.at((self.now_us - START_US) / 1_000, self.log.steps());
        // What a violation cut short owes nothing more.
        let whole = self.checkers.violations.is_empty();
        for node in self.nodes.iter().filter(|node| whole && node.is_honest()) {
            if let Some(alive) = &node.alive {
                self.checkers.ended(&node.name, &alive.ledger, &self.clients);
            }
        }
        if whole {
            let now_ms = self.now_ms();
            self.checkers.paced(&self.scenario, now_ms);
        }
        if whole {
            let villains: Vec<usize> = self.nodes.iter().filter(|node| !node.is_honest()).map(|node| node.institution).collect();
            let nodes = &self.nodes;
            self.checkers.waited(&self.clients, |writer| nodes.get(writer).is_none_or(|node| villains.contains(&node.institution)));
        }
        if whole {
            // Whoever knows the network only through villains, and has cut them, has nobody to hand a transaction to.
            let heard: Vec<usize> = (0..self.nodes.len()).filter(|index| self.has_honest_link(*index)).collect();
            self.checkers.nothing_waits(&self.clients, &heard);
        }
        let included = self.clients.sent.values().filter(|sent| sent.included.is_some()).count() as u64;
        Report {
            scenario: self.scenario.name,
            seed: self.seed,
            hash: self.log.hash().to_string(),
            events: self.log.steps(),
            simulated_ms: (self.now_us - START_US) / 1_000,
            blocks: self.checkers.chain.height(),
            acknowledged: self.clients.sent.len() as u64,
            included,
            recovery_ms: self.checkers.liveness.longest_ms,
            relayed: self.checkers.relaying.p99_us(),
            writes: self.nodes.iter().map(|node| node.disk.writes()).collect(),
            faults: self.counts,
            violations: self.checkers.violations,
        }
    }

    pub(super) fn has_honest_link(&self, index: usize) -> bool {
        self.nodes[index].is_honest()
            && self.links.iter().any(|link| {
                let other = if link.from == index { link.to } else { link.from };
                (link.from == index || link.to == index) && self.nodes[other].is_honest() && !self.nodes[other].gone
            })
    }

    /// The largest set of honest nodes that hear each other over links between honest nodes.
    pub(super) fn joined(&self) -> Vec<usize> {
        let owes = |index: usize| self.nodes[index].is_honest() && !self.nodes[index].gone;
        let mut left: Vec<usize> = (0..self.nodes.len()).filter(|index| owes(*index)).collect();
        let mut largest = Vec::new();
        while let Some(first) = left.pop() {
            let mut reached = vec![first];
            let mut at = 0;
            while let Some(&node) = reached.get(at) {
                let beside = |link: &Link| if link.from == node { Some(link.to) } else { (link.to == node).then_some(link.from) };
                let others: Vec<usize> = self.links.iter().filter(|link| !link.gone).filter_map(beside).collect();
                left.retain(|index| {
                    let is_new = others.contains(index);
                    if is_new {
                        reached.push(*index);
                    }
                    !is_new
                });
                at += 1;
            }
            if reached.len() > largest.len() {
                largest = reached;
            }
        }
        largest.sort_unstable();
        largest
    }

    pub(crate) fn address_of(&self, index: usize) -> Address {
        self.nodes[index].address
    }

    pub(crate) fn now_ms(&self) -> u64 {
        (self.now_us - START_US) / 1_000
    }
}
