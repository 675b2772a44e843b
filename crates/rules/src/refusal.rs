//! Refusals in words: by which rule, and what to do next.

use crate::catalogue::Decoded;

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The rule that refused.
    pub rule: &'static str,
    /// What to do next.
    pub next: &'static str,
}

const fn say(rule: &'static str, next: &'static str) -> Refusal {
    Refusal { rule, next }
}

/// The rule behind a decoded error of the network's contracts, of either generation; `None` for an error whose own text has to do.
pub fn explain(error: &Decoded) -> Option<Refusal> {
    let message = error.message().unwrap_or_default();
    Some(match error.name.as_str() {
        "UnauthorizedAccess" => unauthorized(message),
        "InactiveAccount" => say(
            "the sender's account is suspended, or its organization is gone",
            "see `ipe account show`; an administrator of the organization, or a proposal, restores it",
        ),
        "AccountNotFound" => say("the account is not registered", "see `ipe account list`"),
        "DuplicateAccount" => say(
            "an account is registered once, in one organization",
            "see `ipe account show`; it has to be removed there before it is added here",
        ),
        "NotLocalAccount" => say(
            "an administrator changes accounts of its own organization only",
            "ask an administrator of that organization, or propose the change",
        ),
        "InvalidRole" => say(
            "the role is not one that this function gives or takes: global administrators are made and removed by proposal",
            "use local-admin, deployer or user, or propose it",
        ),
        "InvalidHash" => {
            say("an account of this role needs the digest of its registration", "give --hash with the digest of the record")
        }
        "InvalidAccount" => say("the zero address is no account", "check the address"),
        "InvalidOrganization" | "OrganizationNotFound" => say("there is no organization of this number", "see `ipe org list`"),
        "NodeNotFound" => say("the node is not registered", "see `ipe node-rule list`"),
        "DuplicateNode" => say(
            "a node's key is registered once",
            "see `ipe node-rule show`; who holds the key may take it over with a proof of possession (--node-key)",
        ),
        "NotLocalNode" => say(
            "an administrator changes nodes of its own organization only",
            "ask an administrator of that organization, or propose the change",
        ),
        "PossessionNotProved" => say("the node's key has to sign its registration", "give the node's key file with --node-key"),
        "QuotaExceeded" => say("the organization has as many as its quota allows", "remove one, or propose a higher quota"),
        "ListTooLong" => say("a list of allowed addresses has at most 64 entries", "shorten the list"),
        "LocalChangesArePaused" => say(
            "governance has paused what administrators do on their own",
            "wait for the block in the error, or propose the change",
        ),
        "PauseTooLong" => say("a pause has a longest duration", "give fewer blocks"),
        "NestedReason" => say("a call is made with one reason, which is not empty", "give --reason a text"),
        "ProposalNotFound" => say("there is no proposal of this number", "see `ipe proposal list`"),
        "PatronConsentMissing" => say(
            "what a patron's veto rests on changes only with that patron's approval, or with that of all others",
            "the patron has to vote, or all other participants have to approve",
        ),
        "AuthorityWouldBeLost" => {
            say("governance would lose its authority over the contracts", "take the call out of the proposal")
        }
        "NobodyCouldVote" => {
            say("no organization with an active global administrator would be left to vote", "keep one, or add another first")
        }
        "IngressWouldFail" => {
            say("nodes would no longer get an answer from this ingress", "deploy rules that answer, then propose again")
        }
        "OnlyByProposal" => say("only an executed proposal changes this", "make a proposal of it: `ipe proposal propose`"),
        "FailedCall" => say("a call of the proposal failed and gave no reason", "see `ipe proposal simulate`"),
        "AddressEmptyCode" => {
            say("a call of the proposal goes to an address without code", "check the address in `ipe proposal show`")
        }
        "AccessControlUnauthorizedAccount" => say("roles are given by the account functions only", "use `ipe account update`"),
        "IllegalState" => illegal(message),
        "InvalidArgument" => return None,
        "Error"
            if message.contains("no administrator") || message.contains("not authorized") || message.contains("Not authorized") =>
        {
            say("only master administrators may do this", "see `ipe contract show`; through governance it is a proposal")
        }
        "FewOperationalValidators" => say("the network would have too few validators", "bring another one into office first"),
        "NotEligibleNode" => say("the validator is not eligible", "propose it: `ipe validator add`"),
        "NotOperationalNode" => say("the validator is not in office", "see `ipe validator list`"),
        "AlreadyEligibleNode" | "AlreadyOperationalNode" => say("that is so already", "see `ipe validator list`"),
        "OrganizationQuotaExceeded" => say(
            "an organization holds fewer than a third of the validators",
            "bring another organization's validator into office first",
        ),
        "TooManyValidators" => say("there is a largest number of validators", "remove one first"),
        _ => return None,
    })
}

fn unauthorized(message: &str) -> Refusal {
    if message.contains("no patron") {
        return say("only patrons veto", "vote against it instead: `ipe proposal vote ID no`");
    }
    if message.contains("does not take part") {
        return say(
            "only organizations that could vote when the proposal was made take part",
            "see the participants in `ipe proposal show`",
        );
    }
    if message.contains("does not vote") {
        return say("only organizations with the right to vote propose and vote", "see `ipe org list`");
    }
    if message.contains("did not propose") {
        return say("only the organization that proposed takes back", "vote against it instead");
    }
    say(
        "the sender is not the administrator that this needs: global administrators propose, vote and execute; global and local \
         ones change their own organization; the rest is for governance",
        "see `ipe account show` for the sender's role; what governance does is proposed with --propose",
    )
}

fn illegal(message: &str) -> Refusal {
    if message.contains("has voted") || message.contains("já votou") {
        return say("an organization votes once in a proposal", "nothing is left to do for this organization");
    }
    if message.contains("delay") {
        return say("an approved proposal waits, so that patrons may veto", "try again after the block in `ipe proposal show`");
    }
    if message.contains("not approved") {
        return say("only approved proposals are executed", "see who has not voted in `ipe proposal show`");
    }
    if message.contains("time to execute has passed") {
        return say("an approval does not last for ever", "propose it again");
    }
    if message.contains("veto") {
        return say("the proposal's rule has no veto, or its time is over", "see the rule in `ipe proposal show`");
    }
    if message.contains("too many open") {
        return say("an organization has at most 32 undecided proposals", "cancel one or wait until one is decided");
    }
    if message.contains("graver") {
        return say("since it was made, the calls have come under a stricter rule", "propose it again");
    }
    say(
        "the proposal, account or organization is in a state in which this cannot be done",
        "see `ipe proposal show` or `ipe org show`",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{Contract, interface};

    fn named(name: &str) -> Option<Refusal> {
        explain(&Decoded { contract: Contract::Governance, name: name.to_owned(), arguments: Vec::new(), surplus: 0 })
    }

    /// Every error of organisations, accounts, nodes and governance says what to do next; those whose own text says it are listed.
    #[test]
    fn refusals_say_what_to_do_next() {
        let own_text =
            ["InvalidArgument", "InvalidPaginationParameter", "AccessControlBadConfirmation", "InvalidState", "InactiveNode"];
        for contract in [Contract::Organizations, Contract::Accounts, Contract::Nodes, Contract::Governance, Contract::Charter] {
            for error in interface(contract).errors() {
                let said = named(&error.name).is_some();
                assert_eq!(said, !own_text.contains(&error.name.as_str()), "{} of {contract:?}", error.name);
            }
        }
    }
}
