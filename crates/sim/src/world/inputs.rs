//! Inputs of replicas and their outputs.

use super::*;

impl World {
    pub(crate) fn input(&mut self, index: usize, code: u8, data: &[u8], input: Input, what: impl FnOnce() -> String) {
        let now_us = self.now_us;
        let node = &mut self.nodes[index];
        let Some(alive) = &mut node.alive else { return };
        self.log.event(now_us - START_US, Some((index, &node.name)), code, data, what);
        let disk = node.disk.clone();
        disk.spent_us(true);
        let from = match &input {
            Input::Istanbul(session, ..) | Input::Eth(session, _) | Input::Heard(session, _) => {
                alive.sessions.get(session).map(|end| end.other)
            }
            _ => None,
        };
        let consensus = match &input {
            Input::Istanbul(_, code, bytes) => Some((*code, bytes.clone())),
            _ => None,
        };
        let skew_us = node.skew_us;
        let (worked, leap) = (Cell::new(node.slow_us), Cell::new(0i64));
        let jump = Cell::new(node.jump.take());
        let slow_us = node.slow_us;
        // What was done before the replica got the input, such as decoding it, is counted too.
        let done_ns = Cell::new(cost::INPUT_NS + cost::nanos(&work::take()));
        let spent = || {
            let done = work::take();
            done_ns.set(done_ns.get() + cost::nanos(&done));
            // A slow processor takes as long as `slow_us` for each input, and for each plain transaction's worth of gas.
            worked.set(worked.get() + done.gas.saturating_mul(slow_us) / 21_000);
            worked.get() + done_ns.get() / 1_000 + disk.spent_us(false)
        };
        let look = || {
            match jump.take() {
                Some((0, by)) => leap.set(by),
                Some((looks, by)) => jump.set(Some((looks - 1, by))),
                None => {}
            }
            now_us + spent()
        };
        let clock = Clock { steady: &|| look() - STEADY_BEHIND_US, wall: &|| look().saturating_add_signed(skew_us + leap.get()) };
        let mut outputs = Vec::new();
        let (checkers, clients, honest) = (&mut self.checkers, &mut self.clients, node.villain.is_none());
        let (boot, storm, arrived_us) = (node.role == Role::Boot, self.storm, self.arrived_us);
        checkers.at((now_us - START_US) / 1_000, self.log.steps());
        let who = Who { index, name: &node.name, address: node.address, disk: &node.disk };
        let ledger = alive.ledger.clone();
        alive.replica.handle(clock, input, &mut |output| {
            // What a dead process would have said is never said.
            if disk.crashed() {
                return;
            }
            let after_us = spent();
            // Looked at in this very moment: a journal written a moment later would be too late.
            match &output {
                Output::Istanbul(_, code, bytes) if honest => {
                    checkers.sent(&who, *code, bytes);
                    if let Some((_, heard)) = &consensus
                        && std::ptr::eq(heard.as_ptr(), bytes.as_ptr())
                    {
                        checkers.relayed(boot, slow_us == 0 && !storm, now_us + after_us - arrived_us);
                    }
                }
                Output::Imported(imported, _) if honest => checkers.imported(&who, imported, &ledger, clients),
                _ => {}
            }
            outputs.push((after_us, output));
            // What checkers do costs the node nothing.
            work::take();
        });
        let took = spent();
        node.jump = jump.take();
        node.skew_us += leap.get();
        node.busy_us = node.busy_us.max(now_us) + took;
        if let Some(alive) = &mut node.alive {
            alive.inbox.charge(took);
        }
        self.attribute(index, from, consensus, took);
        let node = &mut self.nodes[index];
        let (refused, slowed) = disk.take_counts();
        node.complains |= refused > 0;
        self.counts.add(Fault::DiskFull, refused);
        self.counts.add(Fault::SlowDisk, slowed);
        self.counts.add(Fault::SlowExecution, u64::from(slow_us > 0));
        self.counts.add(Fault::Jump, u64::from(leap.get() != 0));
        for (after_us, output) in outputs {
            match output {
                Output::Work(job) => self.run_job(index, from, after_us, *job),
                Output::Sign(request) => self.ask_signer(index, after_us, &request),
                output => self.output(index, after_us, output),
            }
        }
        if disk.crashed() {
            let pause = self.nemesis.between(200_000, 8_000_000);
            self.die(index, if self.storm { pause } else { 100_000 });
        }
    }

