//! A folder is only a lab when this user's `ipe lab up` can have made it.

use super::*;
use crate::lab::process::{self, Process, remember, running};
use ipe_provision::{DevAccount, Identity, Order, Ports, plan};
use std::collections::BTreeMap;
use std::os::unix::fs::symlink;

/// A small lab in `dir`, never started.
fn lab(dir: &Path) -> Folder {
    let order = Order { institutions: 1, ..Order::default() };
    let keys: Vec<NodeKey> = order.slots().iter().map(|_| key_file::generate()).collect();
    let identities: Vec<Identity> = keys.iter().map(Identity::of).collect();
    let account = key_file::generate();
    let accounts = vec![DevAccount { name: "alice".to_owned(), address: account.address() }];
    let ports: Vec<Ports> = (0..keys.len() as u16).map(|n| Ports { p2p: 3 * n + 1, rpc: 3 * n + 2, metrics: 3 * n + 3 }).collect();
    let plan = plan(order, &identities, accounts, &ports, BTreeMap::new()).expect("planned");
    Folder::create(dir, plan, &keys, &[account]).expect("made")
}

/// The plan with another name for its first node, as somebody might hand it over.
fn rename_first_node(dir: &Path, to: &str) {
    let path = Folder::plan_path(dir);
    let mut plan: Value = serde_json::from_str(&fs::read_to_string(&path).expect("read")).expect("json");
    let first = plan["nodes"][0].as_object_mut().expect("a node");
    let slot = if first.contains_key("slot") { first["slot"].as_object_mut().expect("a slot") } else { first };
    slot.insert("name".to_owned(), json!(to));
    fs::write(&path, plan.to_string()).expect("written");
}

#[test]
fn keys_and_accounts_are_for_their_owner_alone() {
    let place = tempfile::tempdir().expect("folder");
    let folder = lab(&place.path().join("lab"));
    let mut secret = vec![folder.accounts()];
    secret.extend(folder.plan.nodes.iter().map(|node| folder.node_dir(&node.slot.name).join("key")));
    for path in secret {
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600, "{}", path.display());
    }
    // As the first release wrote it.
    fs::set_permissions(folder.accounts(), fs::Permissions::from_mode(0o644)).expect("set");
    folder.close_accounts().expect("closed");
    assert_eq!(fs::metadata(folder.accounts()).expect("there").mode() & 0o777, 0o600);
}

#[test]
fn a_plan_with_names_that_lead_elsewhere_is_refused_and_nothing_is_deleted() {
    for name in ["../precious", "/tmp", ".", "..", "", "src", "inst1-validator/../../precious", "inst9-validator"] {
        let place = tempfile::tempdir().expect("folder");
        let dir = place.path().join("lab");
        lab(&dir);
        let precious = place.path().join("precious");
        fs::create_dir(&precious).expect("made");
        fs::write(precious.join("file"), "mine").expect("written");
        rename_first_node(&dir, name);
        let Err(Failure::Usage(why)) = Folder::open(&dir).map(|_| ()) else { panic!("{name:?} is taken") };
        assert!(why.contains("no lab of ours") && why.contains("nothing was touched"), "{why}");
        assert!(precious.join("file").exists() && dir.join("inst1-validator/key").exists(), "{name:?}");
    }
}

#[test]
fn a_lab_with_links_in_the_place_of_its_files_is_refused() {
    for path in ["inst1-validator", "inst1-validator/data", "inst1-validator/node.log", "inst1-validator/node.pid", "lab.lock"] {
        let place = tempfile::tempdir().expect("folder");
        let dir = place.path().join("lab");
        lab(&dir);
        let precious = place.path().join("precious");
        fs::create_dir(&precious).expect("made");
        fs::write(precious.join("file"), "mine").expect("written");
        delete(&dir.join(path)).expect("deleted");
        symlink(&precious, dir.join(path)).expect("linked");
        let Err(Failure::Usage(why)) = Folder::open(&dir).map(|_| ()) else { panic!("{path} is followed") };
        assert!(why.contains("is a link"), "{why}");
        assert!(precious.join("file").exists());
    }
}

