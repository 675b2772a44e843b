//! The ledger: one line of final blocks with one current state. One thread writes (builds, checks, imports); any number
//! read.

use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};
use ipe_types::block::Block;
use ipe_types::extra::{ExtraData, ExtraDataError};
use ipe_types::header::{Header, block_hash};
use ipe_types::spec::ChainSpec;
use ipe_types::transition::Selection;
use ipe_types::validators::ValidatorSet;
use parking_lot::{Mutex, RwLock};
use revm::bytecode::Bytecode;

use crate::bound::Bound;
use crate::execute::Executed;
use crate::fields::{Proposed, check_proposed};
use crate::invalid::InvalidBlock;
use crate::kv::{Batch, REMEDY, Read, Store, StoreError, Table};
use crate::ladder::{CheckedBlock, Terms};
use crate::overlay::ReadError;
use crate::permission::KeptRules;
use crate::read::{RecentBlocks, StoredBlock};
use crate::rules::{Judging, Parent, Sealers, check_body, check_header, check_seals, check_validators};
use crate::state::{Account, AccountChange, State, StateAt, StateChanges, StateError, StateSettings};
use crate::validators::{ContractError, Tally, ask_contract, selection};

/// Results of executed blocks that are kept until one of them is imported: the candidates of a height's last rounds. Each
/// may hold a full block's changes.
const KEPT_RESULTS: usize = 4;

/// Number of the layout of a data folder, which is written into it.
pub const LAYOUT: u32 = 4;
/// The first layout. All since are read, and taken over at the first opening. In 1 the head's row also held the tally, whole, at every block. In 1
/// and 2 storages had no numbers: all have the key of one that began in the genesis. Up to 3 the tables were settled with a block, and the
/// state's position alone said up to which.
const FIRST_LAYOUT: u32 = 1;
const META_LAYOUT: &[u8] = b"ledger_layout";
const META_GENESIS: &[u8] = b"genesis";
const META_HEAD: &[u8] = b"head";

/// Blocks between two tallies that stay on disk, so that the tally after any block is found by reading at most this many
/// headers.
pub(crate) const TALLY_DISTANCE: u64 = 1024;

/// The newest block, and what follows from it.
#[derive(Clone, Debug)]
pub struct Head {
    /// Height.
    pub number: u64,
    /// Block hash.
    pub hash: B256,
    /// With round and seals.
    pub header: Arc<Header>,
    /// Sum of difficulties up to here.
    pub total_difficulty: U256,
    /// Who seals the next block; empty when a contract selects them and could not be asked (see `validators_error`).
    pub validators_next: ValidatorSet,
    /// Why `validators_next` is empty.
    pub validators_error: Option<ContractError>,
    /// Votes and header-mode validators after this block.
    pub votes: Arc<Tally>,
}

/// Why the ledger could not do what was asked, other than a block being invalid.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The state failed.
    #[error(transparent)]
    State(#[from] StateError),
    /// Reading under the EVM failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The block cannot be imported.
    #[error("block {number} cannot be imported: {reason} ({rule})", rule = reason.rule())]
    Invalid {
        /// Height.
        number: u64,
        /// The rule.
        reason: InvalidBlock,
    },
    /// No block can be built on this head.
    #[error("no block can be built on block {head}: {reason}")]
    CannotBuild {
        /// Height of the head.
        head: u64,
        /// What is missing.
        reason: String,
    },
}

