//! Commands without a network: what they print, what they refuse and with which words.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

fn ipe(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipe"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("IPE_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null()).output().expect("the ipe executable starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn ok(arguments: &[&str]) -> String {
    let output = ipe(arguments);
    assert!(output.status.success(), "ipe {}: {}", arguments.join(" "), stderr(&output));
    stdout(&output)
}

/// Insists on an exit code and on words in the message; a panic never passes.
fn refused(arguments: &[&str], code: i32, words: &[&str]) {
    let output = ipe(arguments);
    let said = stderr(&output);
    assert!(!said.contains("panicked"), "ipe {}: {said}", arguments.join(" "));
    assert_eq!(output.status.code(), Some(code), "ipe {}: {said}", arguments.join(" "));
    for word in words {
        assert!(said.contains(word), "ipe {}\nlacks {word:?} in\n{said}", arguments.join(" "));
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

fn recorded(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures").join(folder)
}

#[test]
fn a_key_is_made_once_and_shown_without_its_secret() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("key");
    let made: Value = serde_json::from_str(&ok(&["key", "new", text(&file), "--json"])).unwrap();
    let shown: Value =
        serde_json::from_str(&ok(&["key", "show", text(&file), "--json", "--host", "no.example,10.0.0.1", "--port", "5"])).unwrap();
    assert_eq!(made["address"], shown["address"]);
    assert!(shown["enode"].as_str().unwrap().ends_with("@no.example,10.0.0.1:5"), "{shown}");
    let secret = std::fs::read_to_string(&file).unwrap();
    assert!(!ok(&["key", "show", text(&file)]).contains(secret.trim_start_matches("0x")));
    refused(&["key", "new", text(&file)], 2, &["could not write", "key"]);
    std::fs::write(&file, "0x12").unwrap();
    refused(&["key", "show", text(&file)], 2, &["key", "64 hex digits"]);
    refused(&["key", "show", text(&folder.path().join("none"))], 2, &["could not read", "none"]);
}

#[test]
fn a_genesis_is_built_and_read_back() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("genesis.json");
    let validator = "0x00000000000000000000000000000000000000a1";
    let boot = format!("enode://{}@boot.example:30303", "ab".repeat(64));
    let line = ok(&[
        "genesis",
        "build",
        "--validator",
        validator,
        "--bootnode",
        &boot,
        "--block-period",
        "250ms",
        "--chain-id",
        "77",
        "--out",
        text(&file),
    ]);
    let hash = ok(&["genesis", "hash", text(&file)]);
    assert!(line.starts_with(hash.trim()), "{line}");
    let shown: Value = serde_json::from_str(&ok(&["genesis", "explain", text(&file), "--json"])).unwrap();
    assert_eq!(shown["chainId"], 77);
    assert_eq!(shown["consensus"][0]["blockPeriodMs"], 250);
    assert_eq!(shown["bootnodes"][0], Value::from(boot));
    assert_eq!(shown["validators"][0].as_str().unwrap().to_lowercase(), validator);
    assert_eq!(shown["warnings"].as_array().map(Vec::len), Some(0));
    ok(&["genesis", "show", text(&file)]);
    refused(&["genesis", "build", "--validator", validator, "--out", text(&file)], 1, &["could not write", "genesis.json"]);
    let both: Value = serde_json::from_str(&ok(&["genesis", "build", "--goquorum", "--validator", validator])).unwrap();
    assert_eq!(
        (&both["config"]["isQuorum"], &both["config"]["berlinBlock"], &both["gasLimit"]),
        (&json!(true), &json!(0), &json!("0x2faf0800"))
    );
    refused(&["genesis", "build", "--goquorum", "--fork", "london", "--validator", validator], 2, &["GoQuorum", "berlin"]);
    refused(&["genesis", "build"], 2, &["validators", "at least one"]);
    refused(&["genesis", "build", "--validator", "0x12"], 2, &["--validator", "0x12", "40 hex"]);
    refused(&["genesis", "build", "--validator", validator, "--fork", "x"], 2, &["--fork", "osaka"]);
    refused(&["genesis", "build", "--validator", validator, "--block-period", "x"], 2, &["--block-period", "250ms"]);
    refused(&["genesis", "build", "--validator", validator, "--bootnode", "x"], 2, &["--bootnode", "enode://"]);
    refused(&["genesis", "build", "--validator", validator, "--epoch-length", "0"], 2, &["epochlength", "above 0"]);
    let alloc = folder.path().join("alloc.json");
    std::fs::write(&alloc, r#"{"alloc": {"0xzz": {}}}"#).unwrap();
    refused(
        &["genesis", "build", "--validator", validator, "--alloc", text(&alloc)],
        2,
        &["alloc.json", "alloc.0xzz", "40 hex digits"],
    );
    std::fs::write(&file, r#"{"config": {"qbft": {"blockperiodseconds": -1}}, "gasLimit": 5000, "difficulty": "1"}"#).unwrap();
    refused(&["genesis", "hash", text(&file)], 2, &["genesis.json", "config.qbft.blockperiodseconds", "-1"]);
}

#[test]
fn bad_settings_name_their_place() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("node.toml");
    for (content, words) in [
        ("p2p-prt = 1\n", vec!["node.toml", "p2p-prt", "p2p-port"]),
        ("p2p-port = 99999\n", vec!["node.toml", "p2p-port", "99999", "65535"]),
        ("role = \n", vec!["node.toml", "not TOML"]),
        ("logging = \"a=b=c\"\n", vec!["logging", "a=b=c"]),
    ] {
        std::fs::write(&file, content).unwrap();
        refused(&["node", "run", "--config", text(&file)], 2, &words);
    }
    refused(&["node", "run", "--config", text(&folder.path().join("none.toml"))], 2, &["none.toml", "could not read"]);
    refused(&["node", "run", "--p2p-port", "x"], 2, &["p2p-port on the command line", "x"]);
    refused(&["node", "run", "--no-such-flag"], 2, &["--no-such-flag"]);
    refused(&["tx", "why", "0x12"], 2, &["0x12", "64 hex digits"]);
    refused(&["tx", "why", &format!("0x{}", "ab".repeat(32)), "--rpc", "http://127.0.0.1:1"], 1, &["http://127.0.0.1:1"]);
    refused(&["load", "dance"], 2, &["dance", "transfer, erc20, store or deploy"]);
}

#[test]
fn a_node_refuses_bad_files_with_their_names() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let genesis = folder.path().join("genesis.json");
    let run = |more: &[&str], words: &[&str]| {
        let mut arguments = vec!["node", "run", "--data-dir", text(&data), "--p2p-port", "0", "--rpc-http-port", "0"];
        arguments.extend_from_slice(more);
        let output = ipe(&arguments);
        let said = stderr(&output) + &stdout(&output);
        assert!(!output.status.success() && !said.contains("panicked"), "{said}");
        for word in words {
            assert!(said.contains(word), "{arguments:?} lacks {word:?} in\n{said}");
        }
    };
    run(&[], &["genesis is not set", "IPE_GENESIS"]);
    run(&["--genesis", text(&folder.path().join("none.json"))], &["none.json"]);
    std::fs::write(&genesis, "{}").unwrap();
    run(&["--genesis", text(&genesis)], &["genesis.json", "config is missing"]);
    std::fs::copy(recorded("besu-25.5.0-header-votes").join("genesis.json"), &genesis).unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "hello").unwrap();
    run(&["--genesis", text(&genesis), "--key-file", text(&key)], &["key", "64 hex digits"]);
    let members = folder.path().join("network.json");
    std::fs::write(&members, "{\"nodes\": 1}").unwrap();
    run(&["--genesis", text(&genesis), "--members", text(&members)], &["network.json", "expected"]);
}