#[test]
fn a_lab_with_a_pipe_in_the_place_of_a_file_is_refused_and_holds_nobody_up() {
    for path in
        ["lab.json", "lab.lock", "genesis.json", "inst1-validator/node.pid", "inst1-validator/node.toml", "inst1-validator/data"]
    {
        let place = tempfile::tempdir().expect("folder");
        let dir = place.path().join("lab");
        lab(&dir);
        delete(&dir.join(path)).expect("deleted");
        nix::unistd::mkfifo(&dir.join(path), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let Err(Failure::Usage(why)) = Folder::open(&dir).map(|_| ()) else { panic!("{path} is taken") };
        assert!(why.contains("no lab of ours") && why.contains(" is no "), "{why}");
    }
}

#[test]
fn a_log_tells_the_terminal_nothing() {
    let place = tempfile::tempdir().expect("folder");
    let folder = lab(&place.path().join("lab"));
    fs::write(folder.log("inst1-boot"), "ol\u{e1}\tmundo \u{1b}]0;title\u{7} \u{9b}31m\r\nnext\n").expect("written");
    let shown = folder.log_tail("inst1-boot", 9);
    assert_eq!(shown, "ol\u{e1}\tmundo \u{fffd}]0;title\u{fffd} \u{fffd}31m\u{fffd}\nnext");
}

#[test]
fn down_deletes_what_a_lab_wrote_and_leaves_what_it_did_not() {
    let place = tempfile::tempdir().expect("folder");
    let dir = place.path().join("lab");
    let folder = lab(&dir);
    let precious = place.path().join("precious");
    fs::create_dir(&precious).expect("made");
    fs::write(precious.join("file"), "mine").expect("written");
    let data = folder.data_dir("inst1-validator");
    fs::create_dir_all(data.join("database")).expect("made");
    fs::write(data.join("database/1"), "blocks").expect("written");
    symlink(&precious, data.join("link")).expect("linked");
    let mine = folder.node_dir("inst1-validator").join("notes.txt");
    fs::write(&mine, "mine").expect("written");
    Folder::open(&dir).expect("ours").remove().expect("removed");
    assert!(mine.exists() && precious.join("file").exists());
    assert!(!data.exists() && !dir.join("inst1-boot1").exists() && !dir.join("accounts.json").exists());
    assert_eq!(fs::read_dir(&dir).expect("there").count(), 1, "only the folder with the notes is left");
}

#[test]
fn a_wipe_keeps_the_signing_journal_and_all_that_belongs_to_it() {
    let place = tempfile::tempdir().expect("folder");
    let folder = lab(&place.path().join("lab"));
    let data = folder.data_dir("inst1-validator");
    assert!(data.join(SIGNING_JOURNAL).exists(), "it began with the key");
    for name in ["signing.journal.mark", "signing.journal.lock", "LOCK", "endpoints.json"] {
        fs::write(data.join(name), "x").expect("written");
    }
    folder.wipe("inst1-validator").expect("wiped");
    let mut left: Vec<_> = fs::read_dir(&data).expect("there").map(|entry| entry.expect("entry").file_name()).collect();
    left.sort();
    assert_eq!(left, ["signing.journal", "signing.journal.lock", "signing.journal.mark"]);
}

#[test]
fn a_process_that_is_not_the_node_is_never_killed() {
    let place = tempfile::tempdir().expect("folder");
    let folder = lab(&place.path().join("lab"));
    let name = "inst1-validator".to_owned();
    let mut innocent = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
    let process = Process::of(innocent.id()).expect("runs");
    remember(&folder, &name, process).expect("written");
    assert!(running(&folder, &name).is_none(), "it was not started as this node");
    process::kill(&folder, &[name]).expect("nothing to do");
    assert!(process.runs(), "an innocent process was killed");
    innocent.kill().expect("ours to kill");
    innocent.wait().expect("collected");
}
