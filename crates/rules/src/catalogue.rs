//! Call data, errors and events of any contract of the network, decoded by name.

use crate::artifact::{Contract, interface};
use alloy_dyn_abi::{DynSolType, DynSolValue, EventExt, JsonAbiExt};
use alloy_json_abi::{Error, Event, Function};
use alloy_primitives::{B256, Selector};
use std::collections::HashMap;
use std::sync::LazyLock;

/// Most bytes of call data, of an error or of an event that are decoded: governance of ours takes no more for all calls of a
/// proposal. Nested arrays can decode to the square of it over 128, 32 MiB.
pub const MAX_DECODED: usize = 65_536;

/// A named value.
#[derive(Clone, Debug, PartialEq)]
pub struct Argument {
    /// Name in the interface; empty when it has none.
    pub name: String,
    /// Solidity type.
    pub kind: String,
    /// The value.
    pub value: DynSolValue,
}

/// A call, an error or an event by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    /// Where it is declared.
    pub contract: Contract,
    /// Name of the function, error or event.
    pub name: String,
    /// Its arguments in order.
    pub arguments: Vec<Argument>,
    /// Bytes that follow the arguments. No tool writes any; a call is made with them all the same.
    pub surplus: usize,
}

impl Decoded {
    /// The argument of this name.
    pub fn argument(&self, name: &str) -> Option<&DynSolValue> {
        self.arguments.iter().find(|argument| argument.name == name).map(|argument| &argument.value)
    }

    /// The first argument that is a text.
    pub fn message(&self) -> Option<&str> {
        self.arguments.iter().find_map(|argument| argument.value.as_str())
    }
}

/// Why bytes have no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unnamed {
    /// Fewer than four bytes, and not none.
    #[error("{0} bytes, a call begins with the 4 bytes of its function")]
    Short(usize),
    /// No bytes at all: the receiving function, which none of these contracts has.
    #[error("no bytes: not a call of a function")]
    Empty,
    /// A selector that no contract of the network has.
    #[error("no function of the network's contracts begins with {0}")]
    Unknown(Selector),
    /// The selector is known, its arguments are not in form.
    #[error("{name}: its arguments are not in form: {reason}")]
    Malformed {
        /// Name of the function, error or event.
        name: String,
        /// What does not fit.
        reason: String,
    },
    /// More than [`MAX_DECODED`].
    #[error("{0} bytes, at most {MAX_DECODED} are decoded")]
    TooLong(usize),
}

struct Catalogue {
    functions: HashMap<Selector, Vec<(Contract, Function)>>,
    errors: HashMap<Selector, (Contract, Error)>,
    events: HashMap<B256, (Contract, Event)>,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    let mut all = Catalogue { functions: HashMap::new(), errors: HashMap::new(), events: HashMap::new() };
    for contract in Contract::OURS.into_iter().chain([Contract::Gen01Accounts, Contract::Gen01Nodes, Contract::Language]) {
        let known = interface(contract);
        for function in known.functions.into_values().flatten() {
            all.functions.entry(function.selector()).or_default().push((contract, function));
        }
        for error in known.errors.into_values().flatten() {
            all.errors.entry(error.selector()).or_insert((contract, error));
        }
        for event in known.events.into_values().flatten() {
            all.events.entry(event.selector()).or_insert((contract, event));
        }
    }
    all
});

/// Names a call; `of` is what the called contract is, if that is known.
///
/// # Errors
/// [`Unnamed`] with what is wrong.
pub fn call(of: Option<Contract>, data: &[u8]) -> Result<Decoded, Unnamed> {
    let selector = selector(data)?;
    let known = CATALOGUE.functions.get(&selector).ok_or(Unnamed::Unknown(selector))?;
    let found = known.iter().find(|(contract, _)| Some(*contract) == of).or_else(|| known.first());
    let Some((contract, function)) = found else { return Err(Unnamed::Unknown(selector)) };
    let inputs: Vec<(&str, &str)> = function.inputs.iter().map(|input| (input.name.as_str(), input.ty.as_str())).collect();
    let values = function.abi_decode_input(&data[4..]);
    let again = values.as_ref().ok().and_then(|values| function.abi_encode_input_raw(values).ok());
    decoded(*contract, &function.name, &inputs, values, data.len() - 4, again)
}

