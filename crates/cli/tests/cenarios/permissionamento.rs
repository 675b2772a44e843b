//! Steps of `features/permissionamento_local.feature`.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use cucumber::{then, when};
use serde_json::{Value, json};

use crate::common::lab::{Lab, Node};
use crate::{Rede, of_institution, quantity, signed_transaction_with_nonce, test_account};

/// Peers of a boot of four institutions: the other boots, its validator and its writer.
const PEERS_OF_A_BOOT: usize = 5;

fn role_of(lab: &Lab, institution: usize, role: &str) -> Node {
    of_institution(lab, institution)
        .into_iter()
        .find(|node| node.role == role)
        .unwrap_or_else(|| panic!("não há {role} na instituição {institution}"))
}

fn list_file(lab: &Lab, name: &str) -> PathBuf {
    lab.folder().join(name).join("data").join("permissions_config.toml")
}

/// Starts the node again with these lines in its settings and this list.
fn restart_with(lab: &Lab, name: &str, settings: &str, list: &str) {
    lab.ok(&["kill", name]);
    std::fs::write(list_file(lab, name), list).expect("a lista é gravada");
    let path = lab.folder().join(name).join("node.toml");
    let mut file = std::fs::OpenOptions::new().append(true).open(path).expect("o nó tem configuração");
    file.write_all(settings.as_bytes()).expect("a configuração é gravada");
    lab.ok(&["start", name]);
}

fn peers(node: &Node) -> Vec<String> {
    let peers = node.answer("admin_peers", json!([]));
    peers.as_array().unwrap().iter().map(|peer| peer["enode"].as_str().unwrap().to_owned()).collect()
}

fn id_of(node: &Node) -> String {
    node.answer("admin_nodeInfo", json!([]))["id"].as_str().expect("um nó tem chave").to_owned()
}

#[when(expr = "o boot da instituição {int} passa a ter uma lista com os seus pares")]
fn list_of_nodes(rede: &mut Rede, institution: usize) {
    let lab = rede.lab();
    let boot = role_of(lab, institution, "boot");
    lab.until("o boot tem todos os pares", || peers(&boot).len() == PEERS_OF_A_BOOT);
    let list = format!("nodes-allowlist={}\n", json!(peers(&boot)));
    restart_with(lab, &boot.name, "permissions-nodes-config-file-enabled = true\n", &list);
}

#[then(expr = "o boot da instituição {int} recupera todos os seus pares")]
fn all_peers(rede: &mut Rede, institution: usize) {
    let lab = rede.lab();
    let boot = role_of(lab, institution, "boot");
    lab.until("o boot tem todos os pares", || peers(&boot).len() == PEERS_OF_A_BOOT);
}

#[then(expr = "um par fixo do boot da instituição {int} não pode ser removido da lista")]
fn fixed_peer(rede: &mut Rede, institution: usize) {
    let lab = rede.lab();
    let boot = role_of(lab, institution, "boot");
    let other = id_of(&role_of(lab, institution + 1, "boot"));
    let enode = peers(&boot).into_iter().find(|enode| enode.contains(&other)).expect("os boots estão ligados");
    let error = boot.ask("perm_removeNodesFromAllowlist", json!([[enode]])).expect_err("um par fixo fica");
    assert!(error.contains("Cannot remove a fixed node (bootnode or static node) from allowlist"), "{error}");
}

#[when(expr = "o escritor da instituição {int} é removido da lista do boot")]
fn writer_leaves(rede: &mut Rede, institution: usize) {
    let lab = rede.lab();
    let boot = role_of(lab, institution, "boot");
    let id = id_of(&role_of(lab, institution, "writer"));
    let list = boot.answer("perm_getNodesAllowlist", json!([]));
    let enode = list.as_array().unwrap().iter().find(|enode| enode.as_str().unwrap().contains(&id));
    let enode = enode.expect("o escritor está na lista").clone();
    assert_eq!(boot.answer("perm_removeNodesFromAllowlist", json!([[enode]])), "Success");
    let again = boot.ask("perm_removeNodesFromAllowlist", json!([[enode]])).expect_err("já saiu");
    assert!(again.contains("Cannot remove an absent node from allowlist"), "{again}");
    rede.removed = Some(enode);
}

#[then(expr = "o boot não tem mais conexão com o escritor da instituição {int}")]
fn writer_is_cut(rede: &mut Rede, institution: usize) {
    let lab = rede.lab();
    let boot = role_of(lab, institution, "boot");
    let writer = role_of(lab, institution, "writer");
    let id = id_of(&writer);
    lab.until("o escritor é desconectado", || !peers(&boot).iter().any(|enode| enode.contains(&id)));
    lab.until("o boot recusou uma nova conexão do escritor", || {
        let log = lab.run(&["logs", &boot.name]);
        String::from_utf8_lossy(&log.stdout).contains("no longer permitted") && !peers(&boot).iter().any(|e| e.contains(&id))
    });
    assert_eq!(peers(&boot).len(), PEERS_OF_A_BOOT - 1, "os outros pares ficam");
}

