//! Floods of one sender, of one ingress, of gas, of bytes and of replacements, beside somebody honest.

use super::*;
use crate::fair_queue::Payer;
use ipe_types::NodeKey;

const BLOCK: u64 = 30_000_000;

fn peer(byte: u8) -> Ingress {
    Payer { node: NodeKey::from_bytes([byte; 32]).unwrap().node_id(), known: true }.into()
}

fn stranger(byte: u8) -> Ingress {
    Payer { node: NodeKey::from_bytes([byte; 32]).unwrap().node_id(), known: false }.into()
}

fn client(last: u8) -> Ingress {
    Ingress::client([10, 0, 0, last].into())
}

/// A transaction of `bytes` more than a transfer that reserves `gas`.
fn tx(from: u64, nonce: u64, price: u128, gas: u64, bytes: usize) -> Arc<Candidate> {
    let tx = TxLegacy {
        chain_id: Some(7),
        nonce,
        gas_price: price,
        gas_limit: gas,
        to: TxKind::Call(Address::ZERO),
        value: U256::ZERO,
        input: Bytes::from(vec![0; bytes]),
    };
    candidate(from, Transaction::from(tx.into_signed(signature(from))))
}

fn bring(pool: &mut Pool, now: u64, tx: &Arc<Candidate>, ingress: Ingress) -> Result<Added, Refusal> {
    let origin = if matches!(ingress, Ingress::Client(_)) { Origin::Local } else { Origin::Remote };
    let offer = Offer::check(tx.clone(), origin, pool.rules()).unwrap().brought_by(ingress);
    pool.add(now, offer, &rich())
}

/// Builds a block of the pool's picks as the ledger does, each using `used` of what it reserves at most; mines it.
fn block(pool: &mut Pool, now: u64, used: u64) -> Vec<Arc<Candidate>> {
    let mut picks = pool.pick(&PickLimits { count: 10_000, bytes: usize::MAX });
    let (mut left, mut mined, mut feedback) = (BLOCK, Vec::new(), Feedback::Start);
    while let Some(tx) = picks.next(feedback) {
        let limit = tx.tx.gas_limit();
        feedback =
            if limit > left { Feedback::DoesNotFit { gas_left: left } } else { Feedback::Included { gas_used: limit.min(used) } };
        if limit <= left {
            left -= limit.min(used);
            mined.push(tx);
        }
    }
    pool.judged(now, picks);
    let transactions: Vec<_> = mined.iter().map(|candidate| candidate.tx.clone()).collect();
    let senders: Vec<_> = mined.iter().map(|candidate| candidate.sender).collect();
    let gas: Vec<_> = mined.iter().map(|candidate| candidate.tx.gas_limit().min(used)).collect();
    let block = MinedBlock {
        number: pool.height + 1,
        transactions: &transactions,
        senders: &senders,
        gas_used: &gas,
        rules: *pool.rules(),
    };
    pool.on_block(now, &block, &|_| rich());
    mined
}

/// Blocks until `tx` is in one.
fn blocks_until(pool: &mut Pool, tx: &Arc<Candidate>, mut between: impl FnMut(&mut Pool, u64)) -> usize {
    for count in 1..100 {
        let now = 1_000 * count as u64;
        if block(pool, now, u64::MAX).iter().any(|mined| mined.hash == tx.hash) {
            return count;
        }
        between(pool, now);
    }
    panic!("not in a hundred blocks")
}

/// 300 creations that reserve a block each kept a transfer out for 60 blocks.
#[test]
fn who_reserves_whole_blocks_is_served_after_who_does_not() {
    for accounts in [1, 300] {
        let mut pool = pool();
        (0..300).for_each(|n| {
            bring(&mut pool, 0, &tx(n % accounts, n / accounts, 0, BLOCK, 25_000), peer(1)).unwrap();
        });
        let honest = legacy(5_000, 0, 0);
        bring(&mut pool, 0, &honest, peer(1)).unwrap();
        assert_eq!(blocks_until(&mut pool, &honest, |_, _| {}), 1, "of {accounts} accounts, by the same ingress");
        audit(&pool);
    }
    // It is the same after they have waited for long, and they are served when nobody else is there.
    let mut pool = pool();
    (0..300).for_each(|n| {
        bring(&mut pool, 0, &tx(n, 0, 0, BLOCK, 0), peer(1)).unwrap();
    });
    for now in 0..100 {
        assert_eq!(block(&mut pool, 1_000 * now, u64::MAX).len(), 1);
    }
    let honest = legacy(5_000, 0, 0);
    bring(&mut pool, 100_000, &honest, peer(1)).unwrap();
    assert_eq!(blocks_until(&mut pool, &honest, |_, _| {}), 1);
}