#[test]
fn init_writes_a_file_that_a_node_reads() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let genesis = recorded("besu-25.5.0-header-votes").join("genesis.json");
    let said = ok(&[
        "node",
        "init",
        "--data-dir",
        text(&data),
        "--genesis",
        text(&genesis),
        "--role",
        "writer",
        "--rpc-http-api",
        "ETH,QBFT",
    ]);
    assert!(said.contains("enode://") && said.contains("0xce6c172d"), "{said}");
    let settings = std::fs::read_to_string(data.join("node.toml")).unwrap();
    let table: toml::Table = settings.parse().unwrap();
    assert_eq!(table["role"].as_str(), Some("writer"));
    // The written file is read without complaint, and the second time nothing is made anew.
    let again = ok(&["node", "init", "--config", text(&data.join("node.toml"))]);
    assert!(again.contains("existing key"), "{again}");
}

/// The file's meaning as JSON, and the same in words.
fn explained(file: &Path) -> (Value, String) {
    let json = serde_json::from_str(&ok(&["genesis", "explain", text(file), "--json"])).unwrap();
    (json, ok(&["genesis", "explain", text(file)]))
}

#[test]
fn transitions_are_explained_with_what_each_changes() {
    let contract = "0x0000000000000000000000000000000000004444";
    let (told, words) = explained(&recorded("besu-25.5.0-execution-london").join("genesis.json"));
    let transitions = &told["consensus"];
    assert_eq!(transitions[1]["from"]["block"], 25);
    assert_eq!(transitions[1]["changes"][0]["what"], "beneficiary");
    let what = |index: usize| -> Vec<String> {
        let changes = transitions[index]["changes"].as_array().unwrap();
        changes.iter().map(|change| format!("{}: {}", change["what"], change["after"]).replace('"', "")).collect()
    };
    assert_eq!(what(2), ["block period: 2 s", "block reward: 16 wei"]);
    assert_eq!(what(3), ["block period: 1 s", "beneficiary: the block's proposer"]);
    for line in ["from block 45", "block reward: 16 wei (before: ", "forks (block 0 has the rules of london)"] {
        assert!(words.contains(line), "{line:?} is not in\n{words}");
    }

    // The same file of transitions: by height on a chain without forks by time, by time on one with them.
    let (by_height, words) = explained(&recorded("besu-26.8.0-contract-validators").join("genesis.json"));
    assert_eq!(by_height["consensus"][1]["from"]["block"], 20);
    assert_eq!(by_height["consensus"][1]["validators"]["contract"], contract);
    assert_eq!(by_height["consensus"][1].get("note"), None);
    assert!(words.contains("from block 20") && !words.contains("never in force"), "{words}");
    let (by_time, words) = explained(&recorded("besu-26.8.0-transitions-as-time").join("genesis.json"));
    assert_eq!(by_time["consensus"][1]["from"]["time"], 20);
    assert!(by_time["consensus"][1]["note"].as_str().unwrap().contains("never in force"), "{by_time}");
    assert!(by_time["consensus"][2]["note"].as_str().unwrap().contains("from block 1 on"), "{by_time}");
    assert_eq!(by_time["validatorOverrides"][0]["block"], 70, "a forced set stays with its height");
    assert!(words.contains("at block 70 the validators become") && words.contains("time 20 (1970-01-01T00:00:20Z)"), "{words}");

    let (quorum, _) = explained(&recorded("quorum-24.4.1-contract-validators").join("genesis.json"));
    assert_eq!((&quorum["format"], &quorum["consensus"][1]["from"]["block"]), (&Value::from("GoQuorum"), &Value::from(20)));
}

