//! Files as networks' kits have them, in `kits/`: written for these tests in the forms of public kits. Each folder's
//! `expected.toml` says what `ipe besu translate` and `ipe genesis explain` make of them.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    #[serde(default)]
    translate: Vec<Translate>,
    #[serde(default)]
    explain: Vec<Explain>,
    #[serde(default)]
    nodes: Vec<Nodes>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Translate {
    arguments: Vec<String>,
    exit: i32,
    /// Somewhere in what is printed.
    says: Vec<String>,
    #[serde(default)]
    settings: BTreeMap<String, toml::Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Explain {
    file: String,
    exit: i32,
    /// That of the client whose format it is, which was asked.
    hash: Option<String>,
    says: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nodes {
    file: String,
    count: usize,
}

fn ipe(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipe"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("IPE_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).current_dir(folder).output().expect("the ipe executable starts")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn what_operators_have_is_translated_and_explained() {
    let kits = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kits");
    let (mut translated, mut explained) = (0, 0);
    let mut folders: Vec<PathBuf> = std::fs::read_dir(kits).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    for folder in folders {
        let text = std::fs::read_to_string(folder.join("expected.toml")).unwrap();
        let expected: Expected = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for case in expected.translate {
            translated += 1;
            let mut arguments = vec!["besu", "translate"];
            arguments.extend(case.arguments.iter().map(String::as_str));
            let output = ipe(&folder, &arguments);
            let said = said(&output);
            let at = format!("{}: {arguments:?}\n{said}", folder.display());
            assert_eq!(output.status.code(), Some(case.exit), "{at}");
            assert!(!said.contains("panicked"), "{at}");
            for words in &case.says {
                assert!(said.contains(words), "lacks {words:?}: {at}");
            }
            let table: toml::Table = String::from_utf8(output.stdout).unwrap().parse().unwrap();
            for (key, value) in &case.settings {
                assert_eq!(table.get(key), Some(value), "{key}: {at}");
            }
        }
        for case in expected.explain {
            explained += 1;
            let output = ipe(&folder, &["genesis", "explain", &case.file]);
            let said = said(&output);
            let at = format!("{}: {}\n{said}", folder.display(), case.file);
            assert_eq!(output.status.code(), Some(case.exit), "{at}");
            for words in case.says.iter().chain(&case.hash) {
                assert!(said.contains(words), "lacks {words:?}: {at}");
            }
        }
        for case in expected.nodes {
            let text = std::fs::read_to_string(folder.join(&case.file)).unwrap();
            let nodes = ipe_node::config::parse_static_nodes(&text).unwrap_or_else(|error| panic!("{}: {error}", case.file));
            assert_eq!(nodes.len(), case.count, "{}", case.file);
        }
    }
    assert!(translated >= 15 && explained >= 8, "{translated} translated, {explained} explained");
}

/// `ipe genesis build --from` lays a network out as Besu's generator does, and a node runs on it.
#[test]
fn a_network_is_made_of_besus_generator_input() {
    let input = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kits/ebsi/qbftConfigFile.json");
    let folder = tempfile::tempdir().unwrap();
    let input = input.to_str().unwrap();
    let output = ipe(folder.path(), &["genesis", "build", "--from", input, "--out", "network"]);
    assert!(output.status.success(), "{}", said(&output));
    let network = folder.path().join("network");
    let spec = ipe_types::spec::ChainSpec::parse(&std::fs::read_to_string(network.join("genesis.json")).unwrap()).unwrap();
    assert_eq!((spec.chain_id(), spec.alloc().len(), spec.qbft_at(1, 0).period_ms), (1337, 1, 2000));
    let extra = ipe_types::ExtraData::decode(&spec.genesis_header().extra_data).unwrap();
    let mut named: Vec<String> = extra.validators.iter().map(|validator| format!("{validator:#x}")).collect();
    let mut folders: Vec<String> = std::fs::read_dir(network.join("keys"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    named.sort();
    folders.sort();
    assert_eq!((named.len(), &named), (4, &folders));
    for name in &folders {
        let keys = network.join("keys").join(name);
        let key = ipe_node::key_file::read(&keys.join("key.priv")).unwrap();
        assert_eq!(&format!("{:#x}", key.address()), name);
        let public = std::fs::read_to_string(keys.join("key.pub")).unwrap();
        assert_eq!(public, format!("{:#x}", key.node_id()));
    }
    // Never over what is there.
    let again = ipe(folder.path(), &["genesis", "build", "--from", input, "--out", "network"]);
    assert_eq!(again.status.code(), Some(2), "{}", said(&again));
    assert!(said(&again).contains("not empty"), "{}", said(&again));

    // Public keys that are given make folders without private ones.
    let public = std::fs::read_to_string(network.join("keys").join(&folders[0]).join("key.pub")).unwrap();
    for (nodes, words) in [
        (format!(r#"{{"generate": false, "keys": ["{public}"]}}"#), None),
        (r#"{"generate": true, "count": 0}"#.to_owned(), Some("count")),
        (r#"{"keys": ["0x12"]}"#.to_owned(), Some("keys[0]")),
        (r#"{}"#.to_owned(), Some("blockchain.nodes.keys")),
    ] {
        let text = format!(
            r#"{{"genesis": {{"config": {{"berlinBlock": 0, "qbft": {{}}}}, "difficulty": "0x1", "gasLimit": "0x1c9c380"}}, "blockchain": {{"nodes": {nodes}}}}}"#
        );
        let file = folder.path().join("input.json");
        std::fs::write(&file, text).unwrap();
        let output = ipe(folder.path(), &["genesis", "build", "--from", "input.json", "--out", "given"]);
        assert_eq!(output.status.success(), words.is_none(), "{nodes}: {}", said(&output));
        assert!(words.is_none_or(|words| said(&output).contains(words)), "{nodes}: {}", said(&output));
        if words.is_none() {
            let keys = folder.path().join("given/keys").join(&folders[0]);
            assert!(keys.join("key.pub").is_file() && !keys.join("key.priv").exists());
        }
    }
}
