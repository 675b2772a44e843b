use super::*;
use crate::config::{Given, resolve};
use std::path::PathBuf;

fn given(pairs: &[(&str, &str)]) -> Vec<GivenOption> {
    let (options, unknown) = read_besu_environment(pairs.iter().copied());
    assert_eq!(unknown, Vec::<String>::new());
    options
}

#[test]
fn the_table_is_consistent() {
    let mut seen = std::collections::HashSet::new();
    for option in BESU_OPTIONS {
        assert!(seen.insert(option.key), "{} twice", option.key);
        let ours = match option.fate {
            Fate::Same => option.key,
            Fate::Renamed(ours) | Fate::Converted(ours, _, _) => ours,
            _ => continue,
        };
        assert!(OPTIONS.iter().any(|spec| spec.key == ours), "{} names no setting: {ours}", option.key);
    }
}

/// The list of options is Besu's, not ours: none is missing, and only old names and hidden ones are besides.
#[test]
fn every_option_of_besus_sources_is_in_the_table() {
    let mut count = 0;
    for release in besu_releases() {
        count += 1;
        assert!(
            BESU_OPTIONS.iter().any(|option| option.key == release.key),
            "{} of Besu {} is unknown",
            release.key,
            release.first
        );
        assert!(["switch", "number", "text", "path", "list"].contains(&release.kind), "{release:?}");
    }
    assert!(count > 200, "{count} options");
    let besides = ["p2p-discovery-port", "rpc-http-authentication-public-key-file", "rpc-ws-authentication-public-key-file"];
    for option in BESU_OPTIONS.iter().filter(|option| !option.key.starts_with('X') && !besides.contains(&option.key)) {
        assert!(besu_releases().any(|release| release.key == option.key), "{} is in no release", option.key);
    }
    for (alias, key) in table::ALIASES {
        assert!(find(alias).is_some() && find(key).is_some(), "{alias} or {key} is not in the table");
    }
}

/// Inputs that real files have and that ended in an error, in a node that did not start, or in silence.
#[test]
fn what_files_say_without_need_is_dropped_with_a_note() {
    for (text, note, refused) in [
        ("rpc-http-api=[\"ETH\",\"EEA\",\"QBFT\"]", "methods of EEA", false),
        ("rpc-ws-api=[\"PRIV\",\"CLIQUE\",\"ENGINE\",\"NET\"]", "methods of CLIQUE", false),
        ("tx-pool-retention-hours=0", "13 hours", false),
        ("p2p-discovery-port=30303", "anyway", false),
        ("p2p-port=5\np2p-discovery-port=5", "anyway", false),
        ("p2p-port=5\np2p-discovery-port=6", "", true),
        ("graphql-http-enabled=true", "GraphQL", false),
        ("p2p-host=\"0.0.0.0\"", "no address that others dial", false),
        ("required-block=[\"1=0x00\"]", "", true),
        ("metrics-categories=[\"RPC\"]", "every metric", false),
        (
            "cache-last-block-headers=5\nrpc-max-active-filters=9\ncheckpoint=\"x\"\nera1-data-uri=\"x\"",
            "the database is another one",
            false,
        ),
        ("override-genesis-config=[\"londonBlock=5\"]", "", true),
    ] {
        let told = translate(&read_besu_toml(Path::new("besu.toml"), text).expect(text)).expect(text);
        assert_eq!(!told.refused.is_empty(), refused, "{text}: {:?}", told.refused);
        assert!(note.is_empty() || told.ignored.iter().any(|ignored| ignored.why.contains(note)), "{text}: {:?}", told.ignored);
        if !refused {
            resolve(&Given { besu: Some(told), ..Given::default() }).expect(text);
        }
    }
    let told = translate(&given(&[("BESU_RPC_HTTP_API", "ETH,EEA,qbft,IBFT"), ("BESU_P2P_PEER_UPPER_BOUND", "7")]))
        .expect("Besu takes these");
    assert_eq!(
        told.settings.iter().find(|(key, ..)| *key == "rpc-http-api").map(|(_, values, _)| values.join(",")),
        Some("ETH,qbft,IBFT".to_owned())
    );
    assert_eq!(told.get("max-peers"), Some("7"));
    // A switch takes no word that is none of its values, quotes that the shell did not take off are no part of a value.
    let words =
        ["--rpc-http-enabled", "--host-allowlist=\"*\"", "--metrics-enabled", "false", "--identity", "a b"].map(str::to_owned);
    let read: Vec<String> =
        read_besu_arguments(&words).expect("Besu's").into_iter().map(|option| option.values.join(",")).collect();
    assert_eq!(read, ["true", "*", "false", "a b"]);
}