/// `genesis explain` and `node run` refuse the same files, with the same words.
#[test]
fn what_a_node_refuses_is_explained_and_refused() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("genesis.json");
    let data = folder.path().join("data");
    let extra = "0xe5a00000000000000000000000000000000000000000000000000000000000000000c0c080c0";
    for (config, extra, words) in [
        (r#""berlinBlock":0,"ethash":{}"#, extra, "config.qbft is missing"),
        (r#""berlinBlock":0,"qbft":{}"#, "0x1234", "do not decode"),
    ] {
        let text_of =
            format!(r#"{{"config":{{"chainId":5,{config}}},"difficulty":"0x1","gasLimit":"0x1c9c380","extraData":"{extra}"}}"#);
        std::fs::write(&file, text_of).unwrap();
        let told = ipe(&["genesis", "explain", text(&file)]);
        assert!(stdout(&told).contains("hash "), "{}", stdout(&told));
        refused(&["genesis", "explain", text(&file)], 1, &[words, "does not run this chain"]);
        refused(&["node", "run", "--genesis", text(&file), "--data-dir", text(&data)], 1, &[words]);
    }
}

#[test]
fn every_recorded_and_published_genesis_is_explained() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures");
    let mut seen = 0;
    for folder in std::fs::read_dir(fixtures).unwrap().map(|entry| entry.unwrap().path()) {
        let Ok(lines) = std::fs::read_to_string(folder.join("blocks.jsonl")) else { continue };
        let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        let (told, words) = explained(&folder.join("genesis.json"));
        assert_eq!((&told["hash"], &told["stateRoot"]), (&first["hash"], &first["stateRoot"]), "{}", folder.display());
        assert!(words.contains(first["hash"].as_str().unwrap()), "{words}");
        seen += 1;
    }
    assert!(seen >= 5, "recorded chains are there");

    // Published by RBB and by Besu's own tests: not ours to copy.
    let public = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures/public");
    for (file, hash, warning) in [
        ("rbb-pilot-genesis.json", "0xa7ce1b4328b704f45901db430f4b52eb1bc633cf78b8bde63c60e0ee84c431ed", None),
        ("rbb-lab-genesis.json", "0x95e4a9a0455ee3de8b99d93db03cf80a8306405084fd104dbd406aa27a2eaee6", None),
        (
            "besu-genesis_prague.json",
            "0x5d2d02fce02d1b7ca635ec91a4fe6f7aa36f9b3997ec4304e8c68d8f6f15d266",
            Some("config.qbft is missing"),
        ),
    ] {
        let path = public.join(file);
        if !path.exists() {
            println!("not run: {file} is not here");
            continue;
        }
        let shown = ipe(&["genesis", "explain", text(&path), "--json"]);
        let told: Value = serde_json::from_slice(&shown.stdout).unwrap();
        assert_eq!(told["hash"], hash, "{file}");
        // What a node would not run is explained as well, and is no success.
        let refused = told["refused"].as_str().unwrap_or_default();
        assert_eq!(shown.status.success(), warning.is_none(), "{told}");
        assert!(warning.is_none_or(|warning| refused.contains(warning)), "{told}");
    }
}

#[test]
fn recorded_chains_are_imported_and_exported() {
    for name in [
        "besu-25.5.0-header-votes",
        "besu-26.8.0-execution-osaka",
        "quorum-24.4.1-header-votes",
        "quorum-24.4.1-contract-validators",
    ] {
        let from = recorded(name);
        let folder = TempDir::new().unwrap();
        let data = folder.path().join("data");
        let lines = std::fs::read_to_string(from.join("blocks.jsonl")).unwrap();
        let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        let genesis = from.join("genesis.json");
        let place = ["--genesis", text(&genesis), "--data-dir", text(&data), "--json"];
        let blocks = from.join("blocks.rlp");

        // Half of it, then all of it: the second import goes on where the first ended.
        let all = std::fs::read(&blocks).unwrap();
        let half = folder.path().join("half.rlp");
        std::fs::write(&half, &all[..all.len() / 2]).unwrap();
        let output = ipe(&[&["blocks", "import", text(&half)], &place[..]].concat());
        assert_eq!(output.status.code(), Some(1), "{name}: a block cut off: {}", stderr(&output));
        let first: Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert!(first["error"].as_str().unwrap().contains("cut off"), "{first}");
        let told: Value = serde_json::from_str(&ok(&[&["blocks", "import", text(&blocks)], &place[..]].concat())).unwrap();
        assert_eq!(told["skipped"], first["number"], "{name}");
        assert_eq!((&told["number"], &told["hash"]), (&last["number"], &last["hash"]), "{name}");
        assert_eq!(told["stateRoot"], last["stateRoot"], "{name}");

        let exported = folder.path().join("exported.rlp");
        ok(&[&["blocks", "export", text(&exported)], &place[..]].concat());
        assert!(std::fs::read(&exported).unwrap() == all, "{name}: what is exported is what was imported");
        refused(&[&["blocks", "export", text(&exported)], &place[..]].concat(), 1, &["could not write"]);
        refused(
            &[&["blocks", "export", text(&folder.path().join("x")), "--to", "99999"], &place[..]].concat(),
            2,
            &["--to 99999", "expected a range"],
        );
    }
}

#[test]
fn an_import_ends_at_the_first_bad_block_and_keeps_the_rest() {
    let from = recorded("besu-25.5.0-header-votes");
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let genesis = from.join("genesis.json");
    let place = ["--genesis", text(&genesis), "--data-dir", text(&data)];
    let mut all = std::fs::read(from.join("blocks.rlp")).unwrap();
    // A byte of the last block's state root: the last block is within the last kilobytes.
    let lines = std::fs::read_to_string(from.join("blocks.jsonl")).unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    let root = hex::decode(&last["stateRoot"].as_str().unwrap()[2..]).unwrap();
    let at = all.windows(32).rposition(|window| window == root).expect("the last state root is in the file");
    all[at] ^= 1;
    let bad = folder.path().join("bad.rlp");
    std::fs::write(&bad, &all).unwrap();
    let output = ipe(&[&["blocks", "import", text(&bad), "--json"], &place[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    let told: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(told["number"].as_u64(), last["number"].as_u64().map(|number| number - 1), "{told}");
    assert!(told["rule"].is_string(), "{told}");
    refused(&[&["blocks", "import", text(&bad)], &place[..]].concat(), 1, &["bad.rlp", &format!("block {}", last["number"])]);
    let other = recorded("besu-26.8.0-header-votes").join("genesis.json");
    refused(&["blocks", "import", text(&bad), "--genesis", text(&other), "--data-dir", text(&data)], 1, &["genesis"]);
}

#[test]
fn a_lab_refuses_what_it_cannot_be() {
    let folder = TempDir::new().unwrap();
    let dir = folder.path().join("lab");
    let place = ["--dir", text(&dir)];
    let up = |more: &[&str], words: &[&str]| refused(&[&["lab", "up", "--detach"], more, &place[..]].concat(), 2, words);
    up(&["--institutions", "0"], &["institutions: got 0, expected 1 to 20"]);
    up(&["--institutions", "21"], &["institutions: got 21"]);
    up(&["--boots", "9"], &["boots: got 9, expected 1 to 4"]);
    up(&["--block-period", "fast"], &["--block-period", "fast", "250ms"]);
    up(&["--block-period", "1ms"], &["block-period", "20 to 600000"]);
    up(&["--gas-limit", "1"], &["gas-limit: got 1"]);
    up(&["--topology", "ring"], &["ring", "sentry or mesh"]);
    up(&["--fork", "x"], &["fork: got x", "cancun"]);
    up(&["--alloc", text(&folder.path().join("none.json"))], &["none.json", "could not read"]);
    let alloc = folder.path().join("alloc.json");
    std::fs::write(&alloc, r#"{"0x00000000000000000000000000000000000000aa": {"balance": "much"}}"#).unwrap();
    up(&["--alloc", text(&alloc)], &["alloc.json", "balance", "much", "wei"]);
    for command in [&["status"][..], &["stop"], &["start"], &["kill", "x"], &["wipe", "x"], &["logs", "x"]] {
        refused(&[&["lab"], command, &place[..]].concat(), 2, &["there is no lab in", "ipe lab up"]);
    }
    assert!(ok(&[&["lab", "down"], &place[..]].concat()).contains("no lab in"));
    assert!(!dir.exists(), "nothing is left of what was refused");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("letter.txt"), "dear").unwrap();
    up(&[], &["--dir", "lab.json", "empty folder"]);
    std::fs::write(dir.join("lab.json"), "{}").unwrap();
    refused(&[&["lab", "status"], &place[..]].concat(), 1, &["lab.json", "the plan that ipe lab up wrote"]);
    assert!(dir.join("letter.txt").exists());
}

const COMPOSE: &str = r#"
version: '3.4'
x-defaults:
  place: &place
    TZ: America/Sao_Paulo
services:
  boot01:
    image: ${IMAGE_BESU:-hyperledger/besu}:25.5.0
    environment:
      << : *place
      BESU_DATA_PATH: "/var/lib/besu"
      BESU_GENESIS_FILE: "/var/lib/besu/genesis.json"
      BESU_MIN_GAS_PRICE: 0
      BESU_RPC_HTTP_ENABLED: true
      BESU_RPC_HTTP_API: "ETH,QBFT,PERM"
      BESU_P2P_HOST: "${HOST}"
      BESU_P2P_PORT: "10303"
    command: >-
      --Xdns-enabled=true
      --Xdns-update-enabled=true
  writer01:
    image: hyperledger/besu:latest
    environment:
      - BESU_GENESIS_FILE=genesis.json
      - BESU_PERMISSIONS_NODES_CONTRACT_ENABLED=true
      - BESU_P2P_PORT
  web:
    image: nginx
"#;

#[test]
fn besus_configuration_is_translated_and_read_again() {
    let folder = TempDir::new().unwrap();
    let compose = folder.path().join("docker-compose.yml");
    std::fs::write(&compose, COMPOSE).unwrap();
    let env = folder.path().join("env");
    std::fs::write(&env, "# comment\nexport HOST='no.example'\nBESU_P2P_PORT=30309\n").unwrap();
    let place = ["besu", "translate", "--compose", text(&compose)];
    refused(&place, 2, &["boot01, writer01", "--service"]);
    refused(&[&place[..], &["--service", "boot01"]].concat(), 2, &["BESU_P2P_HOST", "HOST", "--env"]);
    let settings = folder.path().join("node.toml");
    ok(&[&place[..], &["--service", "boot01", "--env", text(&env), "--out", text(&settings)]].concat());
    let table: toml::Table = std::fs::read_to_string(&settings).unwrap().parse().unwrap();
    for (key, value) in [
        ("data-dir", "/var/lib/besu/ipe"),
        ("key-file", "/var/lib/besu/key"),
        ("min-gas-price", "0"),
        ("p2p-port", "10303"),
        ("rpc-http-enabled", "true"),
        ("dialect", "legacy"),
        ("rpc-release", "besu25"),
        ("topology", "mesh"),
    ] {
        assert_eq!(table[key].as_str(), Some(value), "{key}");
    }
    assert_eq!(table["p2p-host"][0].as_str(), Some("no.example"));
    assert!(std::fs::read_to_string(&settings).unwrap().contains("# --Xdns-enabled = true: names in enodes"));

    // A service that asks for rules by contract has them here too.
    let writer = [&place[..], &["--service", "writer01", "--env", text(&env)]].concat();
    let table: toml::Table = ok(&writer).parse().unwrap();
    assert_eq!(table["permissions-nodes-contract-enabled"].as_str(), Some("true"));
    refused(&["besu", "translate"], 2, &["--compose FILE"]);

    // Besu's own file does not say whose it is.
    let toml = folder.path().join("besu.toml");
    std::fs::write(&toml, "data-path=\"/data/besu\"\ngenesis-file=\"/g.json\"\n").unwrap();
    assert!(ok(&["besu", "translate", text(&toml)]).contains("does not say its version"));
    for (release, dialect) in [("25.5.0", "legacy"), ("26.8.0", "besu26")] {
        let table: toml::Table = ok(&["besu", "translate", "--release", release, text(&toml)]).parse().unwrap();
        assert_eq!(table["dialect"].as_str(), Some(dialect));
    }
    refused(&["besu", "translate", "--release", "newest", text(&toml)], 2, &["--release", "25.5.0"]);
}

/// Runs a node until it listens, asks `look` with its endpoints, stops it and insists on a clean end. Returns what `look`
/// saw and what the node printed.
fn running<T>(arguments: &[&str], data: &Path, look: &dyn Fn(&Value) -> T) -> (T, String) {
    use std::time::{Duration, Instant};
    let mut node = Command::new(env!("CARGO_BIN_EXE_ipe"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let endpoints = data.join("endpoints.json");
    let began = Instant::now();
    while !endpoints.exists() && began.elapsed() < Duration::from_secs(60) && node.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(50));
    }
    let seen = std::fs::read_to_string(&endpoints)
        .ok()
        .and_then(|text| serde_json::from_str(&text).ok())
        .map(|endpoints| std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| look(&endpoints))));
    let _ = Command::new("kill").arg(node.id().to_string()).status();
    let output = node.wait_with_output().unwrap();
    let said = stdout(&output) + &stderr(&output);
    assert!(output.status.success(), "{said}");
    match seen {
        Some(Ok(seen)) => (seen, said),
        Some(Err(panic)) => std::panic::resume_unwind(panic),
        None => panic!("the node did not start\n{said}"),
    }
}

#[test]
fn a_node_runs_with_besus_configuration() {
    let folder = TempDir::new().unwrap();
    let genesis = recorded("besu-25.5.0-header-votes").join("genesis.json");
    let besu = folder.path().join("besu.toml");
    let write = |more: &str| {
        let settings = format!(
            "data-path={:?}\ngenesis-file={:?}\np2p-host=\"127.0.0.1\"\np2p-interface=\"127.0.0.1\"\np2p-port=0\nrpc-http-enabled=true\n\
             rpc-http-port=0\ndiscovery-enabled=false\nsync-mode=\"FULL\"\n{more}",
            text(folder.path()),
            text(&genesis)
        );
        std::fs::write(&besu, settings).unwrap();
    };
    let run = ["node", "run", "--besu-config", text(&besu), "--dialect", "legacy"];
    write("permissions-accounts-contract-enabled=true\n");
    refused(&run, 1, &["permissions-accounts-contract-address", "the address of the ingress contract"]);
    write("permissions-nodes-contract-enabled=true\npermissions-nodes-contract-address=\"0x99\"\n");
    refused(&run, 2, &["permissions-nodes-contract-address", "0x and 40 hex digits"]);
    write("p2p-prt=1\n");
    refused(&run, 2, &["besu.toml", "did you mean p2p-port"]);
    write("");
    std::fs::write(folder.path().join("key"), format!("0x{}", "07".repeat(32))).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipe"));
    command.args(run).env("BESU_MAX_PEERS", "many").stdin(Stdio::null());
    let output = command.output().unwrap();
    assert!(stderr(&output).contains("BESU_MAX_PEERS") && stderr(&output).contains("many"), "{}", stderr(&output));

    let (told, said) = running(&run, &folder.path().join("ipe"), &|endpoints| endpoints.clone());
    assert!(told["rpcHttp"].is_string() && told["metrics"].is_null(), "{told}");
    assert!(said.contains("sync-mode = FULL has no effect"), "{said}");
    assert!(!said.contains("made a new node key"), "Besu's key is used: {said}");
}

/// The hash of block 0 holds neither chain id nor forks nor periods: a node that is started again names what was changed.
#[test]
fn a_genesis_file_that_was_changed_for_the_past_is_named_at_the_next_start() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let genesis = folder.path().join("genesis.json");
    let recorded = std::fs::read_to_string(recorded("besu-25.5.0-header-votes").join("genesis.json")).unwrap();
    std::fs::write(&genesis, &recorded).unwrap();
    let place = ["--genesis", text(&genesis), "--data-dir", text(&data), "--p2p-port", "0", "--rpc-http-port", "0"];
    let run = [&["node", "run"][..], &place].concat();
    let (_, said) = running(&run, &data, &|_| ());
    assert!(!said.contains("was changed for blocks"), "{said}");
    let mut file: Value = serde_json::from_str(&recorded).unwrap();
    let chain_id = file["config"]["chainId"].as_u64().unwrap();
    file["config"]["chainId"] = Value::from(chain_id + 1);
    std::fs::write(&genesis, file.to_string()).unwrap();
    for _ in 0..2 {
        let (_, said) = running(&run, &data, &|_| ());
        assert!(said.contains(&format!("config.chainId was {chain_id} and is {}", chain_id + 1)), "{said}");
    }
    std::fs::write(&genesis, &recorded).unwrap();
    let (_, said) = running(&run, &data, &|_| ());
    assert!(!said.contains("was changed for blocks"), "{said}");
}

/// Puts a GET and returns status line and body.
fn get(address: &str, path: &str) -> (String, String) {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// Puts a JSON-RPC request and returns the result, or the error object.
fn ask(rpc: &str, method: &str, params: Value) -> Value {
    use std::io::{Read, Write};
    let body = serde_json::json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let mut stream = std::net::TcpStream::connect(rpc).unwrap();
    let length = body.len();
    write!(stream, "POST / HTTP/1.1\r\nHost: {rpc}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let answer: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    answer.get("error").unwrap_or(&answer["result"]).clone()
}

/// Every metric served is in the table that `docs/metrics.md` shows, with its type and labels, and the other way round.
fn served_as_documented(text: &str) {
    use ipe_node::metric_table::{METRICS, There};
    let mut served = std::collections::BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let metric = METRICS.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("{name} is not in the table"));
            assert_eq!(metric.kind.name(), kind, "{name}");
            served.insert(name.to_owned(), metric);
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let family = ["", "_bucket", "_sum", "_count"].iter().find_map(|suffix| served.get(name.strip_suffix(suffix)?));
            let metric = family.unwrap_or_else(|| panic!("{name} has no type in\n{text}"));
            for label in line.split('"').step_by(2).filter_map(|part| part.strip_suffix('=')) {
                let label = label.trim_start_matches([',', '{']).rsplit(['{', ',']).next().unwrap();
                let known = metric.labels.contains(&label) || label == "le" || label == "quantile";
                assert!(known, "{line}: the table has no label {label}");
            }
        }
    }
    for metric in METRICS.iter().filter(|metric| metric.there == There::Always) {
        assert!(served.contains_key(metric.name), "{} is not served:\n{text}", metric.name);
    }
}

