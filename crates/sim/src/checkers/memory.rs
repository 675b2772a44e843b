//! What a replica holds for others stays within bounds that are written down here once more, from the documents and not from
//! the code.

use ipe_engine::replica::Holdings;

const MIB: usize = 1 << 20;
/// Kinds of messages, RoundChanges in two forms: one of each is held of an author.
const HELD_KINDS: usize = 5;
/// Heights of which messages are held: those near the head and, while the network is far ahead, those near to it.
const HELD_HEIGHTS: usize = 12 + 21;

pub(super) fn check(who: &str, holdings: &Holdings, validators: usize) -> Result<(), String> {
    let rows = [
        ("messages of later heights", holdings.future_messages, 16 * 10 * validators.max(1)),
        ("bytes of messages of later heights", holdings.future_bytes, 64 * MIB),
        ("rounds of votes", holdings.vote_rounds, 4 * validators),
        ("round changes", holdings.round_changes, 3 * validators),
        ("messages of undecided heights", holdings.held_messages, HELD_KINDS * validators * HELD_HEIGHTS),
        ("bytes of messages of undecided heights", holdings.held_bytes, 64 * MIB),
        ("messages that cannot be judged yet", holdings.unproven, 64 * 32),
        ("checked blocks", holdings.candidacies, 6),
        ("blocks ahead", holdings.blocks_ahead, 30),
        ("headers ahead", holdings.headers_ahead, 768 + 192),
        ("hashes of seen messages", holdings.seen, 2 * 16_384),
        ("transactions asked for", holdings.wanted, 8_192),
        ("transactions", holdings.transactions, 65_536),
    ];
    match rows.into_iter().find(|(_, count, bound)| count > bound) {
        None => Ok(()),
        Some((what, count, bound)) => Err(format!("{who} holds {count} {what}, at most {bound} are allowed")),
    }
}