/// Each tip of one wei came before everything without one.
#[test]
fn where_there_are_no_fees_tips_order_nothing() {
    let mut pool = pool();
    let honest = legacy(50_000, 0, 0);
    bring(&mut pool, 0, &honest, peer(1)).unwrap();
    (0..20_000).for_each(|n| {
        bring(&mut pool, 0, &legacy(n, 0, 1), peer(1)).unwrap();
    });
    assert_eq!(block(&mut pool, 0, u64::MAX)[0].hash, honest.hash);
    // Where an operator asks for a price, fees are meant.
    let mut pool = with_fees(Settings::default());
    [(1, 1), (2, 9)].iter().for_each(|(from, price)| {
        bring(&mut pool, 0, &legacy(*from, 0, *price), peer(1)).unwrap();
    });
    assert_eq!(picked(&pool), [(2, 0), (1, 0)]);
}

/// Fresh accounts of one peer, again and again, while another peer brings one transaction after the other.
#[test]
fn a_flood_of_fresh_accounts_of_one_peer_waits_in_its_own_line() {
    for gas in [21_000, 290_000, 1_000_000] {
        let mut pool = pool();
        let mut fresh = 0;
        let mut flood = |pool: &mut Pool, now| {
            for _ in 0..5_000 {
                fresh += 1;
                let _ = bring(pool, now, &tx(fresh, 0, 0, gas, 0), peer(1));
            }
        };
        (0..4).for_each(|_| flood(&mut pool, 0));
        for nonce in 0..10 {
            let honest = tx(5_000_000, nonce, 0, 500_000, 0);
            bring(&mut pool, 0, &honest, peer(2)).unwrap();
            assert_eq!(blocks_until(&mut pool, &honest, &mut flood), 1, "{gas} gas each");
        }
        audit(&pool);
    }
}

/// Of the same ingress there is no more than the order of arrival: who comes later does not come first.
#[test]
fn fresh_accounts_do_not_overtake_within_an_ingress() {
    let mut pool = pool();
    let mut fresh = 0;
    let mut flood = |pool: &mut Pool, now| {
        for _ in 0..1_500 {
            fresh += 1;
            bring(pool, now, &tx(fresh, 0, 0, 21_000, 0), peer(1)).unwrap();
        }
    };
    flood(&mut pool, 0);
    // Some turns' worth.
    let honest = tx(5_000_000, 0, 0, 600_000, 0);
    bring(&mut pool, 0, &honest, peer(1)).unwrap();
    let waited = blocks_until(&mut pool, &honest, flood);
    assert!(waited <= 4, "{waited} blocks");
}

#[test]
fn an_ingress_is_charged_for_what_its_transactions_used() {
    let mut pool = pool();
    // Both have much waiting; one reserves ten times what it uses.
    for n in 0..2_000 {
        bring(&mut pool, 0, &tx(n, 0, 0, 210_000, 0), peer(1)).unwrap();
        bring(&mut pool, 0, &tx(10_000 + n, 0, 0, 21_000, 0), peer(2)).unwrap();
    }
    let share = |mined: &[Arc<Candidate>]| mined.iter().filter(|tx| tx.tx.gas_limit() > 21_000).count() as f64 / mined.len() as f64;
    let first = share(&block(&mut pool, 1_000, 21_000));
    assert!(first < 0.2, "what is reserved counts before anything is known: {first}");
    let second = share(&block(&mut pool, 2_000, 21_000));
    assert!((0.4..0.95).contains(&second), "and then what was used: {second}");
    audit(&pool);
}