/// Why a ledger cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data folder belongs to another chain.
    #[error(
        "the data folder holds a chain with genesis {found}, the genesis file has {expected}; use its genesis file or another folder"
    )]
    OtherGenesis {
        /// In the folder.
        found: B256,
        /// Of the genesis file.
        expected: B256,
    },
    /// Written by a newer version. Nothing in the folder was changed.
    #[error(
        "the data folder has layout {found}, written by a newer version; this version reads layouts up to {LAYOUT}. Nothing was \
         changed. Run the newer version, or keep the key and the signing journal and let this version make the database anew: \
         from its peers, or from blocks that the newer version exports (ipe blocks export)"
    )]
    NewerLayout {
        /// In the folder.
        found: u32,
    },
    /// The number of the layout is none.
    #[error("the database is damaged: its layout is \"{found}\", expected a number up to {LAYOUT}. {REMEDY}")]
    Layout {
        /// In the folder.
        found: String,
    },
    /// Block and state disagree.
    #[error("the database is damaged: its newest block is {block}, its state is of {state:?}. {REMEDY}")]
    Inconsistent {
        /// Height of the newest block.
        block: u64,
        /// Height of the state.
        state: Option<u64>,
    },
    /// The state root computed from `alloc` is not the genesis header's.
    #[error("the state of the genesis accounts has root {computed}, the genesis header says {header}")]
    GenesisState {
        /// From the accounts.
        computed: B256,
        /// In the header.
        header: B256,
    },
    /// The genesis' extra data does not decode.
    #[error("genesis: {0}")]
    ExtraData(#[from] ExtraDataError),
    /// The store or the state failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Ledger(error.into())
    }
}

impl From<StateError> for OpenError {
    fn from(error: StateError) -> Self {
        Self::Ledger(error.into())
    }
}

/// Blocks, receipts, indexes and state of one chain.
pub struct Ledger {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) spec: Arc<ChainSpec>,
    pub(crate) state: State,
    head: RwLock<Arc<Head>>,
    kept: Mutex<lru::LruCache<B256, Arc<Executed>>>,
    pub(crate) recent: RecentBlocks,
    pub(crate) rules: KeptRules,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let head = self.head();
        write!(f, "Ledger(head {} {})", head.number, head.hash)
    }
}

impl Ledger {
    /// Opens the chain of `spec` in `store`; writes the genesis when the store is empty.
    ///
    /// # Errors
    /// The store holds another chain, another layout, or a fork that the EVM does not have.
    pub fn open(store: Arc<dyn Store>, spec: Arc<ChainSpec>) -> Result<Self, OpenError> {
        Self::open_with(store, spec, StateSettings::default())
    }

    /// As [`Ledger::open`], with settings for the state (retention, caches).
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn open_with(store: Arc<dyn Store>, spec: Arc<ChainSpec>, settings: StateSettings) -> Result<Self, OpenError> {
        // Before anything else is read: what a newer version wrote is not guessed at, and nothing of it is changed.
        let layout = layout(&*store)?;
        let state = State::open(Arc::clone(&store), settings)?;
        match store.get(Table::Meta, META_GENESIS)? {
            None => write_genesis(&*store, &spec, &state)?,
            Some(found) if found == spec.genesis_hash().as_slice() => {}
            Some(found) => {
                let found = B256::try_from(found.as_slice()).unwrap_or_default();
                return Err(OpenError::OtherGenesis { found, expected: spec.genesis_hash() });
            }
        }
        if layout.is_some_and(|layout| layout < LAYOUT) {
            let mut batch = Batch::new();
            put_layout(&mut batch, LAYOUT);
            store.commit(batch)?;
        }
        let number = read_head(&*store)?;
        let tally = crate::read::tally_after(&*store, &spec, number)?;
        let header = crate::read::header(&*store, number)?
            .ok_or_else(|| StoreError::corrupt(Table::Headers, format!("no header of the head {number}")))?;
        let position = state.position();
        if position != Some((number, header.state_root)) {
            return Err(OpenError::Inconsistent { block: number, state: position.map(|(number, _)| number) });
        }
        let hash = block_hash(&header)?;
        let head = head_of(&*store, &spec, &state, Arc::new(header), hash, Arc::new(tally));
        let rules = KeptRules::new(&spec, &head.header);
        Ok(Self {
            rules,
            store,
            spec,
            state,
            head: RwLock::new(Arc::new(head)),
            kept: Mutex::new(lru::LruCache::new(std::num::NonZeroUsize::new(KEPT_RESULTS).unwrap_or(std::num::NonZeroUsize::MIN))),
            recent: RecentBlocks::default(),
        })
    }

