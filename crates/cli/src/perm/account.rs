//! `ipe account`: accounts, their roles and restrictions.

use super::explain::{about_account, account_json};
use super::history::{self, Span};
use super::network::{Account, Generation, Network, Reach, Reading, address};
use super::send::{Proposing, Sending, governed, send, with_reason};
use super::text::{print_json, table};
use crate::failure::{Failure, Outcome};
use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::SolCall;
use clap::{Args, Subcommand};
use ipe_rules::abi::{Accounts, Gen01Accounts};
use ipe_rules::words;
use serde_json::json;

#[derive(Subcommand)]
pub enum AccountCommand {
    /// List the registered accounts.
    List {
        /// Only this organization's: number or name.
        #[arg(long, value_name = "ORG")]
        org: Option<String>,
        #[command(flatten)]
        reading: Reading,
    },
    /// Show an account: organization, role, restrictions, and who registered it.
    Show {
        /// Address.
        #[arg(value_parser = address)]
        account: Address,
        #[command(flatten)]
        reading: Reading,
    },
    /// What has happened to an account, and by whom.
    History {
        /// Address; all accounts when absent.
        #[arg(value_parser = address)]
        account: Option<Address>,
        #[command(flatten)]
        span: Span,
        #[command(flatten)]
        reach: Reach,
    },
    /// Register an account for one's own organization; with --org by proposal, for any organization and any role.
    Add {
        /// Address.
        #[arg(value_parser = address)]
        account: Address,
        /// user, deployer or local-admin; with --org also global-admin. The first generation has no roles.
        #[arg(long, value_parser = role, default_value = "user")]
        role: B256,
        /// Digest of the account's registration, 0x and 64 hex digits; users and deployers need one.
        #[arg(long, value_name = "DIGEST", default_value_t = B256::ZERO)]
        hash: B256,
        /// Propose it for this organization: number or name.
        #[arg(long, value_name = "ORG")]
        org: Option<String>,
        #[command(flatten)]
        change: Change,
    },
    /// Give an account of one's own organization another role or digest.
    Update {
        /// Address.
        #[arg(value_parser = address)]
        account: Address,
        /// user, deployer or local-admin [default: as it is].
        #[arg(long, value_parser = role)]
        role: Option<B256>,
        /// Digest of the account's registration [default: as it is].
        #[arg(long, value_name = "DIGEST")]
        hash: Option<B256>,
        #[command(flatten)]
        change: Change,
    },
    /// Suspend an account: it may send nothing until it is restored.
    Suspend(Named),
    /// Restore a suspended account.
    Restore(Named),
    /// Remove an account.
    Remove(Named),
    /// Let an account send to these contracts only; an earlier list is replaced.
    Restrict {
        /// Address.
        #[arg(value_parser = address)]
        account: Address,
        /// Contracts; the zero address stands for creating one.
        #[arg(required = true, value_parser = address)]
        targets: Vec<Address>,
        #[command(flatten)]
        change: Change,
    },
    /// Take an account's restriction away.
    Release(Named),
}

#[derive(Args)]
pub struct Named {
    /// Address.
    #[arg(value_parser = address)]
    account: Address,
    /// By proposal: for accounts of any organization, and global administrators.
    #[arg(long)]
    propose: bool,
    #[command(flatten)]
    change: Change,
}

/// How a change is made.
#[derive(Args)]
pub struct Change {
    /// Reason that is kept with the change; this project's contracts alone.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    proposing: Proposing,
    #[command(flatten)]
    sending: Box<Sending>,
}

fn role(text: &str) -> Result<B256, String> {
    words::role_id(text).ok_or_else(|| format!("expected one of {}", words::ROLES.map(|(name, _)| name).join(", ")))
}

impl Change {
    /// As the organisation's administrator, or as the first generation's master administrator.
    fn own(&self, network: &Network, call: Vec<u8>) -> Outcome {
        let rules = network.need_accounts()?;
        let data = with_reason(network.accounts_are, self.reason.as_deref(), call)?;
        send(network, &self.sending, rules, data, None)
    }