/// Names what a call was refused with.
///
/// # Errors
/// [`Unnamed`] with what is wrong; [`Unnamed::Empty`] is a refusal without a reason.
pub fn error(data: &[u8]) -> Result<Decoded, Unnamed> {
    let selector = selector(data)?;
    let (contract, error) = CATALOGUE.errors.get(&selector).ok_or(Unnamed::Unknown(selector))?;
    let inputs: Vec<(&str, &str)> = error.inputs.iter().map(|input| (input.name.as_str(), input.ty.as_str())).collect();
    decoded(*contract, &error.name, &inputs, error.abi_decode_input(&data[4..]), data.len() - 4, None)
}

/// Names an event from its topics (at most four) and data; `None` for one that is not in any interface.
///
/// # Errors
/// [`Unnamed::Malformed`] when it has the topic of a known one and not its form.
pub fn event(topics: &[B256], data: &[u8]) -> Result<Option<Decoded>, Unnamed> {
    let Some((contract, event)) = topics.first().and_then(|topic| CATALOGUE.events.get(topic)) else { return Ok(None) };
    if data.len() > MAX_DECODED {
        return Err(Unnamed::TooLong(data.len()));
    }
    let malformed = |reason: String| Unnamed::Malformed { name: event.name.clone(), reason };
    let parts = event.decode_log_parts(topics.iter().copied(), data).map_err(|error| malformed(error.to_string()))?;
    let (mut indexed, mut body) = (parts.indexed.into_iter(), parts.body.into_iter());
    let mut arguments = Vec::with_capacity(event.inputs.len());
    for input in &event.inputs {
        let value = if input.indexed { indexed.next() } else { body.next() };
        let value = value.ok_or_else(|| malformed("a value is missing".to_owned()))?;
        arguments.push(Argument { name: input.name.clone(), kind: input.ty.clone(), value });
    }
    Ok(Some(Decoded { contract: *contract, name: event.name.clone(), arguments, surplus: 0 }))
}

/// Call data of `function(argument, …)` as text, for a contract whose interface is known. Texts that have commas or brackets in
/// them stand in double quotes.
///
/// # Errors
/// A sentence with what was expected.
pub fn encode(contract: Contract, text: &str) -> Result<Vec<u8>, String> {
    let open =
        text.find('(').filter(|_| text.ends_with(')')).ok_or_else(|| format!("got {text:?}, expected FUNCTION(ARGUMENT, ...)"))?;
    let name = text[..open].trim();
    let known = interface(contract);
    let functions = known.function(name).filter(|functions| !functions.is_empty());
    let [function] = functions.map_or(&[][..], Vec::as_slice) else {
        let names: Vec<&str> = known.functions().map(|function| function.name.as_str()).collect();
        return Err(format!("{} has no function {name:?}; it has {}", contract.name(), names.join(", ")));
    };
    let types = function.inputs.iter().map(|input| input.selector_type().into_owned()).collect::<Vec<_>>().join(",");
    let expected = function.inputs.iter().map(|input| format!("{} {}", input.ty, input.name)).collect::<Vec<_>>().join(", ");
    let wrong = |reason: String| format!("{name}({expected}): {reason}");
    if function.inputs.is_empty() {
        if text[open + 1..text.len() - 1].trim().is_empty() {
            return Ok(function.selector().to_vec());
        }
        return Err(wrong("takes no arguments".to_owned()));
    }
    let kind = DynSolType::parse(&format!("({types})")).map_err(|error| wrong(error.to_string()))?;
    match kind.coerce_str(&text[open..]) {
        Ok(DynSolValue::Tuple(values)) => function.abi_encode_input(&values).map_err(|error| wrong(error.to_string())),
        Ok(_) => Err(wrong("no list of arguments".to_owned())),
        Err(error) => Err(wrong(error.to_string())),
    }
}

fn selector(data: &[u8]) -> Result<Selector, Unnamed> {
    match data.len() {
        0 => Err(Unnamed::Empty),
        short @ 1..4 => Err(Unnamed::Short(short)),
        long if long > MAX_DECODED + 4 => Err(Unnamed::TooLong(long)),
        _ => Ok(Selector::from_slice(&data[..4])),
    }
}