    /// The newest block.
    pub fn head(&self) -> Arc<Head> {
        Arc::clone(&self.head.read())
    }

    /// The chain.
    pub fn spec(&self) -> &Arc<ChainSpec> {
        &self.spec
    }

    /// Who seals the block after the one with this header, which follows the head; `None` when only its execution tells.
    pub fn validators_beyond(&self, header: &Header) -> Option<ValidatorSet> {
        match selection(&self.spec, header, next_timestamp(&self.spec, header)) {
            Selection::Header => self.head().votes.after(&self.spec, header).ok().map(|tally| tally.validators),
            Selection::Contract(_) => None,
        }
    }

    /// The state, for readers that need more than [`Ledger::view`] (proofs, pruning).
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The store below.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Checks a proposal: header rules without seals (Besu's LIGHT mode), every field that our own builder would have written
    /// ([`crate::fields`]), body, and execution last. A block that was built or checked before is not executed again. `now_ms` is
    /// unix time; `senders` answers for transactions whose sender is known; `terms` is what this node asks beyond the rules.
    ///
    /// # Errors
    /// The rule that is broken; [`InvalidBlock::TooDear`] or [`InvalidBlock::NotJudged`], which say nothing about the block.
    pub fn check_proposal(
        &self,
        block: Arc<Block>,
        now_ms: u64,
        senders: &dyn Fn(&B256) -> Option<Address>,
        terms: Terms<'_>,
    ) -> Result<CheckedBlock, InvalidBlock> {
        let Terms { min_gas_price, gas_limit_aim, bound } = terms;
        self.check(block, now_ms, Known::Asked(senders), Mode::Proposal { min_gas_price, gas_limit_aim }, bound)
    }

    /// Checks a block that claims to be final: Besu's rules in FULL mode, with its seals.
    ///
    /// # Errors
    /// As [`Ledger::check_proposal`].
    pub fn check_sealed(
        &self,
        block: Arc<Block>,
        now_ms: u64,
        senders: &dyn Fn(&B256) -> Option<Address>,
    ) -> Result<CheckedBlock, InvalidBlock> {
        self.check(block, now_ms, Known::Asked(senders), Mode::Sealed, Bound::NONE)
    }

    pub(crate) fn check(
        &self,
        block: Arc<Block>,
        now_ms: u64,
        known: Known<'_>,
        mode: Mode,
        bound: Bound<'_>,
    ) -> Result<CheckedBlock, InvalidBlock> {
        let head = self.head();
        let header = &block.header;
        let extra = ExtraData::decode(&header.extra_data)?;
        let parent = Parent { header: &head.header, hash: head.hash };
        check_header(&self.spec, header, &extra, parent, now_ms)?;
        let (selection, validators) = self.sealers(&head, header.timestamp)?;
        check_validators(&self.spec, header, &extra, Sealers { selection, validators: &validators })?;
        let sealers = match mode {
            Mode::Sealed => Some(check_seals(header, &extra, &validators)?.into()),
            Mode::Proposal { min_gas_price, gas_limit_aim } => {
                let (spec, block, extra) = (&*self.spec, &*block, &extra);
                check_proposed(Proposed { spec, block, extra, parent, min_gas_price, gas_limit_aim })?;
                None
            }
        };
        let hash = block_hash(header)?;
        if let Some(executed) = self.kept(&hash)
            && (Arc::ptr_eq(&executed.block, &block) || executed.block.body == block.body)
        {
            return Ok(CheckedBlock { block, hash, executed, sealers });
        }
        if !matches!(known, Known::All(_)) {
            let judging = if mode == Mode::Sealed { Judging::Sealed } else { Judging::Proposal };
            check_body(&block, judging)?;
        }
        let senders = match known {
            Known::All(senders) => senders,
            Known::Asked(known) => {
                let fork = self.spec.fork_at(header.number, header.timestamp);
                crate::senders::recover_block(fork, &block.body.transactions, known)?
            }
        };
        let executed = Arc::new(self.execute(&block, senders, bound)?);
        self.keep(hash, &executed);
        Ok(CheckedBlock { block, hash, executed, sealers })
    }

    /// Who seals the block after the head, if that block has this timestamp. The head knows it already unless the selection
    /// changes by time.
    pub(crate) fn sealers(&self, head: &Head, timestamp: u64) -> Result<(Selection, ValidatorSet), InvalidBlock> {
        let now = selection(&self.spec, &head.header, timestamp);
        let number = head.number.saturating_add(1);
        let unknown = |error: &ContractError| InvalidBlock::ValidatorsUnknown { number, reason: error.to_string() };
        if now == selection(&self.spec, &head.header, next_timestamp(&self.spec, &head.header)) {
            return match &head.validators_error {
                None => Ok((now, head.validators_next.clone())),
                Some(error) => Err(unknown(error)),
            };
        }
        sealers_by(now, &*self.store, &self.spec, &self.state.head(), &head.header, &head.votes)
            .map(|set| (now, set))
            .map_err(|error| unknown(&error))
    }

    pub(crate) fn kept(&self, hash: &B256) -> Option<Arc<Executed>> {
        self.kept.lock().get(hash).cloned()
    }

    pub(crate) fn keep(&self, hash: B256, executed: &Arc<Executed>) {
        self.kept.lock().put(hash, Arc::clone(executed));
    }

    /// Moves the head; called by import after the commit.
    pub(crate) fn advance(&self, header: Arc<Header>, hash: B256, tally: Arc<Tally>, stored: Arc<StoredBlock>) {
        self.kept.lock().clear();
        self.recent.put(stored);
        let head = head_of(&*self.store, &self.spec, &self.state, header, hash, tally);
        *self.head.write() = Arc::new(head);
    }
}

/// By which rules a block is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Before a vote.
    Proposal {
        /// See [`Terms`].
        min_gas_price: u64,
        /// See [`Terms`].
        gas_limit_aim: Option<u64>,
    },
    /// At import.
    Sealed,
}

