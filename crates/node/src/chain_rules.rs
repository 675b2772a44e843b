//! The rules under which the blocks on disk were made, kept beside them.
//!
//! The hash of block 0 does not hold forks, periods and chain id, so a genesis file that was changed afterwards passes for
//! the same one. What it says of heights that the chain has passed is compared with what it said before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ipe_types::fork::Activation;
use ipe_types::spec::ChainSpec;
use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, read_text};

/// File in the data folder.
const FILE: &str = "chain-rules.json";
/// Most bytes read of it: a schedule of ten thousand transitions.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// When something begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum When {
    Block(u64),
    Time(u64),
}

impl When {
    fn of(at: Activation) -> When {
        match at {
            Activation::Block(number) => When::Block(number),
            Activation::Time(time) => When::Time(time),
        }
    }

    fn passed(self, head: (u64, u64)) -> bool {
        match self {
            When::Block(number) => number <= head.0,
            When::Time(time) => time <= head.1,
        }
    }
}

impl std::fmt::Display for When {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            When::Block(number) => write!(f, "block {number}"),
            When::Time(time) => write!(f, "time {time}"),
        }
    }
}

/// What a genesis file says that the hash of block 0 does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rules {
    chain_id: u64,
    /// `config.ipe.besuRules`.
    besu_rules: String,
    /// By key of the file.
    forks: BTreeMap<String, When>,
    /// Parameters by name from each activation on, ascending; the genesis first.
    consensus: Vec<(When, BTreeMap<String, String>)>,
}

impl Rules {
    fn of(spec: &ChainSpec) -> Rules {
        let forks = spec.genesis().forks.points().iter().map(|point| (point.key.to_owned(), When::of(point.at)));
        let consensus = spec.qbft().entries().iter().map(|(at, params)| {
            let named = params.named().into_iter().map(|(name, value)| (name.to_owned(), value));
            (When::of(*at), named.collect())
        });
        let besu_rules = spec.genesis().system.rules.name().to_owned();
        Rules { chain_id: spec.chain_id(), besu_rules, forks: forks.collect(), consensus: consensus.collect() }
    }

    fn at(&self, when: When, name: &str) -> &str {
        let of_kind = |other: &When| matches!((other, when), (When::Block(_), When::Block(_)) | (When::Time(_), When::Time(_)));
        let entry = self.consensus.iter().rev().find(|(from, _)| of_kind(from) && *from <= when);
        entry.or(self.consensus.first()).and_then(|(_, named)| named.get(name)).map_or("", String::as_str)
    }

    /// What another file says differently of heights and times up to `head` (number, unix seconds).
    fn changes(&self, now: &Rules, head: (u64, u64)) -> Vec<String> {
        let mut out = Vec::new();
        if self.chain_id != now.chain_id {
            out.push(format!("config.chainId was {} and is {}", self.chain_id, now.chain_id));
        }
        if self.besu_rules != now.besu_rules {
            out.push(format!("config.ipe.besuRules was {} and is {}", self.besu_rules, now.besu_rules));
        }
        let keys: std::collections::BTreeSet<&String> = self.forks.keys().chain(now.forks.keys()).collect();
        for key in keys {
            let (before, after) = (self.forks.get(key), now.forks.get(key));
            let past = [before, after].into_iter().flatten().any(|when| when.passed(head));
            if before != after && past {
                let say = |when: Option<&When>| when.map_or("not set".to_owned(), ToString::to_string);
                out.push(format!("config.{key} was {} and is {}", say(before), say(after)));
            }
        }
        let mut points: Vec<When> = self.consensus.iter().chain(&now.consensus).map(|(when, _)| *when).collect();
        points.retain(|when| when.passed(head));
        points.sort_unstable();
        points.dedup();
        let names: Vec<&String> = now.consensus.first().into_iter().flat_map(|(_, named)| named.keys()).collect();
        let mut told: BTreeMap<&String, (String, String)> = BTreeMap::new();
        for when in points {
            for name in &names {
                let pair = (self.at(when, name).to_owned(), now.at(when, name).to_owned());
                // A change lasts until the next transition: said once, where it begins.
                if pair.0 != pair.1 && told.get(*name) != Some(&pair) {
                    out.push(format!("the {name} from {when} on was {} and is {}", pair.0, pair.1));
                    told.insert(*name, pair);
                }
            }
        }
        out
    }
}

