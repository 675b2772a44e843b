use super::*;
use ipe_engine::pool::{Rules, Settings};
use tempfile::TempDir;

fn pool() -> Arc<Mutex<Pool>> {
    let rules = Rules {
        chain_id: 1,
        fork: ipe_types::fork::Fork::Berlin,
        block_gas_limit: 30_000_000,
        tx_gas_cap: None,
        base_fee: None,
        min_gas_price: 0,
        fee_cap: None,
        max_tx_bytes: 1 << 16,
        goquorum: None,
        period_ms: 1_000,
    };
    Arc::new(Mutex::new(Pool::new(Settings::default(), rules, 0)))
}

fn enode(byte: u8, address: &str) -> String {
    format!("enode://{}@{address}", hex(byte))
}

fn hex(byte: u8) -> String {
    format!("{byte:02x}").repeat(64)
}

const A: &str = "0x00000000000000000000000000000000000000aa";
const B: &str = "0x00000000000000000000000000000000000000Bb";

struct Lists {
    folder: TempDir,
    permissions: Permissions,
}

impl Lists {
    fn open(text: &str, fixed: &[String]) -> Result<Self, ConfigError> {
        let folder = TempDir::new().expect("a temporary folder");
        let mut config = NodeConfig { data_dir: folder.path().to_owned(), ..NodeConfig::default() };
        config.nodes_list.enabled = true;
        config.accounts_list.enabled = true;
        std::fs::write(folder.path().join("permissions_config.toml"), text).expect("written");
        let fixed: Vec<Enode> = fixed.iter().map(|text| text.parse().expect("an enode")).collect();
        let permissions = Permissions::open(&config, NodeId::repeat_byte(0xee), &fixed, &pool())?;
        Ok(Self { folder, permissions })
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("permissions_config.toml")
    }

    fn text(&self) -> String {
        std::fs::read_to_string(self.file()).expect("the file is there")
    }
}

fn candidate(byte: u8, remote: &str, listen_port: u16, inbound: bool) -> Candidate {
    Candidate {
        node: NodeId::repeat_byte(byte),
        role: None,
        remote: remote.parse().expect("an address"),
        listen_port,
        inbound,
        is_static: false,
        path: ipe_p2p::Path::Direct,
    }
}

fn list(entries: &[&str]) -> Vec<String> {
    entries.iter().map(|entry| (*entry).to_owned()).collect()
}

#[test]
fn changes_are_checked_in_besus_order_and_written_to_the_file() {
    let node = enode(1, "10.0.0.1:30303");
    let fixed = enode(2, "10.0.0.2:30303");
    let lists = Lists::open(
        &format!("# by hand\naccounts-allowlist=[\"{A}\"]\nnodes-allowlist=[\"{fixed}\"]\n"),
        std::slice::from_ref(&fixed),
    )
    .expect("opens");
    let permissions = &lists.permissions;
    for (given, error) in [
        (list(&[]), Refused::Empty),
        (list(&["0x12", "0x12"]), Refused::Invalid),
        (list(&["00000000000000000000000000000000000000aa"]), Refused::Invalid),
        (list(&[B, &B.to_lowercase()]), Refused::Duplicate),
        (list(&[A]), Refused::Existing),
    ] {
        assert_eq!(permissions.add(AllowList::Accounts, &given), Err(error), "{given:?}");
    }
    assert_eq!(permissions.remove(AllowList::Accounts, &list(&[A, B])), Err(Refused::Absent));
    assert_eq!(permissions.add(AllowList::Accounts, &list(&[B])), Ok(()));
    assert_eq!(permissions.get(AllowList::Accounts), Ok(list(&[A, &B.to_lowercase()])));
    assert_eq!(permissions.remove(AllowList::Accounts, &list(&[A])), Ok(()));

    for (given, error) in [
        (vec![], Refused::Empty),
        (list(&["x", "x"]), Refused::Duplicate),
        (list(&["x"]), Refused::Invalid),
        (vec![fixed.clone()], Refused::Existing),
    ] {
        assert_eq!(permissions.add(AllowList::Nodes, &given), Err(error), "{given:?}");
    }
    assert_eq!(permissions.add(AllowList::Nodes, std::slice::from_ref(&node)), Ok(()));
    assert_eq!(permissions.remove(AllowList::Nodes, std::slice::from_ref(&fixed)), Err(Refused::Fixed));
    assert_eq!(permissions.remove(AllowList::Nodes, &[enode(3, "10.0.0.3:1")]), Err(Refused::Absent));
    assert_eq!(lists.text(), format!("accounts-allowlist=[\"{}\"]\nnodes-allowlist=[\"{fixed}\",\"{node}\"]\n", B.to_lowercase()));
    assert_eq!(permissions.remove(AllowList::Nodes, &[node]), Ok(()));
    assert!(!lists.folder.path().join("permissions_config.toml.new").exists());
}