    fn by_proposal(&self, network: &Network, call: Vec<u8>) -> Outcome {
        let rules = network.need_accounts()?;
        let data = with_reason(network.accounts_are, self.reason.as_deref(), call)?;
        governed(network, &self.sending, &self.proposing, rules, data)
    }
}

pub fn run(command: AccountCommand) -> Outcome {
    match command {
        AccountCommand::List { org, reading } => {
            let network = Network::open(&reading.reach, reading.block)?;
            let mut accounts = network.accounts()?;
            if let Some(org) = org {
                let id = network.org_named(&org)?.id;
                accounts.retain(|account| account.org == id);
            }
            if reading.reach.json {
                let accounts = accounts.iter().map(|account| account_json(&network, account)).collect::<Result<Vec<_>, _>>()?;
                print_json(&json!({ "network": network.json(), "accounts": accounts }));
                return Ok(());
            }
            print(&network, &accounts)
        }
        AccountCommand::Show { account, reading } => {
            show(&Network::open(&reading.reach, reading.block)?, account, reading.reach.json)
        }
        AccountCommand::History { account, span, reach } => {
            let network = Network::open(&reach, None)?;
            let rules = network.need_accounts()?;
            let (from, to) = super::explain::span(&network, &span);
            let mut found = match account {
                None => history::search(&network.link, &[rules], &json!([]), (from, to), |_| false)?,
                Some(account) => {
                    let word = account.into_word();
                    let mut found = history::search(&network.link, &[rules], &json!([null, word]), (from, to), |_| false)?;
                    let roles =
                        [keccak256("RoleGranted(bytes32,address,address)"), keccak256("RoleRevoked(bytes32,address,address)")];
                    let granted = history::search(&network.link, &[rules], &json!([roles, null, word]), (from, to), |_| false)?;
                    found.searched_from = found.searched_from.max(granted.searched_from);
                    found.cut = found.cut.or(granted.cut);
                    found.events.extend(granted.events);
                    found
                }
            };
            found.events.sort_by_key(|event| (event.block, event.index));
            found.events.dedup_by_key(|event| (event.block, event.index));
            history::print(&network, &found, to, reach.json)
        }
        AccountCommand::Add { account, role, hash, org, change } => {
            let network = Network::open(&change.sending.reach, None)?;
            if network.accounts_are == Generation::Gen01 {
                return change.own(&network, Gen01Accounts::addAccountCall { account }.abi_encode());
            }
            match org {
                None => change.own(&network, Accounts::addLocalAccountCall { account, roleId: role, dataHash: hash }.abi_encode()),
                Some(org) => {
                    let id = U256::from(network.org_named(&org)?.id);
                    change.by_proposal(
                        &network,
                        Accounts::addAccountCall { account, orgId: id, roleId: role, dataHash: hash }.abi_encode(),
                    )
                }
            }
        }
        AccountCommand::Update { account, role, hash, change } => {
            let network = Network::open(&change.sending.reach, None)?;
            let old = known(&network, account)?;
            let call =
                Accounts::updateLocalAccountCall { account, roleId: role.unwrap_or(old.role), dataHash: hash.unwrap_or(old.hash) };
            change.own(&network, call.abi_encode())
        }
        AccountCommand::Suspend(named) => status(&named, false),
        AccountCommand::Restore(named) => status(&named, true),
        AccountCommand::Remove(Named { account, propose, change }) => {
            let network = Network::open(&change.sending.reach, None)?;
            known(&network, account)?;
            match (network.accounts_are, propose) {
                (Generation::Gen01, _) => change.own(&network, Gen01Accounts::removeAccountCall { account }.abi_encode()),
                (_, false) => change.own(&network, Accounts::deleteLocalAccountCall { account }.abi_encode()),
                (_, true) => change.by_proposal(&network, Accounts::deleteAccountCall { account }.abi_encode()),
            }
        }
        AccountCommand::Restrict { account, targets, change } => {
            let network = Network::open(&change.sending.reach, None)?;
            known(&network, account)?;
            change.own(
                &network,
                Accounts::setAccountTargetAccessCall { account, restricted: true, allowedTargets: targets }.abi_encode(),
            )
        }
        AccountCommand::Release(Named { account, change, .. }) => {
            let network = Network::open(&change.sending.reach, None)?;
            known(&network, account)?;
            change.own(
                &network,
                Accounts::setAccountTargetAccessCall { account, restricted: false, allowedTargets: Vec::new() }.abi_encode(),
            )
        }
    }
}

