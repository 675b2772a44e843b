//! Links: connections, and what is lost and sent again on them.

use super::*;

impl World {
    pub(crate) fn dial_in(&mut self, link: usize, in_us: u64) {
        if !self.links[link].dialling && !self.links[link].gone {
            self.links[link].dialling = true;
            self.at(in_us, Happening::Dial(link));
        }
    }

    pub(super) fn dial(&mut self, index: usize) {
        let link = &mut self.links[index];
        link.dialling = false;
        if link.session.is_some() || link.gone {
            return;
        }
        let (from, to) = (link.from, link.to);
        if link.is_blocked() || link.penalty_us > self.now_us || self.nodes[from].alive.is_none() || self.nodes[to].alive.is_none()
        {
            self.dial_in(index, REDIAL_US);
            return;
        }
        let ids = [PeerId(self.next_session + 1), PeerId(self.next_session + 2)];
        self.next_session += 2;
        let link = &mut self.links[index];
        link.session = Some(ids);
        link.forgotten = false;
        for direction in &mut link.directions {
            direction.held.clear();
            direction.retransmission = None;
            direction.last_us = 0;
        }
        let mut infos = [self.info(to, ids[0], false), self.info(from, ids[1], true)];
        let foreign = [from, to].map(|node| setup::is_foreign(&self.scenario, self.nodes[node].institution));
        // Only whose boot carries it knows a session for a carried one.
        infos[0].carried = !foreign[0] && foreign[1];
        for (side, (me, info)) in [from, to].into_iter().zip(infos).enumerate() {
            let end = End { link: index, other: if side == 0 { to } else { from }, theirs: ids[1 - side], side };
            if let Some(alive) = &mut self.nodes[me].alive {
                alive.sessions.insert(ids[side], end);
            }
            let name = self.nodes[end.other].name.clone();
            self.input(me, 6, &ids[side].0.to_be_bytes(), Input::PeerConnected(info), || format!("session with {name}"));
        }
    }

    pub(super) fn info(&self, of: usize, id: PeerId, inbound: bool) -> PeerInfo {
        let node = &self.nodes[of];
        let head = node.alive.as_ref().map(|alive| alive.ledger.head());
        let claims = |number| node.villain.as_ref().map_or(number, |villain| villain.claims(number));
        let status = PeerStatus {
            head: head.as_ref().map_or(B256::ZERO, |head| head.hash),
            height: head.map(|head| claims(head.number)),
            total_difficulty: None,
        };
        let (node_id, address) = (node.key.node_id(), node.address);
        PeerInfo {
            id,
            node: node_id,
            address,
            role: Some(node.role),
            eth: EthVersion::V69,
            istanbul: true,
            inbound,
            carried: false,
            status,
        }
    }

    /// Ends the session of a link at both ends.
    pub(crate) fn close(&mut self, index: usize, redial_us: u64) {
        let link = &mut self.links[index];
        let Some(ids) = link.session.take() else { return };
        let (from, to, latency_us) = (link.from, link.to, link.latency_us);
        self.at(latency_us, Happening::Gone { to: from, session: ids[0] });
        self.at(latency_us, Happening::Gone { to, session: ids[1] });
        self.dial_in(index, redial_us + latency_us);
    }

    pub(super) fn deliver(&mut self, to: usize, session: PeerId, packet: Packet) {
        let Some(alive) = &mut self.nodes[to].alive else { return };
        let Some(end) = alive.sessions.get(&session).copied() else { return };
        if !alive.inbox.push(session, packet, self.now_us) {
            return self.close(end.link, REDIAL_US);
        }
        if !alive.inbox.scheduled {
            self.work(to);
        }
    }

    /// Takes the next of what waits for a node, or comes back when it has time.
    pub(crate) fn work(&mut self, index: usize) {
        let now_us = self.now_us;
        let node = &mut self.nodes[index];
        let Some(alive) = &mut node.alive else { return };
        alive.inbox.scheduled = false;
        if node.busy_us <= now_us {
            if let Some(done) = alive.done.take() {
                let text = done.to_string();
                self.input(index, 15, text.as_bytes(), Input::Done(done), || text.clone());
            } else if let Some((session, packet, arrived_us)) = alive.inbox.pop() {
                self.handle(index, session, packet, arrived_us);
            }
        }
        let node = &mut self.nodes[index];
        let Some(alive) = &mut node.alive else { return };
        if (alive.done.is_some() || !alive.inbox.is_empty()) && !alive.inbox.scheduled {
            alive.inbox.scheduled = true;
            let wait = node.busy_us.saturating_sub(now_us);
            self.at(wait, Happening::Work(index));
        }
    }

    pub(super) fn handle(&mut self, to: usize, session: PeerId, packet: Packet, arrived_us: u64) {
        work::take();
        self.arrived_us = arrived_us;
        match packet {
            Packet::Istanbul(code, bytes) => {
                work::count(|done| done.decoded += bytes.len() as u64);
                if let Some(villain) = &mut self.nodes[to].villain {
                    villain.hear(code, &bytes);
                    work::take();
                }
                let told = bytes.clone();
                let text = move || format!("hears {}", describe(code, &told));
                self.input(to, code, &bytes, Input::Istanbul(session, code, bytes.clone()), text);
            }
            Packet::Eth(code, bytes) => match EthMessage::decode(EthVersion::V69, code, &bytes) {
                Ok(message) => {
                    let text = || format!("hears eth {}", brief(code, &bytes));
                    let input = self.hear(to, session, message);
                    self.input(to, code | 0x80, &bytes, input, text);
                }
                // The session ends on what does not decode, as in the real network.
                Err(_) => self.breach(to, session, "it sent an eth message that does not decode"),
            },
        }
    }

