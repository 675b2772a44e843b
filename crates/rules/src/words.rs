//! The numbers of the contracts in words, and back.

use alloy_primitives::{B256, b256};

/// Role of a global administrator.
pub const GLOBAL_ADMIN_ROLE: B256 = b256!("d6e7d8560c69c7c18c2b8f3b45430215d788f128f0c04bc4a3607fe05eb5399f");
/// Role of a local administrator.
pub const LOCAL_ADMIN_ROLE: B256 = b256!("b7f8beecafe1ad662cec1153812612581a86b9460f21b876f3ee163141203dcb");
/// Role of an account that may create contracts.
pub const DEPLOYER_ROLE: B256 = b256!("fc425f2263d0df187444b70e47283d622c70181c5baebb1306a01edba1ce184c");
/// Role of an account that may call contracts.
pub const USER_ROLE: B256 = b256!("14823911f2da1b49f045a0929a60b8c1f2a7fc8c06c7284ca3e8ab4e193a08c8");

/// Roles and their names.
pub const ROLES: [(&str, B256); 4] =
    [("global-admin", GLOBAL_ADMIN_ROLE), ("local-admin", LOCAL_ADMIN_ROLE), ("deployer", DEPLOYER_ROLE), ("user", USER_ROLE)];

/// Kinds of organisations, by number.
pub const ORG_TYPES: [&str; 3] = ["partner", "associate", "patron"];
/// Types of nodes of the second generation and of ours, by number.
pub const NODE_TYPES: [&str; 7] = ["boot", "validator", "writer", "writer-partner", "observer-boot", "observer", "other"];
/// Types of nodes of the first generation, by number.
pub const GEN01_NODE_TYPES: [&str; 6] = ["boot", "validator", "writer", "writer-partner", "observer-boot", "other"];
/// Status of a proposal, by number.
pub const STATUSES: [&str; 4] = ["active", "canceled", "finished", "executed"];
/// Result of a proposal, by number.
pub const RESULTS: [&str; 3] = ["undefined", "approved", "rejected"];
/// Votes, by number.
pub const VOTES: [&str; 3] = ["missing", "approval", "rejection"];
/// What can become of a proposal, by the number of `stateOf` (ours alone).
pub const STATES: [&str; 8] = ["open", "waiting", "executable", "executed", "rejected", "vetoed", "canceled", "expired"];
/// Kinds of decisions, by number (ours alone).
pub const KINDS: [&str; 4] = ["ordinary", "membership", "validators", "constitution"];
/// Acts of records, by number (ours alone).
pub const ACTS: [&str; 8] = ["added", "updated", "deleted", "activated", "deactivated", "restricted", "released", "acknowledged"];
/// Topologies of node rules, by number (ours alone).
pub const TOPOLOGIES: [&str; 3] = ["any", "mesh", "sentry"];

/// The word for a number; a number that has none says so.
pub fn word(of: &[&str], number: u8) -> String {
    of.get(usize::from(number)).map_or_else(|| format!("unknown ({number})"), |word| (*word).to_owned())
}

/// The number of a word.
pub fn number(of: &[&str], word: &str) -> Option<u8> {
    of.iter().position(|known| *known == word).and_then(|at| u8::try_from(at).ok())
}

/// Name of a role, or its digits.
pub fn role(id: B256) -> String {
    ROLES.iter().find(|(_, known)| *known == id).map_or_else(|| format!("unknown ({id})"), |(name, _)| (*name).to_owned())
}

/// The role of a name.
pub fn role_id(name: &str) -> Option<B256> {
    ROLES.iter().find(|(known, _)| *known == name).map(|(_, id)| *id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy_primitives::keccak256;

    #[test]
    fn roles_are_the_hashes_of_their_names() {
        for (name, id) in ROLES {
            let source = format!("{}_ROLE", name.to_uppercase().replace('-', "_"));
            assert_eq!(keccak256(&source), id, "{source}");
            assert_eq!((role(id).as_str(), role_id(name)), (name, Some(id)));
        }
    }

    #[test]
    fn a_number_without_a_word_says_so() {
        assert_eq!(word(&NODE_TYPES, 6), "other");
        assert_eq!(word(&NODE_TYPES, 7), "unknown (7)");
        assert_eq!(number(&ORG_TYPES, "patron"), Some(2));
        assert_eq!(number(&ORG_TYPES, "king"), None);
    }
}