#[test]
fn a_running_node_serves_the_metrics_that_rules_and_dashboards_ask_for() {
    let folder = TempDir::new().unwrap();
    let genesis = recorded("besu-25.5.0-header-votes").join("genesis.json");
    let data = folder.path().join("data");
    let node = [
        "node",
        "run",
        "--data-dir",
        text(&data),
        "--genesis",
        text(&genesis),
        "--p2p-port",
        "0",
        "--p2p-interface",
        "127.0.0.1",
        "--rpc-http-port",
        "0",
        "--metrics-enabled",
        "--metrics-port",
        "0",
    ];
    running(&node, &data, &|endpoints| {
        let address = endpoints["metrics"].as_str().expect("metrics are served");
        let rpc = endpoints["rpcHttp"].as_str().expect("JSON-RPC is served");
        for port in [address, rpc] {
            assert!(get(port, "/live").1.contains("UP") && get(port, "/liveness").0.contains("200"), "{port}");
            let (status, body) = get(port, "/health");
            assert!(status.contains("503") && body.contains("\"peers\":0"), "{status} {body}");
            assert!(get(port, "/readiness?minPeers=0").0.contains("200"), "{port}");
            assert!(get(port, "/nothing").0.contains("404"), "{port}");
        }
        // The list of hosts holds for every listener.
        for (port, path) in [(address, "/metrics"), (address, "/health"), (rpc, "/health")] {
            let mut stream = std::net::TcpStream::connect(port).unwrap();
            std::io::Write::write_all(
                &mut stream,
                format!("GET {path} HTTP/1.1\r\nHost: rebound.example\r\nConnection: close\r\n\r\n").as_bytes(),
            )
            .unwrap();
            let mut answer = String::new();
            std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
            assert!(
                answer.starts_with("HTTP/1.1 403") && answer.ends_with(r#"{"message":"Host not authorized."}"#),
                "{path}: {answer}"
            );
        }
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}"#;
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {rpc}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        let mut stream = std::net::TcpStream::connect(rpc).unwrap();
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        std::io::Read::read_to_string(&mut stream, &mut String::new()).unwrap();

        let (_, metrics) = get(address, "/metrics");
        // RBB's rules join these two by the labels that Prometheus adds, so they may have none of their own; the rest is
        // asked for by public dashboards.
        for (name, kind) in [
            ("ethereum_blockchain_height", "gauge"),
            ("ethereum_best_known_block_number", "gauge"),
            ("ethereum_peer_count", "gauge"),
            ("ethereum_peer_limit", "gauge"),
            ("ethereum_min_gas_price", "gauge"),
            ("besu_blockchain_chain_head_timestamp", "gauge"),
            ("besu_blockchain_difficulty", "gauge"),
            ("besu_blockchain_difficulty_total", "gauge"),
            ("besu_synchronizer_in_sync", "gauge"),
            ("besu_transaction_pool_transactions", "gauge"),
            ("besu_peers_connected_total", "counter"),
            ("process_cpu_seconds_total", "counter"),
            ("process_resident_memory_bytes", "gauge"),
        ] {
            assert!(metrics.contains(&format!("# TYPE {name} {kind}\n")), "{name} is no {kind} in\n{metrics}");
            let values: Vec<&str> = metrics.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).collect();
            assert_eq!(values.len(), 1, "{name} has labels or is not there");
            assert!(values[0].parse::<f64>().unwrap().is_finite(), "{name} {values:?}");
        }
        served_as_documented(&metrics);
        let error = r#"{"jsonrpc":"2.0","id":1,"method":"eth_getBlockByNumber","params":["x",false]}"#;
        let mut stream = std::net::TcpStream::connect(rpc).unwrap();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: {rpc}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{error}",
            error.len()
        );
        std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
        // It has been answered, and the connection is kept open.
        assert!(std::io::Read::read(&mut stream, &mut [0; 512]).unwrap() > 0);
        let after = get(address, "/metrics").1;
        let counted = "besu_rpc_errors_count_total{rpcMethod=\"eth_getBlockByNumber\",errorType=\"INVALID_BLOCK_NUMBER_PARAMS\"} 1";
        assert!(after.contains(counted), "{after}");
        assert!(after.contains("besu_rpc_active_http_connection_count 1\n"), "{after}");
        served_as_documented(&after);
        // Besu's timers are summaries.
        assert!(metrics.contains("# TYPE besu_rpc_request_time summary"), "{metrics}");
        assert!(metrics.contains("besu_rpc_request_time{methodName=\"eth_blockNumber\",quantile=\"0.95\"}"), "{metrics}");
        assert!(metrics.contains("besu_rpc_request_time_count{methodName=\"eth_blockNumber\"} 1"), "{metrics}");
    });
}

