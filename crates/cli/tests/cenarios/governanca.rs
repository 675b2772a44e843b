//! Steps of `features/governanca.feature`.

use cucumber::{then, when};
use serde_json::{Value, json};

use crate::Rede;
use crate::common::contracts::Deployed;

/// The account that the scenarios register.
const USER: &str = "0x00000000000000000000000000000000000000aa";
const DIGEST: &str = "0x1111111111111111111111111111111111111111111111111111111111111111";

fn net(rede: &Rede) -> &Deployed {
    rede.contracts.as_ref().expect("os contratos estão implantados")
}

fn node_of(rede: &Rede, role: &str) -> String {
    let node = rede.lab().with_role(role).remove(0);
    node.answer("admin_nodeInfo", json!([]))["id"].as_str().expect("um nó tem chave").to_owned()
}

fn sentences(value: &Value) -> String {
    value.as_array().unwrap().iter().map(|sentence| sentence.as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

#[when("os contratos de permissionamento estão implantados")]
fn deployed(rede: &mut Rede) {
    let writer = rede.lab().with_role("writer").remove(0);
    rede.contracts = Some(Deployed::on(rede.lab(), &writer));
}

#[when(expr = "a organização {int} propõe que decisões sobre organizações possam ser vetadas por {int} blocos")]
fn proposes_rule(rede: &mut Rede, org: u8, blocks: u32) {
    let call = format!("charter.setRule(1, (1, 2, 0, 1, {blocks}, {blocks}, 302400, false, false))");
    let made = net(rede).json(&[
        "proposal",
        "propose",
        "--call",
        &call,
        "--description",
        "veto",
        "--duration",
        "1000",
        "--key",
        &net(rede).key(org),
    ]);
    assert_eq!(made["proposal"], 1, "{made}");
}

#[when(expr = "a organização {int} propõe a entrada da organização {string}")]
fn proposes_org(rede: &mut Rede, org: u8, name: String) {
    let net = net(rede);
    let key = net.key(org);
    let made = net.json(&[
        "org",
        "add",
        &name,
        "--cnpj",
        "16.636.540/0001-04",
        "--type",
        "associate",
        "--votes",
        "--duration",
        "1000",
        "--key",
        &key,
    ]);
    assert_eq!(made["call"]["function"], "createProposal", "{made}");
}

#[when(expr = "a organização {int} propõe uma conta de usuário para a organização {string}")]
fn proposes_account(rede: &mut Rede, org: u8, owner: String) {
    let net = net(rede);
    let made = net.json(&[
        "account",
        "add",
        USER,
        "--role",
        "user",
        "--hash",
        DIGEST,
        "--org",
        &owner,
        "--duration",
        "1000",
        "--key",
        &net.key(org),
    ]);
    assert_eq!(made["proposal"], 3, "{made}");
}

#[when(regex = r"^as organizações ([\d, ]+) votam a favor da proposta (\d+)$")]
fn vote(rede: &mut Rede, orgs: String, id: u64) {
    for org in orgs.split(", ") {
        net(rede).ok(&["proposal", "vote", &id.to_string(), "yes", "--key", &net(rede).key(org.parse().unwrap())]);
    }
}

#[when(expr = "a organização {int} executa a proposta {int}")]
fn execute(rede: &mut Rede, org: u8, id: u64) {
    net(rede).ok(&["proposal", "execute", &id.to_string(), "--key", &net(rede).key(org)]);
}

#[when(expr = "a organização {int} veta a proposta {int} com o motivo {string}")]
fn veto(rede: &mut Rede, org: u8, id: u64, reason: String) {
    net(rede).ok(&["proposal", "veto", &id.to_string(), "--reason", &reason, "--key", &net(rede).key(org)]);
}

#[then(expr = "a proposta {int} mostra a chamada {string} e diz que faltam {int} aprovações")]
fn shows(rede: &mut Rede, id: u64, call: String, missing: u64) {
    let shown = net(rede).json(&["proposal", "show", &id.to_string()]);
    let (contract, function) = call.split_once('.').unwrap();
    assert_eq!(
        (&shown["proposal"]["calls"][0]["contract"], &shown["proposal"]["calls"][0]["function"]),
        (&json!(contract), &json!(function)),
        "{shown}"
    );
    assert_eq!(shown["proposal"]["approvalsMissing"], missing, "{shown}");
    let text = net(rede).ok(&["proposal", "show", &id.to_string()]);
    assert!(text.contains(&call) && text.contains("type: associate") || text.contains("orgType: associate"), "{text}");
    assert!(text.contains("TCU (2)") && text.contains("missing"), "{text}");
}

#[then(expr = "a simulação da proposta {int} mostra a organização {string}")]
fn simulation(rede: &mut Rede, id: u64, name: String) {
    let told = net(rede).json(&["proposal", "simulate", &id.to_string()]);
    let changes = told["effects"]["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{told}");
    assert!(
        changes[0]["what"] == "organization 5"
            && changes[0]["before"] == "not there"
            && changes[0]["after"].as_str().unwrap().contains(&name),
        "{told}"
    );
    assert_eq!((&told["effects"]["failed"], &told["effects"]["danger"]), (&Value::Null, &Value::Null), "{told}");
}

#[then(expr = "a proposta {int} está {string} e mostra o motivo {string}")]
fn proposal_is(rede: &mut Rede, id: u64, state: String, reason: String) {
    let shown = net(rede).json(&["proposal", "show", &id.to_string()]);
    assert_eq!(shown["proposal"]["state"], state, "{shown}");
    assert_eq!(shown["proposal"]["veto"]["reason"].as_str().unwrap_or_default(), reason, "{shown}");
}

#[then(expr = "a organização {int} não consegue executar a proposta {int} porque {string}")]
fn no_execution(rede: &mut Rede, org: u8, id: u64, why: String) {
    let said = net(rede).refused(&["proposal", "execute", &id.to_string(), "--key", &net(rede).key(org)], 1);
    assert!(said.contains(&why), "{said}");
}

#[then(expr = "a organização {int} não consegue votar de novo na proposta {int}")]
fn no_second_vote(rede: &mut Rede, org: u8, id: u64) {
    let said = net(rede).refused(&["proposal", "vote", &id.to_string(), "no", "--key", &net(rede).key(org)], 1);
    assert!(said.contains("IllegalState") && said.contains("an organization votes once in a proposal"), "{said}");
}

#[then(expr = "a conta de usuário está permitida, por decisão da proposta {int}, aprovada por {string}")]
fn allowed_by_proposal(rede: &mut Rede, id: u64, names: String) {
    let told = net(rede).json(&["permission", "explain", USER]);
    assert_eq!(told["allowed"], true, "{told}");
    assert!(sentences(&told["since"]).contains(&format!("added by proposal {id}, approved by {names}")), "{told}");
}

#[then(expr = "o histórico da proposta {int} tem os eventos {string}")]
fn events(rede: &mut Rede, id: u64, names: String) {
    let told = net(rede).json(&["proposal", "history", &id.to_string()]);
    let events: Vec<&str> = told["events"].as_array().unwrap().iter().map(|event| event["event"].as_str().unwrap()).collect();
    for name in names.split(", ") {
        assert!(events.contains(&name), "{name} em {events:?}");
    }
}

#[when(expr = "a organização {int} cadastra o nó do validador com prova de posse")]
fn adds_validator(rede: &mut Rede, org: u8) {
    let id = node_of(rede, "validator");
    let validator = rede.lab().with_role("validator").remove(0).name;
    let key = rede.lab().folder().join(validator).join("key").display().to_string();
    let net = net(rede);
    net.ok(&["node-rule", "add", &id, "--type", "validator", "--name", "val01", "--node-key", &key, "--key", &net.key(org)]);
}

#[when(expr = "a organização {int} cadastra o nó do boot")]
fn adds_boot(rede: &mut Rede, org: u8) {
    let id = node_of(rede, "boot");
    let net = net(rede);
    net.ok(&["node-rule", "add", &id, "--type", "boot", "--name", "boot01", "--key", &net.key(org)]);
}

#[then("a conexão entre o validador e o boot está permitida")]
fn connected(rede: &mut Rede) {
    let told = net(rede).json(&["permission", "explain", &node_of(rede, "validator"), &node_of(rede, "boot")]);
    assert_eq!((&told["about"], &told["allowed"]), (&json!("connection"), &json!(true)), "{told}");
    assert!(sentences(&told["because"]).contains("validator val01 of Serpro (3)"), "{told}");
}

#[then(expr = "a organização {int} não consegue suspender o nó do validador porque {string}")]
fn no_suspension(rede: &mut Rede, org: u8, why: String) {
    let said = net(rede).refused(&["node-rule", "suspend", &node_of(rede, "validator"), "--key", &net(rede).key(org)], 1);
    assert!(said.contains("NotLocalNode") && said.contains(&why), "{said}");
}

#[then(expr = "a suspensão do nó do boot pela organização {int}, só ensaiada, mostra a conexão cortada e não envia nada")]
fn rehearsed(rede: &mut Rede, org: u8) {
    let boot = node_of(rede, "boot");
    let told = net(rede).json(&["node-rule", "suspend", &boot, "--dry-run", "--key", &net(rede).key(org)]);
    assert_eq!(told["dryRun"], true, "{told}");
    let cut = &told["effects"]["connections"][0];
    assert!(cut["allowed"] == false && cut.to_string().contains("val01"), "{told}");
    let shown = net(rede).json(&["node-rule", "show", &boot]);
    assert_eq!(shown["node"]["active"], true, "{shown}");
}

#[then(expr = "uma proposta da organização {int} que remove o nó do validador é recusada antes do envio porque {string}")]
fn no_lost_quorum(rede: &mut Rede, org: u8, why: String) {
    let net = net(rede);
    let id = node_of(rede, "validator");
    let remove = ["node-rule", "remove", &id, "--propose", "--duration", "1000", "--key", &net.key(org)];
    let said = net.refused(&remove, 1);
    assert!(said.contains("not sent") && said.contains(&why), "{said}");
    let call = net.ok(&[&remove[..], &["--print-call"]].concat());
    let simulate = ["proposal", "simulate", "--call", call.trim()];
    let said = net.refused(&simulate, 1);
    assert!(said.contains("nodes.deleteNode") && said.contains("connection cut") && said.contains(&why), "{said}");
    let list = net.json(&["proposal", "list"]);
    assert_eq!(list["total"], 0, "nada foi enviado: {list}");
}

#[when(expr = "a organização {int} cadastra a conta de usuário com o motivo {string}")]
fn adds_account(rede: &mut Rede, org: u8, reason: String) {
    let net = net(rede);
    net.ok(&["account", "add", USER, "--hash", DIGEST, "--reason", &reason, "--key", &net.key(org)]);
}

#[then(expr = "a conta de usuário está permitida e o motivo {string} aparece na explicação")]
fn allowed_with_reason(rede: &mut Rede, reason: String) {
    let told = net(rede).json(&["permission", "explain", USER]);
    assert_eq!(told["allowed"], true, "{told}");
    assert!(sentences(&told["since"]).contains(&reason) && sentences(&told["since"]).contains("of Serpro (3)"), "{told}");
}

#[when(expr = "a organização {int} suspende a conta de usuário")]
fn suspends(rede: &mut Rede, org: u8) {
    net(rede).ok(&["account", "suspend", USER, "--key", &net(rede).key(org)]);
}

#[then(expr = "a conta de usuário não está permitida porque {string}")]
fn not_allowed(rede: &mut Rede, why: String) {
    let told = net(rede).json(&["permission", "explain", USER]);
    assert_eq!(told["allowed"], false, "{told}");
    assert!(sentences(&told["because"]).contains(&why), "{told}");
}

#[then("um estranho não consegue cadastrar conta nenhuma")]
fn stranger(rede: &mut Rede) {
    let net = net(rede);
    let said = net.refused(&["account", "add", USER, "--hash", DIGEST, "--key", &net.key_named("stranger")], 1);
    assert!(said.contains("not sent") && said.contains("is not registered"), "{said}");
}
