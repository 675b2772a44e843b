//! Admission of transactions to the shared pool: the one path that those of clients, of journals and of peers take, in the
//! node, in the simulator and in tests.

use std::sync::Arc;

use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, B256, KECCAK256_EMPTY};
use ipe_chain::{Candidate, Ledger};
use ipe_permissioning::Verdict;
use ipe_types::Transaction;
use ipe_types::eth::EthMessage;
use ipe_types::spec::ChainSpec;
use ipe_types::transition::TxGasCap;
use parking_lot::Mutex;

use crate::accounts::reading_us;
use crate::fair_queue::Payer;
use crate::pool::{Added, Ingress, Offer, Origin, Pool, Refusal, Rules, SenderState};
use crate::recent::Recent;
use crate::{Input, PeerId};

/// Transactions of peers remembered as judged: half a minute of the fastest network measured.
const JUDGED: usize = 65_536;

/// Offers one transaction of a client or a journal to the pool, where the client's address is not known; see [`offer_by`].
///
/// # Errors
/// The first rule that does not hold; see [`Refusal`].
pub fn offer(
    pool: &Mutex<Pool>,
    ledger: &Ledger,
    now_ms: u64,
    candidate: Arc<Candidate>,
    origin: Origin,
) -> Result<Added, Refusal> {
    offer_by(pool, ledger, now_ms, candidate, origin, Ingress::Client(None))
}

/// Offers one transaction to the pool, whoever brings it: a client, a journal, a peer. What costs time (the rules that
/// need no pool, the sender's account) happens outside of the pool's lock.
///
/// # Errors
/// The first rule that does not hold; see [`Refusal`].
pub fn offer_by(
    pool: &Mutex<Pool>,
    ledger: &Ledger,
    now_ms: u64,
    candidate: Arc<Candidate>,
    origin: Origin,
    ingress: Ingress,
) -> Result<Added, Refusal> {
    let rules = *pool.lock().rules();
    let offer = Offer::check(candidate, origin, &rules)?.brought_by(ingress);
    permitted_on_chain(ledger, offer.candidate())?;
    let state = sender_state(ledger, offer.candidate().sender);
    pool.lock().add(now_ms, offer, &state)
}

/// What the rules on chain say of a transaction for the next block. A state that cannot be read permits nobody, as in Besu.
fn permitted_on_chain(ledger: &Ledger, candidate: &Candidate) -> Result<(), Refusal> {
    let sender = candidate.sender;
    match ledger.may_send(candidate) {
        Ok(verdict) if verdict.allows() => Ok(()),
        Ok(Verdict::Broken(fault)) => Err(Refusal::RulesBroken { sender, why: fault.to_string() }),
        Ok(_) => Err(Refusal::NotPermitted { sender }),
        Err(error) => Err(Refusal::RulesBroken { sender, why: error.to_string() }),
    }
}

/// The transactions of peers that were judged lately: a sender is recovered once, however many peers bring a transaction.
/// Shared by the threads that do this beside the replica, which is told of the result ([`crate::Input::Heard`]).
#[derive(Debug)]
pub struct Judged(Mutex<Recent>);

/// What became of transactions of a peer.
#[derive(Debug)]
pub struct Heard {
    /// Hashes of all.
    pub hashes: Vec<B256>,
    /// Work for those that no honest node would have passed on ([`Refusal::is_honest`]), µs: an estimate
    /// ([`reading_us`]), so that a busy machine makes nobody poorer.
    pub vain_us: u64,
}

impl Default for Judged {
    fn default() -> Self {
        Self(Mutex::new(Recent::new(JUDGED)))
    }
}

impl Judged {
    /// Takes transactions of a peer: recovers the senders of those not judged before and offers them to the pool. What it
    /// does not take is dropped silently, as in Besu; what it may take later, unchanged, is judged again when it comes again.
    /// They take the share of `payer`.
    pub fn hear(&self, pool: &Mutex<Pool>, ledger: &Ledger, now_ms: u64, payer: Payer, transactions: Vec<Transaction>) -> Heard {
        let ingress = Ingress::from(payer);
        let hashes: Vec<B256> = transactions.iter().map(|tx| *tx.tx_hash()).collect();
        let fresh: Vec<bool> = {
            let mut judged = self.0.lock();
            hashes.iter().map(|hash| judged.insert(hash)).collect()
        };
        if fresh.contains(&false) {
            let mut pool = pool.lock();
            let again = hashes.iter().zip(&fresh).filter(|(_, fresh)| !**fresh);
            again.for_each(|(hash, _)| pool.brought_again(hash, ingress));
        }
        let mut vain_us = 0;
        for (tx, _) in transactions.into_iter().zip(fresh).filter(|(_, fresh)| *fresh) {
            let us = reading_us(tx.encode_2718_len(), 0);
            let Ok(candidate) = Candidate::recover(tx).map(Arc::new) else {
                vain_us += us;
                continue;
            };
            let hash = candidate.hash;
            if let Err(refusal) = offer_by(pool, ledger, now_ms, candidate, Origin::Remote, ingress) {
                pool.lock().refused_of_peer(&refusal);
                if !refusal.is_honest() {
                    vain_us += us;
                }
                if refusal.is_passing() {
                    self.0.lock().remove(&hash);
                }
            }
        }
        Heard { hashes, vain_us }
    }

    /// What the replica is handed for an eth message where one thread does everything: transactions are judged here.
    pub fn input(
        &self,
        pool: &Mutex<Pool>,
        ledger: &Ledger,
        now_ms: u64,
        (payer, peer): (Payer, PeerId),
        message: EthMessage,
    ) -> Input {
        match message {
            EthMessage::Transactions(transactions) | EthMessage::PooledTransactions { transactions, .. } => {
                Input::Heard(peer, self.hear(pool, ledger, now_ms, payer, transactions).hashes)
            }
            message => Input::Eth(peer, message),
        }
    }
}

/// The account of a sender at the head; an account that cannot be read counts as empty, so that nothing is admitted for it.
pub fn sender_state(ledger: &Ledger, address: Address) -> SenderState {
    let state = ledger.state().head();
    let Ok(Some(account)) = state.account(address) else { return SenderState::default() };
    let has_code =
        account.code_hash != KECCAK256_EMPTY && !matches!(state.code(account.code_hash), Ok(Some(code)) if code.is_eip7702());
    SenderState { nonce: account.nonce, balance: account.balance, has_code }
}

/// Rules of the block after the head; what is this node's own choice is kept from `before`.
pub fn rules(ledger: &Ledger, spec: &ChainSpec, before: &Rules) -> Rules {
    let head = ledger.head();
    let number = head.number + 1;
    let params = spec.qbft_at(number, head.header.timestamp);
    let timestamp = head.header.timestamp.saturating_add(params.period_ms / 1_000);
    let fork = spec.fork_at(number, timestamp);
    let min_gas_price = u64::try_from(before.min_gas_price).unwrap_or(u64::MAX);
    let tx_gas_cap = match params.tx_gas_cap {
        TxGasCap::Gas(cap) => Some(cap),
        TxGasCap::Unlimited => None,
        TxGasCap::Fork => (fork >= ipe_types::fork::Fork::Osaka).then_some(1 << 24),
    };
    Rules {
        fork,
        block_gas_limit: head.header.gas_limit,
        tx_gas_cap,
        goquorum: spec.goquorum_at(number),
        base_fee: spec.next_base_fee(&head.header, timestamp, min_gas_price),
        period_ms: params.period_ms,
        ..*before
    }
}