#[test]
fn what_a_node_puts_into_its_blocks_changes_while_it_runs() {
    let folder = TempDir::new().unwrap();
    let genesis = recorded("besu-25.5.0-header-votes").join("genesis.json");
    let data = folder.path().join("data");
    let node = [
        "node",
        "run",
        "--data-dir",
        text(&data),
        "--genesis",
        text(&genesis),
        "--p2p-port",
        "0",
        "--p2p-interface",
        "127.0.0.1",
        "--rpc-http-port",
        "0",
        "--rpc-http-api",
        "ETH,MINER",
        "--min-gas-price",
        "7",
    ];
    running(&node, &data, &|endpoints| {
        let rpc = endpoints["rpcHttp"].as_str().expect("JSON-RPC is served");
        let ask = |method: &str, params: Value| ask(rpc, method, params);
        assert_eq!(ask("miner_getMinGasPrice", serde_json::json!([])), "0x7");
        assert_eq!(ask("miner_setMinGasPrice", serde_json::json!(["0x9"])), true);
        assert_eq!(ask("miner_getMinGasPrice", serde_json::json!([])), "0x9");
        assert_eq!(ask("eth_gasPrice", serde_json::json!([])), "0x9");
        assert_eq!(ask("miner_setMinGasPrice", serde_json::json!(["nine"]))["message"], "Invalid min gas price params");
        assert_eq!(ask("miner_setExtraData", serde_json::json!(["0x01ff"])), true);
        assert_eq!(ask("miner_getExtraData", serde_json::json!([])), format!("0x01ff{}", "00".repeat(30)));
        assert_eq!(ask("miner_setExtraData", serde_json::json!([format!("0x{}", "11".repeat(33))]))["code"], -32602);
        assert_eq!(ask("miner_changeTargetGasLimit", serde_json::json!([20_000_000])), "Success");
        assert_eq!(ask("miner_changeTargetGasLimit", serde_json::json!([1]))["message"], "Invalid target gas limit params");
        assert_eq!(ask("miner_start", serde_json::json!([]))["code"], -32601);
    });
}

