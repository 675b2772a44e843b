//! `alloc`: the accounts of block 0.

use super::field::{self, Section, members};
use super::json::Json;
use super::warnings::Warnings;
use super::{GenesisAccount, GenesisError, GenesisFormat};
use alloy_primitives::{Address, B256, Bytes, U256};
use std::collections::BTreeMap;

/// Hex digits of an address and of a storage slot.
const ADDRESS_DIGITS: usize = 40;
const SLOT_DIGITS: usize = 64;

/// The accounts in the file's order. Of an address that stands there twice, with or without 0x or in another letter
/// case, the last counts, whole: Besu and GoQuorum read it so.
pub(super) fn read(
    path: &str,
    value: Json<'_>,
    format: GenesisFormat,
    warnings: &mut Warnings,
) -> Result<BTreeMap<Address, GenesisAccount>, GenesisError> {
    let mut alloc = BTreeMap::new();
    for (key, value) in members(path, value)? {
        let path = format!("{path}.{}", field::shorten(&key));
        let address = address(&path, &key, format, warnings)?;
        let account = read_account(Section::new(&path, value)?, format, warnings)?;
        if alloc.insert(address, account).is_some() {
            warnings.push(format!("{path} is there twice, with or without 0x or in other letters; the last one counts"));
        }
    }
    Ok(alloc)
}

fn address(path: &str, key: &str, format: GenesisFormat, warnings: &mut Warnings) -> Result<Address, GenesisError> {
    let digits = key.trim_start_matches("0x").trim_start_matches("0X").len();
    let expected = match format {
        GenesisFormat::Besu => "an address: up to 40 hex digits, with or without 0x",
        GenesisFormat::GoQuorum => "an address: 40 hex digits, with or without 0x",
    };
    let fits = format == GenesisFormat::Besu || digits == ADDRESS_DIGITS;
    let address = field::address_text(key).filter(|_| fits).ok_or_else(|| GenesisError::Bad {
        key: path.to_owned(),
        got: format!("{:?}", field::shorten(key)),
        expected: expected.to_owned(),
    })?;
    if digits < ADDRESS_DIGITS {
        warnings
            .push(format!("{path} has {digits} of an address' {ADDRESS_DIGITS} digits and is read as {address:#x}, as Besu does"));
    }
    Ok(address)
}

fn read_account(mut account: Section<'_>, format: GenesisFormat, warnings: &mut Warnings) -> Result<GenesisAccount, GenesisError> {
    let mut storage = BTreeMap::new();
    if let Some((path, slots)) = account.take("storage") {
        for (key, value) in members(&path, slots)? {
            let path = format!("{path}.{}", field::shorten(&key));
            let wrong = |expected: &str| GenesisError::Bad {
                key: path.clone(),
                got: format!("{:?}", field::shorten(&key)),
                expected: expected.to_owned(),
            };
            let slot = slot(&key).ok_or_else(|| wrong("a slot number of up to 32 bytes of hex"))?;
            let content = field::hex_quantity(value).ok_or_else(|| field::bad(&path, value, "up to 32 bytes of hex"))?;
            let digits = key.trim_start_matches("0x").len();
            // A short number such as 0x0 is how slots are counted; a hash of 62 digits has lost a byte.
            if (SLOT_DIGITS / 2..SLOT_DIGITS).contains(&digits) {
                warnings.push(format!(
                    "{path} has {digits} of {SLOT_DIGITS} digits and is read as slot {slot}, zeros in front, as Besu does"
                ));
            }
            if content.is_zero() {
                storage.remove(&slot);
            } else {
                storage.insert(slot, content);
            }
        }
    }
    let nonce = match format {
        GenesisFormat::Besu => account.get("nonce", "a hex number below 2^64", field::hex_quantity64),
        GenesisFormat::GoQuorum => account.get("nonce", "a number below 2^64, decimal or 0x hex", field::quantity64),
    };
    let out = GenesisAccount {
        balance: account.get("balance", "wei, decimal or 0x hex, below 2^256", field::quantity)?.unwrap_or_default(),
        nonce: nonce?.unwrap_or(0),
        code: match account.take("code") {
            None => Bytes::new(),
            Some((path, value)) => code(&path, value, format, warnings)?,
        },
        storage,
    };
    account.ignore(&["privateKey", "secretKey", "comment", "version"]);
    account.finish(warnings);
    Ok(out)
}

fn slot(key: &str) -> Option<B256> {
    let digits = key.strip_prefix("0x").or_else(|| key.strip_prefix("0X")).unwrap_or(key);
    if digits.len() > SLOT_DIGITS {
        return None;
    }
    if digits.is_empty() {
        return Some(B256::ZERO);
    }
    U256::from_str_radix(digits, 16).ok().map(B256::from)
}

/// A zero goes in front of an odd number of digits, which shifts every byte (Besu `GenesisReader.FromURL`; its
/// `--genesis-file` and GoQuorum refuse such code).
fn code(path: &str, value: Json<'_>, format: GenesisFormat, warnings: &mut Warnings) -> Result<Bytes, GenesisError> {
    if let Some(code) = field::bytes(value) {
        return Ok(code);
    }
    let padded = field::text(value).filter(|_| format == GenesisFormat::Besu).and_then(|text| {
        let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(&text);
        hex::decode(format!("0{digits}")).ok()
    });
    let code = padded.ok_or_else(|| field::bad(path, value, "an even number of hex digits"))?;
    warnings.push(format!(
        "{path} has an odd number of digits: a zero is put in front, so every byte is another than was probably meant; \
         Besu 25.5.0 and 26.8.0 refuse such a file"
    ));
    Ok(Bytes::from(code))
}
