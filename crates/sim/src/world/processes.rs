//! Processes: what starts, dies and is woken.

use super::*;

impl World {
    pub(super) fn start(&mut self, index: usize) {
        if self.nodes[index].alive.is_some() || self.nodes[index].gone {
            return;
        }
        self.nodes[index].disk.restart();
        self.lives += 1;
        match self.open(index) {
            Ok(alive) => {
                let ledger = alive.ledger.clone();
                let node = &mut self.nodes[index];
                node.busy_us = 0;
                node.rest_us = 0;
                node.alive = Some(alive);
                let head = ledger.head().number;
                self.log.event(self.now_us - START_US, Some((index, &self.nodes[index].name)), 3, &head.to_be_bytes(), || {
                    format!("starts at block {head}")
                });
                if self.nodes[index].is_honest() {
                    let node = &self.nodes[index];
                    let who = Who { index, name: &node.name, address: node.address, disk: &node.disk };
                    self.checkers.at((self.now_us - START_US) / 1_000, self.log.steps());
                    self.checkers.started(&who, &ledger, &self.clients);
                }
                if self.nodes[index].role == Role::Writer {
                    self.at(SAVE_US, Happening::Save(index));
                }
                if let Some(villain) = &self.nodes[index].villain
                    && villain.kind.pause_us() > 0
                {
                    self.at(villain.kind.pause_us(), Happening::Act(index));
                }
                self.wake(index);
                for link in 0..self.links.len() {
                    if self.links[link].from == index || self.links[link].to == index {
                        self.dial_in(link, 20_000);
                    }
                }
            }
            Err(why) => {
                // A full disk, or a crash in the first write: the operator's supervisor tries again.
                let crashed = self.nodes[index].disk.crashed();
                if !crashed && !self.nodes[index].disk.is_full() {
                    let what = format!("{} does not start: {why}", self.nodes[index].name);
                    self.fault("restart", what);
                }
                self.note(4, || format!("node {index} does not start: {why}"));
                self.at(1_000_000, Happening::Start(index));
            }
        }
    }

    pub(super) fn open(&self, index: usize) -> Result<Alive, String> {
        let node = &self.nodes[index];
        let deaf = node.villain.as_ref().is_some_and(|villain| villain.kind == Kind::Unruled);
        let spec = if deaf { &self.unruled } else { &self.spec };
        let ledger = Ledger::open(node.disk.store(), spec.clone()).map_err(|error| error.to_string())?;
        let ledger = Arc::new(ledger);
        let rules = Rules {
            chain_id: CHAIN_ID,
            fork: self.scenario.fork,
            block_gas_limit: 0,
            tx_gas_cap: None,
            base_fee: None,
            min_gas_price: 0,
            fee_cap: None,
            max_tx_bytes: 128 * 1024,
            goquorum: None,
            period_ms: self.scenario.period_ms,
        };
        let rules = admission::rules(&ledger, spec, &rules);
        let key = alloy_primitives::keccak256([self.seed.to_be_bytes(), (index as u64).to_be_bytes()].concat());
        let limits = PoolSettings { key, ..PoolSettings::default() };
        let pool = Arc::new(Mutex::new(Pool::new(limits, rules, ledger.head().number)));
        let (gate, restored) = match node.role {
            Role::Validator => {
                let file = Box::new(node.disk.file(FileName::Signing));
                let signer = match self.scenario.signer_ms {
                    0 => Signer::Local(node.key.clone()),
                    _ => Signer::Elsewhere(node.address),
                };
                let opened = Gate::open(signer, file, self.spec.genesis_hash());
                let (gate, restored) = opened.map_err(|error| error.to_string())?;
                (Some(gate), restored)
            }
            _ => (None, None),
        };
        let settings = Settings {
            role: node.role,
            topology: if setup::is_foreign(&self.scenario, node.institution) { Topology::Mesh } else { self.scenario.topology },
            local: node.address,
            dialect: Dialect::Besu26,
            vanity: Bytes::from(vec![0; 32]),
            target_gas_limit: None,
            min_gas_price: 0,
            build_percent: 75,
            tx_gas: ipe_engine::pace::TX_GAS,
            carrying: false,
            expects_peers: true,
            checkpoint: None,
        };
        let status = StatusCell::default();
        let parts = Parts { ledger: ledger.clone(), spec: spec.clone(), pool: pool.clone(), gate, status: status.clone() };
        let local = match node.role {
            Role::Writer => {
                let (journal, found) = LocalJournal::open(node.disk.file(FileName::Local)).map_err(|error| error.to_string())?;
                for tx in found {
                    if let Ok(candidate) = Candidate::recover(tx) {
                        // What is mined by now is refused, rightly.
                        let _ = self.offer(&pool, &ledger, Arc::new(candidate), Origin::Restored);
                    }
                }
                Some(journal)
            }
            _ => None,
        };
        let (replica, judged) = (Replica::new(settings, parts, restored), admission::Judged::default());
        let (life, inbox, sessions) = (self.lives, Inbox::default(), BTreeMap::new());
        Ok(Alive { life, replica, done: None, status, ledger, pool, judged, inbox, local, sessions })
    }

    /// Takes the process away; what it had not synced is lost.
    pub(crate) fn die(&mut self, index: usize, restart_us: u64) {
        let Some(alive) = self.nodes[index].alive.take() else { return };
        self.note(5, || format!("node {index} dies"));
        for (_, end) in alive.sessions {
            self.links[end.link].session = None;
            let latency_us = self.links[end.link].latency_us;
            self.at(latency_us, Happening::Gone { to: end.other, session: end.theirs });
        }
        if !self.nodes[index].gone {
            self.at(restart_us, Happening::Start(index));
        }
    }
}