#[then(expr = "o arquivo do boot não contém mais o escritor da instituição {int}")]
fn file_without_writer(rede: &mut Rede, institution: usize) {
    let lab = rede.lab();
    let boot = role_of(lab, institution, "boot");
    let text = std::fs::read_to_string(list_file(lab, &boot.name)).unwrap();
    let id = id_of(&role_of(lab, institution, "writer"));
    assert!(text.starts_with("nodes-allowlist=[\"enode://") && !text.contains(&id), "{text}");
}

#[when(expr = "o escritor da instituição {int} é incluído na lista do boot")]
fn writer_comes_back(rede: &mut Rede, institution: usize) {
    let enode = rede.removed.clone().expect("um nó foi removido");
    let boot = role_of(rede.lab(), institution, "boot");
    assert_eq!(boot.answer("perm_addNodesToAllowlist", json!([[enode]])), "Success");
}

#[when(expr = "o escritor da instituição {int} passa a ter uma lista de contas vazia")]
fn no_accounts(rede: &mut Rede, institution: usize) {
    let lab = rede.lab();
    let writer = role_of(lab, institution, "writer");
    restart_with(lab, &writer.name, "permissions-accounts-config-file-enabled = true\n", "accounts-allowlist=[]\n");
}

fn send(writer: &Node) -> Result<Value, String> {
    let chain_id = quantity(&writer.answer("eth_chainId", json!([])));
    let nonce = quantity(&writer.answer("eth_getTransactionCount", json!([test_account(), "latest"])));
    writer.ask("eth_sendRawTransaction", json!([signed_transaction_with_nonce(chain_id, nonce)]))
}

#[then(expr = "o escritor da instituição {int} recusa a transação da conta de teste")]
fn refused(rede: &mut Rede, institution: usize) {
    let error = send(&role_of(rede.lab(), institution, "writer")).expect_err("a conta não está na lista");
    assert!(error.contains("-32007") && error.contains("Sender account not authorized to send transactions"), "{error}");
}

#[when(expr = "a conta de teste é incluída na lista do escritor da instituição {int}")]
fn account_enters(rede: &mut Rede, institution: usize) {
    let writer = role_of(rede.lab(), institution, "writer");
    let account = test_account();
    assert_eq!(writer.answer("perm_addAccountsToAllowlist", json!([[account]])), "Success");
    assert_eq!(writer.answer("perm_getAccountsAllowlist", json!([])), json!([account.to_lowercase()]));
}

#[then(expr = "o escritor da instituição {int} aceita a próxima transação da conta de teste")]
fn accepted(rede: &mut Rede, institution: usize) {
    let lab = rede.lab();
    let writer = role_of(lab, institution, "writer");
    let mut sent = None;
    lab.until("a conta de teste pode enviar", || {
        sent = send(&writer).ok();
        sent.is_some()
    });
    rede.transaction = sent;
}

#[when(expr = "o arquivo de lista do escritor da instituição {int} passa a ter um erro")]
fn broken_file(rede: &mut Rede, institution: usize) {
    let lab = rede.lab();
    let writer = role_of(lab, institution, "writer");
    std::fs::write(list_file(lab, &writer.name), "accounts-allowlist=[\"0x12\"]\n").unwrap();
}

#[then(expr = "a recarga no escritor da instituição {int} é recusada")]
fn reload_refused(rede: &mut Rede, institution: usize) {
    let writer = role_of(rede.lab(), institution, "writer");
    let error = writer.ask("perm_reloadPermissionsFromFile", json!([])).expect_err("o arquivo tem um erro");
    assert!(error.contains("Error reloading permissions file."), "{error}");
    assert_eq!(writer.answer("perm_getAccountsAllowlist", json!([])), json!([]));
}

#[when(expr = "o arquivo de lista do escritor da instituição {int} passa a ter a conta de teste")]
fn file_with_account(rede: &mut Rede, institution: usize) {
    let lab = rede.lab();
    let writer = role_of(lab, institution, "writer");
    std::fs::write(list_file(lab, &writer.name), format!("accounts-allowlist=[\"{}\"]\n", test_account())).unwrap();
}

#[when(expr = "o processo do escritor da instituição {int} recebe SIGHUP")]
fn hangup(rede: &mut Rede, institution: usize) {
    let pid = role_of(rede.lab(), institution, "writer").pid.expect("o escritor está no ar");
    assert!(Command::new("kill").args(["-HUP", &pid.to_string()]).status().unwrap().success());
}