#[test]
fn discovery_keeps_to_the_list_of_permitted_nodes() {
    let folder = TempDir::new().unwrap();
    let genesis = recorded("besu-25.5.0-header-votes").join("genesis.json");
    let (listing, other) = (folder.path().join("listing"), folder.path().join("other"));
    std::fs::create_dir_all(&listing).unwrap();
    std::fs::write(listing.join("permissions_config.toml"), "nodes-allowlist=[]\n").unwrap();
    let node = |data| {
        let given =
            ["node", "run", "--role", "boot", "--genesis", text(&genesis), "--p2p-port", "0", "--p2p-interface", "127.0.0.1"];
        let ports = [
            "--rpc-http-port",
            "0",
            "--rpc-http-api",
            "ETH,PERM",
            "--metrics-enabled",
            "--metrics-port",
            "0",
            "--discovery-enabled",
        ];
        [&given[..], &ports[..], &["--data-dir", text(data)]].concat()
    };
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let began = std::time::Instant::now();
        while !holds() {
            assert!(began.elapsed().as_secs() < 120, "still waiting: {what}");
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
    };
    let value = |endpoints: &Value, name: &str| -> f64 {
        let (_, metrics) = get(endpoints["metrics"].as_str().unwrap(), "/metrics");
        metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or(0.0)
    };
    let (pings, pongs) = (
        "besu_network_discovery_messages_inbound_total{name=\"PING\"}",
        "besu_network_discovery_messages_outbound_total{name=\"PONG\"}",
    );
    let known = "besu_network_discv4_known_peers_current";
    let list = [&node(&listing)[..], &["--permissions-nodes-config-file-enabled"]].concat();
    running(&list, &listing, &|first| {
        let enode = first["enode"].as_str().expect("it listens");
        let asks = [&node(&other)[..], &["--bootnodes", enode]].concat();
        running(&asks, &other, &|second| {
            until("it is pinged again and again", &|| value(first, pings) >= 2.0);
            assert_eq!((value(first, pongs), value(first, known), value(second, known)), (0.0, 0.0, 0.0));
            let rpc = first["rpcHttp"].as_str().unwrap();
            assert_eq!(ask(rpc, "perm_addNodesToAllowlist", serde_json::json!([[second["enode"]]])), "Success");
            until("both know each other", &|| value(first, known) == 1.0 && value(second, known) == 1.0);
            assert_eq!(ask(rpc, "perm_removeNodesFromAllowlist", serde_json::json!([[second["enode"]]])), "Success");
            until("it has forgotten the other", &|| value(first, known) == 0.0);
        });
    });
}

