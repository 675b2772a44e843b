//! What is committed is what its lock says, and fits the chain.

use std::collections::BTreeSet;
use std::path::Path;

use alloy_primitives::{Bytes, keccak256};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::bed::{folder, signature};

fn lock() -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder().join("artifacts/lock.json")).unwrap()).unwrap()
}

fn hash(path: &Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Files with this ending, two folders deep, as the lock names them.
fn files(under: &Path, ending: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(under).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            found.extend(files(&entry.path(), ending).into_iter().map(|inner| format!("{name}/{inner}")));
        } else if name.ends_with(ending) && name != "lock.json" {
            found.insert(name);
        }
    }
    found
}

#[test]
fn artifacts_belong_to_the_committed_sources() {
    let lock = lock();
    for (section, under, ending) in [("sources", folder(), ".sol"), ("artifacts", folder().join("artifacts"), ".json")] {
        let hashes = lock[section].as_object().unwrap();
        let named: BTreeSet<String> = hashes.keys().cloned().collect();
        let present: BTreeSet<String> = if section == "sources" {
            ["src", "test"]
                .into_iter()
                .flat_map(|part| files(&under.join(part), ending).into_iter().map(move |file| format!("{part}/{file}")))
                .collect()
        } else {
            files(&under, ending)
        };
        assert_eq!(named, present, "{section}: `cargo xtask contracts` writes artifacts and lock anew");
        for (file, expected) in hashes {
            let found = hash(&under.join(file));
            assert_eq!(Some(found.as_str()), expected.as_str(), "{file} has changed: `cargo xtask contracts`");
        }
    }
    assert_eq!(lock["compiler"]["evmVersion"], "berlin");
    let version = lock["compiler"]["version"].as_str().unwrap();
    let pinned: Value = serde_json::from_str(&std::fs::read_to_string(folder().join("package-lock.json")).unwrap()).unwrap();
    let npm = pinned["packages"]["node_modules/solc"]["version"].as_str().unwrap();
    assert!(version.starts_with(npm), "artifacts are by solc {version}, package-lock.json has {npm}");
}

#[test]
fn contracts_fit_the_chain() {
    for file in lock()["artifacts"].as_object().unwrap().keys() {
        let text = std::fs::read_to_string(folder().join("artifacts").join(file)).unwrap();
        let artifact: Value = serde_json::from_str(&text).unwrap();
        let code = artifact["deployedBytecode"].as_str().unwrap().parse::<Bytes>().unwrap();
        assert!(code.len() <= 24_576, "{file}: {} bytes of code, EIP-170 has 24576", code.len());
        let creation = artifact["bytecode"].as_str().unwrap().parse::<Bytes>().unwrap();
        assert!(creation.len() + 2_048 <= 49_152, "{file}: {} bytes of initcode, EIP-3860 has 49152", creation.len());
    }
}

