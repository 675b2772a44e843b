//! Genesis files: hash vectors, what they say by block, and what a bad one is told.
#![allow(clippy::panic)]

use alloy_primitives::{Address, B256, U256};
use ipe_types::fork::Fork;
use ipe_types::genesis::{
    BaseFeePolicy, Genesis, GenesisAccount, GenesisBuilder, GenesisError, GenesisFormat, NodeAbi, NodeContract, Permissioning,
};
use ipe_types::spec::ChainSpec;
use ipe_types::transition::Selection;
use std::path::PathBuf;

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn recorded(folder: &str) -> (ChainSpec, B256, B256, Option<String>) {
    let dir = project().join("fixtures").join(folder);
    let text = std::fs::read_to_string(dir.join("genesis.json")).expect("recorded genesis");
    let lines = std::fs::read_to_string(dir.join("blocks.jsonl")).expect("recorded blocks");
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().expect("block 0")).expect("json");
    let hash = |key: &str| first[key].as_str().expect("hash").parse().expect("32 bytes");
    let spec = ChainSpec::parse(&text).unwrap_or_else(|error| panic!("{folder}: {error}"));
    (spec, hash("hash"), hash("stateRoot"), first["header"].as_str().map(str::to_owned))
}

#[test]
fn recorded_chains_begin_with_the_recorded_block() {
    for folder in [
        "besu-25.5.0-header-votes",
        "besu-25.5.0-contract-validators",
        "besu-25.5.0-execution-london",
        "besu-26.8.0-header-votes",
        "besu-26.8.0-execution-osaka",
        "besu-26.8.0-transitions-as-time",
        "quorum-24.4.1-header-votes",
        "quorum-24.4.1-contract-validators",
    ] {
        let (spec, hash, state_root, raw) = recorded(folder);
        assert_eq!(spec.genesis_header().state_root, state_root, "{folder}");
        if let Some(raw) = raw {
            assert_eq!(format!("0x{}", hex::encode(alloy_rlp::encode(spec.genesis_header()))), raw, "{folder}");
        }
        assert_eq!(spec.genesis_hash(), hash, "{folder}");
        assert_eq!(spec.fork_id(0, 0).next, 0);
        let unknown: Vec<_> = spec.warnings().iter().filter(|warning| warning.contains("unknown key")).collect();
        assert!(unknown.is_empty(), "{folder}: {unknown:?}");
    }
}

