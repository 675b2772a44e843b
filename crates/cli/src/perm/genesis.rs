//! Addresses of the contracts from a genesis file.

use crate::failure::Failure;
use alloy_primitives::Address;
use ipe_node::config::read_text;
use ipe_types::genesis::MAX_GENESIS_BYTES;
use serde_json::Value;
use std::path::Path;

/// What a genesis file says about the contracts.
#[derive(Default)]
pub struct Named {
    pub chain_id: Option<u64>,
    pub account_ingress: Option<Address>,
    pub node_ingress: Option<Address>,
    /// Contract of the last transition to validators by contract.
    pub validators_ingress: Option<Address>,
}

/// Reads `config.chainId`, `config.ipe.permissioning` (`accounts`, `nodes`, of its last entry), and the validator contract of
/// `config.qbft` or of the last transition that names one.
pub fn addresses(file: &Path) -> Result<Named, Failure> {
    let text = read_text(file, MAX_GENESIS_BYTES)?;
    let wrong = |what: String| Failure::Usage(format!("{}: {what}", file.display()));
    let genesis: Value = serde_json::from_str(&text).map_err(|error| wrong(format!("no genesis file: {error}")))?;
    let config = genesis
        .get("config")
        .filter(|config| config.is_object())
        .ok_or_else(|| wrong("no genesis file: it has no config".to_owned()))?;
    let address = |key: &str, value: Option<&Value>| match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_str()
            .and_then(|text| text.parse::<Address>().ok())
            .map(Some)
            .ok_or_else(|| wrong(format!("{key}: got {value}, expected an address"))),
    };
    // One entry, or a list by height, of which the newest counts.
    let permissioning = match &config["ipe"]["permissioning"] {
        Value::Array(steps) => steps.last().unwrap_or(&Value::Null),
        entry => entry,
    };
    let mut validators = address("config.qbft.validatorcontractaddress", lower(&config["qbft"], "validatorcontractaddress"))?;
    for step in config["transitions"]["qbft"].as_array().into_iter().flatten() {
        if let Some(found) = address("validatorcontractaddress", lower(step, "validatorcontractaddress"))? {
            validators = Some(found);
        }
    }
    Ok(Named {
        chain_id: config["chainId"].as_u64(),
        account_ingress: address("config.ipe.permissioning.accounts", permissioning.get("accounts"))?,
        node_ingress: address("config.ipe.permissioning.nodes", permissioning.get("nodes"))?,
        validators_ingress: validators,
    })
}

/// Besu reads these keys whatever their capitals.
fn lower<'a>(object: &'a Value, key: &str) -> Option<&'a Value> {
    object.as_object()?.iter().find(|(name, _)| name.to_lowercase() == key).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Named, Failure> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        addresses(file.path())
    }

    #[test]
    fn addresses_are_those_in_force() {
        let (one, two) = (Address::repeat_byte(1), Address::repeat_byte(2));
        let text = format!(
            r#"{{"config":{{"chainId":7,"ipe":{{"permissioning":[{{"accounts":"{two}"}},{{"fromBlock":9,"accounts":"{one}","nodes":"{two}"}}]}},
                "transitions":{{"qbft":[{{"block":5,"validatorSelectionMode":"contract","validatorContractAddress":"{one}"}}]}}}}}}"#
        );
        let named = read(&text).ok().unwrap();
        assert_eq!(
            (named.chain_id, named.account_ingress, named.node_ingress, named.validators_ingress),
            (Some(7), Some(one), Some(two), Some(one))
        );
        let none = read(r#"{"config":{"chainId":7}}"#).ok().unwrap();
        assert_eq!((none.account_ingress, none.validators_ingress), (None, None));
    }

    #[test]
    fn what_is_no_genesis_says_so() {
        for (text, said) in [
            ("[]", "no config"),
            ("{", "no genesis file"),
            (r#"{"config":{"ipe":{"permissioning":{"accounts":"0x12"}}}}"#, "config.ipe.permissioning.accounts"),
        ] {
            let Err(Failure::Usage(error)) = read(text) else { panic!("{text}") };
            assert!(error.contains(said), "{error}");
        }
    }
}