/// The selectors that the tools of RBB's network use, by contract. From the functions' signatures in the fact sheet; a name
/// that is missing here is missing for the tools.
#[test]
fn the_tools_find_their_functions() {
    for (contract, functions) in [
        ("OrganizationImpl", "21c074b8 d924b3ee dc1301af 2e9e006c 4526f690 9754a3a8 dd67826e e792dd8a 136cf162 a5de3619"),
        (
            "AccountRulesV2Impl",
            "05fa2754 377a5a2d 6d8498c6 7003396a 6d3ed5b3 18aa3810 4c1b64cb d0420a14 2f2ff15d d547741f 36568abe fbcbc0f1 5e5c06e2 \
             ab9d0cdd 309e36ef e68a7c3b 5eba77cf c9174424 0d5facc1 8976ef1a 97b94ffd 112165b3 c7d6c236 bdcca62a 945d961d 24efe741 \
             44d28525 fb0f857e 91d14854 248a9ca3 a217fddf 01ffc9a7 936421d5 234db1de a5de3619",
        ),
        (
            "NodeRulesV2Impl",
            "97689f17 a9aab5eb e78004e4 33aa9b2e ea8c0bc9 d90a63ff 76ccad21 af50afc7 b81c806a 038d67e8 d05f6809 74d5249c a63ca076 \
             3620b1df 446f201e b818765f a5de3619",
        ),
        (
            "Governance",
            "d84cee2d a351f615 15373e3d 0d61b519 c7f758a8 5e3b4365 33809b6c 013cf08b 136cf162 234db1de 68cd03f6 a5de3619",
        ),
        (
            "ValidatorSelection",
            "b7ab4db5 72672ae4 7e4ac75c 66e305fd 457385f2 ce35de95 486aded7 a95ec497 98e7a0c0 f736c766 dd2477ef ce1f8b96 038850b4 \
             446f201e e7dc113e a5de3619 55305d0a a6deaa9f 28440b60 0a4b11d1 eaa7aae6 65261149 15182603 bf6eea9b 9dece35d dc393cd8 \
             09617b44 87962339 388d2c24 1ccce864 b9c564ba",
        ),
        ("ValidatorSelectionIngress", "b7ab4db5 33907574 a5de3619 dd89394e ab50a02e 388d2c24 4ed5630d 01ffc9a7"),
        ("Admin", "70480275 9c54df64 1785f53c fe9fbb80 31ae450b 69c45824"),
        ("AccountIngress", "0d2020dd de8fa431 10d9042e fe9fbb80 e001f841 a43e04d8 11601306 1e7c27cb 8aa10435 936421d5"),
        ("NodeIngress", "0d2020dd de8fa431 10d9042e fe9fbb80 e001f841 a43e04d8 11601306 1e7c27cb 8aa10435 3620b1df 4dc3fefc"),
    ] {
        let text = std::fs::read_to_string(folder().join(format!("artifacts/{contract}.json"))).unwrap();
        let artifact: Value = serde_json::from_str(&text).unwrap();
        let (mut offered, mut names) = (BTreeSet::new(), BTreeSet::new());
        for item in artifact["abi"].as_array().unwrap().iter().filter(|item| item["type"] == "function") {
            let selector = keccak256(signature(item));
            offered.insert(alloy_primitives::hex::encode(&selector[..4]));
            // Client libraries find functions by name and refuse a name that is there twice.
            assert!(names.insert(item["name"].as_str().unwrap().to_owned()), "{contract}: {} twice", item["name"]);
        }
        for selector in functions.split_whitespace() {
            assert!(offered.contains(selector), "{contract} has no function {selector}");
        }
    }
}

/// Events by their first topic, which readers of history look for (fact sheet A).
#[test]
fn readers_of_history_find_their_events() {
    for (contract, topics) in [
        ("OrganizationImpl", "ec0cb196 fab9a138 f27d25b6"),
        ("AccountRulesV2Impl", "81eecede ca2fa9ed 8e43150e cdd3d81b 6438daf5 5765f9b1 2f878811 f6391f5c bd79b86f"),
        ("NodeRulesV2Impl", "6608feae 8e51789f 8f9a3c42 278dc692"),
        ("Governance", "92a45095 abd3148b 28ec9e38 d92fba44 c2946e69 712ae138 af94ba56"),
        (
            "ValidatorSelection",
            "23fe46ee 2e4ea19d b5608941 1541b60f dd599983 73b9045d 2ac4a4cd bd4afd33 76eb663d af0ab6f0 f435d7f0",
        ),
        ("ValidatorSelectionIngress", "386749a7 1e5c9c09 19622260"),
        ("Admin", "8ead7684 2cd2ccd9"),
        ("AccountIngress", "e3d908a1"),
        ("NodeIngress", "e3d908a1 66120f93"),
    ] {
        let text = std::fs::read_to_string(folder().join(format!("artifacts/{contract}.json"))).unwrap();
        let artifact: Value = serde_json::from_str(&text).unwrap();
        let offered: BTreeSet<String> = artifact["abi"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|item| item["type"] == "event")
            .map(|item| alloy_primitives::hex::encode(&keccak256(signature(item))[..4]))
            .collect();
        for topic in topics.split_whitespace() {
            assert!(offered.contains(topic), "{contract} has no event {topic}");
        }
    }
}