/// What is known of a block's senders.
pub(crate) enum Known<'a> {
    /// Some, by transaction hash; the others are recovered.
    Asked(&'a dyn Fn(&B256) -> Option<Address>),
    /// All, in order, and the body was checked against the header.
    All(Vec<Address>),
}

/// Seconds that the next block has at the earliest: what a time-keyed selection is judged by before the block exists.
fn next_timestamp(spec: &ChainSpec, head: &Header) -> u64 {
    let period = spec.qbft_at(head.number.saturating_add(1), head.timestamp).period_ms / 1000;
    head.timestamp.saturating_add(period)
}

fn sealers_by(
    selection: Selection,
    store: &dyn Store,
    spec: &ChainSpec,
    state: &StateAt,
    head: &Header,
    tally: &Tally,
) -> Result<ValidatorSet, ContractError> {
    match selection {
        Selection::Header => Ok(tally.validators.clone()),
        Selection::Contract(contract) => {
            let hashes = |number| crate::read::hash_at(store, number);
            ask_contract(spec, head, contract, state, &hashes)
        }
    }
}

fn head_of(store: &dyn Store, spec: &ChainSpec, state: &State, header: Arc<Header>, hash: B256, votes: Arc<Tally>) -> Head {
    let selection = selection(spec, &header, next_timestamp(spec, &header));
    let (validators_next, validators_error) = match sealers_by(selection, store, spec, &state.head(), &header, &votes) {
        Ok(set) => (set, None),
        Err(error) => (ValidatorSet::default(), Some(error)),
    };
    let number = header.number;
    let total_difficulty = total_difficulty(spec, number);
    Head { number, hash, header, total_difficulty, validators_next, validators_error, votes }
}

