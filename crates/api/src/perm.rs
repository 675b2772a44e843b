//! `perm_*`: this node keeps no local allow-lists, and says so in Besu's words (`besu-compat` 6).

use crate::backend::Api;
use crate::error::RpcError;
use crate::params::Params;

type Answer = Result<Vec<u8>, RpcError>;

pub(crate) fn no_accounts(_: &Api, _: &Params<'_>) -> Answer {
    Err(RpcError::new(-32000, "Account allowlist has not been enabled"))
}

pub(crate) fn no_nodes(_: &Api, _: &Params<'_>) -> Answer {
    Err(RpcError::new(-32000, "Node allowlist has not been enabled"))
}

pub(crate) fn none(_: &Api, _: &Params<'_>) -> Answer {
    Err(RpcError::new(-32000, "Node/Account allowlist has not been enabled"))
}