#[test]
fn what_rbb_sets_is_understood_or_refused_by_name() {
    let rbb = [
        ("BESU_DATA_PATH", "/var/lib/besu"),
        ("BESU_GENESIS_FILE", "/var/lib/besu/genesis.json"),
        ("BESU_MAX_PEERS", "50"),
        ("BESU_REMOTE_CONNECTIONS_LIMIT_ENABLED", "false"),
        ("BESU_MIN_GAS_PRICE", "0"),
        ("BESU_TX_POOL", "sequenced"),
        ("BESU_RPC_HTTP_ENABLED", "true"),
        ("BESU_RPC_HTTP_API", "ADMIN,ETH,TXPOOL,NET,QBFT,WEB3,DEBUG,TRACE,PERM"),
        ("BESU_RPC_HTTP_CORS_ORIGINS", "*"),
        ("BESU_HOST_ALLOWLIST", "*"),
        ("BESU_METRICS_ENABLED", "true"),
        ("BESU_METRICS_HOST", "0.0.0.0"),
        ("BESU_DISCOVERY_ENABLED", "false"),
        ("BESU_P2P_HOST", "no.example"),
        ("BESU_P2P_PORT", "10303"),
        ("BESU_XDNS_ENABLED", "true"),
        ("BESU_XDNS_UPDATE_ENABLED", "true"),
    ];
    let told = translate(&given(&rbb)).expect("Besu takes these");
    assert_eq!(told.refused, vec![]);
    let ignored: Vec<&str> = told.ignored.iter().map(|note| note.spelled.as_str()).collect();
    assert_eq!(ignored, ["BESU_XDNS_ENABLED", "BESU_XDNS_UPDATE_ENABLED", "BESU_REMOTE_CONNECTIONS_LIMIT_ENABLED", "BESU_TX_POOL"]);
    assert_eq!(told.get("data-dir"), Some("/var/lib/besu/ipe"));
    assert_eq!(told.get("key-file"), Some("/var/lib/besu/key"));
    assert_eq!(told.static_nodes_beside_the_key().as_deref(), Some("/var/lib/besu/static-nodes.json"));
    assert_eq!((told.get("topology"), told.get("role")), (Some("mesh"), Some("validator")));
    assert!(told.remarks[0].contains("26.1 to 26.5"), "{:?}", told.remarks);

    // By contract, as RBB has it: taken over; an address that is missing is asked for, for a node without the rules must not pass for one
    // that has them.
    let mut all = rbb.to_vec();
    all.push(("BESU_PERMISSIONS_ACCOUNTS_CONTRACT_ENABLED", "true"));
    all.push(("BESU_PERMISSIONS_ACCOUNTS_CONTRACT_ADDRESS", "0x0000000000000000000000000000000000008888"));
    all.push(("BESU_PERMISSIONS_NODES_CONTRACT_ENABLED", "true"));
    let told = translate(&given(&all)).expect("Besu takes these");
    assert_eq!(told.refused, vec![]);
    assert_eq!(told.get("permissions-accounts-contract-address"), Some("0x0000000000000000000000000000000000008888"));
    let config = resolve(&Given { besu: Some(told), ..Given::default() }).expect("settings");
    let error = config.rules.permissioning().expect_err("no address").to_string();
    assert!(error.contains("permissions-nodes-contract-address"), "{error}");
}

