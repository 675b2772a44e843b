//! `config.blobSchedule` (EIP-7840; besu `BlobScheduleOptions`).

use super::GenesisError;
use super::field::{self, Section};
use super::json::Json;
use super::warnings::Warnings;

/// What one entry of the schedule says. Numbers are below 2^31, as in Besu.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlobLimits {
    /// Blobs a block at which the price stands still.
    pub target: u64,
    /// Most blobs of a block.
    pub max: u64,
    /// `baseFeeUpdateFraction`: how slowly the price moves, above 0.
    pub update_fraction: u64,
}

/// Name in the schedule and the fork key at which it begins. Osaka has Prague's numbers in Besu, whatever the file says.
const NAMES: [(&str, &str); 7] = [
    ("cancun", "cancunTime"),
    ("prague", "pragueTime"),
    ("bpo1", "bpo1Time"),
    ("bpo2", "bpo2Time"),
    ("bpo3", "bpo3Time"),
    ("bpo4", "bpo4Time"),
    ("bpo5", "bpo5Time"),
];

pub(super) fn read(config: &mut Section<'_>, warnings: &mut Warnings) -> Result<Vec<(&'static str, BlobLimits)>, GenesisError> {
    let Some(mut schedule) = config.section("blobSchedule")? else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for (name, key) in NAMES {
        let Some(mut entry) = schedule.section(name)? else { continue };
        let int = |least: u64| {
            move |value: Json<'_>| field::quantity64(value).filter(|number| (least..=i32::MAX as u64).contains(number))
        };
        let limits = BlobLimits {
            target: entry.need("target", "a number of blobs, 0 to 2^31-1", int(0))?,
            max: entry.need("max", "a number of blobs, 0 to 2^31-1", int(0))?,
            update_fraction: entry.need("baseFeeUpdateFraction", "a number, 1 to 2^31-1", int(1))?,
        };
        entry.finish(warnings);
        all.push((key, limits));
    }
    if schedule.has("osaka") {
        schedule.ignore(&["osaka"]);
        warnings.push("config.blobSchedule.osaka has no effect, as in Besu: Osaka has the numbers of prague".to_owned());
    }
    schedule.ignore(&["amsterdam"]);
    schedule.finish(warnings);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use crate::spec::ChainSpec;

    #[test]
    fn the_schedule_holds_from_its_forks_on_and_osaka_keeps_pragues() {
        let entry = |target: u64, max: u64| format!(r#"{{"target":{target},"max":{max},"baseFeeUpdateFraction":5007716}}"#);
        let extra = crate::extra::ExtraData::genesis(vec![alloy_primitives::Address::ZERO]).encode();
        let text = format!(
            r#"{{"config":{{"chainId":5,"cancunTime":10,"pragueTime":20,"osakaTime":30,"bpo1Time":40,"bpo2Time":50,"qbft":{{}},
            "blobSchedule":{{"cancun":{},"prague":{},"bpo2":{},"osaka":{}}}}},"gasLimit":"0x1","difficulty":"0x1","extraData":"{extra}"}}"#,
            entry(1, 2),
            entry(3, 4),
            entry(5, 8),
            entry(7, 9)
        );
        let spec = ChainSpec::parse(&text).expect("parses");
        let most = |time| spec.blob_rules(1, time).most_in_block();
        assert_eq!([10, 20, 30, 40, 50].map(most), [2, 4, 4, 4, 8]);
        let of_one = |time| spec.blob_rules(1, time).most_in_transaction();
        assert_eq!([10, 20, 30, 50].map(of_one), [2, 4, 4, 6]);
        assert!(spec.warnings().iter().any(|one| one.contains("osaka")));
    }
}
