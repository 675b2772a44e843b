//! What the texts of settings mean: numbers, paths, addresses, names. `Err` says what was expected.

use ipe_types::{Address, Enode, NodeId};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub(super) fn one(values: &[String]) -> Result<&str, String> {
    match values {
        [value] if !value.is_empty() => Ok(value),
        _ => Err("exactly one value".to_owned()),
    }
}

pub(super) fn short_text(values: &[String]) -> Result<String, String> {
    let text = values.first().map_or("", String::as_str);
    if text.chars().count() <= 64 && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err("at most 64 printable characters".to_owned())
    }
}

pub(super) fn path(values: &[String], base: &Path) -> Result<PathBuf, String> {
    Ok(base.join(one(values).map_err(|_| "a path")?))
}

pub(super) fn number<T: TryFrom<u64>>(values: &[String], least: u64, most: u64) -> Result<T, String> {
    let expected = || format!("an integer from {least} to {most}");
    let value: u64 = one(values).map_err(|_| expected())?.replace('_', "").parse().map_err(|_| expected())?;
    if value < least || value > most {
        return Err(expected());
    }
    T::try_from(value).map_err(|_| expected())
}

pub(super) fn address(values: &[String]) -> Result<Address, String> {
    one(values).ok().and_then(|text| text.parse().ok()).ok_or_else(|| "an address, 0x and 40 hex digits".to_owned())
}

pub(super) fn boolean(values: &[String]) -> Result<bool, String> {
    one(values).ok().and_then(|text| text.to_lowercase().parse().ok()).ok_or_else(|| "true or false".to_owned())
}

pub(super) fn ip(values: &[String]) -> Result<IpAddr, String> {
    let expected = || "an IP address (0.0.0.0 or :: = every interface)".to_owned();
    match one(values).map_err(|_| expected())? {
        "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        text => text.parse().map_err(|_| expected()),
    }
}

/// A public key, or an enode with its hosts.
pub(super) fn reserved(text: &str) -> Option<(NodeId, Vec<String>)> {
    let (id, hosts) = match text.parse::<Enode>() {
        Ok(enode) => (enode.id, enode.hosts),
        Err(_) => (NodeId::from_str(text).ok()?, Vec::new()),
    };
    (!id.is_zero()).then_some((id, hosts))
}

pub(super) fn enodes(values: &[String]) -> Result<Vec<Enode>, String> {
    values
        .iter()
        .map(|text| {
            let enode: Enode = text.parse().map_err(|error| format!("enode URLs ({error})"))?;
            if enode.tcp == 0 { Err(format!("enode URLs with the port they listen on, not {enode}")) } else { Ok(enode) }
        })
        .collect()
}

pub(super) fn protocols(values: &[String]) -> Result<Vec<String>, String> {
    let known = ["TLSv1.3", "TLSv1.2"];
    if !values.is_empty() && values.iter().all(|value| known.contains(&value.as_str())) {
        Ok(values.to_vec())
    } else {
        Err(known.join(" or "))
    }
}

pub(super) fn groups(values: &[String]) -> Result<Vec<String>, String> {
    let word = |text: &String| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '*');
    if values.iter().all(word) {
        Ok(values.iter().map(|text| text.to_uppercase()).collect())
    } else {
        Err("method groups such as ETH,NET,WEB3".to_owned())
    }
}

pub(super) fn choose<T: Copy>(values: &[String], choices: &[(&str, T)]) -> Result<T, String> {
    let given = one(values).unwrap_or_default().to_lowercase();
    choices.iter().find(|(name, _)| *name == given).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        names.join(" or ")
    })
}

pub(super) fn bracketed(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

pub(super) fn unhex(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}
