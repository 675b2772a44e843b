//! The commands about who belongs, on a running network with the permissioning contracts: what they say, and what they refuse.
#![allow(clippy::panic, clippy::unwrap_used, missing_docs)]

mod common;

use alloy_primitives::{Address, B256, U256, hex};
use alloy_sol_types::SolCall;
use common::contracts::{Deployed, administrator};
use common::http::serve;
use common::lab::Lab;
use ipe_rules::abi::{Accounts, Admins, Gen01Accounts, Gen01Nodes, Governance, Ingress, Nodes, Organizations};
use serde_json::{Value, json};
use std::process::{Command, Output};

#[test]
fn commands_say_who_belongs() {
    let lab = Lab::up(&["--institutions", "1"]);
    lab.all_reach(1);
    let node = lab.with_role("writer").remove(0);
    let net = Deployed::on(&lab, &node);

    let orgs = net.json(&["org", "list"]);
    assert_eq!(orgs["network"]["accountRules"], "ipe", "{orgs}");
    assert_eq!(orgs["organizations"][1]["name"], "TCU");
    assert_eq!(orgs["organizations"][3]["votes"], false);
    let contracts = net.ok(&["contract", "list"]);
    assert!(contracts.contains("is above governance"), "the deployer is still master administrator: {contracts}");
    let accounts = net.json(&["account", "list", "--org", "Serpro"]);
    assert_eq!(accounts["accounts"][0]["role"], "global-admin", "{accounts}");

    let admin = administrator(3).address().to_string();
    let explained = net.json(&["permission", "explain", &admin]);
    assert_eq!(explained["allowed"], true, "{explained}");
    assert!(explained["because"][0].as_str().unwrap().contains("active global-admin of Serpro (3)"), "{explained}");
    assert!(explained["since"][0].as_str().unwrap().contains("added by"), "{explained}");
    let stranger = "0x00000000000000000000000000000000000000aa";
    let explained = net.json(&["permission", "explain", stranger]);
    assert_eq!((&explained["allowed"], explained["change"][0].as_str().unwrap().contains("ipe account add")), (&json!(false), true), "{explained}");
    let key = "ab".repeat(64);
    let explained = net.json(&["permission", "explain", &key]);
    assert_eq!(explained["allowed"], false, "{explained}");
    let explained = net.json(&["permission", "explain", &key, &"cd".repeat(64)]);
    assert_eq!((&explained["about"], &explained["allowed"]), (&json!("connection"), &json!(false)), "{explained}");
    let history = net.json(&["contract", "history"]);
    assert!(history["events"].as_array().unwrap().iter().any(|event| event["event"] == "RegistryUpdated"), "{history}");
    let deployment = history["events"][0]["transaction"].as_str().unwrap().to_owned();
    let explained = net.json(&["permission", "explain", &deployment]);
    assert_eq!(explained["about"], "transaction", "{explained}");
    let validators = net.json(&["validator", "list"]);
    assert_eq!(validators["validators"].as_array().unwrap().len(), 1, "{validators}");
    assert!(net.ok(&["proposal", "list"]).contains("DESCRIPTION"));
    let boot = lab.with_role("boot").remove(0);
    let enode = boot.answer("admin_nodeInfo", json!([]))["id"].as_str().unwrap().to_owned();
    let why = net.json(&["peer", "why", &enode]);
    assert_eq!((&why["connected"], &why["contract"]["allowed"]), (&json!(true), &json!(false)), "{why}");

    second_generation(&node.rpc.clone().unwrap(), &net, &admin);

    // Before the contracts there was no ingress.
    let past = net.json(&["permission", "explain", &admin, "--block", "0"]);
    assert_eq!(past["allowed"], true, "{past}");

    for (arguments, code, words) in [
        (vec!["org", "show", "9"], 1, "there is no organization 9"),
        (vec!["org", "show", "Acme"], 1, "there are BNDES, TCU, Serpro, PUC-Rio"),
        (vec!["account", "show", stranger], 1, "is not registered"),
        (vec!["account", "show", "0x12"], 2, "40 hex digits"),
        (vec!["node-rule", "show", "enode://12@1.2.3.4:5"], 2, "128"),
        (vec!["node-rule", "show", &key], 1, "is not registered"),
        (vec!["proposal", "show", "7"], 1, "ProposalNotFound"),
        (vec!["validator", "show", stranger], 1, "neither validates nor is eligible"),
        (vec!["validator", "history"], 1, "--validators-ingress"),
        (vec!["contract", "show", "treasury"], 2, "expected an address, or one of account-ingress"),
        (vec!["permission", "explain", "bndes"], 2, "transaction hash"),
        (vec!["permission", "explain", &format!("0x{}", "12".repeat(32))], 1, "knows no transaction"),
        (vec!["org", "list", "--block", "9999999"], 2, "the newest block"),
        (vec!["org", "list", "--account-ingress", "0x0000000000000000000000000000000000008888", "--node-ingress", stranger], 1, "has no organizations"),
    ] {
        let said = net.refused(&arguments, code);
        assert!(said.contains(words), "ipe {}: {said}", arguments.join(" "));
    }
}