#[test]
fn a_connection_needs_the_listed_key_address_and_port() {
    let text =
        format!("accounts-allowlist=[]\nnodes-allowlist=[\"{}\",\"{}\"]\n", enode(1, "10.0.0.1:30303"), enode(2, "10.0.0.2:0"));
    let lists = Lists::open(&text, &[]).expect("opens");
    let nodes = lists.permissions.nodes.as_ref().expect("in force");
    assert_eq!(nodes.judge(&candidate(1, "10.0.0.1:30303", 0, false)), Ok(()), "dialled");
    assert_eq!(nodes.judge(&candidate(1, "10.0.0.1:51000", 30303, true)), Ok(()), "it dialled");
    assert_eq!(nodes.judge(&candidate(1, "[::ffff:10.0.0.1]:51000", 30303, true)), Ok(()), "mapped into IPv6");
    assert_eq!(nodes.judge(&candidate(2, "10.0.0.2:51000", 0, true)), Ok(()), "listens nowhere");
    assert_eq!(nodes.judge(&candidate(0xee, "10.9.9.9:1", 1, true)), Ok(()), "this node itself");
    for (other, words) in [
        (candidate(3, "10.0.0.1:30303", 30303, true), "not in nodes-allowlist"),
        (candidate(1, "10.0.0.9:51000", 30303, true), "10.0.0.9 and listening port 30303"),
        (candidate(1, "10.0.0.1:51000", 30304, true), "listening port 30304"),
        (candidate(1, "10.0.0.1:51000", 0, true), "listening port 0"),
    ] {
        let why = nodes.judge(&other).expect_err("not permitted");
        assert!(why.contains(words), "{why}");
    }
    assert_eq!(nodes.checks(), (5, 4));
}

#[tokio::test]
async fn names_are_looked_up() {
    let text = format!("accounts-allowlist=[]\nnodes-allowlist=[\"{}\"]\n", enode(1, "localhost:30303"));
    let lists = Lists::open(&text, &[]).expect("opens");
    let nodes = lists.permissions.nodes.as_ref().expect("in force");
    assert!(nodes.judge(&candidate(1, "127.0.0.1:1", 30303, true)).is_err(), "not looked up yet");
    assert!(nodes.resolve().await);
    assert_eq!(nodes.judge(&candidate(1, "127.0.0.1:1", 30303, true)), Ok(()));
    assert!(!nodes.resolve().await, "nothing has moved");
}

#[test]
fn a_file_that_cannot_be_used_keeps_the_old_lists() {
    let node = enode(1, "10.0.0.1:30303");
    let lists = Lists::open(&format!("accounts-allowlist=[\"{A}\"]\nnodes-allowlist=[\"{node}\"]\n"), &[]).expect("opens");
    let permissions = &lists.permissions;
    for bad in [
        "",
        "nodes-allowlist=[]",
        "accounts-allowlist=[\"0x12\"]\nnodes-allowlist=[]",
        "accounts-allowlist=[]\nnodes-allowlist=7",
        "x =",
    ] {
        std::fs::write(lists.file(), bad).expect("written");
        assert_eq!(permissions.reload(), Err(Refused::NotReloaded), "{bad}");
        assert_eq!(permissions.get(AllowList::Accounts), Ok(list(&[A])));
        assert_eq!(permissions.get(AllowList::Nodes), Ok(vec![node.clone()]));
    }
    // A change over a file that lost entries holds in memory; one that cannot be read changes nothing.
    std::fs::write(lists.file(), "accounts-allowlist=[]\nnodes-allowlist=[]\n").expect("written");
    assert_eq!(permissions.add(AllowList::Accounts, &list(&[B])), Err(Refused::OutOfSync));
    assert_eq!(permissions.get(AllowList::Accounts), Ok(list(&[A, &B.to_lowercase()])));
    std::fs::remove_file(lists.file()).expect("removed");
    assert_eq!(permissions.remove(AllowList::Accounts, &list(&[A])), Err(Refused::NotWritten));
    assert_eq!(permissions.get(AllowList::Accounts), Ok(list(&[A, &B.to_lowercase()])));
    std::fs::write(lists.file(), format!("accounts-allowlist=[\"{A}\"]\nnodes-allowlist=[]\n")).expect("written");
    assert_eq!(permissions.reload(), Ok(()));
    assert_eq!(permissions.get(AllowList::Accounts), Ok(list(&[A])));
    assert_eq!(permissions.get(AllowList::Nodes), Ok(vec![]));
}

#[test]
fn a_node_does_not_start_with_a_bad_list() {
    let node = enode(1, "10.0.0.1:30303");
    for (text, fixed, words) in [
        ("nodes-allowlist=[]", vec![], "accounts-allowlist is missing"),
        ("accounts-allowlist=[]", vec![], "nodes-allowlist is missing"),
        ("accounts-allowlist=[]\nnodes-whitelist=[]", vec![], "rename it to nodes-allowlist"),
        ("accounts-allowlist=[\"0x12\"]\nnodes-allowlist=[]", vec![], "40 hex digits"),
        ("accounts-allowlist=[]\nnodes-allowlist=[]", vec![node.clone()], "boot or static nodes that are not in nodes-allowlist"),
    ] {
        let error = Lists::open(text, &fixed).err().expect("refused").to_string();
        assert!(error.contains(words) && error.contains("permissions_config.toml"), "{error}");
    }
}