    /// What the shell makes of an eth message: transactions are judged beside the replica, as by the node's own threads.
    pub(super) fn hear(&self, to: usize, session: PeerId, message: EthMessage) -> Input {
        let now_ms = (self.now_us - STEADY_BEHIND_US) / 1_000;
        match &self.nodes[to].alive {
            Some(alive) => {
                let node = alive.sessions.get(&session).map_or(NodeId::ZERO, |end| self.nodes[end.other].key.node_id());
                let from = (Payer { node, known: true }, session);
                alive.judged.input(&alive.pool, &alive.ledger, now_ms, from, message)
            }
            None => Input::Eth(session, message),
        }
    }

    pub(super) fn breach(&mut self, at: usize, session: PeerId, why: &str) {
        let Some(end) = self.nodes[at].alive.as_ref().and_then(|alive| alive.sessions.get(&session).copied()) else { return };
        if self.nodes[at].is_honest() && self.nodes[end.other].is_honest() {
            let (who, whom) = (self.nodes[at].name.clone(), self.nodes[end.other].name.clone());
            self.checkers.at((self.now_us - START_US) / 1_000, self.log.steps());
            self.checkers.cut(&who, &whom, why);
        }
        self.links[end.link].penalty_us = self.now_us + PENALTY_US;
        self.close(end.link, REDIAL_US);
    }

    pub(super) fn send(&mut self, from: usize, delay_us: u64, to: &[PeerId], packet: &Packet) {
        for session in to {
            let end = self.nodes[from].alive.as_ref().and_then(|alive| alive.sessions.get(session).copied());
            let Some(end) = end else { continue };
            self.transmit(end, delay_us, packet.clone());
        }
    }

    pub(super) fn transmit(&mut self, end: End, delay_us: u64, packet: Packet) {
        let faults = if self.storm { self.scenario.faults } else { crate::faults::Faults::default() };
        let link = &mut self.links[end.link];
        let Some(ids) = link.session.filter(|ids| ids[1 - end.side] == end.theirs) else { return };
        let direction = &mut link.directions[end.side];
        if direction.retransmission.is_some() {
            direction.held.push_back(packet);
            if direction.held.len() > HELD_MAX {
                self.close(end.link, REDIAL_US);
            }
            return;
        }
        let lost = self.network.chance(faults.loss);
        if direction.blocked || lost {
            self.counts.add(Fault::Loss, u64::from(!direction.blocked));
            direction.held.push_back(packet);
            direction.retransmission = Some(Retransmission { at_us: self.now_us + RETRANSMIT_US, wait_us: RETRANSMIT_US });
            self.at(RETRANSMIT_US, Happening::Retransmit { link: end.link, side: end.side, session: ids[0] });
            return;
        }
        let mut delay = delay_us + link.latency_us;
        if faults.delay_us > 0 && self.network.chance(300) {
            delay += self.network.below(faults.delay_us);
            self.counts.count(Fault::Delay);
        }
        let copies = if self.network.chance(faults.duplication) { 2 } else { 1 };
        for copy in 0..copies {
            let reordered = self.network.chance(faults.reordering);
            let mut arrives = self.now_us + delay + copy * 1_000;
            if reordered {
                self.counts.count(Fault::Reordering);
                arrives += self.network.below(200_000);
            } else {
                arrives = arrives.max(direction.last_us);
                direction.last_us = arrives;
            }
            if copy > 0 {
                self.counts.count(Fault::Duplication);
            }
            let happening = Happening::Deliver { to: end.other, session: end.theirs, packet: packet.clone() };
            self.sequence += 1;
            self.queue.push(Reverse(Queued(arrives, self.sequence, happening)));
        }
    }

    /// Tries once more to get a lost packet through, and with it all that waits behind it.
    pub(super) fn retransmit(&mut self, index: usize, side: usize, session: PeerId) {
        let link = &mut self.links[index];
        let Some(ids) = link.session.filter(|ids| ids[0] == session) else { return };
        let other = if side == 0 { link.to } else { link.from };
        let direction = &mut link.directions[side];
        let Some(tried) = direction.retransmission.take() else { return };
        let lost = self.storm && self.scenario.faults.loss > 0 && self.network.chance(LOST_AGAIN);
        if direction.blocked || lost {
            self.counts.add(Fault::Loss, u64::from(!direction.blocked));
            let wait_us = 2 * tried.wait_us;
            if wait_us > RETRANSMIT_MAX_US {
                return self.close(index, REDIAL_US);
            }
            direction.retransmission = Some(Retransmission { at_us: self.now_us + wait_us, wait_us });
            return self.at(wait_us, Happening::Retransmit { link: index, side, session });
        }
        for packet in std::mem::take(&mut direction.held) {
            self.transmit(End { link: index, other, theirs: ids[1 - side], side }, 0, packet);
        }
    }

    pub(crate) fn session_patience(&mut self, index: usize) {
        let epoch = self.links[index].epoch;
        self.at(SESSION_PATIENCE_US, Happening::Mend(crate::nemesis::Mend::Hangup { link: index, epoch }));
    }
}
