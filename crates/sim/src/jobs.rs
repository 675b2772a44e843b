//! Building, checking and writing blocks: on a processor beside the replica's, as in a node.

use std::cell::Cell;

use ipe_engine::{Clock, Done, Job};
use ipe_types::work;

use crate::cost;
use crate::faults::Fault;
use crate::node::STEADY_BEHIND_US;
use crate::world::{Happening, World};

impl World {
    /// Runs a job beside the replica. What it changes is there from now on, while the replica hears of it when the time that it
    /// takes is over: in a real node the ledger is ahead for a moment, here for as long as possible.
    pub(crate) fn run_job(&mut self, index: usize, from: Option<usize>, after_us: u64, job: Job) {
        let began_us = self.now_us + after_us;
        let node = &mut self.nodes[index];
        let Some(alive) = &node.alive else { return };
        let (life, disk) = (alive.life, node.disk.clone());
        disk.spent_us(true);
        work::take();
        let (worked, done_ns) = (Cell::new(node.slow_us), Cell::new(cost::INPUT_NS));
        let (slow_us, skew_us) = (node.slow_us, node.skew_us);
        let spent = || {
            let done = work::take();
            done_ns.set(done_ns.get() + cost::nanos(&done));
            worked.set(worked.get() + done.gas.saturating_mul(slow_us) / 21_000);
            worked.get() + done_ns.get() / 1_000 + disk.spent_us(false)
        };
        let clock = Clock {
            steady: &|| began_us + spent() - STEADY_BEHIND_US,
            wall: &|| (began_us + spent()).saturating_add_signed(skew_us),
        };
        let done = job.run(clock);
        let took_us = spent();
        if let Some(peer) = from.map(|from| self.nodes[from].address) {
            *self.nodes[index].spent_us.entry(peer).or_default() += took_us;
        }
        let (refused, slowed) = disk.take_counts();
        self.nodes[index].complains |= refused > 0;
        self.counts.add(Fault::DiskFull, refused);
        self.counts.add(Fault::SlowDisk, slowed);
        if !disk.crashed() {
            self.at(after_us + took_us, Happening::Done { at: index, life, done: Box::new(done) });
        }
    }

    pub(crate) fn done(&mut self, index: usize, life: u64, done: Done) {
        if let Some(alive) = self.nodes[index].alive.as_mut().filter(|alive| alive.life == life) {
            // As in the node: before all that waits, and after what it is busy with.
            alive.done = Some(done);
            if !alive.inbox.scheduled {
                self.work(index);
            }
        }
    }
}
