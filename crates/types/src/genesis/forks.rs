//! The fork keys of both clients.

use super::field::{self, Section};
use super::json::Json;
use super::warnings::Warnings;
use super::{GenesisError, GenesisFormat};
use crate::fork::{Activation, FORK_KEYS, Fork, ForkPoint, ForkSchedule};

/// Heights that GoQuorum counts in its fork id besides those of Ethereum's forks: every key of its configuration that
/// ends in `Block`, but for `qip714Block` (GoQuorum `forkid.gatherForks`).
const GOQUORUM_MARKS: [&str; 5] =
    ["eip155Block", "maxCodeSizeChangeBlock", "privacyEnhancementsBlock", "privacyPrecompileBlock", "enableGasPriceBlock"];

/// Forks of go-ethereum's experiments that GoQuorum's configuration still names.
const GOQUORUM_EXPERIMENTS: [&str; 3] = ["yoloV3Block", "ewasmBlock", "catalystBlock"];

pub(super) fn read(config: &mut Section<'_>, format: GenesisFormat, warnings: &mut Warnings) -> Result<ForkSchedule, GenesisError> {
    let mut points: Vec<ForkPoint> = Vec::new();
    let mut beyond = Vec::new();
    for spec in FORK_KEYS {
        if format == GenesisFormat::GoQuorum && spec.fork > Fork::Berlin {
            beyond.extend(config.take(spec.key).map(|(path, _)| path));
            continue;
        }
        let expected = if spec.by_time { "unix seconds (an integer from 0)" } else { "a block number (an integer from 0)" };
        let mut at = config.get(spec.key, expected, field::quantity64)?;
        match (spec.alias, format) {
            (Some(alias), GenesisFormat::Besu) => {
                let other = config.get(alias, expected, field::quantity64)?;
                at = at.or(other);
            }
            // GoQuorum `IsPetersburg`: a file that does not name it means the height of Constantinople.
            (_, GenesisFormat::GoQuorum) if spec.fork == Fork::Petersburg && at.is_none() => {
                let constantinople = points.iter().find(|point| point.fork == Fork::Constantinople);
                at = constantinople.map(|point| point.at.value());
            }
            _ => {}
        }
        let Some(at) = at else { continue };
        if spec.key == "daoForkBlock" && at == 0 {
            continue;
        }
        let at = if spec.by_time { Activation::Time(at) } else { Activation::Block(at) };
        points.push(ForkPoint { key: spec.key, fork: spec.fork, at });
    }
    if format == GenesisFormat::GoQuorum {
        beyond.extend(config.take("amsterdamTime").map(|(path, _)| path));
    }
    if !beyond.is_empty() {
        warnings.push(format!(
            "ignored: {}. GoQuorum, in whose format this file is, has no fork after Berlin; a Besu node that reads the file \
             makes another block 0",
            beyond.join(", ")
        ));
    }
    if let Some((key, value)) = config.take("amsterdamTime") {
        return Err(GenesisError::Unsupported {
            key,
            got: field::shorten(value.text()),
            reason: "Amsterdam is newer than every fork this node knows; use forks up to osakaTime".to_owned(),
        });
    }
    let schedule = ForkSchedule::new(points).map_err(|(earlier, later)| GenesisError::Bad {
        key: format!("config.{}", later.key),
        got: later.at.value().to_string(),
        expected: format!("{} or more, because {} comes before it", earlier.at.value(), earlier.key),
    })?;
    match format {
        GenesisFormat::Besu => Ok(schedule),
        GenesisFormat::GoQuorum => Ok(schedule.with_marks(read_marks(config)?)),
    }
}

fn read_marks(config: &mut Section<'_>) -> Result<Vec<(&'static str, u64)>, GenesisError> {
    for key in GOQUORUM_EXPERIMENTS {
        if let Some((key, value)) = config.take(key) {
            return Err(GenesisError::Unsupported {
                key,
                got: field::shorten(value.text()),
                reason: "an experiment of go-ethereum whose rules are not implemented; remove the key".to_owned(),
            });
        }
    }
    let block = |value: Json<'_>| field::quantity64(value);
    Ok(GOQUORUM_MARKS.into_iter().filter_map(|key| Some((key, config.peek(key).and_then(block)?))).collect())
}
