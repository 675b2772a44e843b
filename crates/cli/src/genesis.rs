//! `ipe genesis`: building and reading genesis files.

mod contracts;
mod explain;
mod generate;

use crate::failure::{Failure, Outcome};
use alloy_primitives::{Address, U256};
use clap::{Args, Subcommand};
use ipe_node::config::{MAX_GENESIS_BYTES, read_text};
use ipe_provision::duration::parse_ms;
use ipe_types::Enode;
use ipe_types::fork::Fork;
use ipe_types::genesis::{GOQUORUM_GAS_LIMIT, Genesis, GenesisAccount, GenesisBuilder};
use ipe_types::spec::ChainSpec;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum GenesisCommand {
    /// Write a genesis file: validators into extra data, boots into config.discovery.bootnodes. With --from, a genesis file
    /// and the keys of its validators from the input of Besu's operator generate-blockchain-config.
    Build(Box<BuildArgs>),
    /// Say what a genesis file means: hash, forks, consensus, what each transition changes and from which height or
    /// time on, validators, boots, warnings about keys without effect. Dials nobody.
    #[command(visible_alias = "show")]
    Explain {
        /// Besu's or GoQuorum's genesis file.
        file: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the accounts of the permissioning contracts, as an alloc: for `ipe lab up --alloc`, or for another genesis.
    Contracts {
        /// JSON file of organizations, administrators, nodes and rules, as docs/examples/founding.json.
        file: PathBuf,
        /// EIP-155 chain id of the network.
        #[arg(long, default_value_t = 1337)]
        chain_id: u64,
    },
    /// Print the hash of block 0.
    Hash {
        /// Besu's or GoQuorum's genesis file.
        file: PathBuf,
    },
}

#[derive(Args)]
pub struct BuildArgs {
    /// Input of Besu's operator generate-blockchain-config (qbftConfigFile.json): makes genesis.json and
    /// keys/ADDRESS/key.priv and key.pub in the folder --out, as that command does.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["validators", "validator_contract", "bootnodes", "alloc", "contracts", "goquorum", "fork"])]
    from: Option<PathBuf>,
    /// Address of a validator; repeat or separate by commas.
    #[arg(long = "validator", value_name = "ADDRESS", value_delimiter = ',')]
    validators: Vec<String>,
    /// Contract that names the validators from block 1 on, instead of --validator.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "validators")]
    validator_contract: Option<String>,
    /// Enode URL of a boot; repeat for each.
    #[arg(long = "bootnode", value_name = "ENODE")]
    bootnodes: Vec<String>,
    /// EIP-155 chain id.
    #[arg(long, default_value_t = 1337)]
    chain_id: u64,
    /// Newest fork in force from block 0, cancun when absent, berlin with --goquorum.
    #[arg(long)]
    fork: Option<String>,
    /// Time between blocks: 1s, 250ms.
    #[arg(long, default_value = "1s")]
    block_period: String,
    /// Seconds between empty blocks, 0 = as other blocks.
    #[arg(long, default_value_t = 0)]
    empty_block_period: u64,
    /// Seconds of round 0.
    #[arg(long, default_value_t = 2)]
    request_timeout: u64,
    /// Blocks between epochs.
    #[arg(long, default_value_t = 30_000)]
    epoch_length: u64,
    /// Gas limit of a block, 100000000 when absent, 800000000 with --goquorum.
    #[arg(long)]
    gas_limit: Option<u64>,
    /// For GoQuorum as well: write its keys, refuse what it cannot follow. Besu reads the same file.
    #[arg(long)]
    goquorum: bool,
    /// Unix seconds of block 0.
    #[arg(long, default_value_t = 0)]
    timestamp: u64,
    /// Base fee 0 for ever; matters from London on.
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)]
    zero_base_fee: bool,
    /// Most bytes of deployed code, 24576 when absent.
    #[arg(long)]
    contract_size_limit: Option<u64>,
    /// Wei per block.
    #[arg(long, default_value = "0")]
    block_reward: String,
    /// Receiver of fees and reward in place of the proposer.
    #[arg(long, value_name = "ADDRESS")]
    mining_beneficiary: Option<String>,
    /// JSON file of accounts, as the alloc of a genesis file.
    #[arg(long, value_name = "FILE")]
    alloc: Option<PathBuf>,
    /// JSON file of organizations, administrators, nodes and rules, as docs/examples/founding.json: this project's permissioning
    /// contracts are in the genesis, with everything in place, and their ingresses at 0x...8888 and 0x...9999.
    #[arg(long, value_name = "FILE")]
    contracts: Option<PathBuf>,
    /// Where to write; standard output when absent. Never overwrites. With --from, a folder that is new or empty.
    #[arg(long, short, value_name = "PATH")]
    out: Option<PathBuf>,
}