/// Every block has difficulty 1 (spec/qbft.md 1).
pub(crate) fn total_difficulty(spec: &ChainSpec, number: u64) -> U256 {
    spec.genesis_header().difficulty.saturating_add(U256::from(number))
}

fn write_genesis(store: &dyn Store, spec: &ChainSpec, state: &State) -> Result<(), OpenError> {
    let mut changes = StateChanges::default();
    for (address, account) in spec.alloc() {
        let code = (!account.code.is_empty()).then(|| Bytecode::new_raw(account.code.clone()));
        let code_hash = code.as_ref().map_or(alloy_primitives::KECCAK256_EMPTY, Bytecode::hash_slow);
        let change = AccountChange {
            account: Some(Account { nonce: account.nonce, balance: account.balance, code_hash }),
            wiped: false,
            slots: account.storage.iter().map(|(slot, value)| (U256::from_be_bytes(slot.0), *value)).collect(),
            code,
        };
        changes.accounts.insert(*address, change);
    }
    let header = spec.genesis_header();
    let prepared = state.prepare(&changes)?;
    if prepared.root() != header.state_root {
        return Err(OpenError::GenesisState { computed: prepared.root(), header: header.state_root });
    }
    let tally = Tally::genesis(spec)?;
    let mut batch = Batch::new();
    crate::import::put_header(&mut batch, header, spec.genesis_hash());
    batch.put(Table::Meta, META_GENESIS, spec.genesis_hash().as_slice());
    put_layout(&mut batch, LAYOUT);
    put_head(&mut batch, 0, &tally);
    state.apply(0, &prepared, &mut batch)?;
    store.commit(batch)?;
    state.committed(0, &prepared)?;
    Ok(())
}

/// Layout of what is in the store, none when that is empty.
fn layout(store: &dyn Store) -> Result<Option<u32>, OpenError> {
    let Some(row) = store.get(Table::Meta, META_LAYOUT)? else {
        return match store.get(Table::Meta, META_GENESIS)? {
            None => Ok(None),
            Some(_) => Err(OpenError::Layout { found: String::new() }),
        };
    };
    match std::str::from_utf8(&row).ok().and_then(|text| text.parse().ok()) {
        Some(layout) if layout > LAYOUT => Err(OpenError::NewerLayout { found: layout }),
        Some(layout) if layout >= FIRST_LAYOUT => Ok(Some(layout)),
        _ => Err(OpenError::Layout { found: String::from_utf8_lossy(&row).into_owned() }),
    }
}

fn put_layout(batch: &mut Batch, layout: u32) {
    batch.put(Table::Meta, META_LAYOUT, layout.to_string().as_bytes());
}

/// The head's row. The tally is no part of it: open votes may be many, and a block changes one of them. Every
/// [`TALLY_DISTANCE`] blocks the tally is written whole; the one after any block is made from that and the headers since.
pub(crate) fn put_head(batch: &mut Batch, number: u64, tally: &Tally) {
    batch.put(Table::Meta, META_HEAD, &number.to_be_bytes());
    if number.is_multiple_of(TALLY_DISTANCE) {
        batch.put(Table::Votes, &number.to_be_bytes(), &tally.encode());
    }
}

fn read_head(store: &dyn Read) -> Result<u64, StoreError> {
    let row = store.get(Table::Meta, META_HEAD)?.ok_or_else(|| StoreError::corrupt(Table::Meta, "no head"))?;
    // In the layout before, the tally follows.
    let number = row.first_chunk::<8>().ok_or_else(|| StoreError::corrupt(Table::Meta, "head has fewer than 8 bytes"))?;
    Ok(u64::from_be_bytes(*number))
}

#[cfg(test)]
mod tests {
    use ipe_types::extra::Vote;
    use ipe_types::genesis::GenesisBuilder;

    use super::*;
    use crate::kv::MemoryStore;

    fn spec() -> Arc<ChainSpec> {
        let genesis = GenesisBuilder {
            validators: vec![Address::with_last_byte(1), Address::with_last_byte(2)],
            ..GenesisBuilder::default()
        };
        Arc::new(ChainSpec::parse(&genesis.to_json().expect("a genesis")).expect("parses"))
    }

