//! The right verdict on every variant: what Besu makes of it and by which class, what ours does at import and before a vote, and
//! why where the two differ. `docs/spec/verdicts.md` is its rendering; the tests compare it with ours and with what was recorded.

/// Whether a block is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// Imported, or voted for.
    Yes,
    /// Refused.
    No,
}

use Says::{No, Yes};

/// The verdict on some variants on some chains.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What is the matter with the block.
    pub what: &'static str,
    /// Chains, by how their names begin; none means all.
    pub chains: &'static [&'static str],
    /// Variants by name; a star at the end stands for anything.
    pub variants: &'static [&'static str],
    /// Besu at import, or GoQuorum on its chains; a release that says otherwise is in `but`.
    pub client: Says,
    /// Whether Besu votes for it, where that is not whether it imports it.
    pub votes: Option<Says>,
    /// Ours at import.
    pub import: Says,
    /// Ours before a vote.
    pub vote: Says,
    /// The rule and Besu's class.
    pub rule: &'static str,
    /// Why ours differs from Besu at import, and why no honest validator makes such a block; empty where it does not differ.
    pub why: &'static str,
    /// A release that says otherwise, with what it says.
    pub but: Option<(&'static str, Says)>,
}

impl Row {
    /// Whether the row is about this variant.
    pub fn is_about(&self, chain: &str, variant: &str) -> bool {
        let here = self.chains.is_empty() || self.chains.iter().any(|name| chain.starts_with(name));
        here && self.variants.iter().any(|name| match name.strip_suffix('*') {
            Some(start) => variant.starts_with(start),
            None => variant == *name,
        })
    }

    /// Whether a Besu of this name votes for it.
    pub fn vote_of(&self, client: &str) -> Says {
        self.votes.unwrap_or_else(|| self.of(client))
    }

    /// What a client of this name says.
    pub fn of(&self, client: &str) -> Says {
        self.but.filter(|(release, _)| client.ends_with(release)).map_or(self.client, |(_, says)| says)
    }
}

/// The first row that is about a variant.
pub fn row(chain: &str, variant: &str) -> Option<&'static Row> {
    let rows = if chain.starts_with("goquorum") { GOQUORUM } else { ROWS };
    rows.iter().find(|row| row.is_about(chain, variant))
}