pub fn run(command: GenesisCommand) -> Outcome {
    match command {
        GenesisCommand::Build(arguments) => build(*arguments),
        GenesisCommand::Explain { file, json } => explain::run(&file, json),
        GenesisCommand::Contracts { file, chain_id } => {
            let alloc = contracts::alloc(&file, chain_id, Fork::Berlin)?;
            let builder = GenesisBuilder { validators: vec![Address::repeat_byte(1)], alloc, ..GenesisBuilder::default() };
            let text = builder.to_json().map_err(|error| Failure::Failed(format!("genesis contracts: {error}")))?;
            let whole: serde_json::Value =
                serde_json::from_str(&text).map_err(|error| Failure::failed("genesis contracts", error))?;
            println!("{:#}", serde_json::json!({ "alloc": whole["alloc"] }));
            Ok(())
        }
        GenesisCommand::Hash { file } => {
            println!("{}", load(&file)?.genesis_hash());
            Ok(())
        }
    }
}

/// Reads a genesis file; the error names the file and the key.
pub fn load(file: &Path) -> Result<ChainSpec, Failure> {
    let text = read_text(file, MAX_GENESIS_BYTES)?;
    ChainSpec::parse(&text).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))
}

/// Reads a file of accounts.
pub fn load_alloc(file: &Path) -> Result<BTreeMap<Address, GenesisAccount>, Failure> {
    let text = read_text(file, MAX_GENESIS_BYTES)?;
    Genesis::parse_alloc(&text).map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))
}

fn address(flag: &str, text: &str) -> Result<Address, Failure> {
    text.trim().parse().map_err(|_| Failure::Usage(format!("--{flag}: got {text:?}, expected an address of 0x and 40 hex digits")))
}

/// Accounts of `--alloc`, and of the contracts of `--contracts`.
fn alloc(arguments: &BuildArgs, fork: Fork) -> Result<BTreeMap<Address, GenesisAccount>, Failure> {
    let mut accounts = match &arguments.alloc {
        Some(file) => load_alloc(file)?,
        None => BTreeMap::new(),
    };
    if let Some(file) = &arguments.contracts {
        for (address, account) in contracts::alloc(file, arguments.chain_id, fork)? {
            if accounts.insert(address, account).is_some() {
                return Err(Failure::Usage(format!("--alloc: it has an account at {address}, where --contracts puts a contract")));
            }
        }
    }
    Ok(accounts)
}

fn build(arguments: BuildArgs) -> Outcome {
    if let Some(from) = &arguments.from {
        let out = arguments.out.as_ref().ok_or_else(|| Failure::Usage("--from needs --out FOLDER".to_owned()))?;
        return generate::run(from, out);
    }
    let wrong = |flag: &str, problem: String| Failure::Usage(format!("--{flag}: {problem}"));
    for url in &arguments.bootnodes {
        url.parse::<Enode>().map_err(|error| wrong("bootnode", error.to_string()))?;
    }
    let fork = arguments.fork.as_deref().unwrap_or(if arguments.goquorum { "berlin" } else { "cancun" });
    let fork = Fork::from_name(fork).ok_or_else(|| {
        let names = Fork::ALL.map(Fork::name).join(", ");
        wrong("fork", format!("got {fork:?}, expected one of {names}"))
    })?;
    let alloc = alloc(&arguments, fork)?;
    let builder = GenesisBuilder {
        chain_id: arguments.chain_id,
        fork,
        validators: arguments.validators.iter().map(|text| address("validator", text)).collect::<Result<_, _>>()?,
        validator_contract: arguments.validator_contract.as_deref().map(|text| address("validator-contract", text)).transpose()?,
        bootnodes: arguments.bootnodes,
        period_ms: parse_ms(&arguments.block_period).map_err(|problem| wrong("block-period", problem))?,
        empty_period_s: arguments.empty_block_period,
        request_timeout_s: arguments.request_timeout,
        epoch_length: arguments.epoch_length,
        gas_limit: arguments.gas_limit.unwrap_or(if arguments.goquorum { 800_000_000 } else { 100_000_000 }),
        permissioning: Vec::new(),
        goquorum: arguments.goquorum,
        timestamp: arguments.timestamp,
        zero_base_fee: arguments.zero_base_fee,
        code_size_limit: arguments.contract_size_limit,
        block_reward: arguments
            .block_reward
            .parse::<U256>()
            .map_err(|_| wrong("block-reward", format!("got {:?}, expected wei, decimal or 0x hex", arguments.block_reward)))?,
        beneficiary: arguments.mining_beneficiary.as_deref().map(|text| address("mining-beneficiary", text)).transpose()?,
        alloc,
    };
    if builder.goquorum && builder.gas_limit < GOQUORUM_GAS_LIMIT {
        eprintln!(
            "gas limit {}: GoQuorum's block 1 will have {GOQUORUM_GAS_LIMIT}, a step that no Besu accepts",
            builder.gas_limit
        );
    }
    let text = builder.to_json().map_err(|error| Failure::Usage(format!("genesis build: {error}")))?;
    match arguments.out {
        None => println!("{text}"),
        Some(path) => {
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(&path)
                .map_err(|error| Failure::failed(format!("could not write {}", path.display()), error))?;
            std::io::Write::write_all(&mut file, text.as_bytes())
                .map_err(|error| Failure::failed(format!("could not write {}", path.display()), error))?;
            println!("{} {}", load(&path)?.genesis_hash(), path.display());
        }
    }
    Ok(())
}