/// Files published by RBB and by Besu's own tests; they are not ours to copy, so a clone alone says "not run".
#[test]
fn published_genesis_hashes() {
    let dir = project().join("../shared/fixtures/public");
    for (file, hash, fork_hash) in [
        ("besu-genesisNonce.json", "36750291f1a8429aeb553a790dc2d149d04dbba0ca4cfc7fd5eb12d478117c9f", None),
        ("besu-genesis_shanghai.json", "fdc41f92053811b877be43e61cab6b0d9ee55501ae2443df0970c753747f12d8", None),
        ("besu-genesis_cancun.json", "87846b86c1026fa7d7be2da045716274231de1871065a320659c9b111287c688", None),
        ("besu-genesis_prague.json", "5d2d02fce02d1b7ca635ec91a4fe6f7aa36f9b3997ec4304e8c68d8f6f15d266", None),
        (
            "rbb-pilot-genesis.json",
            "a7ce1b4328b704f45901db430f4b52eb1bc633cf78b8bde63c60e0ee84c431ed",
            Some([0xa6, 0x20, 0xdb, 0xe8]),
        ),
        (
            "rbb-lab-genesis.json",
            "95e4a9a0455ee3de8b99d93db03cf80a8306405084fd104dbd406aa27a2eaee6",
            Some([0xd3, 0x5b, 0x5e, 0x07]),
        ),
    ] {
        let Ok(text) = std::fs::read_to_string(dir.join(file)) else {
            println!("not run: {file} is not here");
            continue;
        };
        let genesis = Genesis::parse(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let header_hash = alloy_primitives::keccak256(alloy_rlp::encode(genesis.header()));
        assert_eq!(hex::encode(header_hash), hash, "{file}");
        let Some(fork_hash) = fork_hash else { continue };
        let spec = ChainSpec::new(genesis).unwrap_or_else(|error| panic!("{file}: {error}"));
        let id = spec.fork_id(0, 0);
        assert_eq!((id.hash, id.next), (fork_hash, 0), "{file}");
        assert_eq!(spec.fork_at(1, 1), Fork::Berlin);
        let params = spec.qbft_at(1, 1);
        assert_eq!((params.period_ms, params.request_timeout_ms, params.epoch_length), (4000, 8000, 30_000));
        assert_eq!(spec.code_size_limit(1), 2_147_483_647);
    }
}

#[test]
fn transitions_by_block_change_what_they_name_and_inherit_the_rest() {
    let (spec, ..) = recorded("besu-25.5.0-execution-london");
    let beneficiary = |number| spec.qbft_at(number, 0).beneficiary;
    assert_eq!(beneficiary(24), Some(Address::repeat_byte(0xb1)));
    assert_eq!(beneficiary(25), Some(Address::repeat_byte(0xb2)));
    assert_eq!(beneficiary(55), None);
    assert_eq!(spec.qbft_at(44, 0).block_reward, U256::from(2_000_000_000_000_000_000_u64));
    assert_eq!(spec.qbft_at(45, 0).block_reward, U256::from(16));
    assert_eq!(spec.qbft_at(60, 0).block_reward, U256::from(16));
    assert_eq!([44, 45, 54, 55].map(|number| spec.qbft_at(number, 0).period_ms), [1000, 2000, 2000, 1000]);
    assert_eq!(spec.base_fee_policy(), BaseFeePolicy::Market);
    assert_eq!(spec.next_base_fee(spec.genesis_header(), 1, 0), Some(875_000_000));
}

#[test]
fn transitions_on_a_chain_with_forks_by_time_are_times() {
    let (spec, ..) = recorded("besu-26.8.0-transitions-as-time");
    assert_eq!(spec.qbft_at(30, 19).selection, Selection::Header);
    assert!(matches!(spec.qbft_at(1, 20).selection, Selection::Contract(_)));
    assert_eq!(spec.qbft_at(30, 1_700_000_000).selection, Selection::Header);
    assert_eq!(spec.validators_override(70).map(<[_]>::len), Some(3));
    assert_eq!(spec.validators_override(69), None);
    assert!(spec.warnings().iter().any(|warning| warning.contains("read as unix time 20")));
    let (spec, ..) = recorded("besu-25.5.0-contract-validators");
    assert_eq!(spec.qbft_at(19, 1_700_000_000).selection, Selection::Header);
    assert!(matches!(spec.qbft_at(20, 1_700_000_000).selection, Selection::Contract(_)));
}

#[test]
fn goquorum_files_are_read() {
    let (spec, ..) = recorded("quorum-24.4.1-header-votes");
    assert_eq!(spec.genesis().format, GenesisFormat::GoQuorum);
    let params = spec.qbft_at(1, 0);
    // It has "epoch": 60, which GoQuorum does not read: its key is epochlength.
    assert_eq!((params.period_ms, params.request_timeout_ms, params.epoch_length), (1000, 2000, 30_000));
    assert_eq!(spec.code_size_limit(1), 128 * 1024);

    let text = goquorum(
        r#""qbft": {"epochLength": 100, "miningBeneficiary": "0xb1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1", "beneficiaryMode": "fixed", "testQBFTBlock": 0},
        "transitions": [
          {"block": 20, "blockperiodseconds": 2, "requesttimeoutseconds": 7, "contractsizelimit": 64},
          {"block": 40, "beneficiaryMode": "validators", "epochlength": 7, "validatorselectionmode": "contract", "validatorcontractaddress": "0x4444"}
        ]"#,
    );
    let spec = ChainSpec::parse(&text).expect("flat transitions");
    assert_eq!((spec.qbft_at(1, 0).period_ms, spec.qbft_at(1, 0).request_timeout_ms), (5000, 10_000));
    assert_eq!((spec.qbft_at(20, 0).period_ms, spec.qbft_at(20, 0).request_timeout_ms), (2000, 7000));
    assert_eq!(spec.qbft_at(20, 0).beneficiary, Some(Address::repeat_byte(0xb1)));
    assert_eq!((spec.qbft_at(40, 0).beneficiary, spec.qbft_at(40, 0).epoch_length), (None, 7));
    assert!(matches!(spec.qbft_at(40, 0).selection, Selection::Contract(_)));
    assert_eq!((spec.code_size_limit(19), spec.code_size_limit(20)), (24_576, 65_536));

    let legacy = goquorum(r#""istanbul": {"epoch": 30000, "policy": 0, "ceil2Nby3Block": 0, "testQBFTBlock": 0}"#);
    let spec = ChainSpec::parse(&legacy).expect("legacy form");
    assert_eq!((spec.qbft_at(1, 0).period_ms, spec.qbft_at(1, 0).epoch_length), (5000, 30_000));
}

/// Block 0 and rules of files in GoQuorum's format; the hashes are those of `geth init` of 24.4.1.
#[test]
fn goquorum_has_no_fork_after_berlin() {
    const UP_TO_ISTANBUL: &str = r#""homesteadBlock":0,"eip150Block":0,"eip155Block":0,"eip158Block":0,"byzantiumBlock":0,
        "constantinopleBlock":0,"petersburgBlock":0,"istanbulBlock":0"#;
    let file = |forks: &str, root: &str| {
        format!(
            r#"{{"config": {{"chainId": 10, "isQuorum": true, {forks}, "qbft": {{"epochlength": 30000}}}}, {root},
            "extraData": "{CONTRACT_EXTRA}"}}"#
        )
    };
    let plain = r#""difficulty": "0x1", "gasLimit": "0xE0000000", "alloc": {}"#;
    let berlin = "0x3e3d98af66aa7a61c1846f2fd87a5de80a9f3fd44a2c38bd43e5f6b05bf4676e";
    for (more, root, fork_at_0) in [
        (r#","berlinBlock":0"#, plain, Fork::Berlin),
        (
            r#","berlinBlock":0,"londonBlock":0,"arrowGlacierBlock":0,"grayGlacierBlock":0"#,
            r#""baseFeePerGas": "0x0", "difficulty": "0x1", "gasLimit": "0xE0000000", "alloc": {}"#,
            Fork::Berlin,
        ),
        // The quickstart's own: London before Berlin.
        (r#","berlinBlock":10000000,"londonBlock":0"#, plain, Fork::Istanbul),
    ] {
        let spec = ChainSpec::parse(&file(&format!("{UP_TO_ISTANBUL}{more}"), root)).expect(more);
        assert_eq!(spec.genesis_hash().to_string(), berlin, "{more}");
        assert_eq!((spec.genesis().fork(), spec.genesis_header().base_fee_per_gas), (fork_at_0, None), "{more}");
        assert_eq!(spec.fork_at(20_000_000, u64::MAX), Fork::Berlin, "{more}");
        let told = spec.warnings().join("\n");
        assert_eq!(more.contains("london"), told.contains("config.londonBlock"), "{told}");
    }

    // Without petersburgBlock Constantinople begins as Petersburg; in Besu's reading it has its EIP-1283.
    let constantinople =
        r#""homesteadBlock":0,"eip150Block":0,"eip155Block":0,"eip158Block":0,"byzantiumBlock":0,"constantinopleBlock":0"#;
    let text = file(constantinople, plain);
    let spec = ChainSpec::parse(&text).expect("Petersburg");
    assert_eq!((spec.genesis_hash().to_string().as_str(), spec.genesis().fork()), (berlin, Fork::Petersburg));
    let besus = text.replace("\"isQuorum\": true,", "");
    assert_eq!(ChainSpec::parse(&besus).expect("Besu's").genesis().fork(), Fork::Constantinople);

    // Numbers without 0x are decimal, the last of two equal addresses counts, a gas limit of 0 is GoQuorum's own.
    let decimal = format!(
        r#""nonce":"10","timestamp":"100","difficulty": "10", "gasLimit": "0", "alloc": {{
        "0xAb00000000000000000000000000000000000001":{{"balance":"7","nonce":"10"}},
        "ab00000000000000000000000000000000000001":{{"balance":"8","nonce":"10","storage":{{"0x01":"0x05","0x{}":"0x07"}}}}}}"#,
        "aa".repeat(31)
    );
    let spec = ChainSpec::parse(&file(&format!("{UP_TO_ISTANBUL},\"berlinBlock\":0"), &decimal)).expect("decimal");
    assert_eq!(spec.genesis_hash().to_string(), "0x9c133880b48625290ac2513bde8b4447dd7ddf5fcbc0c5bbf4da5386fb4a142d");

    // Heights of GoQuorum's own features count in the fork id, as any other.
    let marked =
        file(&format!("{UP_TO_ISTANBUL},\"berlinBlock\":0,\"privacyEnhancementsBlock\":50,\"enableGasPriceBlock\":70"), plain);
    let spec = ChainSpec::parse(&marked).expect("marks");
    assert_eq!([0, 50, 70].map(|head| spec.fork_id(head, 0).next), [50, 70, 0]);
    // And gas has no price before the one that gives it one.
    assert_eq!(
        [0, 69, 70].map(|number| spec.goquorum_at(number).map(|rules| rules.priced)),
        [Some(false), Some(false), Some(true)]
    );
    assert_eq!(ChainSpec::parse(&besus).expect("Besu's").goquorum_at(0), None);
    let switched =
        goquorum(r#""qbft": {}, "transitions": [{"block": 3, "gasPriceEnabled": true}, {"block": 5, "gasPriceEnabled": false}]"#);
    let spec = ChainSpec::parse(&switched).expect("transitions");
    let priced = |number| spec.goquorum_at(number).is_some_and(|rules| rules.priced);
    assert_eq!((0..7).filter(|number| priced(*number)).collect::<Vec<_>>(), [3, 4]);
    assert!(!spec.warnings().iter().any(|warning| warning.contains("gasPriceEnabled")), "{:?}", spec.warnings());
}

/// GoQuorum asks a contract only with its address and the mode.
#[test]
fn goquorum_names_validators_by_contract_only_when_both_keys_say_so() {
    let contract = "0x0000000000000000000000000000000000004444";
    for (qbft, selection, warning) in [
        (format!(r#""validatorcontractaddress":"{contract}","validatorselectionmode":"contract""#), true, ""),
        (format!(r#""validatorcontractaddress":"{contract}""#), false, "has no effect without"),
        (format!(r#""validatorcontractaddress":"{contract}","validatorselectionmode":"Contract""#), false, "has no effect without"),
        (
            format!(r#""validatorcontractaddress":"{contract}","validatorselectionmode":"blockheader""#),
            false,
            "has no effect without",
        ),
        (
            r#""validatorcontractaddress":"0x0000000000000000000000000000000000000000","validatorselectionmode":"contract""#
                .to_owned(),
            false,
            "has no effect without",
        ),
        (r#""validatorselectionmode":"contract""#.to_owned(), false, "has no effect without"),
    ] {
        let spec = ChainSpec::parse(&goquorum(&format!(r#""qbft": {{{qbft}}}"#))).expect(&qbft);
        assert_eq!(matches!(spec.qbft_at(1, 0).selection, Selection::Contract(_)), selection, "{qbft}");
        let told = spec.warnings().join("\n");
        assert_eq!(told.contains("has no effect without"), !warning.is_empty(), "{qbft}: {told}");
    }

    // Address and mode come together from wherever they stand.
    let apart = goquorum(&format!(
        r#""qbft": {{"validatorcontractaddress":"{contract}"}}, "transitions": [{{"block": 7, "validatorselectionmode": "contract"}}]"#
    ));
    let spec = ChainSpec::parse(&apart).expect("apart");
    assert_eq!(spec.qbft_at(6, 0).selection, Selection::Header);
    assert!(matches!(spec.qbft_at(7, 0).selection, Selection::Contract(_)));

    // The engine by a transition at block 0, a set in the engine's object, 0 for what is not said.
    let by_transition = goquorum(
        r#""transitions": [{"block": 0, "algorithm": "qbft", "blockperiodseconds": 0, "requesttimeoutseconds": 4,
        "contractsizelimit": 64, "privacyEnhancementsEnabled": true, "enhancedPermissioningEnabled": false}]"#,
    );
    let spec = ChainSpec::parse(&by_transition).expect("an engine by transition");
    assert_eq!(
        (spec.qbft_at(1, 0).period_ms, spec.qbft_at(1, 0).request_timeout_ms, spec.code_size_limit(1)),
        (5000, 4000, 65_536)
    );
    assert_eq!(spec.qbft().entries().len(), 1, "a transition at block 0 is part of the genesis");
    assert!(spec.warnings().iter().any(|warning| warning.contains("privacyEnhancementsEnabled")), "{:?}", spec.warnings());
    let named = goquorum(r#""qbft": {"validators": ["0x1111111111111111111111111111111111111111"]}"#);
    assert_eq!(ChainSpec::parse(&named).expect("a set").validators_override(0).map(<[_]>::len), Some(1));
}

/// Besu before 26.5 knows one name for it, Besu after 26.8 the other, those between know both and go by the new one.
#[test]
fn the_period_of_empty_blocks_has_two_names() {
    let told = |qbft: &str| {
        let spec = ChainSpec::parse(&besu(&format!(r#""qbft": {{{qbft}}}"#), "")).expect(qbft);
        (spec.qbft_at(1, 0).empty_period_ms, spec.warnings().join("\n"))
    };
    let (new, old) = (r#""emptyblockperiodseconds": 20"#, r#""xemptyblockperiodseconds": 20"#);
    let (period, warning) = told(new);
    assert!(period == 20_000 && warning.contains("a Besu before 26.5 does not know this name"), "{warning}");
    assert!(warning.contains("write xemptyblockperiodseconds as well"), "{warning}");
    let (period, warning) = told(old);
    assert!(period == 20_000 && warning.contains("a Besu after 26.8 does not know this name"), "{warning}");
    assert_eq!(told(&format!("{new}, {old}")), (20_000, String::new()));
    let (period, warning) = told(r#""emptyblockperiodseconds": 20, "xemptyblockperiodseconds": 7"#);
    assert!(period == 20_000 && warning.contains("is 20 and"), "{warning}");
    assert_eq!(told(r#""xemptyblockperiodseconds": 0"#), (0, String::new()));

    let built = |goquorum| {
        let builder = GenesisBuilder {
            validators: vec![Address::ZERO],
            fork: Fork::Berlin,
            empty_period_s: 20,
            goquorum,
            ..GenesisBuilder::default()
        };
        builder.to_json().expect("a genesis")
    };
    assert_eq!(
        (built(false).matches("mptyblockperiodseconds").count(), built(true).matches("mptyblockperiodseconds").count()),
        (2, 1)
    );
    assert!(ChainSpec::parse(&built(false)).expect("a genesis").warnings().is_empty());
}

#[test]
fn the_format_is_that_of_the_client_that_can_read_the_file() {
    let format = |config: &str| Genesis::parse(&besu(config, "")).expect(config).format;
    for (config, besus) in [
        (r#""qbft": {}"#, true),
        (r#""qbft": {}, "isQuorum": true"#, false),
        (r#""qbft": {}, "isQuorum": false"#, true),
        (r#""qbft": {}, "transitions": []"#, false),
        (r#""qbft": {}, "isQuorum": true, "transitions": {"qbft": []}"#, true),
        (r#""qbft": {}, "isQuorum": true, "londonBlock": 0"#, false),
        (r#""qbft": {}, "isQuorum": true, "shanghaiTime": 0"#, true),
        (r#""qbft": {}, "isQuorum": true, "zeroBaseFee": true"#, true),
    ] {
        assert_eq!(format(config) == GenesisFormat::Besu, besus, "{config}");
    }
}

fn goquorum(consensus: &str) -> String {
    format!(
        r#"{{"config": {{"chainId": 10, "berlinBlock": 0, "isQuorum": true, {consensus}}}, "difficulty": "0x1",
        "gasLimit": "0xE0000000", "extraData": "{CONTRACT_EXTRA}", "alloc": {{}}}}"#
    )
}

const CONTRACT_EXTRA: &str = "0xe5a00000000000000000000000000000000000000000000000000000000000000000c0c080c0";

fn besu(config: &str, root: &str) -> String {
    format!(
        r#"{{"config": {{"CHAINID": 7, "berlinBlock": 0, {config}}}, "difficulty": "0x1", "gaslimit": 30000000,
        "extraData": "{CONTRACT_EXTRA}" {root}}}"#
    )
}

/// What people write who did not read the format's description; the hashes are those that Besu 25.5.0 and 26.8.0 make.
#[test]
fn besus_reading_of_loose_forms() {
    const EXTRA: &str = "0xf83aa00000000000000000000000000000000000000000000000000000000000000000d59493917cadbace5dfce132b991732c6cda9bcc5b8ac080c0";
    let file = |config: &str, root: &str, alloc: &str| {
        format!(
            r#"{{"config":{{"chainId":1337,"berlinBlock":0,{config}"qbft":{{"blockperiodseconds":2,"epochlength":30000,"requesttimeoutseconds":4}}}},
            "difficulty":"0x1","gasLimit":"0x1c9c380","extraData":"{EXTRA}"{root},"alloc":{{{alloc}}}}}"#
        )
    };
    const A: &str = "1000000000000000000000000000000000000001";
    let twice =
        format!(r#""{A}":{{"balance":"1","storage":{{"0x01":"0x01"}},"code":"0x6001","nonce":"5"}},"0x{A}":{{"balance":"2"}}"#);
    let case = r#""0xab00000000000000000000000000000000000001":{"balance":"1"},"0xAB00000000000000000000000000000000000001":{"balance":"7","Balance":"9"}"#;
    let short = format!(
        r#""0x12":{{"balance":"1"}},"13":{{"balance":"2"}},"0x{A}":{{"code":"6001","storage":{{"0x{}":"0x5","3":"0x{}"}}}}"#,
        "aa".repeat(31),
        "bb".repeat(31)
    );
    let odd_slot = format!(r#""0x{A}":{{"storage":{{"0x{}":"0x5","0x123":"0x4"}}}}"#, "a".repeat(63));
    let number = format!(r#""0x{A}":{{"balance":"1000000000000000000000000","nonce":10}}"#);
    let fee = format!(r#""0x{A}":{{"balance":"0x10","nonce":"10"}}"#);
    let free = format!(r#""0x{A}":{{"balance":"0x1"}}"#);
    for (name, text, hash, warnings) in [
        ("nothing", file("", "", ""), "0x1fd47d910016ccadb65ab4239b3104ba094cb8c67ea90b3b089bd5766c6bcd2e", vec![]),
        (
            "twice",
            file("", "", &twice),
            "0xd49eba4718c5dae7b256603ba169d3a9d5ebe7547705e1b72bd7093b052a8f1f",
            vec!["is there twice"],
        ),
        ("case", file("", "", case), "0x909c9de474825555d2f0f8b67718399cd0ea01aeeb96a0e13c4100e28fc06865", vec!["is there twice"]),
        (
            "short",
            file("", "", &short),
            "0xb297c7a8a3ca13f8e3841ad3aeb3202e23fe20af06ea30be4c8f5a2f3d2e6a4d",
            vec!["alloc.0x12 has 2 of", "alloc.13 has 2 of", "62 of 64 digits"],
        ),
        (
            "odd slot",
            file("", "", &odd_slot),
            "0xb1c2c317bf299e5a6f2e6361978b2d5a839849610e97ea5aade3970a57d30fde",
            vec!["63 of 64"],
        ),
        // 10 as a JSON number is 16, 010 as a time is 8.
        (
            "number",
            file("", r#","nonce":10,"timestamp":"010""#, &number),
            "0x9762df54771431eb9ea0cea5690ee0477f28d323d9975ba03d7487eedb8dbf48",
            vec![],
        ),
        (
            "fee",
            file(r#""londonBlock":0,"#, r#","baseFeePerGas":"10","timestamp":"0x10""#, &fee),
            "0x72fe67a453b3ec5169a60ecbdf267f75cd81d25fb98575249d6d05cb805a6c14",
            vec![],
        ),
        (
            "free",
            file(r#""londonBlock":0,"#, r#","baseFeePerGas":"0x0""#, &free),
            "0xd260b12fb981718f1531226e1bcf3887f26dafd27badaf4b7038b55c6cedf09a",
            vec!["zeroBaseFee"],
        ),
    ] {
        let spec = ChainSpec::parse(&text).expect(name);
        assert_eq!(spec.genesis_hash().to_string(), hash, "{name}");
        assert_eq!(spec.warnings().len(), warnings.len(), "{name}: {:?}", spec.warnings());
        for warning in warnings {
            assert!(spec.warnings().iter().any(|said| said.contains(warning)), "{name} lacks {warning:?}: {:?}", spec.warnings());
        }
    }
    // With the policy said, nothing rises; code of an odd number of digits gets a zero in front.
    let quiet = file(r#""londonBlock":0,"zeroBaseFee":true,"#, r#","baseFeePerGas":"0x0""#, "");
    assert_eq!(ChainSpec::parse(&quiet).expect("free").warnings(), Vec::<String>::new());
    let odd = ChainSpec::parse(&file("", "", &format!(r#""{A}":{{"code":"0x600"}}"#))).expect("odd");
    let even = ChainSpec::parse(&file("", "", &format!(r#""{A}":{{"code":"0x0600"}}"#))).expect("even");
    assert_eq!(odd.genesis_hash(), even.genesis_hash());
    assert!(odd.warnings().iter().any(|said| said.contains("odd number of digits")), "{:?}", odd.warnings());
    // A file of nothing but slips is answered with as much as people read.
    let many: Vec<String> = (0..300).map(|key| format!("\"key{key}\":1")).collect();
    let told = ChainSpec::parse(&file("", &format!(",{}", many.join(",")), "")).expect("readable").warnings().to_vec();
    assert_eq!((told.len(), told.last().map(String::as_str)), (101, Some("and 200 warnings more")));
}

/// Each mistake is answered with the key and what belongs there.
#[test]
fn mistakes_name_the_key_and_what_was_expected() {
    let qbft = r#""qbft": {"blockPeriodSeconds": 1}"#;
    for (text, words) in [
        ("{".to_owned(), vec!["not JSON", "line 1"]),
        ("[]".to_owned(), vec!["the whole file", "JSON object"]),
        ("{}".to_owned(), vec!["config is missing"]),
        (r#"{"config": 3}"#.to_owned(), vec!["config", "got 3", "JSON object"]),
        (r#"{"config": {"qbft": {}}}"#.to_owned(), vec!["gasLimit is missing"]),
        (besu(r#""qbft": 7"#, ""), vec!["config.qbft", "got 7"]),
        (besu(r#""qbft": {"epochLength": 0}"#, ""), vec!["config.qbft.epochLength", "got 0", "above 0"]),
        (besu(r#""qbft": {"blockperiodseconds": -1}"#, ""), vec!["blockperiodseconds", "got -1", "1 to ten years"]),
        (besu(r#""qbft": {"blockperiodseconds": 1e30}"#, ""), vec!["blockperiodseconds", "1 to ten years"]),
        (besu(r#""qbft": {"requesttimeoutseconds": 18446744073709551615}"#, ""), vec!["requesttimeoutseconds"]),
        (besu(r#""qbft": {"blockreward": "-5"}"#, ""), vec!["blockreward", "not negative"]),
        (besu(r#""qbft": {"miningbeneficiary": "0xzz"}"#, ""), vec!["miningbeneficiary", "address"]),
        (besu(r#""qbft": {"pertxgaslimit": 30000001}"#, ""), vec!["pertxgaslimit", "gasLimit"]),
        (besu(r#""qbft": {"startblock": 9}"#, ""), vec!["startBlock", "9", "IBFT"]),
        (besu(r#""qbft": {}, "transitions": {"qbft": [{}]}"#, ""), vec!["transitions.qbft[0].block is missing"]),
        (besu(r#""qbft": {}, "transitions": {"qbft": [{"block": 0}]}"#, ""), vec!["transitions.qbft[0].block", "above 0"]),
        (
            besu(r#""qbft": {}, "transitions": {"qbft": [{"block": 5}, {"block": 5}]}"#, ""),
            vec!["transitions.qbft[1].block", "second time"],
        ),
        (
            besu(&format!(r#""qbft": {{}}, "transitions": {{"qbft": [{}]}}"#, vec![r#"{"block":5}"#; 1001].join(",")), ""),
            vec!["transitions.qbft[1000]", "1001 transitions", "1000 at most"],
        ),
        (
            besu(r#""qbft": {}, "transitions": {"qbft": [{"block": 5, "validatorselectionmode": "contract"}]}"#, ""),
            vec!["validatorcontractaddress is missing"],
        ),
        (
            besu(r#""qbft": {}, "transitions": {"qbft": [{"block": 5, "validatorselectionmode": "blockheader"}]}"#, ""),
            vec!["validators is missing", "blockheader"],
        ),
        (
            besu(r#""qbft": {}, "transitions": {"qbft": [{"block": 5, "validatorselectionmode": "x"}]}"#, ""),
            vec!["validatorselectionmode", "blockheader"],
        ),
        (besu(r#""qbft": {}, "londonBlock": "abc""#, ""), vec!["config.londonBlock", "block number"]),
        (besu(r#""qbft": {}, "londonBlock": 9, "grayGlacierBlock": 3"#, ""), vec!["grayGlacierBlock", "londonBlock"]),
        (besu(r#""qbft": {}, "amsterdamTime": 9"#, ""), vec!["amsterdamTime", "not supported", "osakaTime"]),
        (besu(r#""qbft": {}, "ecCurve": "secp256r1""#, ""), vec!["ecCurve", "secp256k1"]),
        (besu(r#""qbft": {}, "evmStackSize": 5"#, ""), vec!["evmStackSize", "1024"]),
        (besu(r#""qbft": {}, "discovery": {"bootnodes": "enode"}"#, ""), vec!["discovery.bootnodes", "array"]),
        (besu(qbft, &format!(r#", "alloc": {{"{}": {{}}}}"#, "1".repeat(41))), vec!["alloc.111", "40 hex digits"]),
        (goquorum(r#""qbft": {}"#).replace(r#""alloc": {}"#, r#""alloc": {"12": {}}"#), vec!["alloc.12", "40 hex digits"]),
        (
            besu(qbft, r#", "alloc": {"0x0000000000000000000000000000000000000001": {"balance": "x"}}"#),
            vec!["alloc.0x0000000000000000000000000000000000000001.balance", "wei"],
        ),
        (besu(qbft, r#", "alloc": {"0000000000000000000000000000000000000001": {"code": "0xz"}}"#), vec!["code", "hex digits"]),
        (besu(qbft, r#", "timestamp": "soon""#), vec!["timestamp", "unix seconds"]),
        (goquorum(r#""istanbul": {"epoch": 1}"#), vec!["istanbul.testQBFTBlock is missing"]),
        (goquorum(r#""istanbul": {"testQBFTBlock": 5, "ceil2Nby3Block": 0}"#), vec!["testQBFTBlock", "5"]),
        (goquorum(r#""istanbul": {"testQBFTBlock": 0}"#), vec!["ceil2Nby3Block is missing", "2F+1"]),
        (goquorum(r#""qbft": {"ceil2Nby3Block": 5}"#), vec!["ceil2Nby3Block", "5"]),
        (goquorum(r#""qbft": {"policy": 1}"#), vec!["config.qbft.policy", "round robin"]),
        (goquorum(r#""qbft": {}, "ibft": {}"#), vec!["config.ibft", "IBFT"]),
        (goquorum(r#""qbft": {}, "yoloV3Block": 0"#), vec!["config.yoloV3Block", "not supported"]),
        (
            goquorum(r#""qbft": {}, "transitions": [{"block": 3, "validatorcontractaddress": "0x4444"}]"#),
            vec!["validatorselectionmode is missing", "contract"],
        ),
        (goquorum(r#""qbft": {"beneficiaryMode": "fixed"}"#), vec!["miningBeneficiary is missing"]),
        (goquorum(r#""qbft": {}, "transitions": [{"block": 3, "algorithm": "raft"}]"#), vec!["algorithm", "raft"]),
    ] {
        let error = ChainSpec::parse(&text).expect_err(&text).to_string();
        for word in words {
            assert!(error.contains(word), "{error}\nlacks {word:?} for\n{text}");
        }
    }
    let no_engine = besu(r#""ethash": {}"#, "");
    assert!(matches!(ChainSpec::parse(&no_engine), Err(GenesisError::Missing { key, .. }) if key == "config.qbft"));
    let bad_extra = besu(qbft, "").replace(CONTRACT_EXTRA, "0x1234");
    assert!(ChainSpec::parse(&bad_extra).expect_err("bad").to_string().contains("extraData"));
}

#[test]
fn unknown_keys_are_warnings() {
    let text = besu(r#""qbft": {"blockPeriodSecond": 1}, "berlinBlok": 0"#, r#", "alocc": {}"#);
    let spec = ChainSpec::parse(&text).expect("readable");
    for key in ["config.qbft.blockPeriodSecond", "config.berlinBlok", "alocc"] {
        assert!(spec.warnings().iter().any(|warning| warning.contains(key)), "{key}: {:?}", spec.warnings());
    }
}

#[test]
fn what_the_builder_writes_is_what_it_was_told() {
    let mut builder = GenesisBuilder {
        chain_id: 4242,
        validators: vec![Address::repeat_byte(9), Address::repeat_byte(2)],
        bootnodes: vec![format!("enode://{}@127.0.0.1:30303", "ab".repeat(64))],
        period_ms: 250,
        request_timeout_s: 3,
        fork: Fork::Osaka,
        timestamp: 1_700_000_000,
        code_size_limit: Some(1_000_000),
        ..GenesisBuilder::default()
    };
    let account = GenesisAccount {
        balance: U256::MAX,
        nonce: 3,
        code: vec![0x60, 0x00].into(),
        storage: [(B256::with_last_byte(1), U256::from(7))].into(),
    };
    builder.alloc.insert(Address::repeat_byte(1), account.clone());
    let nodes = NodeContract { address: Address::repeat_byte(7), abi: NodeAbi::V2 };
    let rules = Permissioning { accounts: Some(Address::repeat_byte(6)), nodes: Some(nodes), gas: 1_000_000 };
    builder.permissioning = vec![(0, rules), (9, Permissioning::default())];
    let spec = ChainSpec::parse(&builder.to_json().expect("valid")).expect("readable");
    assert!(spec.warnings().is_empty(), "{:?}", spec.warnings());
    assert_eq!((spec.chain_id(), spec.genesis().timestamp), (4242, 1_700_000_000));
    assert_eq!(spec.fork_at(1, 1_700_000_001), Fork::Osaka);
    assert_eq!((spec.qbft_at(1, 0).period_ms, spec.qbft_at(1, 0).request_timeout_ms), (250, 3000));
    assert_eq!(spec.genesis().bootnodes, builder.bootnodes);
    assert_eq!(spec.alloc()[&Address::repeat_byte(1)], account);
    assert_eq!(spec.code_size_limit(0), 1_000_000);
    assert_eq!(spec.genesis().permissioning.steps(), builder.permissioning);
    assert_eq!(spec.genesis_header().base_fee_per_gas, Some(0));
    assert_eq!(spec.next_base_fee(spec.genesis_header(), 1_700_000_001, 5), Some(0));
    let extra = ipe_types::ExtraData::decode(&spec.genesis_header().extra_data).expect("extra");
    assert_eq!(extra.validators, builder.validators);

    for fork in Fork::ALL {
        builder.fork = fork;
        let spec = ChainSpec::parse(&builder.to_json().expect("valid")).expect("readable");
        assert_eq!(spec.fork_at(0, builder.timestamp), fork);
    }
    builder.validators.clear();
    assert!(builder.to_json().expect_err("no validators").to_string().contains("validator"));
}

mod totality {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
            let _ = ChainSpec::parse(&text);
        }

        #[test]
        fn no_value_makes_the_reader_panic(key in "(qbft|transitions|discovery|londonBlock|maxCodeSizeConfig|istanbul|isQuorum|alloc|nonce)", value in "(\\[\\]|\\{\\}|\\[1\\]|\\[\\{\"block\":1\\}\\]|\"0x\"|\"\"|-1|1.5|null|true|99999999999999999999999)") {
            let _ = ChainSpec::parse(&besu(&format!(r#""{key}": {value}"#), ""));
            let _ = Genesis::parse_alloc(&value);
        }
    }
}

#[test]
fn a_file_for_goquorum_is_besus_as_well() {
    let plain = GenesisBuilder { fork: Fork::Berlin, validators: vec![Address::repeat_byte(1)], ..GenesisBuilder::default() };
    let both = GenesisBuilder { goquorum: true, ..plain.clone() };
    let text = both.to_json().expect("valid");
    let config = serde_json::from_str::<serde_json::Value>(&text).expect("JSON")["config"].clone();
    assert_eq!(config["isQuorum"], true);
    assert_eq!((config["qbft"]["policy"].as_u64(), config["qbft"]["ceil2Nby3Block"].as_u64()), (Some(0), Some(0)));
    // geth takes no fork without the one before.
    for key in [
        "homesteadBlock",
        "eip150Block",
        "eip155Block",
        "eip158Block",
        "byzantiumBlock",
        "constantinopleBlock",
        "petersburgBlock",
        "istanbulBlock",
        "berlinBlock",
    ] {
        assert_eq!(config[key], 0, "{key}");
    }
    let spec = ChainSpec::parse(&text).expect("readable");
    assert!(spec.warnings().is_empty(), "{:?}", spec.warnings());
    assert_eq!(spec.genesis_hash(), ChainSpec::parse(&plain.to_json().expect("valid")).expect("readable").genesis_hash());

    let unfit = [
        (GenesisBuilder { fork: Fork::London, ..both.clone() }, "berlin"),
        (GenesisBuilder { period_ms: 1_500, ..both.clone() }, "seconds"),
        (GenesisBuilder { code_size_limit: Some(49_152), ..both }, "contractSizeLimit"),
    ];
    for (builder, word) in unfit {
        let error = builder.to_json().expect_err("GoQuorum cannot follow it").to_string();
        assert!(error.contains("GoQuorum") && error.contains(word), "{error}");
    }
}