#[test]
fn strangers_and_clients_have_one_share_each() {
    let mut pool = pool();
    for n in 0..200u64 {
        for byte in 1..=10 {
            bring(&mut pool, 0, &legacy(10_000 * u64::from(byte) + n, 0, 0), stranger(byte)).unwrap();
            bring(&mut pool, 0, &legacy(1_000_000 + 10_000 * u64::from(byte) + n, 0, 0), client(byte)).unwrap();
        }
        bring(&mut pool, 0, &legacy(5_000_000 + n, 0, 0), peer(1)).unwrap();
    }
    let picks: Vec<_> = pool.pick(&PickLimits { count: 300, bytes: usize::MAX }).remaining().collect();
    let known = picks.iter().filter(|tx| U256::from_be_bytes(tx.sender.into_word().0) > U256::from(5_000_000)).count();
    assert!((90..=110).contains(&known), "{known} of 300");
}

/// A flood of gossip filled the pool, and then every client of the node was refused.
#[test]
fn a_full_pool_has_room_for_who_holds_less() {
    let settings = Settings { max_count: 4_000, ..Settings::default() };
    let mut pool = Pool::new(settings, rules(), 0);
    (0..6_000).for_each(|n| drop(bring(&mut pool, 0, &legacy(n, 0, 0), peer(1))));
    assert_eq!(pool.statistics().count, 4_000);
    assert!(pool.gate().check().is_ok(), "no client is refused before it is looked at");
    for n in 0..100 {
        bring(&mut pool, 0, &legacy(10_000 + n, 0, 0), client(1)).unwrap();
        bring(&mut pool, 0, &legacy(20_000 + n, 0, 0), peer(2)).unwrap();
    }
    // A chain of one sender gives way to another sender of the same ingress, too.
    (0..3_000).for_each(|n| drop(bring(&mut pool, 0, &legacy(30_000, n, 0), peer(2))));
    bring(&mut pool, 0, &legacy(30_001, 0, 0), peer(2)).unwrap();
    let mine = (10_000..10_100).filter(|from| pool.by_sender(&sender(*from), 0).is_some()).count();
    assert_eq!((mine, pool.statistics().count), (100, 4_000));
    audit(&pool);
    // What is behind a missing nonce goes first, in the line that has to give way.
    bring(&mut pool, 0, &legacy(10_200, 3, 0), client(1)).unwrap();
    bring(&mut pool, 0, &legacy(10_201, 0, 0), client(1)).unwrap();
    assert!(pool.by_sender(&sender(10_200), 3).is_some(), "not in another's");
    audit(&pool);
}

#[test]
fn a_client_that_floods_does_not_keep_out_another() {
    let mut pool = pool();
    let refused = (0..20_000).filter(|n| bring(&mut pool, 0, &legacy(*n, 0, 0), client(1)).is_err()).count();
    assert!(refused > 5_000);
    for n in 0..200 {
        bring(&mut pool, 0, &legacy(100_000 + n, 0, 0), client(2)).unwrap();
    }
    assert_eq!(bring(&mut pool, 0, &legacy(50_000, 0, 0), client(1)).unwrap_err().code(), -32005);
    let mined = block(&mut pool, 1_000, u64::MAX);
    let honest = mined.iter().filter(|tx| U256::from_be_bytes(tx.sender.into_word().0) > U256::from(100_000)).count();
    assert_eq!(honest, 200);
}

/// Replacements were held against no bound: 349 MiB where 64 were allowed.
#[test]
fn a_replacement_takes_the_way_of_everything_else() {
    let settings = Settings { max_bytes: 100_000, max_count: 1_000, ..Settings::default() };
    let mut pool = Pool::new(settings.clone(), rules(), 0);
    (0..500).for_each(|n| {
        bring(&mut pool, 0, &legacy(n, 0, 0), peer(1)).unwrap();
    });
    for n in 0..500 {
        let _ = bring(&mut pool, 60_000, &tx(n, 0, 0, 1_000_000, 20_000), peer(1));
        assert!(pool.statistics().bytes <= settings.max_bytes);
    }
    audit(&pool);
    // While clients are refused, a replacement is, too.
    let mut pool = pool_of(100_000);
    let first = legacy(1, 0, 0);
    bring(&mut pool, 0, &first, client(1)).unwrap();
    (100_000..120_000).for_each(|n| drop(bring(&mut pool, 0, &legacy(n, 0, 0), client(1))));
    assert!(matches!(bring(&mut pool, 60_000, &tx(1, 0, 0, 50_000, 0), client(1)), Err(Refusal::Overloaded { .. })));
    // What left the pool is not kept for the journal.
    let mut pool = pool_of(100_000);
    bring(&mut pool, 0, &first, client(1)).unwrap();
    let second = tx(1, 0, 0, 50_000, 0);
    bring(&mut pool, 60_000, &second, client(1)).unwrap();
    assert_eq!(pool.take_unsaved().iter().map(|tx| tx.hash).collect::<Vec<_>>(), [second.hash]);
}

