//! `perm_*`: the local allow-lists, with Besu's words (`besu-compat` 6).

use crate::backend::Api;
use crate::error::RpcError;
use crate::params::Params;
use crate::wire::json;
use ipe_engine::Control;
use ipe_engine::control::{AllowList, AllowListError, PermissionControl};

type Answer = Result<Vec<u8>, RpcError>;

/// Besu's text for the case; every code is -32000.
fn refused(list: AllowList, error: AllowListError) -> RpcError {
    use AllowListError as E;
    let (accounts, nodes) = match error {
        E::NotEnabled => ("Account allowlist has not been enabled", "Node allowlist has not been enabled"),
        E::Empty => ("Request contains an empty list of accounts", "Request contains an empty list of nodes"),
        E::Invalid => ("Request contains an invalid account", "Request contains an invalid node"),
        E::Duplicate => ("Request contains duplicate accounts", "Request contains duplicate nodes"),
        E::Existing => ("Cannot add an existing account to allowlist", "Cannot add an existing node to allowlist"),
        E::Absent => ("Cannot remove an absent account from allowlist", "Cannot remove an absent node from allowlist"),
        E::Fixed => {
            let text = "Cannot remove a fixed node (bootnode or static node) from allowlist";
            (text, text)
        }
        E::NotWritten => {
            let text = "Unable to persist changes to allowlist configuration file. Changes reverted";
            (text, text)
        }
        E::OutOfSync => {
            let text = "The permissioning allowlist configuration file is out of sync.  The changes have been applied, \
                        but not persisted to disk";
            (text, text)
        }
        E::NotReloaded => {
            let text = "Error reloading permissions file. Please use perm_getAccountsAllowlist and \
                        perm_getNodesAllowlist to review the current state of the allowlists";
            (text, text)
        }
    };
    RpcError::new(-32000, if list == AllowList::Accounts { accounts } else { nodes })
}

fn entries(list: AllowList, params: &Params<'_>) -> Result<Vec<String>, RpcError> {
    let text = if list == AllowList::Accounts { "Invalid account params" } else { "Invalid enode params" };
    params.required(0, &RpcError::new(-32602, text))
}

fn done(list: AllowList, outcome: Result<(), AllowListError>) -> Answer {
    outcome.map(|()| b"\"Success\"".to_vec()).map_err(|error| refused(list, error))
}

fn get(api: &Api, list: AllowList) -> Answer {
    let entries = api.ask(|reply| Control::Permission(PermissionControl::Get(list, reply)))?;
    json(&entries.map_err(|error| refused(list, error))?, api.settings.response_limit)
}

fn add(api: &Api, list: AllowList, params: &Params<'_>) -> Answer {
    let entries = entries(list, params)?;
    done(list, api.ask(|reply| Control::Permission(PermissionControl::Add(list, entries, reply)))?)
}

fn remove(api: &Api, list: AllowList, params: &Params<'_>) -> Answer {
    let entries = entries(list, params)?;
    done(list, api.ask(|reply| Control::Permission(PermissionControl::Remove(list, entries, reply)))?)
}

pub(crate) fn accounts(api: &Api, _: &Params<'_>) -> Answer {
    get(api, AllowList::Accounts)
}

pub(crate) fn add_accounts(api: &Api, params: &Params<'_>) -> Answer {
    add(api, AllowList::Accounts, params)
}

pub(crate) fn remove_accounts(api: &Api, params: &Params<'_>) -> Answer {
    remove(api, AllowList::Accounts, params)
}

pub(crate) fn nodes(api: &Api, _: &Params<'_>) -> Answer {
    get(api, AllowList::Nodes)
}

pub(crate) fn add_nodes(api: &Api, params: &Params<'_>) -> Answer {
    add(api, AllowList::Nodes, params)
}

pub(crate) fn remove_nodes(api: &Api, params: &Params<'_>) -> Answer {
    remove(api, AllowList::Nodes, params)
}

pub(crate) fn reload(api: &Api, _: &Params<'_>) -> Answer {
    match api.ask(|reply| Control::Permission(PermissionControl::Reload(reply)))? {
        Err(AllowListError::NotEnabled) => Err(RpcError::new(-32000, "Node/Account allowlist has not been enabled")),
        outcome => done(AllowList::Nodes, outcome),
    }
}