#[test]
fn what_is_written_is_read_again_and_means_the_same() {
    let text = "data-path=\"d\"\np2p-port=1234\nbootnodes=[\"enode://".to_owned()
        + &"11".repeat(64)
        + "@192.168.0.1:4567\"]\nhost-allowlist=[\"all\"]\nlogging=\"WARN\"\ntx-pool-retention-hours=2\nrpc-http-api=[\"DEBUG\",\"ETH\"]\n\
           profile=\"ENTERPRISE\"\nXbft-legacy-protocol-encoding=true\nidentity=\"no \\\"1\\\"\\nx\"\nmin-priority-fee=0\n\
           permissions-nodes-config-file-enabled=true\nmetrics-category=[\"RPC\",\"JVM\"]\nbonsai-limit-trie-logs-enabled=true\n\
           data-storage-format=\"BONSAI\"\nbonsai-historical-block-limit=1024\n";
    // A name with a line break is refused by our reader; Besu's own would take it.
    let text = text.replace("\\nx", "");
    let told = translate(&read_besu_toml(Path::new("besu.toml"), &text).expect("Besu's")).expect("Besu takes these");
    let written = told.to_toml("besu.toml\n[table]");
    let again = resolve(&Given { file: Some((PathBuf::from("node.toml"), written.clone())), ..Given::default() }).expect(&written);
    let direct = resolve(&Given { besu: Some(told), ..Given::default() }).expect("understood");
    assert_eq!(again, crate::config::NodeConfig { warnings: vec![], ..direct.clone() }, "{written}");
    assert_eq!(again.host_allowlist, ["*"]);
    assert_eq!((again.archive, again.historical_blocks), (false, 1_024));
    assert_eq!((again.p2p_port, again.pool.retention_s, again.min_gas_price), (1234, 7_200, 0));
    assert_eq!((again.rpc_http.enabled, again.rpc_http.max_connections, again.discovery), (false, 300, true));
    assert_eq!(again.dialect, ipe_types::Dialect::Legacy);
    assert_eq!(again.nodes_list.file, Some(PathBuf::from("d/permissions_config.toml")));
    assert_eq!(again.name, "no \"1\"");
    let told = direct.warnings.join("\n");
    assert!(told.contains("metrics-category = RPC,JVM") && told.contains("bonsai-limit-trie-logs-enabled"), "{told}");
}

#[test]
fn flags_win_over_the_environment_over_the_file() {
    let mut options = read_besu_toml(Path::new("besu.toml"), "p2p-port=1\nrpc-http-port=2\nmetrics-port=3\n").expect("Besu's");
    options.extend(given(&[("BESU_RPC_HTTP_PORT", "4"), ("BESU_METRICS_PORT", "5")]));
    options.extend(read_besu_arguments(&["--metrics-port".into(), "6".into(), "--rpc-http-enabled".into()]).expect("Besu's"));
    let besu = Some(translate(&options).expect("Besu takes these"));
    let flags = vec![("p2p-host", vec!["10.0.0.1".to_owned()]), ("role", vec!["boot".to_owned()])];
    let config = resolve(&Given { besu, flags, ..Given::default() }).expect("understood");
    assert_eq!((config.p2p_port, config.rpc_http.port, config.metrics_port), (1, 4, 6));
    assert!(config.rpc_http.enabled);
    assert_eq!((config.role, config.p2p_host.as_slice()), (ipe_types::Role::Boot, &["10.0.0.1".to_owned()][..]));
}

#[test]
fn mistakes_are_named() {
    let toml = |text: &str| match read_besu_toml(Path::new("besu.toml"), text) {
        Ok(options) => match translate(&options) {
            Ok(told) => resolve(&Given { besu: Some(told), ..Given::default() }).expect_err(text).to_string(),
            Err(error) => error,
        },
        Err(error) => error.to_string(),
    };
    for (text, words) in [
        ("p2p-prt=1", vec!["besu.toml", "p2p-prt", "did you mean p2p-port"]),
        ("x =", vec!["besu.toml", "not TOML"]),
        ("p2p-port=70000", vec!["p2p-port", "70000", "65535"]),
        ("logging=\"LOUD\"", vec!["logging", "LOUD", "TRACE"]),
        ("tx-pool-retention-hours=\"x\"", vec!["tx-pool-retention-hours", "hours"]),
        ("net-restrict=[\"10.0.0.0/8\"]", vec!["net-restrict", "10.0.0.0/8"]),
        ("profile=\"STAKER\"", vec!["profile", "staker"]),
        ("p2p-port=1979-05-27", vec!["p2p-port", "a value or an array"]),
    ] {
        let error = toml(text);
        for word in words {
            assert!(error.contains(word), "{error}\nlacks {word:?}");
        }
    }
    assert!(read_besu_arguments(&["--no-such".into()]).is_err() && read_besu_arguments(&["x".into()]).is_err());
    assert_eq!(read_besu_environment([("BESU_NOTHING", "1"), ("HOME", "/")]), (vec![], vec!["BESU_NOTHING".to_owned()]));
}

#[test]
fn the_documented_table_is_this_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/besu-options.md");
    let wanted = markdown();
    if std::env::var_os("IPE_BLESS").is_some() {
        std::fs::write(path, &wanted).expect("docs/besu-options.md is writable");
    }
    let documented = std::fs::read_to_string(path).expect("docs/besu-options.md exists");
    assert!(documented == wanted, "docs/besu-options.md is not up to date; run this test with IPE_BLESS=1");
}
