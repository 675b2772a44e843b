//! What one client may call: the groups of the listener that it speaks to and, where that asks for authentication, the
//! permissions in the client's token.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::backend::Api;
use crate::table::Groups;

/// What one request, or one WebSocket connection, may call.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    /// Groups that the listener serves.
    pub(crate) groups: Groups,
    rights: Rights,
}

/// Who may call which methods of those groups.
#[derive(Debug, Clone)]
pub(crate) enum Rights {
    /// Everybody all: the listener asks for no authentication.
    All,
    /// As authentication found.
    Of {
        /// Methods that everybody may call.
        open: Arc<BTreeSet<String>>,
        /// Whose token was good, if any was.
        user: Option<Arc<Permitted>>,
    },
}

/// What a good token permits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Permitted {
    /// `group:method`, `group:*` and `*:*`; anything else permits nothing.
    pub(crate) permissions: HashSet<String>,
    /// From this second since 1970 on the token is worth nothing.
    pub(crate) until: u64,
}

impl Permitted {
    /// Whether a method is permitted by its name, by its group, or because all are (Besu's `JsonRpcMethod.getPermissions`).
    fn permits(&self, method: &str, now_s: u64) -> bool {
        let Some((group, name)) = method.split_once('_') else { return false };
        let has = |permission: &str| self.permissions.contains(permission);
        now_s < self.until && (has("*:*") || has(&format!("{group}:*")) || has(&format!("{group}:{}", name.replace('_', ":"))))
    }
}

impl Access {
    pub(crate) fn new(groups: Groups, rights: Rights) -> Self {
        Self { groups, rights }
    }

    /// Whether there is anything that may be called: a good token, or methods that are open.
    pub(crate) fn permits_something(&self) -> bool {
        match &self.rights {
            Rights::All => true,
            Rights::Of { open, user } => !open.is_empty() || user.is_some(),
        }
    }

    /// Whether a method may be called at this moment; its group is not looked at.
    pub(crate) fn permits(&self, method: &str) -> bool {
        match &self.rights {
            Rights::All => true,
            Rights::Of { open, user } => {
                open.contains(method) || user.as_ref().is_some_and(|user| user.permits(method, Api::now_ms() / 1000))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(permissions: &[&str]) -> Permitted {
        Permitted { permissions: permissions.iter().map(ToString::to_string).collect(), until: 100 }
    }

    #[test]
    fn a_permission_is_a_method_a_group_or_everything() {
        for (permissions, method, expected) in [
            (&["*:*"][..], "admin_addPeer", true),
            (&["eth:*"], "eth_blockNumber", true),
            (&["eth:*"], "net_version", false),
            (&["net:version", "eth:call"], "net_version", true),
            (&["net:version", "eth:call"], "net_peerCount", false),
            (&["ETH:*", "eth:Call", "eth_call", "eth:", "*", ":*", "eth:cal*", "*:call", "eth:*:*", ""], "eth_call", false),
            (&["rpc:modules"], "rpc_modules", true),
            (&[], "rpc_modules", false),
            (&["*:*"], "nogroup", false),
        ] {
            assert_eq!(of(permissions).permits(method, 99), expected, "{permissions:?} {method}");
        }
        assert!(!of(&["*:*"]).permits("eth_call", 100), "over");
    }

    #[test]
    fn who_has_no_token_may_call_what_is_open() {
        let open = Arc::new(BTreeSet::from(["net_version".to_owned()]));
        let access = Access::new(Groups::all(), Rights::Of { open: open.clone(), user: None });
        assert!(access.permits("net_version") && !access.permits("eth_call"));
        let user = Some(Arc::new(Permitted { permissions: HashSet::from(["eth:*".to_owned()]), until: u64::MAX }));
        let access = Access::new(Groups::all(), Rights::Of { open, user });
        assert!(access.permits("net_version") && access.permits("eth_call") && !access.permits("admin_peers"));
        assert!(Access::new(Groups::all(), Rights::All).permits("admin_peers"));
    }
}