/// The same contracts without what the second generation does not have: they are told apart, and what storage does not keep comes
/// from events.
fn second_generation(url: &str, net: &Deployed, admin: &str) {
    let ours: Vec<[u8; 4]> = vec![
        Accounts::LIST_MAXCall::SELECTOR, Accounts::getNumberOfRecordsCall::SELECTOR, Accounts::getRecordCall::SELECTOR,
        Nodes::topologyCall::SELECTOR, Governance::charterCall::SELECTOR, Governance::stateOfCall::SELECTOR,
        Governance::getTrailCall::SELECTOR, Governance::getRuleCall::SELECTOR, Governance::getVoterCall::SELECTOR,
    ];
    let url = url.to_owned();
    let older = serve(move |method, params| {
        let data = params[0]["data"].as_str().and_then(|data| hex::decode(data).ok()).unwrap_or_default();
        if method == "eth_call" && data.get(..4).is_some_and(|selector| ours.iter().any(|own| own == selector)) {
            return Err(json!({ "code": 3, "message": "execution reverted", "data": "0x" }));
        }
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let answer = common::http::post(&url, &body).map_err(|error| json!({ "code": 1, "message": error }))?;
        let mut answer: Value = serde_json::from_str(&answer).map_err(|error| json!({ "code": 1, "message": error.to_string() }))?;
        match answer.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(answer["result"].take()),
        }
    });
    let told = net.json(&["permission", "explain", admin, "--rpc", &older]);
    assert_eq!((&told["network"]["accountRules"], &told["network"]["nodeRules"]), (&json!("gen02"), &json!("gen02")), "{told}");
    assert!(told["since"][0].as_str().unwrap().contains("AccountAdded by"), "{told}");
    let said = net.refused(&["proposal", "veto", "1", "--reason", "x", "--key", &net.key(1), "--rpc", &older], 1);
    assert!(said.contains("second generation has no veto"), "{said}");
    let said = net.refused(&["account", "suspend", admin, "--propose", "--key", &net.key(1), "--rpc", &older], 1);
    assert!(said.contains("second generation's governance suspends nobody"), "{said}");
}

fn ipe(url: &str, arguments: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ipe")).args(arguments).env("IPE_RPC_URL", url).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, said)
}

/// What a call of a function answers, in a node that is made up.
struct Made(Vec<([u8; 4], Vec<u8>)>);

impl Made {
    fn with<C: SolCall>(mut self, answer: &C::Return) -> Self {
        self.0.push((C::SELECTOR, C::abi_encode_returns(answer)));
        self
    }

    fn serve(self) -> String {
        serve(move |method, params| match method {
            "eth_chainId" => Ok(json!("0x5")),
            "eth_blockNumber" => Ok(json!("0x64")),
            "eth_getLogs" => Ok(json!([])),
            "eth_call" => {
                let data = params[0]["data"].as_str().and_then(|data| hex::decode(data).ok()).unwrap_or_default();
                let known = self.0.iter().find(|(selector, _)| data.get(..4) == Some(selector.as_slice()));
                known.map(|(_, answer)| json!(hex::encode_prefixed(answer))).ok_or_else(|| json!({ "code": 3, "message": "execution reverted", "data": "0x" }))
            }
            _ => Err(json!({ "code": -32601, "message": "Method not found" })),
        })
    }
}