    /// Notes what a node's time went into: the peer that an input came from, and who signed it.
    pub(super) fn attribute(&mut self, index: usize, from: Option<usize>, consensus: Option<(u8, Bytes)>, took_us: u64) {
        let Some(peer) = from.map(|from| self.nodes[from].address) else { return };
        let spent = &mut self.nodes[index].spent_us;
        *spent.entry(peer).or_default() += took_us;
        // Whoever signed it is looked for where that might matter.
        if took_us >= NOTED_US
            && let Some((code, bytes)) = consensus
            && let Ok(message) = ipe_types::Message::decode(code, &bytes)
            && message.author() != peer
        {
            *self.nodes[index].spent_us.entry(message.author()).or_default() += took_us;
        }
        work::take();
    }

    pub(super) fn output(&mut self, from: usize, after_us: u64, output: Output) {
        match output {
            Output::Eth(to, message) => self.send_eth(from, after_us, to, (*message).clone()),
            Output::Transactions(to, candidates) => {
                let transactions = candidates.iter().map(|candidate| candidate.tx.clone()).collect();
                self.send_eth(from, after_us, to, EthMessage::Transactions(transactions));
            }
            Output::NewBlock(to, block, total_difficulty) => {
                self.send_eth(from, after_us, to, EthMessage::NewBlock { block: Box::new((*block).clone()), total_difficulty });
            }
            Output::Istanbul(to, code, bytes) => self.send_consensus(from, after_us, to, code, bytes),
            Output::Disconnect(session, reason, why) => {
                let text = why.clone();
                self.log.event(self.now_us - START_US, Some((from, &self.nodes[from].name)), 7, why.as_bytes(), move || {
                    format!("cuts a peer: {text}")
                });
                if reason == ipe_engine::replica::BREACH_OF_PROTOCOL {
                    self.breach(from, session, &why);
                } else if let Some(end) = self.nodes[from].alive.as_ref().and_then(|alive| alive.sessions.get(&session).copied()) {
                    self.close(end.link, REDIAL_US);
                }
            }
            Output::Log(level, text) => {
                let told = text.clone();
                self.log.event(self.now_us - START_US, Some((from, &self.nodes[from].name)), 8, text.as_bytes(), move || {
                    format!("{level:?} {told}")
                });
                let node = &self.nodes[from];
                // Whose journal rots says that it abstains.
                let abstains = self.scenario.faults.rot > 0 && text.starts_with("this validator abstains");
                if level == Level::Error && node.is_honest() && !node.complains && !node.disk.crashed() && !abstains {
                    let what = format!("{} reports an error: {text}", node.name);
                    self.fault("errors", what);
                }
            }
            Output::Imported(imported, stages) => {
                let number = imported.number();
                let node = &self.nodes[from];
                let (round, count) = (stages.round, imported.block.body.transactions.len());
                self.log.event(self.now_us - START_US, Some((from, &node.name)), 9, imported.hash.as_slice(), || {
                    format!(
                        "block {number} {} is final: round {round}, {count} transactions{}",
                        imported.hash,
                        if stages.synced { ", by sync" } else { "" }
                    )
                });
            }
            Output::Notify(_) | Output::Work(_) | Output::Sign(_) => {}
        }
    }

    pub(super) fn send_eth(&mut self, from: usize, after_us: u64, to: Vec<PeerId>, message: EthMessage) {
        if self.nodes[from].villain.is_some() {
            let said = self.with_villain(from, |villain, scene| villain.tell(scene, to, message));
            return self.say(from, after_us, said);
        }
        let (code, bytes) = message.encode(EthVersion::V69);
        self.log.event(self.now_us - START_US, Some((from, &self.nodes[from].name)), 14, &bytes, || {
            let to: Vec<String> = to.iter().map(|peer| peer.0.to_string()).collect();
            format!("sends eth {} to sessions {}", brief(code, &bytes), to.join(", "))
        });
        self.send(from, after_us, &to, &Packet::Eth(code, bytes));
    }

    pub(super) fn send_consensus(&mut self, from: usize, after_us: u64, to: Vec<PeerId>, code: u8, bytes: Bytes) {
        let node = &self.nodes[from];
        let (told, count) = (bytes.clone(), to.len());
        self.log.event(self.now_us - START_US, Some((from, &node.name)), 10, &bytes, move || {
            format!("sends {} to {count}", describe(code, &told))
        });
        if node.villain.is_some() {
            let said = self.with_villain(from, |villain, scene| villain.speak(scene, to, code, bytes));
            return self.say(from, after_us, said);
        }
        self.send(from, after_us, &to, &Packet::Istanbul(code, bytes));
    }
}
