//! Two processes with one key: the operator's backup that was started beside the original. Each keeps its own journal and is
//! honest by itself; together they contradict each other in everything that the network shows them differently.

use ipe_engine::PeerId;
use ipe_types::Message;

use super::Said;

pub(super) fn speak(to: Vec<PeerId>, message: &Message) -> Vec<Said> {
    vec![Said { foul: true, ..Said::plain(to, message) }]
}