#[test]
fn the_first_generation_is_told_apart() {
    let account = Address::repeat_byte(7);
    let url = Made(Vec::new())
        .with::<Ingress::getContractAddressCall>(&Address::repeat_byte(0x11))
        .with::<Ingress::transactionAllowedCall>(&true)
        .with::<Ingress::connectionAllowedCall>(&ipe_rules::CONNECTION_ALLOWED)
        .with::<Admins::getAdminsCall>(&vec![account])
        .with::<Gen01Accounts::isReadOnlyCall>(&false)
        .with::<Gen01Accounts::getAccountsCall>(&vec![account])
        .with::<Gen01Accounts::accountPermittedCall>(&true)
        .with::<Gen01Accounts::getSizeCall>(&U256::from(1))
        .with::<Gen01Nodes::enodePermittedCall>(&true)
        .with::<Gen01Nodes::getByIndexCall>(&Gen01Nodes::getByIndexReturn {
            enodeHigh: B256::repeat_byte(0xab), enodeLow: B256::repeat_byte(0xab), nodeType: 5, geoHash: Default::default(), name: "no01".to_owned(),
            organization: "TCU".to_owned(),
        })
        .serve();
    let (_, said) = ipe(&url, &["account", "list", "--json"]);
    let told: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&told["network"]["accountRules"], &told["accounts"][0]["address"]), (&json!("gen01"), &json!(account)), "{said}");
    let (_, said) = ipe(&url, &["node-rule", "list"]);
    assert!(said.contains("no01") && said.contains("TCU") && said.contains("other"), "{said}");
    let (_, said) = ipe(&url, &["permission", "explain", &account.to_string()]);
    assert!(said.contains("ALLOWED") && said.contains("the first generation has no roles"), "{said}");
    let (output, said) = ipe(&url, &["org", "list"]);
    assert!(output.status.code() == Some(1) && said.contains("first generation"), "{said}");
}

#[test]
fn a_node_that_lies_is_not_believed() {
    let (rules, org) = (Address::repeat_byte(0x11), Address::repeat_byte(0x22));
    let base = || {
        Made(Vec::new())
            .with::<Ingress::getContractAddressCall>(&rules)
            .with::<Accounts::organizationsCall>(&org)
            .with::<Admins::getAdminsCall>(&Vec::new())
            .with::<Accounts::getNumberOfAccountsCall>(&U256::from(3))
            .with::<Nodes::getNumberOfNodesCall>(&U256::ZERO)
    };
    let named = |name: &str| Organizations::OrganizationData { id: U256::from(1), cnpj: "1".to_owned(), name: name.to_owned(), orgType: 9, canVote: true };
    // Names that would clear the screen, and a kind that does not exist.
    let (output, said) = ipe(&base().with::<Organizations::getOrganizationsCall>(&vec![named("\u{1b}[2JTCU\u{202e}")]).serve(), &["org", "list"]);
    assert!(output.status.success() && !said.contains('\u{1b}') && said.contains("\\u{1b}[2JTCU") && said.contains("unknown (9)"), "{said}");
    // Two organisations of one number.
    let (output, said) = ipe(&base().with::<Organizations::getOrganizationsCall>(&vec![named("a"), named("b")]).serve(), &["org", "list"]);
    assert!(output.status.code() == Some(1) && said.contains("two organizations of number 1"), "{said}");
    // A page that is shorter than the count.
    let (output, said) = ipe(&base().with::<Accounts::getAccountsCall>(&Vec::new()).serve(), &["account", "list"]);
    assert!(output.status.code() == Some(1) && said.contains("contradict each other"), "{said}");
    // Answers that are none.
    for (result, words) in [
        (json!("0x1234"), "no answer of"),
        (json!(7), "expected bytes in hexadecimal"),
        (json!("0x"), "no rules"),
        (json!(format!("0x{}", "ff".repeat(2 << 20))), "at most"),
    ] {
        let url = serve(move |method, _| match method {
            "eth_chainId" | "eth_blockNumber" => Ok(json!("0x5")),
            _ => Ok(result.clone()),
        });
        let (output, said) = ipe(&url, &["account", "list"]);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(words) || said.contains("no rules"), "{words}: {said}");
    }
    let url = serve(|_, _| Ok(json!("0xffffffffffffffffff")));
    let (output, said) = ipe(&url, &["account", "list"]);
    assert!(output.status.code() == Some(1) && said.contains("at most 64 bits"), "{said}");
    let url = serve(|_, _| Err(json!({ "code": 1, "message": "\u{1b}]0;title\u{7}" })));
    let (_, said) = ipe(&url, &["account", "list"]);
    assert!(!said.contains('\u{1b}') && said.contains("refused eth_chainId"), "{said}");
}