    /// One validator votes about another address in each of its blocks: 340 kB were cloned and written at every block of anybody.
    #[test]
    fn a_block_writes_the_same_however_many_votes_are_open() {
        let spec = spec();
        let mut tally = Tally::genesis(&spec).expect("a tally");
        let vote = |number: u64, recipient: u64| {
            let vote = Some(Vote { recipient: Address::left_padding_from(&recipient.to_be_bytes()), add: true });
            let extra = ExtraData { vote, ..ExtraData::genesis(tally_validators()) };
            Header { number, beneficiary: Address::with_last_byte(1), extra_data: extra.encode(), ..Header::default() }
        };
        let mut written = Vec::new();
        for number in 1..=5_000 {
            tally = tally.after(&spec, &vote(number, 1_000 + number)).expect("decodes");
            let mut batch = Batch::new();
            put_head(&mut batch, number, &tally);
            if !number.is_multiple_of(TALLY_DISTANCE) {
                written.push(batch.bytes());
            }
        }
        assert_eq!(tally.votes.len(), 5_000);
        assert_eq!(written.iter().min(), written.iter().max());
        assert!(written[0] < 64, "{}", written[0]);
        // A block without a vote shares everything.
        let extra_data = ExtraData::genesis(tally_validators()).encode();
        let silent = Header { number: 5_001, beneficiary: Address::with_last_byte(2), extra_data, ..Header::default() };
        assert!(tally.after(&spec, &silent).expect("decodes").votes.ptr_eq(&tally.votes));
    }

    fn tally_validators() -> Vec<Address> {
        vec![Address::with_last_byte(1), Address::with_last_byte(2)]
    }

    /// The layout before held the tally in the head's row.
    #[test]
    fn a_folder_of_the_layout_before_is_taken_over() {
        let (spec, store) = (spec(), Arc::new(MemoryStore::new()));
        let votes = Ledger::open(store.clone(), spec.clone()).expect("opens").head().votes.clone();
        let mut batch = Batch::new();
        put_layout(&mut batch, FIRST_LAYOUT);
        batch.put(Table::Meta, META_HEAD, &[&0u64.to_be_bytes()[..], &votes.encode()].concat());
        store.commit(batch).expect("written");
        for _ in 0..2 {
            assert_eq!(Ledger::open(store.clone(), spec.clone()).expect("opens").head().votes, votes);
            assert_eq!(layout(&*store).expect("reads"), Some(LAYOUT));
        }
    }

    #[test]
    fn a_folder_of_a_newer_layout_is_named_and_left_as_it_is() {
        let (spec, store) = (spec(), Arc::new(MemoryStore::new()));
        Ledger::open(store.clone(), spec.clone()).expect("opens");
        let with = |row: &[u8]| {
            let mut batch = Batch::new();
            batch.put(Table::Meta, META_LAYOUT, row);
            // A newer version may keep anything under the other keys.
            batch.put(Table::Meta, META_HEAD, b"of another form");
            store.commit(batch).expect("written");
            let error = Ledger::open(store.clone(), spec.clone()).expect_err("refused");
            assert_eq!(store.get(Table::Meta, META_LAYOUT).expect("reads").as_deref(), Some(row));
            assert_eq!(store.get(Table::Meta, META_HEAD).expect("reads").as_deref(), Some(&b"of another form"[..]));
            error
        };
        let newer = with(b"5");
        assert!(matches!(newer, OpenError::NewerLayout { found: 5 }), "{newer}");
        assert!(newer.to_string().contains("layout 5") && newer.to_string().contains("up to 4"), "{newer}");
        for damaged in [&b"0"[..], b"", b"four", b"\xff", b"99999999999"] {
            let error = with(damaged);
            assert!(matches!(error, OpenError::Layout { .. }), "{error}");
        }
    }
}
