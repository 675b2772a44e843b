//! Whether a validator of another implementation reads what this node emits (spec/qbft.md 7.4).

use ipe_types::Dialect;

/// What an operator has to know when a validator that calls itself `client` in its Hello does not read `ours`; `None` when
/// it does, or is not known.
pub(crate) fn misunderstanding(client: &str, ours: Dialect) -> Option<&'static str> {
    if client.starts_with("Geth/") && client.contains("quorum") {
        return (ours != Dialect::GoQuorum)
            .then_some("it will not take what this node says in later rounds: set dialect = \"goquorum\" at every node of ours");
    }
    let version = client.starts_with("besu/").then(|| client.split('/').skip(1).find_map(version)).flatten()?;
    match ours {
        Dialect::Besu26 => (version < (26, 1))
            .then_some("it cannot read proposals and round changes of this node: set dialect = \"legacy\" at every node of ours"),
        Dialect::Legacy | Dialect::GoQuorum => ((26, 1)..(26, 6)).contains(&version).then_some(
            "it cannot read proposals and round changes of this node: update it to 26.6 or later, or, if no Besu up to 25.12 \
             and no GoQuorum validates, set dialect = \"besu26\"",
        ),
    }
}

/// `(25, 5)` of `v25.5.0` or `v25.5.0-SNAPSHOT`.
fn version(part: &str) -> Option<(u32, u32)> {
    let mut numbers = part.strip_prefix('v')?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_release_is_warned_about_as_the_table_says() {
        let besu = |version: &str| format!("besu/{version}/linux-x86_64/openjdk-java-21");
        let silent = |version: &str, ours| misunderstanding(&besu(version), ours).is_none();
        for (version, legacy, besu26) in [
            ("v25.5.0", true, false),
            ("v25.12.0", true, false),
            ("v26.1.0", false, true),
            ("v26.5.1", false, true),
            ("v26.6.0", true, true),
            ("v27.1.0", true, true),
        ] {
            assert_eq!(silent(version, Dialect::Legacy), legacy, "{version}");
            assert_eq!(silent(version, Dialect::GoQuorum), legacy, "{version}");
            assert_eq!(silent(version, Dialect::Besu26), besu26, "{version}");
        }
        // An operator may give a Besu a name of its own, which stands before the version.
        assert!(misunderstanding("besu/validator01/v25.5.0/linux-x86_64/openjdk-java-21", Dialect::Besu26).is_some());
        let quorum = "Geth/v1.10.3-stable(quorum-v24.4.1)/linux-amd64/go1.22";
        assert!(misunderstanding(quorum, Dialect::Legacy).is_some() && misunderstanding(quorum, Dialect::GoQuorum).is_none());
        for other in ["ipe/v0.1.0/linux-x86_64", "besu/", "besu/latest", "", "Geth/v1.13"] {
            assert_eq!(misunderstanding(other, Dialect::Besu26), None, "{other}");
        }
    }
}