/// A stopped node's folder is looked at without starting it; a node does not start on a damaged one and says what to keep.
#[test]
fn a_damaged_folder_is_told_with_what_to_keep_and_to_do() {
    let from = recorded("besu-25.5.0-header-votes");
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    let genesis = from.join("genesis.json");
    ok(&["blocks", "import", text(&from.join("blocks.rlp")), "--genesis", text(&genesis), "--data-dir", text(&data)]);
    let run = [
        "node",
        "run",
        "--role",
        "validator",
        "--topology",
        "mesh",
        "--genesis",
        text(&genesis),
        "--data-dir",
        text(&data),
        "--p2p-port",
        "0",
        "--p2p-interface",
        "127.0.0.1",
        "--rpc-http-port",
        "0",
    ];
    let check = ["store", "check", text(&data)];
    running(&run, &data, &|_| refused(&check, 1, &["in use by another process", "stop that process first"]));
    let told: Value = serde_json::from_str(&ok(&[&check[..], &["--json"]].concat())).unwrap();
    assert_eq!((&told["sound"], &told["damaged"]), (&json!(true), &json!([])), "{told}");
    assert!(told["beside"].as_array().unwrap().len() >= 2 && told["files"].as_u64().unwrap() > 30, "{told}");
    assert!(ok(&check).contains("database  sound"));

    let flip = |file: &Path, at: usize| {
        let mut bytes = std::fs::read(file).unwrap();
        bytes[at] ^= 4;
        std::fs::write(file, bytes).unwrap();
    };
    let current = data.join("database/keyspaces/3/current");
    flip(&current, 9);
    {
        let words = &["damaged   keyspaces/3/"][..];
        let output = ipe(&check);
        assert_eq!(output.status.code(), Some(1));
        words.iter().for_each(|word| assert!(stdout(&output).contains(word), "{}", stdout(&output)));
    }
    let keep = ["signing.journal*", "Keep the node's key", "fetches", "keyspaces/3/"];
    refused(&check, 1, &keep[..3]);
    refused(&run, 1, &keep);
    let output = ipe(&run);
    assert!(!(stdout(&output) + &stderr(&output)).contains("free space"));
    flip(&current, 9);
    ok(&check);

    let journal = data.join("signing.journal");
    flip(&journal, 40);
    let output = ipe(&[&check[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&told["sound"], &told["damaged"]), (&json!(false), &json!([])), "{told}");
    assert!(
        stderr(&output).contains("signing journal is damaged") && stderr(&output).contains("must not be put back"),
        "{}",
        stderr(&output)
    );
    refused(&["store", "check", text(folder.path())], 2, &["holds no database"]);
}

/// Nodes reach each other and are asked over IPv6, and one whose `p2p-host` is not what the others see says so; so does one whose key
/// others can read.
#[test]
fn nodes_on_ipv6_and_what_they_warn_of() {
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, Instant};
    let folder = TempDir::new().unwrap();
    let genesis = recorded("besu-25.5.0-header-votes").join("genesis.json");
    let node = |data: &Path, host: &str| -> Vec<String> {
        let given = [
            "node",
            "run",
            "--role",
            "boot",
            "--genesis",
            text(&genesis),
            "--p2p-port",
            "0",
            "--p2p-interface",
            "::1",
            "--p2p-host",
            host,
        ];
        let ports = [
            "--rpc-http-port",
            "0",
            "--rpc-http-host",
            "::1",
            "--rpc-http-api",
            "ETH,NET,WEB3,IPE",
            "--metrics-enabled",
            "--metrics-port",
            "0",
            "--metrics-host",
            "::1",
            "--discovery-enabled",
        ];
        [&given[..], &ports[..], &["--data-dir", text(data)]].concat().into_iter().map(str::to_owned).collect()
    };
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < Duration::from_secs(120), "still waiting: {what}");
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    fn run<T>(arguments: &[String], data: &Path, look: &dyn Fn(&Value) -> T) -> (T, String) {
        running(&arguments.iter().map(String::as_str).collect::<Vec<_>>(), data, look)
    }
    let health =
        |endpoints: &Value| -> Value { serde_json::from_str(&get(endpoints["rpcHttp"].as_str().unwrap(), "/health").1).unwrap() };
    let [first, second, third] = ["first", "second", "third"].map(|name| folder.path().join(name));
    run(&node(&first, "::1"), &first, &|one| {
        let enode = one["enode"].as_str().unwrap().to_owned();
        assert!(enode.contains("@[::1]:"), "{enode}");
        run(&node(&second, "::1"), &second, &|two| {
            let statics = format!("{enode},{}", two["enode"].as_str().unwrap());
            ok(&["key", "new", text(&third.join("key"))]);
            std::fs::set_permissions(third.join("key"), std::fs::Permissions::from_mode(0o640)).unwrap();
            let mut arguments = node(&third, "2001:db8::7");
            arguments.extend(["--static-nodes".to_owned(), statics]);
            let (_, said) = run(&arguments, &third, &|three| {
                let rpc = three["rpcHttp"].as_str().unwrap();
                assert!(rpc.starts_with("[::1]:"), "{rpc}");
                until("it is connected to both", &|| ask(rpc, "net_peerCount", json!([])) == "0x2");
                assert!(get(three["metrics"].as_str().unwrap(), "/metrics").0.contains("200"));
                until("it says how it is seen, and that its key is read", &|| {
                    health(three)["warnings"].as_array().is_some_and(|all| all.len() == 2)
                });
                let warnings = health(three)["warnings"].to_string();
                assert!(
                    warnings.contains("see this node at ::1, p2p-host says 2001:db8::7") && warnings.contains("mode 0640"),
                    "{warnings}"
                );
                assert!(!warnings.contains(text(&third)), "{warnings}");
                assert_eq!(ask(rpc, "ipe_status", json!([]))["warnings"], health(three)["warnings"]);
                assert!(health(one)["warnings"].is_null() && health(two)["warnings"].is_null(), "{} {}", health(one), health(two));
            });
            assert!(said.contains("see this node at ::1") && said.contains("chmod 600"), "{said}");
        });
    });
}