fn decoded(
    contract: Contract,
    name: &str,
    inputs: &[(&str, &str)],
    values: alloy_dyn_abi::Result<Vec<DynSolValue>>,
    given: usize,
    again: Option<Vec<u8>>,
) -> Result<Decoded, Unnamed> {
    let values = values.map_err(|error| Unnamed::Malformed { name: name.to_owned(), reason: error.to_string() })?;
    let arguments = inputs
        .iter()
        .zip(values)
        .map(|((name, kind), value)| Argument { name: (*name).to_owned(), kind: (*kind).to_owned(), value })
        .collect();
    let surplus = again.map_or(0, |again| given.saturating_sub(again.len()));
    Ok(Decoded { contract, name: name.to_owned(), arguments, surplus })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{Accounts, Gen01Accounts, Nodes};
    use alloy_primitives::{Address, U256, hex};
    use alloy_sol_types::SolCall;

    fn add() -> Vec<u8> {
        Accounts::addAccountCall {
            account: Address::repeat_byte(7),
            orgId: U256::from(2),
            roleId: crate::words::USER_ROLE,
            dataHash: B256::repeat_byte(9),
        }
        .abi_encode()
    }

    #[test]
    fn a_call_is_named_with_its_arguments() {
        let call = call(None, &add()).unwrap();
        assert_eq!((call.contract, call.name.as_str(), call.surplus), (Contract::Accounts, "addAccount", 0));
        assert_eq!(call.argument("account"), Some(&DynSolValue::Address(Address::repeat_byte(7))));
        assert_eq!(call.argument("orgId"), Some(&DynSolValue::Uint(U256::from(2), 256)));
    }

    #[test]
    fn bytes_behind_the_arguments_are_told() {
        let data = [add(), vec![1, 2, 3]].concat();
        assert_eq!(call(None, &data).unwrap().surplus, 3);
    }

    #[test]
    fn what_has_no_name_says_why() {
        assert_eq!(call(None, &[]), Err(Unnamed::Empty));
        assert_eq!(call(None, &[1, 2]), Err(Unnamed::Short(2)));
        assert!(matches!(call(None, &[0xde, 0xad, 0xbe, 0xef]), Err(Unnamed::Unknown(_))));
        assert!(matches!(call(None, &add()[..40]), Err(Unnamed::Malformed { name, .. }) if name == "addAccount"));
        assert!(matches!(call(None, &vec![0; MAX_DECODED + 5]), Err(Unnamed::TooLong(_))));
    }

    #[test]
    fn the_called_contract_decides_between_equal_functions() {
        let data = Gen01Accounts::isReadOnlyCall {}.abi_encode();
        assert_eq!(call(Some(Contract::Gen01Nodes), &data).unwrap().contract, Contract::Gen01Nodes);
        assert_eq!(call(Some(Contract::Gen01Accounts), &data).unwrap().contract, Contract::Gen01Accounts);
    }

    #[test]
    fn errors_and_events_are_named() {
        let text = DynSolValue::Tuple(vec![DynSolValue::String("no".to_owned())]).abi_encode_params();
        let refused = error(&[&hex!("08c379a0")[..], &text].concat()).unwrap();
        assert_eq!((refused.name.as_str(), refused.message()), ("Error", Some("no")));
        assert!(matches!(error(&[&hex!("08c379a0")[..], &text[..40]].concat()), Err(Unnamed::Malformed { .. })));
        let topics = [
            alloy_primitives::keccak256("AccountAdded(address,uint256,bytes32,bytes32)"),
            Address::repeat_byte(7).into_word(),
            B256::with_last_byte(2),
        ];
        let added = event(&topics, &[crate::words::USER_ROLE.0, [9; 32]].concat()).unwrap().unwrap();
        assert_eq!((added.name.as_str(), added.contract), ("AccountAdded", Contract::Accounts));
        assert_eq!(added.argument("orgId"), Some(&DynSolValue::Uint(U256::from(2), 256)));
        assert!(event(&topics, &[1]).is_err(), "too few bytes");
        assert_eq!(event(&[B256::ZERO], &[]), Ok(None));
    }

    #[test]
    fn a_call_is_written_as_text() {
        let text = format!("addAccount({}, 2, {}, {})", Address::repeat_byte(7), crate::words::USER_ROLE, B256::repeat_byte(9));
        assert_eq!(encode(Contract::Accounts, &text), Ok(add()));
        let named = encode(Contract::Organizations, "addOrganization(\"12.345/0001-01\", \"Um, dois\", 1, true)").unwrap();
        let named = call(None, &named).unwrap();
        assert_eq!(named.argument("name").and_then(DynSolValue::as_str), Some("Um, dois"));
        let error = encode(Contract::Accounts, "addAccount(0x01)").unwrap_err();
        assert!(error.contains("address account, uint256 orgId"), "{error}");
        assert!(encode(Contract::Accounts, "fly()").unwrap_err().contains("it has"));
        assert!(encode(Contract::Accounts, "fly").unwrap_err().contains("FUNCTION(ARGUMENT"));
        let same = encode(Contract::Nodes, "getNumberOfNodes()").unwrap();
        assert_eq!(same, Nodes::getNumberOfNodesCall {}.abi_encode());
    }

    /// Every function of [`crate::abi`] is one that the interfaces have.
    #[test]
    fn typed_functions_are_those_of_the_interfaces() {
        macro_rules! known {
            ($($contract:ident: $($call:ident)+;)+) => {
                $($(
                    let selector = Selector::from(crate::abi::$contract::$call::SELECTOR);
                    assert!(CATALOGUE.functions.contains_key(&selector), "{}", crate::abi::$contract::$call::SIGNATURE);
                )+)+
            };
        }
        known! {
            Ingress: getContractAddressCall getAllContractKeysCall setContractAddressCall transactionAllowedCall connectionAllowedCall isAuthorizedCall;
            Admins: getAdminsCall isAuthorizedCall addAdminCall removeAdminCall isSealedCall;
            Organizations: getOrganizationsCall addOrganizationCall updateOrganizationCall deleteOrganizationCall adminsCall;
            Accounts: organizationsCall adminsCall accountsCall isAccountActiveCall hasRoleCall getNumberOfAccountsCall getAccountsCall
                getAccountTargetAccessCall getNumberOfRestrictedAccountsCall getRestrictedAccountsCall getSmartContractSenderAccessCall
                getNumberOfRestrictedSmartContractsCall getRestrictedSmartContractsCall globalAdminsCountCall addLocalAccountCall
                deleteLocalAccountCall updateLocalAccountCall updateLocalAccountStatusCall setAccountTargetAccessCall addAccountCall
                deleteAccountCall setSmartContractSenderAccessCall LIST_MAXCall pausedUntilCall updateAccountStatusCall withReasonCall
                getNumberOfRecordsCall getRecordCall;
            Nodes: organizationsContractCall accountsContractCall adminsCall allowedNodesCall isNodeActiveCall getNumberOfNodesCall getNodesCall
                addLocalNodeCall deleteLocalNodeCall updateLocalNodeCall updateLocalNodeStatusCall addNodeCall deleteNodeCall topologyCall
                possessionRequiredCall possessionDigestCall addProvenNodeCall updateNodeStatusCall pausedUntilCall withReasonCall
                getNumberOfRecordsCall getRecordCall;
            Governance: organizationsCall accountsCall adminsCall getNumberOfProposalsCall getProposalCall createProposalCall cancelProposalCall
                castVoteCall executeProposalCall charterCall stateOfCall getTrailCall getRuleCall getVoterCall vetoProposalCall;
            Charter: ruleForCall checkAfterCall setRuleCall;
            Selection: getValidatorsCall getEligibleValidatorsCall getProtectedValidatorsCall operationModeCall lastBlockProposedByCall
                nextSelectionBlockCall blocksWithoutProposeThresholdCall addEligibleValidatorByAddressCall removeEligibleValidatorByAddressCall
                addOperationalValidatorByAddressCall removeOperationalValidatorByAddressCall addOperationalValidatorCall
                removeOperationalValidatorByAdminCall;
            SelectionIngress: getValidatorsCall validatorSelectionContractCall isSelectionGoodCall getLastGoodValidatorsCall;
            Gen01Accounts: accountPermittedCall getAccountsCall getSizeCall getByIndexCall isReadOnlyCall addAccountCall removeAccountCall;
            Gen01Nodes: enodePermittedCall getSizeCall getByIndexCall isReadOnlyCall addEnodeCall removeEnodeCall;
        }
        // The first generation's selectors, from its compiled contracts.
        for (selector, expected) in [
            (Gen01Accounts::addAccountCall::SELECTOR, "e89b0e1e"),
            (Gen01Accounts::removeAccountCall::SELECTOR, "c4740a95"),
            (Gen01Accounts::accountPermittedCall::SELECTOR, "0f68f0b3"),
            (crate::abi::Gen01Nodes::addEnodeCall::SELECTOR, "7bd2ccc0"),
            (crate::abi::Gen01Nodes::removeEnodeCall::SELECTOR, "145ca22a"),
            (crate::abi::Gen01Nodes::enodePermittedCall::SELECTOR, "24633747"),
        ] {
            assert_eq!(hex::encode(selector), expected);
        }
    }
}