fn known(network: &Network, account: Address) -> Result<Account, Failure> {
    network.account(account)?.ok_or_else(|| Failure::Failed(format!("{account} is not registered; see `ipe account list`")))
}

fn status(named: &Named, active: bool) -> Outcome {
    let network = Network::open(&named.change.sending.reach, None)?;
    let account = named.account;
    if known(&network, account)?.active == active {
        return Err(Failure::Failed(format!("{account} is {} already", if active { "active" } else { "suspended" })));
    }
    match (network.accounts_are, named.propose) {
        (Generation::Gen01, _) => Err(Failure::Failed("the first generation suspends nobody: `ipe account remove`".to_owned())),
        (Generation::Gen02, true) => {
            Err(Failure::Failed("the second generation's governance suspends nobody: `ipe account remove --propose`".to_owned()))
        }
        (_, true) => named.change.by_proposal(&network, Accounts::updateAccountStatusCall { account, active }.abi_encode()),
        (_, false) => named.change.own(&network, Accounts::updateLocalAccountStatusCall { account, active }.abi_encode()),
    }
}

/// Accounts as a table.
pub fn print(network: &Network, accounts: &[Account]) -> Outcome {
    if network.accounts_are == Generation::Gen01 {
        let rows: Vec<Vec<String>> = accounts.iter().map(|account| vec![account.address.to_string()]).collect();
        table(&["ACCOUNT"], &rows);
        return Ok(());
    }
    let mut rows = Vec::new();
    for account in accounts {
        let state = match (account.active, network.counts(account)?) {
            (true, true) => "active",
            (true, false) => "its organization is gone",
            (false, _) => "suspended",
        };
        rows.push(vec![account.address.to_string(), network.org_label(account.org), words::role(account.role), state.to_owned()]);
    }
    table(&["ACCOUNT", "ORGANIZATION", "ROLE", "STATE"], &rows);
    Ok(())
}

fn show(network: &Network, address: Address, as_json: bool) -> Outcome {
    let account = network.account(address)?.ok_or_else(|| {
        Failure::Failed(format!("{address} is not registered after block {}; see `ipe account list`", network.link.at))
    })?;
    let explained = about_account(network, address, None)?;
    let list = match network.accounts_are.has_organizations() {
        true => Some(network.link.read(
            "the account rules",
            network.need_accounts()?,
            &Accounts::getAccountTargetAccessCall { account: address },
        )?),
        false => None,
    };
    let targets = list.filter(|list| list.restricted).map(|list| list.allowedTargets);
    if as_json {
        print_json(&json!({
            "network": network.json(), "account": account_json(network, &account)?, "allowedTargets": targets,
            "allowed": explained.allowed, "because": explained.because, "since": explained.since,
        }));
        return Ok(());
    }
    println!("account       {address}");
    if network.accounts_are.has_organizations() {
        println!("organization  {}", network.org_label(account.org));
        println!("role          {}", words::role(account.role));
        println!("state         {}", if account.active { "active" } else { "suspended" });
        println!("digest        {}", account.hash);
        match targets {
            None => println!("targets       any"),
            Some(targets) => {
                for target in targets {
                    println!("target        {}", network.label(target));
                }
            }
        }
    }
    explained.print(network, false)
}
