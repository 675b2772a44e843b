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
    assert_eq!(
        (&explained["allowed"], explained["change"][0].as_str().unwrap().contains("ipe account add")),
        (&json!(false), true),
        "{explained}"
    );
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
        (vec!["org", "list", "--chain-id", "5"], 2, "expected chain 5"),
        (
            vec!["org", "list", "--account-ingress", "0x0000000000000000000000000000000000008888", "--node-ingress", stranger],
            1,
            "has no organizations",
        ),
    ] {
        let said = net.refused(&arguments, code);
        assert!(said.contains(words), "ipe {}: {said}", arguments.join(" "));
    }
}

/// The same contracts without what the second generation does not have: they are told apart, and what storage does not keep comes
/// from events.
fn second_generation(url: &str, net: &Deployed, admin: &str) {
    let ours: Vec<[u8; 4]> = vec![
        Accounts::LIST_MAXCall::SELECTOR,
        Accounts::getNumberOfRecordsCall::SELECTOR,
        Accounts::getRecordCall::SELECTOR,
        Nodes::topologyCall::SELECTOR,
        Governance::charterCall::SELECTOR,
        Governance::stateOfCall::SELECTOR,
        Governance::getTrailCall::SELECTOR,
        Governance::getRuleCall::SELECTOR,
        Governance::getVoterCall::SELECTOR,
    ];
    let url = url.to_owned();
    let older = serve(move |method, params| {
        let data = params[0]["data"].as_str().and_then(|data| hex::decode(data).ok()).unwrap_or_default();
        if method == "eth_call" && data.get(..4).is_some_and(|selector| ours.iter().any(|own| own == selector)) {
            return Err(json!({ "code": 3, "message": "execution reverted", "data": "0x" }));
        }
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let answer = common::http::post(&url, &body).map_err(|error| json!({ "code": 1, "message": error }))?;
        let mut answer: Value =
            serde_json::from_str(&answer).map_err(|error| json!({ "code": 1, "message": error.to_string() }))?;
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
                known
                    .map(|(_, answer)| json!(hex::encode_prefixed(answer)))
                    .ok_or_else(|| json!({ "code": 3, "message": "execution reverted", "data": "0x" }))
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
            enodeHigh: B256::repeat_byte(0xab),
            enodeLow: B256::repeat_byte(0xab),
            nodeType: 5,
            geoHash: Default::default(),
            name: "no01".to_owned(),
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
    let named = |name: &str| Organizations::OrganizationData {
        id: U256::from(1),
        cnpj: "1".to_owned(),
        name: name.to_owned(),
        orgType: 9,
        canVote: true,
    };
    // Names that would clear the screen, and a kind that does not exist.
    let (output, said) =
        ipe(&base().with::<Organizations::getOrganizationsCall>(&vec![named("\u{1b}[2JTCU\u{202e}")]).serve(), &["org", "list"]);
    assert!(
        output.status.success() && !said.contains('\u{1b}') && said.contains("\\u{1b}[2JTCU") && said.contains("unknown (9)"),
        "{said}"
    );
    // Two organisations of one number.
    let (output, said) =
        ipe(&base().with::<Organizations::getOrganizationsCall>(&vec![named("a"), named("b")]).serve(), &["org", "list"]);
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

#[test]
fn contracts_in_the_genesis_obey_governance_from_the_first_block_on() {
    use alloy_primitives::TxKind;
    use common::contracts::signed;
    let folder = tempfile::TempDir::new().unwrap();
    let founding: String = include_str!("../../../docs/examples/founding.json")
        .replace("0x2000000000000000000000000000000000000001", &administrator(1).address().to_string())
        .replace("0x2000000000000000000000000000000000000002", &administrator(2).address().to_string());
    let file = folder.path().join("founding.json");
    std::fs::write(&file, founding).unwrap();
    let (output, _) = ipe("", &["genesis", "contracts", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let alloc = folder.path().join("alloc.json");
    std::fs::write(&alloc, &output.stdout).unwrap();

    let lab = Lab::up(&["--institutions", "1", "--alloc", alloc.to_str().unwrap()]);
    let node = lab.with_role("writer").remove(0);
    // A stranger's transactions are in the first block that has any.
    let stranger = ipe_types::NodeKey::from_bytes([0x77; 32]).unwrap();
    let chain_id = 1_337;
    let mut nonce = 0;
    let mut sent = Vec::new();
    for ingress in [ipe_rules::ACCOUNT_INGRESS, ipe_rules::NODE_INGRESS] {
        for name in [ipe_rules::RULES, ipe_rules::ADMINISTRATION] {
            let call = Ingress::setContractAddressCall { name, target: ingress };
            let raw = signed(&stranger, chain_id, nonce, TxKind::Call(ingress), call.abi_encode().into());
            sent.push(node.answer("eth_sendRawTransaction", json!([raw])));
            nonce += 1;
        }
    }
    for hash in sent {
        let mut receipt = Value::Null;
        lab.until("the stranger's transactions are in a block", || {
            receipt = node.answer("eth_getTransactionReceipt", json!([hash]));
            !receipt.is_null()
        });
        assert_eq!(receipt["status"], "0x0", "a stranger registers: {receipt}");
    }
    let url = node.rpc.clone().unwrap();
    // Before any block there is no one but governance.
    let (_, said) = ipe(&url, &["contract", "list", "--block", "0", "--json"]);
    let told: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let governance = told["contracts"].as_array().unwrap().iter().find(|contract| contract["name"] == "governance").unwrap();
    assert_eq!(
        (&told["admins"], &told["network"]["accountRules"], &told["network"]["nodeRules"]),
        (&json!([governance["address"]]), &json!("ipe"), &json!("ipe"))
    );
    let (_, said) = ipe(&url, &["contract", "list"]);
    assert!(!said.contains("WARNING"), "{said}");
    let (_, said) = ipe(&url, &["contract", "show", "admin"]);
    assert!(said.contains("contracts only"), "{said}");
    let (_, said) = ipe(&url, &["node-rule", "list", "--block", "0"]);
    assert!(said.contains("boot01") && said.contains("Serpro (3)"), "{said}");
    let (_, said) = ipe(&url, &["org", "show", "TCU"]);
    assert!(said.matches("global-admin").count() == 2, "{said}");

    // And governance works: two of two patrons and an associate, two thirds of three.
    let key = folder.path().join("key");
    let vote = |n: u8, arguments: &[&str]| {
        std::fs::write(&key, hex::encode(administrator(n).secret_bytes().as_slice())).unwrap();
        let (output, said) = ipe(&url, &[arguments, &["--key", key.to_str().unwrap()]].concat());
        assert!(output.status.success(), "ipe {}: {said}", arguments.join(" "));
        said
    };
    let user = "0x00000000000000000000000000000000000000aa";
    let digest = format!("0x{}", "22".repeat(32));
    vote(1, &["account", "add", user, "--hash", &digest, "--org", "BNDES", "--duration", "1000"]);
    vote(1, &["proposal", "vote", "1", "yes"]);
    vote(2, &["proposal", "vote", "1", "yes"]);
    vote(2, &["proposal", "execute", "1"]);
    let (_, said) = ipe(&url, &["permission", "explain", user]);
    assert!(said.starts_with("ALLOWED") && said.contains("proposal 1, approved by BNDES (1), TCU (2)"), "{said}");
}

#[test]
fn changes_take_effect_and_wrong_ones_are_refused_before_they_are_sent() {
    let lab = Lab::up(&["--institutions", "1"]);
    lab.all_reach(1);
    let node = lab.with_role("writer").remove(0);
    let net = Deployed::on(&lab, &node);
    let (one, three, stranger) = (net.key(1), net.key(3), net.key_named("stranger"));
    let user = "0x00000000000000000000000000000000000000aa";
    let target = "0x00000000000000000000000000000000000000bb";
    let digest = format!("0x{}", "22".repeat(32));
    let node_key = "ab".repeat(64);

    // An account's life in its organisation.
    net.ok(&["account", "add", user, "--hash", &digest, "--key", &three]);
    net.ok(&["account", "restrict", user, target, "--key", &three]);
    let explained = net.json(&["permission", "explain", user]);
    assert!(explained["allowed"] == false && explained["because"].to_string().contains("restricted to 1 targets"), "{explained}");
    let explained = net.json(&["permission", "explain", user, "--target", target]);
    assert_eq!(explained["allowed"], true, "{explained}");
    net.ok(&["account", "release", user, "--key", &three]);
    net.ok(&["account", "update", user, "--role", "deployer", "--key", &three]);
    let shown = net.json(&["account", "show", user]);
    assert_eq!(
        (&shown["account"]["role"], &shown["account"]["digest"], &shown["allowed"]),
        (&json!("deployer"), &json!(digest), &json!(true)),
        "{shown}"
    );
    net.ok(&["account", "suspend", user, "--key", &three]);
    net.ok(&["account", "restore", user, "--key", &three]);
    let sent = net.json(&["account", "remove", user, "--key", &three, "--wait", "0"]);
    assert!(sent["block"].is_null() && sent["hash"].is_string(), "{sent}");
    lab.until("the account is gone", || net.run(&["account", "show", user]).status.code() == Some(1));

    // A node's.
    net.ok(&["node-rule", "add", &node_key, "--type", "writer", "--name", "w1", "--key", &three]);
    net.ok(&["node-rule", "update", &node_key, "--name", "w2", "--type", "boot", "--key", &three]);
    net.ok(&["node-rule", "suspend", &node_key, "--key", &three]);
    let shown = net.json(&["node-rule", "show", &node_key]);
    assert_eq!(
        (&shown["node"]["name"], &shown["node"]["type"], &shown["allowed"]),
        (&json!("w2"), &json!("boot"), &json!(false)),
        "{shown}"
    );
    net.ok(&["node-rule", "restore", &node_key, "--key", &three]);
    net.ok(&["node-rule", "remove", &node_key, "--key", &three]);

    // A proposal of several calls, made of what commands print, and written as text.
    let update = net.ok(&["org", "update", "TCU", "--votes", "false", "--print-call", "--dry-run", "--from", user]);
    let close = net.ok(&["contract", "restrict", target, "--print-call", "--dry-run", "--from", user]);
    let text = format!("accounts.addAccount({user}, 1, {}, {digest})", ipe_rules::words::USER_ROLE);
    let calls = ["proposal", "simulate", "--call", update.trim(), "--call", close.trim(), "--call", &text];
    let told = net.json(&calls);
    let changes = told["effects"]["changes"].to_string();
    assert!(
        changes.contains("does not vote") && changes.contains("callers of contract") && changes.contains("active user of BNDES"),
        "{told}"
    );
    let made = net.json(&["proposal", "propose", "--call", &text, "--duration", "1000", "--key", &one]);
    assert_eq!(made["proposal"], 1, "{made}");
    net.ok(&["proposal", "cancel", "1", "--reason", "engano", "--key", &one]);
    let shown = net.json(&["proposal", "show", "1"]);
    assert_eq!(
        (&shown["proposal"]["state"], &shown["proposal"]["cancelationReason"]),
        (&json!("canceled"), &json!("engano")),
        "{shown}"
    );

    // As master administrator, which the deployer still is, and with a keystore in place of a key.
    std::fs::write(net.file("deployer"), "09".repeat(32)).unwrap();
    // Not permitted as a sender, so the rules stop it first.
    let said = net.refused(&["org", "remove", "PUC-Rio", "--as-master", "--key", &net.key_named("deployer")], 1);
    assert!(said.contains("not sent: the rules do not allow"), "{said}");
    let said = net.refused(&["contract", "replace", "rules", "--nodes", user, "--key", &one], 1);
    assert!(said.contains("is no contract"), "{said}");
    let rehearsed = net.json(&["contract", "replace", "rules", "--nodes", &net.accounts.to_string(), "--dry-run", "--key", &one]);
    assert!(rehearsed["effects"]["failed"]["reason"].as_str().unwrap().len() > 10, "rules that are none: {rehearsed}");
    let said = net.refused(&["contract", "remove-admin", &net.governance.to_string(), "--key", &one], 1);
    assert!(said.contains("is the governance contract"), "{said}");

    // Votes in headers, by the validator's own JSON-RPC.
    let validator = lab.with_role("validator").remove(0).rpc.unwrap();
    net.ok(&["validator", "vote", target, "add", "--rpc", &validator]);
    net.ok(&["validator", "vote", target, "withdraw", "--rpc", &validator]);
    let own = net.json(&["validator", "list"])["validators"][0]["address"].as_str().unwrap().to_owned();
    let said = net.refused(&["validator", "vote", &own, "remove", "--rpc", &validator], 1);
    assert!(said.contains("the only validator"), "{said}");

    for (arguments, code, words) in [
        (vec!["account", "add", user], 2, "--key: name the file"),
        (vec!["account", "add", user, "--dry-run"], 2, "--from"),
        (vec!["account", "add", user, "--key", "/nonexistent/key"], 2, "/nonexistent/key"),
        (vec!["account", "add", user, "--role", "king", "--key", &three], 2, "expected one of global-admin"),
        (vec!["account", "add", user, "--key", &three], 1, "InvalidHash"),
        (vec!["account", "add", user, "--role", "global-admin", "--hash", &digest, "--key", &three], 1, "InvalidRole"),
        (vec!["account", "add", user, "--hash", &digest, "--key", &stranger], 1, "is not registered"),
        (vec!["account", "add", user, "--hash", &digest, "--key", &three, "--from", target], 2, "the key of --key is that of"),
        (vec!["account", "add", user, "--hash", &digest, "--org", "Acme", "--key", &three], 1, "there is no organization"),
        (vec!["account", "remove", user, "--key", &three], 1, "is not registered"),
        (vec!["account", "suspend", user, "--key", &three], 1, "is not registered"),
        (vec!["node-rule", "add", &node_key, "--type", "king", "--name", "x", "--key", &three], 2, "expected one of boot"),
        (
            vec!["node-rule", "add", &node_key, "--type", "boot", "--name", "x", "--node-key", &three, "--key", &three],
            2,
            "it is the key of",
        ),
        (vec!["node-rule", "remove", &node_key, "--key", &three], 1, "is not registered"),
        (vec!["org", "add", "X", "--cnpj", "1", "--type", "king", "--key", &one], 2, "expected one of partner"),
        (vec!["org", "add", "TCU", "--cnpj", "99", "--type", "associate", "--key", &one], 1, "call 1 would fail"),
        (vec!["org", "remove", "Acme", "--key", &one], 1, "there is no organization"),
        (vec!["org", "add", "X", "--cnpj", "1", "--type", "associate", "--key", &net.key(4)], 1, "does not vote"),
        (vec!["proposal", "propose", "--call", "accounts.fly()", "--key", &one], 2, "it has"),
        (vec!["proposal", "propose", "--call", "treasury.pay()", "--key", &one], 2, "expected an address, or one of"),
        (vec!["proposal", "propose", "--call", "0x12", "--key", &one], 2, "CONTRACT.function"),
        (vec!["proposal", "propose", "--key", &one], 2, "--call"),
        (vec!["proposal", "vote", "1", "maybe", "--key", &one], 2, "possible values: yes, no"),
        (vec!["proposal", "vote", "1", "yes", "--key", &one], 1, "IllegalState"),
        (vec!["proposal", "vote", "9", "yes", "--key", &one], 1, "ProposalNotFound"),
        (vec!["proposal", "veto", "1", "--reason", "x", "--key", &three], 1, "only patrons veto"),
        (vec!["proposal", "execute", "1", "--key", &one], 1, "IllegalState"),
        (vec!["proposal", "cancel", "1", "--reason", "x", "--key", &three], 1, "only the organization that proposed takes back"),
        (vec!["proposal", "simulate"], 2, "required"),
        (vec!["proposal", "simulate", "9"], 1, "ProposalNotFound"),
        (vec!["contract", "restrict", "governance", "--key", &one], 1, "is never restricted"),
        (vec!["contract", "remove-admin", user, "--key", &one], 1, "is no master administrator"),
        (vec!["validator", "add", user, "--key", &one], 1, "--validators-ingress"),
    ] {
        let said = net.refused(&arguments, code);
        assert!(said.contains(words), "ipe {}: {said}", arguments.join(" "));
    }
    assert_eq!(net.json(&["proposal", "list"])["total"], 1, "nothing that was refused was sent");
}

#[test]
fn validators_by_contract_are_shown_proposed_and_taken_out_for_maintenance() {
    let lab = Lab::up(&["--institutions", "1"]);
    lab.all_reach(1);
    let node = lab.with_role("writer").remove(0);
    let net = Deployed::on(&lab, &node);
    let keys: Vec<ipe_types::NodeKey> = (1..=6).map(|n| ipe_types::NodeKey::from_bytes([0x50 + n; 32]).unwrap()).collect();
    let initial = keys[..5].iter().map(ipe_types::NodeKey::address).collect();
    let ingress = net.selection(&lab, &node, initial).to_string();
    let with = |arguments: &[&str]| -> Vec<String> {
        arguments.iter().copied().chain(["--validators-ingress", ingress.as_str()]).map(str::to_owned).collect()
    };
    let json = |arguments: &[&str]| net.json(&with(arguments).iter().map(String::as_str).collect::<Vec<_>>());
    let ok = |arguments: &[&str]| net.ok(&with(arguments).iter().map(String::as_str).collect::<Vec<_>>());
    let refused = |arguments: &[&str], code| net.refused(&with(arguments).iter().map(String::as_str).collect::<Vec<_>>(), code);
    let (one, three) = (net.key(1), net.key(3));

    let list = json(&["validator", "list"]);
    assert_eq!((&list["selection"]["mode"], &list["selection"]["good"]), (&json!("manual"), &json!(true)), "{list}");
    let protected = list["validators"].as_array().unwrap().iter().filter(|validator| validator["selection"] == "protected").count();
    assert_eq!(protected, 5, "{list}");

    // A sixth one comes in by proposal, which shows it before anybody votes.
    let sixth = keys[5].address().to_string();
    let made = json(&["validator", "add", &sixth, "--enter", "--duration", "1000", "--key", &one]);
    assert_eq!(made["proposal"], 1, "{made}");
    let told = json(&["proposal", "simulate", "1"]);
    let change = &told["effects"]["changes"][0];
    assert!(change["what"] == format!("validator {sixth}") && change["after"] == "validates", "{told}");
    let shown = ok(&["proposal", "show", "1"]);
    assert!(shown.contains("validators.addEligibleValidatorByAddress"), "{shown}");
    for n in [1, 2] {
        ok(&["proposal", "vote", "1", "yes", "--key", &net.key(n)]);
    }
    ok(&["proposal", "execute", "1", "--key", &one]);
    let shown = json(&["validator", "show", &sixth]);
    assert_eq!(shown["validator"]["selection"], "operational", "{shown}");

    // Its organisation takes it out and brings it back; nobody else does.
    let node_id = hex::encode(keys[5].node_id());
    net.ok(&["node-rule", "add", &node_id, "--type", "validator", "--name", "v6", "--key", &three]);
    let said = refused(&["validator", "leave", &node_id, "--key", &one], 1);
    assert!(said.contains("NotLocalNode"), "{said}");
    ok(&["validator", "leave", &node_id, "--key", &three]);
    assert_eq!(json(&["validator", "show", &sixth])["validator"]["selection"], "eligible");
    let said = refused(&["validator", "leave", &node_id, "--key", &three], 1);
    assert!(said.contains("NotOperationalNode") && said.contains("not in office"), "{said}");
    ok(&["validator", "enter", &node_id, "--key", &three]);
    let said = refused(&["validator", "remove", &net.accounts.to_string(), "--key", &one], 1);
    assert!(said.contains("call 1 would fail") && said.contains("NotEligibleNode"), "{said}");
    let history = json(&["validator", "history"]);
    let events: Vec<&str> = history["events"].as_array().unwrap().iter().filter_map(|event| event["event"].as_str()).collect();
    assert!(events.contains(&"OperationalValidatorManuallyRemoved") && events.contains(&"EligibleValidatorAdded"), "{events:?}");
}