/// Compares the rules with those kept in the folder and keeps them when nothing of the past has changed. Returns what has,
/// one sentence each. `head` is the newest block's number and timestamp in seconds.
///
/// # Errors
/// The file cannot be read or written, or is none of ours.
pub(crate) fn compare(data_dir: &Path, spec: &ChainSpec, head: (u64, u64)) -> Result<(PathBuf, Vec<String>), ConfigError> {
    let path = data_dir.join(FILE);
    let now = Rules::of(spec);
    let mut before = None;
    if path.exists() {
        let text = read_text(&path, MAX_BYTES)?;
        let rules: Rules = serde_json::from_str(&text).map_err(|error| ConfigError::Content {
            path: path.clone(),
            message: format!("{error}; expected what a node wrote there: delete the file, it is written anew"),
        })?;
        before = Some(rules);
    }
    let changes = before.as_ref().map(|before| before.changes(&now, head)).unwrap_or_default();
    if changes.is_empty() && before.as_ref() != Some(&now) {
        let unwritable = |reason: String| ConfigError::Unwritable { path: path.clone(), reason };
        let text = serde_json::to_string_pretty(&now).map_err(|error| unwritable(error.to_string()))?;
        let beside = path.with_extension("json.new");
        std::fs::write(&beside, text)
            .and_then(|()| std::fs::rename(&beside, &path))
            .map_err(|error| unwritable(error.to_string()))?;
    }
    Ok((path, changes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(config: &str) -> ChainSpec {
        let extra = "0xe5a00000000000000000000000000000000000000000000000000000000000000000c0c080c0";
        let text = format!(r#"{{"config":{{{config}}},"difficulty":"0x1","gasLimit":"0x1c9c380","extraData":"{extra}"}}"#);
        ChainSpec::parse(&text).expect("a chain")
    }

    #[test]
    fn changes_of_the_past_are_named_and_those_of_the_future_are_taken_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let base = r#""chainId":7,"berlinBlock":0,"londonBlock":100,"qbft":{"blockperiodseconds":2},"transitions":{"qbft":[{"block":50,"blockperiodseconds":4}]}"#;
        let said = |config: &str, head: u64| compare(folder.path(), &spec(config), (head, head)).expect("readable").1;
        assert_eq!(said(base, 0), Vec::<String>::new());
        assert_eq!(said(base, 60), Vec::<String>::new());
        for (from, to, head, words) in [
            ("\"chainId\":7", "\"chainId\":8", 60, vec!["config.chainId was 7 and is 8"]),
            (
                "\"chainId\":7",
                "\"chainId\":7,\"ipe\":{\"besuRules\":\"25.5.0\"}",
                60,
                vec!["config.ipe.besuRules was 26.8.0 and is 25.5.0"],
            ),
            ("\"londonBlock\":100", "\"londonBlock\":55", 60, vec!["config.londonBlock was block 100 and is block 55"]),
            ("\"londonBlock\":100,", "", 120, vec!["config.londonBlock was block 100 and is not set"]),
            ("seconds\":2}", "seconds\":3}", 60, vec!["the block period from block 0 on was 2 s and is 3 s"]),
            ("\"block\":50", "\"block\":40", 60, vec!["the block period from block 40 on was 2 s and is 4 s"]),
            ("seconds\":4", "seconds\":5", 60, vec!["the block period from block 50 on was 4 s and is 5 s"]),
        ] {
            assert_eq!(said(&base.replace(from, to), head), words, "{to}");
            // Named again at the next start: nothing was written over.
            assert_eq!(said(&base.replace(from, to), head), words, "{to}");
        }
        // What has not come yet may change.
        let later = base.replace("\"londonBlock\":100", "\"londonBlock\":200").replace("\"block\":50", "\"block\":90");
        assert_eq!(said(&later, 40), Vec::<String>::new());
        assert_eq!(said(base, 95), ["the block period from block 50 on was 2 s and is 4 s"]);
        std::fs::write(folder.path().join(FILE), "{").expect("written");
        assert!(compare(folder.path(), &spec(base), (0, 0)).expect_err("no rules").to_string().contains("delete the file"));
    }
}