const fn both(what: &'static str, variants: &'static [&'static str], says: Says, rule: &'static str) -> Row {
    Row { what, chains: &[], variants, client: says, votes: None, import: says, vote: says, rule, why: "", but: None }
}

/// Followed when others sealed it, and never voted for.
const fn followed(what: &'static str, variants: &'static [&'static str], rule: &'static str) -> Row {
    Row { what, chains: &[], variants, client: Yes, votes: None, import: Yes, vote: No, rule, why: "", but: None }
}

/// Taken by Besu and not by ours.
const fn stricter(what: &'static str, variants: &'static [&'static str], rule: &'static str, why: &'static str) -> Row {
    Row { what, chains: &[], variants, client: Yes, votes: None, import: No, vote: No, rule, why, but: None }
}

const fn on(chains: &'static [&'static str], row: Row) -> Row {
    Row { chains, ..row }
}

/// Besu's vote is another than its verdict at import.
const fn voted(votes: Says, row: Row) -> Row {
    Row { votes: Some(votes), ..row }
}

const fn but(release: &'static str, says: Says, row: Row) -> Row {
    Row { but: Some((release, says)), ..row }
}

const MARKET: [&str; 5] = ["london market", "shanghai market", "cancun market", "prague market", "osaka market"];

/// Every row; the first that is about a variant counts.
pub static ROWS: &[Row] = &[
    both("as an honest proposer writes it", &["good", "good and empty", "legacy ordinary", "access list ordinary"], Yes, "none"),
    // Header fields.
    both("another parent or number", &["parentHash *", "number *"], No, "`AncestryValidationRule`"),
    both("another hash of ommers", &["sha3Uncles *"], No, "`MainnetBlockBodyValidator`"),
    both(
        "coinbase that is no validator",
        &["miner zero", "miner a stranger", "empty, miner zero", "empty, miner a stranger"],
        No,
        "`BftCoinbaseValidationRule`",
    ),
    both(
        "coinbase that is another validator",
        &["empty, miner *"],
        Yes,
        "`BftCoinbaseValidationRule`; whose turn it is concerns the proposal (`ProposalValidator`, `qbft::justify`)",
    ),
    both("coinbase that is another validator, state as before", &["miner *"], No, "`MainnetBlockBodyValidator`: state root"),
    both(
        "another root, bloom or gas used",
        &["stateRoot *", "transactionsRoot *", "receiptsRoot *", "logsBloom *", "gasUsed *"],
        No,
        "`MainnetBlockBodyValidator`, `GasUsageValidationRule`",
    ),
    both("difficulty other than 1, another mix hash", &["difficulty *", "mixHash *"], No, "`ConstantFieldValidationRule`"),
    both(
        "gas limit a step away, below parent / 1024",
        &["gasLimit one more", "gasLimit one less", "gasLimit a step up", "gasLimit a step down"],
        Yes,
        "`GasLimitRangeAndDeltaValidationRule`; before a vote also the aim of [header-fields.md](header-fields.md)",
    ),
    both(
        "gas limit further away, or out of range",
        &["gasLimit zero", "gasLimit half", "gasLimit 2^63", "gasLimit 2^64 − 1", "gasLimit a step too far*"],
        No,
        "`GasLimitRangeAndDeltaValidationRule`",
    ),
    on(
        &["berlin below a second"],
        both(
            "period below a second: the parent's time",
            &["timestamp the parent's"],
            Yes,
            "`QbftBlockHeaderValidationRulesetFactory`: no rule about the parent's time",
        ),
    ),
    on(&["berlin below a second"], followed("period below a second: before the parent's time", &["timestamp *"], "the same")),
    both("a later time that has come", &["timestamp one more", "timestamp a later time"], Yes, "`TimestampMoreRecentThanParent`"),
    both(
        "a time too early, or to come",
        &["timestamp zero", "timestamp one less", "timestamp half", "timestamp 2^63", "timestamp 2^64 − 1"],
        No,
        "`TimestampMoreRecentThanParent`, `TimestampBoundedByFutureParameter`",
    ),
    both(
        "extra data that does not decode, other validators",
        &["extraData absent", "extraData a validator less", "extraData a validator more", "extraData no validators"],
        No,
        "`QbftExtraDataCodec`, `QbftValidatorsValidationRule`",
    ),
    stricter(
        "vanity above 1,024 bytes",
        &["extraData a vanity of 1,025 bytes"],
        "`QbftExtraDataCodec`: any length",
        "a header must stay servable; every client writes 32 bytes",
    ),
    followed("vanity of another length", &["extraData a vanity *", "extraData no vanity"], "`QbftExtraDataCodec`: any length"),
    followed("another nonce", &["nonce *"], "not looked at"),
    followed(
        "another base fee, of a block without transactions",
        &["empty, baseFeePerGas *"],
        "the value is not looked at; what follows is executed with it",
    ),
    both(
        "another base fee than transactions were executed with",
        &[
            "baseFeePerGas zero",
            "baseFeePerGas one more",
            "baseFeePerGas one less",
            "baseFeePerGas 2^44",
            "baseFeePerGas 2^63",
            "baseFeePerGas 2^64 − 1",
        ],
        No,
        "`MainnetTransactionValidator`, `MainnetBlockBodyValidator`: state root",
    ),
    stricter(
        "base fee of 2^64 and more",
        &["baseFeePerGas 2^64"],
        "`BlockHeader.readFrom`: 256 bits",
        "no builder writes one: a base fee starts at 10^9 or at the node's setting and moves by an eighth of it at most; where ours are in every quorum none is voted for",
    ),
    stricter(
        "another withdrawals root",
        &["withdrawalsRoot zero", "withdrawalsRoot all ones"],
        "`WithdrawalsValidator.NotApplicableWithdrawals`: not compared",
        "every builder writes the root of no withdrawals, or none",
    ),
    both("blob gas used that is not the body's", &["blobGasUsed *"], No, "`AbstractBlockProcessor`"),
    followed(
        "another excess blob gas",
        &["excessBlobGas *"],
        "not looked at: the price follows from the parent (`ExcessBlobGasCalculator`)",
    ),
    followed("another parent beacon block root", &["parentBeaconBlockRoot *"], "not looked at where no contract is called"),
    both("another requests hash", &["requestsHash *"], No, "`AbstractBlockProcessor`"),
    // Which fields there are.
    on(
        &["prague ", "osaka "],
        both(
            "Prague and Osaka: ends early, or 22 items and more",
            &["header of *", "withdrawalsRoot an empty string*"],
            No,
            "`AbstractBlockProcessor`: requestsHash; `BlockAccessListValidator`; `BlockHeader.readFrom`",
        ),
    ),
    on(
        &["berlin "],
        both("before London: a base fee, and fields behind it", &["header of *"], No, "`GasLimitRangeAndDeltaValidationRule`"),
    ),
    on(
        &["cancun "],
        both(
            "Cancun: ends in front of the blob fields, withdrawals root or beacon root",
            &["header of 16 items", "header of 17 items", "header of 19 items"],
            Yes,
            "none; Besu's builder ends headers there where blobs cost nothing (`AbstractBlockCreator`)",
        ),
    ),
    on(&["shanghai "], both("Shanghai: ends in front of the withdrawals root", &["header of 16 items"], Yes, "none")),
    stricter(
        "from London on: no base fee",
        &["header of 15 items"],
        "none",
        "every builder writes one; without it the price of gas is not defined",
    ),
    on(
        &["cancun "],
        stricter(
            "Cancun: blobGasUsed without excessBlobGas, sealed as Besu hashes it, without both",
            &["header of 18 items, sealed as one of 17"],
            "`BlockHeader.writeTo` leaves out both",
            "no builder writes one without the other; from Prague on Besu refuses it too",
        ),
    ),
    on(
        &["cancun "],
        voted(
            Yes,
            both(
                "Cancun: blobGasUsed without excessBlobGas, sealed as it stands",
                &["header of 18 items"],
                No,
                "`BftCommitSealsValidationRule`: Besu hashes it without both",
            ),
        ),
    ),
    on(
        &["london ", "shanghai "],
        voted(
            Yes,
            both(
                "blobGasUsed of a later fork without excessBlobGas, sealed as it stands",
                &["header of 18 items"],
                No,
                "`BftCommitSealsValidationRule`: Besu hashes it without both",
            ),
        ),
    ),
    on(
        &["london ", "shanghai ", "cancun "],
        both(
            "more items than there are fields, or a list of later fields that Besu reads and refuses",
            &["header of 22 items", "header of 23 items", "header of 24 items"],
            No,
            "`BlockAccessListValidator`, `BlockHeader.readFrom`",
        ),
    ),
    stricter("fields of a later fork", &["header of *"], "none", "no builder writes a field before its fork"),
    stricter(
        "withdrawals root an empty string, the last item",
        &["withdrawalsRoot an empty string, and the last item"],
        "`BlockHeader.readFrom` takes it for none",
        "no encoder writes it: a field that is not there is left out with all that follow it",
    ),
    on(
        &["shanghai "],
        stricter(
            "Shanghai: withdrawals root an empty string",
            &["withdrawalsRoot an empty string"],
            "`BlockHeader.readFrom` takes it for none",
            "no encoder writes it: a field that is not there is left out",
        ),
    ),
    both("withdrawals root an empty string in front of others", &["withdrawalsRoot an empty string"], No, "`BlockHeader.readFrom`"),
    both("a number with a leading zero", &["gasLimit with a leading zero", "timestamp with a leading zero"], No, "`RLPInput`"),
    // Lists.
    both(
        "other transactions than the header names, or others than were executed",
        &["transactions *", "no transactions, root as before", "a transaction that is an empty string"],
        No,
        "`MainnetBlockBodyValidator`",
    ),
    but(
        "25.5.0",
        No,
        voted(
            No,
            stricter(
                "a legacy transaction as a string",
                &["a legacy transaction as a string"],
                "`TransactionDecoder`; a proposal is hashed as Besu would write it, so its author seems to be no validator",
                "no encoder writes it: the list stands in the body as it is",
            ),
        ),
    ),
    both("ommers", &["an ommer*"], No, "`MainnetBlockBodyValidator`"),
    voted(
        No,
        stricter(
            "more lists in the body",
            &["two lists more"],
            "`BlockBody.readWrappedBodyFrom`; a proposal is hashed as Besu would write it, so its author seems to be no validator",
            "every encoder writes exactly the lists of the fork; the hash does not cover them, so a sync gets the block in its one form from anybody else",
        ),
    ),
    stricter(
        "a list of withdrawals that the header does not name, or a missing one",
        &["an empty list of withdrawals", "no list of withdrawals"],
        "`BlockBody.readWrappedBodyFrom`, `WithdrawalsValidator.NotApplicableWithdrawals`",
        "every encoder writes exactly the lists of the fork; the hash does not cover them, so a sync gets the block in its one form from anybody else",
    ),
    both(
        "a withdrawal, state as before",
        &["a withdrawal*"],
        No,
        "`MainnetBlockBodyValidator`: state root, because Besu pays the amount; ours refuses withdrawals in any state",
    ),
    // Transactions.
    both(
        "legacy: another chain, nonce, gas below what is due, above the block's, an account with code, a bad signature",
        &[
            "legacy of another chain",
            "legacy nonce *",
            "legacy gas limit 20,999",
            "legacy gas limit of the block + 1",
            "legacy gas limit 2^64 − 1",
            "legacy from an account with code",
            "legacy high s",
            "legacy the other parity",
            "legacy r *",
            "legacy s *",
        ],
        No,
        "`MainnetTransactionValidator`",
    ),
    both(
        "legacy: without a chain id, gas just due",
        &["legacy without a chain id", "legacy gas limit 21,000", "legacy gas limit 2^24"],
        Yes,
        "`MainnetTransactionValidator`",
    ),
    on(
        &["osaka "],
        both(
            "Osaka: gas limit above 2^24",
            &["legacy gas limit 2^24 + 1", "legacy gas limit of the block"],
            No,
            "`OsakaTargetingGasLimitCalculator` (EIP-7825)",
        ),
    ),
    both(
        "gas limit above 2^24",
        &["legacy gas limit 2^24 + 1", "legacy gas limit of the block"],
        Yes,
        "`MainnetTransactionValidator`",
    ),
    on(
        &["berlin ", "london zero", "shanghai zero", "cancun zero", "prague zero", "osaka zero"],
        both(
            "price 0 or 1 where there is no base fee, or it is 0",
            &["legacy gas price 0", "legacy gas price 1"],
            Yes,
            "`MainnetTransactionValidator`",
        ),
    ),
    both("price below the base fee", &["legacy gas price 0", "legacy gas price 1"], No, "`MainnetTransactionValidator`"),
    on(
        &["prague ", "osaka "],
        both(
            "Prague on: gas below the floor of the input",
            &["legacy input of 31 floor bytes"],
            No,
            "`PragueGasCalculator` (EIP-7623)",
        ),
    ),
    both("input that is just paid for", &["legacy input of 31 floor bytes"], Yes, "`GasCalculator`"),
    on(
        &["berlin ", "london "],
        both("init code above 49,152 bytes before Shanghai", &["legacy creation of 49,153 bytes"], Yes, "none"),
    ),
    both("init code above 49,152 bytes", &["legacy creation of 49,153 bytes"], No, "`MainnetTransactionValidator` (EIP-3860)"),
    both("init code of 49,152 bytes", &["legacy creation of 49,152 bytes"], Yes, "`MainnetTransactionValidator`"),
    on(
        &["berlin "],
        both(
            "a price of 2^128 wei and more: a type of a later fork",
            &["wide dynamic *", "wide blob *", "wide set-code *"],
            No,
            "`MainnetTransactionValidator`",
        ),
    ),
    on(
        &["london ", "shanghai "],
        both(
            "a price of 2^128 wei and more: a type of a later fork",
            &["wide blob *", "wide set-code *"],
            No,
            "`MainnetTransactionValidator`",
        ),
    ),
    on(
        &["cancun "],
        both("a price of 2^128 wei and more: a type of a later fork", &["wide set-code *"], No, "`MainnetTransactionValidator`"),
    ),
    both(
        "a price of 2^128 with a leading zero, of 2^256",
        &["wide legacy gas price 2^128 with a leading zero", "wide legacy gas price 2^256"],
        No,
        "`RLPInput.readUInt256Scalar`",
    ),
    both(
        "gas × price of 2^256 and more, also where the base fee and a small tip would be paid",
        &[
            "wide legacy gas × price 2^256 and more",
            "wide legacy gas price 2^256 − 1",
            "wide access list gas × price 2^256 and more",
            "wide dynamic gas × max fee 2^256 and more, tip 1",
            "wide dynamic max fee and tip 2^256 − 1",
            "wide set-code gas × max fee 2^256 and more",
        ],
        No,
        "`MainnetTransactionValidator`: the cost of gas has 256 bits",
    ),
    both(
        "a price of 2^128 wei and more, beyond the balance",
        &[
            "wide legacy gas price 2^128, not paid for",
            "wide dynamic max fee 2^128, not paid for",
            "wide blob max blob fee 2^256 − 1, from 2^200 wei",
        ],
        No,
        "`MainnetTransactionValidator`",
    ),
    both(
        "gas, blobs and value of 2^256 wei and more together, from an account with 2^256 − 1 that cannot pay all",
        &[
            "wide legacy gas price of all that there is, and a value",
            "wide blob max blob fee 2^256 − 1, and a value that is not there",
        ],
        No,
        "`Transaction.getUpfrontCost` ends at 2^256 − 1; the payment throws",
    ),
    both(
        "a tip of 2^128 wei and more above the max fee",
        &[
            "wide dynamic tip 2^128 above a max fee of 2^128 − 1",
            "wide dynamic tip 2^128 + 1 above a max fee of 2^128",
            "wide blob tip 2^128 above a max fee of 2^128 − 1",
        ],
        No,
        "`MainnetTransactionValidator`",
    ),
    both(
        "max blob fees of 2^256 wei and more, from an account with 2^256 − 1 that can pay what blobs cost",
        &["wide blob max blob fee 2^256 − 1, from 2^256 − 1 wei"],
        Yes,
        "`Transaction.getUpfrontCost` ends at 2^256 − 1",
    ),
    both(
        "a price of 2^128 wei and more, paid for: legacy, access list, dynamic, blob, set-code, and GASPRICE",
        &["wide *"],
        Yes,
        "`Wei` has 256 bits",
    ),
    both(
        "gas × price of 2^128 and more, paid for",
        &["legacy gas × price 2^128 and more"],
        Yes,
        "`MainnetTransactionValidator`: 256 bits",
    ),
    both(
        "more than the sender has",
        &["legacy gas × price 2^128 and more, not paid for", "legacy value *"],
        No,
        "`MainnetTransactionValidator`",
    ),
    both(
        "a balance that stays below 2^256",
        &["legacy call that pays an account with room", "legacy contract that leaves its wei to one with room"],
        Yes,
        "none",
    ),
    both(
        "a balance that would reach 2^256: payment, call, creation, heir",
        &[
            "legacy payment that overflows a balance",
            "legacy call whose payment overflows a balance",
            "legacy contract whose heir's balance overflows",
            "legacy creation at an address whose balance overflows",
        ],
        No,
        "`MutableAccount.incrementBalance` throws; the transaction is invalid (`MainnetTransactionProcessor`)",
    ),
    both(
        "access list: another chain, gas below what is due",
        &["access list of another chain", "access list gas limit too low"],
        No,
        "`MainnetTransactionValidator`",
    ),
    both("access list: gas just due", &["access list gas limit just right"], Yes, "`MainnetTransactionValidator`"),
    on(&["berlin "], both("a type of a later fork", &["dynamic *", "blob *", "set-code *"], No, "`MainnetTransactionValidator`")),
    on(&["london ", "shanghai "], both("a type of a later fork", &["blob *", "set-code *"], No, "`MainnetTransactionValidator`")),
    on(&["cancun "], both("a type of a later fork", &["set-code *"], No, "`MainnetTransactionValidator`")),
    on(
        &["london zero", "shanghai zero", "cancun zero", "prague zero", "osaka zero"],
        both("no fee where the base fee is 0", &["dynamic max fee 0"], Yes, "`MainnetTransactionValidator`"),
    ),
    both(
        "dynamic: fee below the base fee, tip above the fee, another chain",
        &["dynamic max fee 0", "dynamic tip above the max fee", "dynamic of another chain"],
        No,
        "`MainnetTransactionValidator`",
    ),
    both("dynamic", &["dynamic ordinary"], Yes, "none"),
    on(&MARKET, both("max blob fee 0 where blobs have a price", &["blob max blob fee 0"], No, "`MainnetTransactionValidator`")),
    both(
        "max blob fee 0 where the base fee is zero or fixed",
        &["blob max blob fee 0"],
        Yes,
        "`FeeMarket.blobGasPricePerGas` is 0",
    ),
    both(
        "the price of blobs, asked for and paid",
        &["a call that asks for the price of blobs", "blob ordinary", "blob max blob fee 1"],
        Yes,
        "`AbstractBlockProcessor`, `BlobBaseFeeOperation`: from the parent; 0 where the base fee is zero or fixed",
    ),
    both(
        "blob: no blob, a hash of another version, tip above the fee",
        &["blob × 0 in one transaction", "blob hash of another version", "blob tip above the max fee"],
        No,
        "`MainnetBlobsValidator`, `MainnetTransactionValidator`",
    ),
    on(
        &["osaka "],
        both(
            "Osaka: more than 6 blobs in a transaction",
            &["blob × 7 in one transaction", "blob × 9 in one transaction", "blob × 10 in one transaction"],
            No,
            "`OsakaTargetingGasLimitCalculator` (EIP-7594)",
        ),
    ),
    on(
        &["prague "],
        both(
            "Prague: 7 to 9 blobs in a transaction",
            &["blob × 7 in one transaction", "blob × 9 in one transaction"],
            Yes,
            "`CancunTargetingGasLimitCalculator`",
        ),
    ),
    both(
        "more blobs in a transaction than a block may have",
        &["blob × 7 in one transaction", "blob × 9 in one transaction", "blob × 10 in one transaction"],
        No,
        "`MainnetBlobsValidator`",
    ),
    both("6 blobs", &["blob × 6 *"], Yes, "`MainnetBlobsValidator`"),
    on(
        &["prague ", "osaka "],
        both(
            "up to 9 blobs in two transactions",
            &["blob × 7 in two transactions", "blob × 9 in two transactions"],
            Yes,
            "`MainnetBlobsValidator`",
        ),
    ),
    stricter(
        "more blobs than a block may have, in several transactions",
        &["blob × 7 in two transactions", "blob × 9 in two transactions", "blob × 10 in two transactions"],
        "each transaction alone is looked at (`MainnetBlobsValidator`)",
        "builders count: Besu's (`BlobSizeTransactionSelector`) and ours end at the block's limit",
    ),
    both("set-code without authorizations", &["set-code without authorizations"], No, "`MainnetTransactionValidator`"),
    both("set-code, also with an authorization of another chain", &["set-code *"], Yes, "`CodeDelegationProcessor`"),
    // Contracts that the protocol calls.
    on(
        &["osaka a request contract without code"],
        both("a request contract without code", &["block 1*"], No, "`SystemCallProcessor`"),
    ),
    on(
        &["cancun system contracts in config", "prague system contracts in config", "osaka system contracts in config"],
        both(
            "contracts in `config`, none of the fixed ones in alloc",
            &["block 1, contracts called *"],
            Yes,
            "`MainnetProtocolSpecs`",
        ),
    ),
    on(
        &["cancun system contracts in config", "prague system contracts in config", "osaka system contracts in config"],
        followed("the same with another beacon root", &["block 1 as by *"], "not looked at"),
    ),
    but(
        "25.5.0",
        No,
        on(
            &["cancun system contracts in alloc", "prague system contracts in alloc", "osaka system contracts in alloc"],
            both(
                "code in alloc, not named in `config`: as by 26.8.0, not called; named: called",
                &["block 1, contracts called as by 26.8.0"],
                Yes,
                "`MainnetProtocolSpecs.hasSystemContractAddresses`",
            ),
        ),
    ),
    but(
        "25.5.0",
        Yes,
        on(
            &["cancun system contracts in alloc", "prague system contracts in alloc", "osaka system contracts in alloc"],
            both(
                "the same as by 25.5.0, with `besuRules` 26.8.0",
                &["block 1, contracts called as by 25.5.0"],
                No,
                "`ParentBeaconBlockRootHelper`",
            ),
        ),
    ),
    on(
        &[
            "cancun system contracts in alloc and config",
            "prague system contracts in alloc and config",
            "osaka system contracts in alloc and config",
        ],
        both("another beacon root, state as before", &["block 1 as by *"], No, "`MainnetBlockBodyValidator`: state root"),
    ),
    but(
        "25.5.0",
        No,
        on(
            &["cancun system contracts in alloc", "prague system contracts in alloc", "osaka system contracts in alloc"],
            followed("another beacon root, which nothing keeps", &["block 1 as by 26.8.0*"], "not looked at"),
        ),
    ),
    both("contracts called where they are not", &["block 1 as by 25.5.0*"], No, "`MainnetBlockBodyValidator`: state root"),
    but(
        "25.5.0",
        No,
        on(
            &["prague system contracts in alloc and config"],
            both(
                "a deposit that can be read, beacon roots as by 26.8.0",
                &["deposit good", "deposit with bytes where it is filled up"],
                Yes,
                "`DepositLogDecoder` (EIP-6110); `ParentBeaconBlockRootHelper`",
            ),
        ),
    ),
    both(
        "a deposit that can be read",
        &["deposit good", "deposit with bytes where it is filled up"],
        Yes,
        "`DepositLogDecoder` (EIP-6110)",
    ),
    on(
        &[
            "prague system contracts in alloc and config",
            "osaka system contracts in alloc and config",
            "prague system contracts in config",
            "osaka system contracts in config",
        ],
        both("a deposit that cannot be read", &["deposit *"], No, "`DepositLogDecoder`"),
    ),
    both("a log like a deposit where nothing is read", &["deposit *"], Yes, "`RequestProcessorCoordinator.noOp`"),
    // Size.
    both(
        "a block above 10 MiB, gas and roots as if it were empty",
        &["block of 10 MiB + 1"],
        No,
        "`MainnetBlockBodyValidator`; ours by size, see below",
    ),
    both(
        "a block of 8 MiB and more, below 10 MiB less the largest envelope",
        &["block of *"],
        Yes,
        "no rule: `MainnetBlockValidatorBuilder.frontier`",
    ),
];

/// The rows for chains whose genesis is in GoQuorum's format, and what GoQuorum says there.
pub static GOQUORUM: &[Row] = &[
    both("as an honest proposer writes it", &["good", "good and empty", "legacy ordinary", "access list ordinary"], Yes, "none"),
    both("another parent or number", &["parentHash *", "number *"], No, "`Engine.verifyCascadingFields`"),
    both(
        "coinbase that is no validator",
        &["miner zero", "miner a stranger", "empty, miner zero", "empty, miner a stranger"],
        No,
        "`Engine.verifySigner`",
    ),
    both(
        "coinbase that is another validator",
        &["miner *", "empty, miner *"],
        Yes,
        "`Engine.verifySigner`; whose turn it is concerns the proposal",
    ),
    both(
        "another hash of ommers, difficulty other than 1, another mix hash",
        &["sha3Uncles *", "difficulty *", "mixHash *"],
        No,
        "`Engine.verifyHeader`",
    ),
    both(
        "another root, bloom or gas used",
        &["stateRoot *", "transactionsRoot *", "receiptsRoot *", "logsBloom *", "gasUsed *"],
        No,
        "`BlockValidator`",
    ),
    both("gas limit below what a transaction asks for", &["gasLimit zero"], No, "`GasPool`"),
    both(
        "gas limit a step away, of parent / 1024 at most",
        &["gasLimit one more", "gasLimit one less", "gasLimit a step *"],
        Yes,
        "none; before a vote ours takes what `CalcGasLimit` makes",
    ),
    followed("gas limit further away", &["gasLimit half"], "none"),
    stricter(
        "gas limit of 2^63 and more",
        &["gasLimit 2^63", "gasLimit 2^64 − 1"],
        "none",
        "a builder goes to its `--miner.gaslimit`, which nobody sets there; Besu cannot read it",
    ),
    both("a later time that has come", &["timestamp one more", "timestamp a later time"], Yes, "`Engine.verifyCascadingFields`"),
    both("a time too early, or to come", &["timestamp *"], No, "`Engine.verifyHeader`, `Engine.verifyCascadingFields`"),
    both("extra data that does not decode", &["extraData absent"], No, "`ExtractQBFTExtra`"),
    stricter(
        "other validators in the extra data",
        &["extraData a validator less", "extraData a validator more", "extraData no validators"],
        "not compared",
        "its proposers write the validators of the height; the next heights take them from there",
    ),
    stricter(
        "vanity above 1,024 bytes",
        &["extraData a vanity of 1,025 bytes"],
        "`ExtractQBFTExtra`: any length",
        "a header must stay servable; every client writes 32 bytes",
    ),
    followed("vanity of another length", &["extraData a vanity *", "extraData no vanity"], "`ExtractQBFTExtra`: any length"),
    followed("another nonce", &["nonce *"], "not looked at"),
    both(
        "more items than 15, a number with a leading zero",
        &["header of *", "gasLimit with a leading zero", "timestamp with a leading zero"],
        No,
        "`types.Header`",
    ),
    both(
        "other transactions than the header names, or others than were executed",
        &["transactions *", "no transactions, root as before"],
        No,
        "`BlockValidator`, `StateProcessor`",
    ),
    both(
        "what is no transaction, ommers, more lists",
        &[
            "a transaction that is an empty string",
            "a legacy transaction as a string",
            "an ommer*",
            "an empty list of withdrawals",
            "two lists more",
        ],
        No,
        "`types.extblock`, `Engine.verifyHeader`",
    ),
    on(
        &["goquorum without gas price"],
        both(
            "a gas price above 0, which is not enabled",
            &["legacy gas price 1"],
            No,
            "`StateProcessor.Process`, `ChainConfig.IsGasPriceEnabled`",
        ),
    ),
    stricter(
        "a private transaction: v is 37 or 38",
        &["legacy private"],
        "`StateTransition.TransitionDb`: a node without the payload counts the nonce",
        "this node has no private state and cannot tell who was meant; it says so at JSON-RPC, to peers and of a block. **Honest users make these: a network that uses them cannot have nodes of this kind**",
    ),
    both(
        "legacy: without a chain id, gas just due, any price, gas × price of 2^128 and more",
        &[
            "legacy without a chain id",
            "legacy gas limit 21,000",
            "legacy gas limit 2^24*",
            "legacy gas limit of the block",
            "legacy gas price 0",
            "legacy gas price 1",
            "legacy gas × price 2^128 and more",
        ],
        Yes,
        "`TxPool`, `StateTransition.preCheck`",
    ),
    both(
        "legacy: another chain, nonce, gas below what is due, above the block's, a bad signature, more than the sender has",
        &[
            "legacy of another chain",
            "legacy nonce *",
            "legacy gas limit *",
            "legacy high s",
            "legacy the other parity",
            "legacy r *",
            "legacy s *",
            "legacy value *",
            "legacy gas × price 2^128 and more, not paid for",
        ],
        No,
        "`Signer`, `StateTransition.preCheck`",
    ),
    both("an account with code as the sender", &["legacy from an account with code"], Yes, "none: EIP-3607 is younger"),
    both(
        "input that is just paid for, init code of any length",
        &["legacy input of 31 floor bytes", "legacy creation of *"],
        Yes,
        "`IntrinsicGas`",
    ),
    both(
        "a price of 2^128 wei and more: with a leading zero, a type of a later fork",
        &["wide legacy gas price 2^128 with a leading zero", "wide dynamic *", "wide blob *", "wide set-code *"],
        No,
        "`LegacyTx`, `types.Transaction`",
    ),
    both(
        "a price of 2^128 wei and more, beyond the balance",
        &[
            "wide legacy gas price 2^256*",
            "wide legacy gas × price 2^256 and more",
            "wide access list gas × price 2^256 and more",
            "wide legacy gas price 2^128, not paid for",
            "wide legacy gas price of all that there is, and a value",
        ],
        No,
        "`StateTransition.buyGas`",
    ),
    both("a price of 2^128 wei and more, paid for: legacy, access list, and GASPRICE", &["wide *"], Yes, "`big.Int`: any size"),
    both(
        "a balance that stays below 2^256",
        &["legacy call that pays an account with room", "legacy contract that leaves its wei to one with room"],
        Yes,
        "none",
    ),
    both(
        "a balance that would reach 2^256, roots as if nothing had been executed",
        &[
            "legacy payment that overflows a balance",
            "legacy call whose payment overflows a balance",
            "legacy contract whose heir's balance overflows",
            "legacy creation at an address whose balance overflows",
        ],
        No,
        "`BlockValidator`; GoQuorum's balances have no bound, see below",
    ),
    both("access list: gas just due", &["access list gas limit just right"], Yes, "`IntrinsicGas`"),
    both("access list: another chain, gas below what is due", &["access list *"], No, "`Signer`, `IntrinsicGas`"),
    both("a type of a later fork", &["dynamic *", "blob *", "set-code *"], No, "`types.Transaction`"),
];

/// The page `docs/spec/verdicts.md`.
pub fn page() -> String {
    let mut out = String::from(HEAD);
    let says = |says: Says| if says == Yes { "yes" } else { "no" };
    for row in ROWS {
        let chains = if row.chains.is_empty() {
            "all".to_owned()
        } else {
            row.chains.iter().map(|name| name.trim()).collect::<Vec<_>>().join(", ")
        };
        let (besu, votes) = match row.but {
            None => (says(row.client).to_owned(), says(row.votes.unwrap_or(row.client))),
            Some((release, other)) => {
                (format!("{}; {release}: {}", says(row.client), says(other)), row.votes.map_or("as at import", says))
            }
        };
        let (import, vote, what, rule) = (says(row.import), says(row.vote), row.what, row.rule);
        out.push_str(&format!("| {what} | {chains} | {besu} | {votes} | {import} | {vote} | {rule} |\n"));
    }
    out.push_str(GOQUORUM_HEAD);
    for Row { what, client, import, vote, rule, .. } in GOQUORUM {
        out.push_str(&format!("| {what} | {} | {} | {} | {rule} |\n", says(*client), says(*import), says(*vote)));
    }
    out.push_str(DEVIATIONS);
    for (whose, rows) in [("Besu's", ROWS), ("GoQuorum's", GOQUORUM)] {
        for row in rows.iter().filter(|row| !row.why.is_empty()) {
            out.push_str(&format!("| {whose} | {} | {} | {} |\n", row.what, says(row.import), row.why));
        }
    }
    out.push_str(TAIL);
    out
}

const HEAD: &str = "# Verdicts on blocks

What a block that is wrong in one way, or right at a limit, is to Besu and to this node. The table is made from
`crates/variants/src/rows.rs`. The tests there make every block (each header field, list and transaction field, on each fork from Berlin to
Osaka, with market, zero and fixed base fee), compare our two verdicts with the table, and the table with what Besu 26.8.0, Besu 25.5.0
and GoQuorum 24.4.1 said when they were asked: `fixtures/verdicts`, recorded by `cargo xtask interop verdicts` (imports) and `cargo xtask
interop votes` (whether a live Besu prepares the block as a proposal). The first row that fits a block counts.

At import this node follows Besu wherever a majority of Besu could seal a block; before a vote it takes only what its own builder would
write ([header-fields.md](header-fields.md)).

| block | chains | Besu imports | Besu votes | ours imports | ours votes | rule (Besu's class) |
|---|---|---|---|---|---|---|
";

const GOQUORUM_HEAD: &str = "
## On GoQuorum's chains

Chains whose genesis is in GoQuorum's format: one on which gas has no price, and one on which it has (`enableGasPriceBlock`, `gasPriceEnabled`).

| block | GoQuorum imports | ours imports | ours votes | rule (GoQuorum's) |
|---|---|---|---|---|
";

const DEVIATIONS: &str = "
## Deviations

Where our import and the client's differ. None of these blocks is made by an honest validator, theirs or ours, unless the reason says so.
Where Besu votes and this node does not, the block is one that no builder writes: it is followed once others have sealed it.

| chains | block | ours imports | why |
|---|---|---|---|
";

const TAIL: &str = "
## What the table does not show

- A block above 10 MiB with the roots that follow from it: Besu has no rule about size, and `besu blocks import` would take it. No message
  carries it, Besu's or ours, so none can be sealed or handed on.
- Withdrawals with the state that follows from them: Besu pays their amounts, ours refuses them. No builder writes any.
- The price of blobs stops at 2^128 − 1 wei here; Besu's goes to 2^256. It takes an excess blob gas that only a majority without this
  check could have sealed.
- GoQuorum's balances have no bound, and a genesis with 2^256 wei in all lets them pass it: GoQuorum goes on, this node refuses the block.
  GoQuorum's votes are not recorded; its proposals are judged by the same header rules without the seals (`Engine.VerifyBlockProposal`).
- `besu blocks import` passes over a block with the number 0 or 2^63 and more; the rule is `AncestryValidationRule`.
- Besu 25.5.0 is not asked about Osaka, which was a draft then, nor about Prague without the request contracts, on which it does not
  start.
";