fn pool_of(max_count: usize) -> Pool {
    Pool::new(Settings { max_count, ..Settings::default() }, rules(), 0)
}

/// A boot told its validators of a flood at once, and their pools could not tell whose it was.
#[test]
fn peers_are_told_what_the_next_blocks_hold_and_of_everybody_first() {
    let mut pool = pool();
    (0..300).for_each(|n| {
        bring(&mut pool, 0, &tx(n, 0, 0, BLOCK, 0), peer(1)).unwrap();
    });
    let told = pool.take_fresh(4_096);
    assert_eq!(told.len(), 2, "two blocks");
    let honest = legacy(5_000, 0, 0);
    bring(&mut pool, 0, &honest, peer(2)).unwrap();
    assert_eq!(pool.take_fresh(4_096).iter().map(|tx| tx.hash).collect::<Vec<_>>(), [honest.hash], "another's window is its own");
    mine(&mut pool, 1_000, &told[..1]);
    let next = pool.take_fresh(4_096);
    assert_eq!(next.len(), 1, "one follows a block");
    // What nobody includes does not close the window for ever.
    let mut more = 0;
    for now in 2..120 {
        mine(&mut pool, 1_000 * now, &[]);
        more += pool.take_fresh(4_096).len();
    }
    assert!((3..12).contains(&more), "{more}");
    audit(&pool);
    // A new connection is told no more than the others.
    assert!(pool.told(4_096).len() < 100);
}

/// Those behind this node drop what takes too long, of which it does not hear; what the same ingress has in another size goes on.
#[test]
fn what_nobody_includes_keeps_back_its_own_size_alone() {
    let mut pool = pool();
    (0..300).for_each(|n| {
        bring(&mut pool, 0, &tx(n, 0, 0, BLOCK, 0), peer(1)).unwrap();
    });
    assert_eq!(pool.take_fresh(4_096).len(), 2, "two blocks");
    let honest = legacy(5_000, 0, 0);
    bring(&mut pool, 0, &honest, peer(1)).unwrap();
    assert_eq!(pool.take_fresh(4_096).iter().map(|tx| tx.hash).collect::<Vec<_>>(), [honest.hash]);
    assert!(pool.take_fresh(4_096).is_empty());
    audit(&pool);
}

/// Whoever repeats what another's clients sent must not draw them into its own line.
#[test]
fn a_sender_takes_the_share_of_who_holds_less_of_those_that_bring_it() {
    let mut pool = pool();
    (0..1_000).for_each(|n| {
        bring(&mut pool, 0, &legacy(n, 0, 0), peer(1)).unwrap();
    });
    let honest = legacy(5_000, 0, 0);
    bring(&mut pool, 0, &honest, peer(1)).unwrap();
    assert_eq!(bring(&mut pool, 0, &honest, peer(2)), Err(Refusal::Known));
    assert_eq!(pool.senders[&sender(5_000)].home, peer(2));
    assert_eq!(bring(&mut pool, 0, &honest, peer(1)), Err(Refusal::Known));
    assert_eq!(pool.senders[&sender(5_000)].home, peer(2), "and stays there");
    assert!(picked(&pool).iter().position(|(from, _)| *from == 5_000).unwrap() < 2);
    audit(&pool);
}

/// The order of refusal was a hash of the address alone, which everybody can compute.
#[test]
fn whom_overload_refuses_first_depends_on_a_secret() {
    let refused = |key: u8| {
        let mut pool = Pool::new(Settings { key: B256::repeat_byte(key), ..Settings::default() }, rules(), 0);
        let add = |pool: &mut Pool, n: u64| bring(pool, 0, &legacy(n, 0, 0), Ingress::Client(None)).is_err();
        (0..9_000).filter(|n| add(&mut pool, *n)).collect::<Vec<u64>>()
    };
    assert_eq!(refused(1), refused(1));
    assert_ne!(refused(1)[..200], refused(2)[..200]);
}
