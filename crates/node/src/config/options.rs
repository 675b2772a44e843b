//! The table of every setting: key, default, help and how its text becomes a value.

use super::texts::{
    address, boolean, bracketed, choose, enodes, groups, ip, number, one, path, protocols, reserved, short_text, unhex,
};
use super::{
    AllowListSetting, LogFormat, NodeConfig, PoolSettings, RpcAuthentication, RpcListener, RpcRelease, RpcTls, RulesSettings,
};
use ipe_api::Password;
use ipe_types::genesis::NodeAbi;
use ipe_types::{Checkpoint, Dialect, Enode, NodeId, Role, Topology};
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use zeroize::Zeroizing;

/// How a setting is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// One value.
    Value,
    /// True or false; as a flag, no value means true.
    Switch,
    /// Any number of values: an array in TOML, commas elsewhere.
    List,
}

/// Stores the given texts; the path is the folder that relative paths start from. `Err` says what was expected.
type Set = fn(&mut NodeConfig, &[String], &Path) -> Result<(), String>;

/// One setting.
#[derive(Clone, Copy)]
pub struct OptionSpec {
    /// TOML key; the flag is `--key`, the environment variable `IPE_KEY`.
    pub key: &'static str,
    /// How it is written.
    pub kind: OptionKind,
    /// Placeholder in help.
    pub value: &'static str,
    /// Default as help shows it.
    pub default: &'static str,
    /// One sentence.
    pub help: &'static str,
    pub(super) set: Set,
}

impl OptionSpec {
    /// `IPE_` and the key in upper snake case.
    pub fn variable(&self) -> String {
        format!("IPE_{}", self.key.replace('-', "_").to_uppercase())
    }
}

const fn value(key: &'static str, value: &'static str, default: &'static str, help: &'static str, set: Set) -> OptionSpec {
    OptionSpec { key, kind: OptionKind::Value, value, default, help, set }
}

const fn switch(key: &'static str, default: &'static str, help: &'static str, set: Set) -> OptionSpec {
    OptionSpec { key, kind: OptionKind::Switch, value: "BOOL", default, help, set }
}

const fn list(key: &'static str, value: &'static str, default: &'static str, help: &'static str, set: Set) -> OptionSpec {
    OptionSpec { key, kind: OptionKind::List, value, default, help, set }
}

/// Every setting, in the order that help shows them.
pub const OPTIONS: &[OptionSpec] = &[
    value("data-dir", "DIR", "ipe-data", "Folder for everything the node writes", |c, v, base| {
        c.data_dir = path(v, base)?;
        Ok(())
    }),
    value(
        "database-cache",
        "BYTES",
        "1/512 of the memory, 16 to 128 MiB",
        "Memory for rows, filters and indexes read from the database",
        |c, v, _| {
            c.database_cache = Some(number(v, 8 << 20, 1 << 40)?);
            Ok(())
        },
    ),
    value(
        "data-storage-format",
        "FORMAT",
        "FOREST",
        "What is kept of older states: FOREST keeps every block's (an archive), BONSAI those of the last blocks",
        |c, v, _| {
            c.archive = choose(v, &[("forest", true), ("bonsai", false), ("x_bonsai_archive", true)])?;
            Ok(())
        },
    ),
    value(
        "bonsai-historical-block-limit",
        "BLOCKS",
        "512",
        "With BONSAI, how many of the last blocks' states can be read",
        |c, v, _| {
            c.historical_blocks = number(v, ipe_chain::state::MIN_KEEP, u64::MAX)?;
            Ok(())
        },
    ),
    value("genesis", "FILE", "", "Genesis file, Besu's or GoQuorum's format", |c, v, base| {
        c.genesis = Some(path(v, base)?);
        Ok(())
    }),
    value("key-file", "FILE", "<data-dir>/key", "Node key: one line of 64 hex digits; made when absent", |c, v, base| {
        c.key_file = Some(path(v, base)?);
        Ok(())
    }),
    value(
        "validator-key-file",
        "FILE",
        "the node key",
        "Key that signs blocks, where it is not the node's: in networks of this client alone, whose directory (members) names both",
        |c, v, base| {
            c.validator_key_file = Some(path(v, base)?);
            Ok(())
        },
    ),
    value("role", "ROLE", "observer", "validator, boot, writer, observer-boot or observer", |c, v, _| {
        c.role = Role::from_str(one(v)?).map_err(|_| "validator, boot, writer, observer-boot or observer".to_owned())?;
        Ok(())
    }),
    value("name", "TEXT", "the node's address", "Name for people, in logs and status", |c, v, _| {
        c.name = short_text(v)?;
        Ok(())
    }),
    value("institution", "TEXT", "", "Who runs the node; a validator of a sentry network dials the boots of its own", |c, v, _| {
        c.institution = short_text(v)?;
        Ok(())
    }),
    value(
        "topology",
        "SHAPE",
        "sentry",
        "sentry: validators dial only their own boots and listen nowhere; mesh: they connect to each other",
        |c, v, _| {
            c.topology = Topology::from_str(one(v)?).map_err(|_| "sentry or mesh".to_owned())?;
            Ok(())
        },
    ),
    value("members", "FILE", "", "Directory of the network's nodes (network.json), for admission and names", |c, v, base| {
        c.members = Some(path(v, base)?);
        Ok(())
    }),
    value(
        "dialect",
        "NAME",
        "legacy",
        "Form of emitted consensus messages: legacy (every Besu but 26.1 to 26.5), besu26 (26.1 and later) or goquorum (any GoQuorum validator)",
        |c, v, _| {
            let known = [("legacy", Dialect::Legacy), ("besu26", Dialect::Besu26), ("goquorum", Dialect::GoQuorum)];
            c.dialect = choose(v, &known)?;
            Ok(())
        },
    ),
    value("network-id", "N", "the chain id", "Network id that peers must share", |c, v, _| {
        c.network_id = Some(number(v, 0, u64::MAX)?);
        Ok(())
    }),
    value(
        "checkpoint",
        "HEIGHT:HASH",
        "",
        "A block that is of the chain, from a node that you trust (ipe_status shows one): no other history is taken",
        |c, v, _| {
            c.checkpoint = Some(
                Checkpoint::from_str(one(v)?)
                    .map_err(|_| "a height from 1 on, a colon and a block hash: 1200000:0x<64 hex digits>".to_owned())?,
            );
            Ok(())
        },
    ),
    list("p2p-host", "HOST", "127.0.0.1", "Hosts that others dial, IP addresses or DNS names, put into the enode", |c, v, _| {
        let probe = |host: &String| format!("enode://{}@{}:1", "11".repeat(64), bracketed(host)).parse::<Enode>().is_ok();
        if v.is_empty() || !v.iter().all(probe) {
            return Err("IP addresses or DNS names".to_owned());
        }
        c.p2p_host = v.to_vec();
        Ok(())
    }),
    value("p2p-interface", "IP", "0.0.0.0", "Address that the p2p listener binds", |c, v, _| {
        c.p2p_interface = ip(v)?;
        Ok(())
    }),
    value("p2p-port", "PORT", "30303", "TCP port for peers, UDP port for discovery; 0 = any free one", |c, v, _| {
        c.p2p_port = number(v, 0, 65_535)?;
        Ok(())
    }),
    switch("p2p-listen", "as the topology says for the role", "Whether to accept peers at all", |c, v, _| {
        c.p2p_listen = Some(boolean(v)?);
        Ok(())
    }),
    list("static-nodes", "ENODE", "", "Nodes to stay connected to", |c, v, _| {
        c.static_nodes = enodes(v)?;
        Ok(())
    }),
    value("static-nodes-file", "FILE", "<data-dir>/static-nodes.json", "JSON array of more of them", |c, v, base| {
        c.static_nodes_file = Some(path(v, base)?);
        Ok(())
    }),
    list(
        "carry",
        "ENODE",
        "",
        "Validators of Besu or GoQuorum: a sentry validator holds its sessions with them through its boots (docs/carried-sessions.md)",
        |c, v, _| {
            c.carry = enodes(v)?;
            Ok(())
        },
    ),
    list(
        "carry-for",
        "KEY",
        "",
        "Of a boot: public keys of the validators whose sessions it carries, besides those the directory has for its institution",
        |c, v, _| {
            c.carry_for = v
                .iter()
                .map(|text| {
                    NodeId::from_str(text).ok().filter(|id| !id.is_zero()).ok_or("public keys of 128 hex digits".to_owned())
                })
                .collect::<Result<_, _>>()?;
            Ok(())
        },
    ),
    list(
        "reserved-nodes",
        "KEY_OR_ENODE",
        "",
        "Nodes whose places strangers cannot take, besides the directory's, the static nodes and the chain's validators: public keys or enodes, as of this institution's writers at a boot without a directory",
        |c, v, _| {
            c.reserved_nodes =
                v.iter().map(|text| reserved(text)).collect::<Option<_>>().ok_or("public keys of 128 hex digits, or enodes")?;
            Ok(())
        },
    ),
    switch(
        "start-alone",
        "false",
        "Of the only validator of a chain, on an empty folder: begin the chain without having heard from any other node",
        |c, v, _| {
            c.start_alone = boolean(v)?;
            Ok(())
        },
    ),
    list("bootnodes", "ENODE", "the genesis file's", "Nodes to find the network by, in place of the genesis file's", |c, v, _| {
        c.bootnodes = Some(enodes(v)?);
        Ok(())
    }),
    switch("discovery-enabled", "false", "Find peers by discv4 over UDP; only nodes that listen do", |c, v, _| {
        c.discovery = boolean(v)?;
        Ok(())
    }),
    value("max-peers", "N", "25", "Peers outside the directory and the static nodes", |c, v, _| {
        c.max_peers = number(v, 0, 10_000)?;
        Ok(())
    }),
    switch(
        "permissions-nodes-config-file-enabled",
        "false",
        "Connect only to nodes of nodes-allowlist in a TOML file",
        |c, v, _| {
            c.nodes_list.enabled = boolean(v)?;
            Ok(())
        },
    ),
    value(
        "permissions-nodes-config-file",
        "FILE",
        "<data-dir>/permissions_config.toml",
        "The file with nodes-allowlist",
        |c, v, base| {
            c.nodes_list.file = Some(path(v, base)?);
            Ok(())
        },
    ),
    switch(
        "permissions-accounts-config-file-enabled",
        "false",
        "Take transactions only of senders in accounts-allowlist in a TOML file",
        |c, v, _| {
            c.accounts_list.enabled = boolean(v)?;
            Ok(())
        },
    ),
    value(
        "permissions-accounts-config-file",
        "FILE",
        "<data-dir>/permissions_config.toml",
        "The file with accounts-allowlist",
        |c, v, base| {
            c.accounts_list.file = Some(path(v, base)?);
            Ok(())
        },
    ),
    switch(
        "permissions-accounts-contract-enabled",
        "false",
        "Ask a contract whose transactions are valid; all nodes must have it",
        |c, v, _| {
            c.rules.accounts_enabled = boolean(v)?;
            Ok(())
        },
    ),
    value("permissions-accounts-contract-address", "ADDRESS", "", "The account ingress that is asked", |c, v, _| {
        c.rules.accounts = Some(address(v)?);
        Ok(())
    }),
    switch("permissions-nodes-contract-enabled", "false", "Ask a contract which nodes may connect", |c, v, _| {
        c.rules.nodes_enabled = boolean(v)?;
        Ok(())
    }),
    value("permissions-nodes-contract-address", "ADDRESS", "", "The node ingress that is asked", |c, v, _| {
        c.rules.nodes = Some(address(v)?);
        Ok(())
    }),
    value("permissions-nodes-contract-version", "N", "1", "Its interface: 1 = keys in words, 2 = texts", |c, v, _| {
        c.rules.nodes_abi = NodeAbi::numbered(number(v, 1, 2)?).unwrap_or_default();
        Ok(())
    }),
    value(
        "permissions-contract-gas",
        "GAS",
        "50000000",
        "Most gas of a question to the rules; all nodes must have the same",
        |c, v, _| {
            c.rules.gas = number(v, 100_000, u64::MAX)?;
            Ok(())
        },
    ),
    switch("rpc-http-enabled", "true", "Serve JSON-RPC over HTTP", |c, v, _| {
        c.rpc_http.enabled = boolean(v)?;
        Ok(())
    }),
    value("rpc-http-host", "IP", "127.0.0.1", "Address that JSON-RPC over HTTP binds", |c, v, _| {
        c.rpc_http.host = ip(v)?;
        Ok(())
    }),
    value("rpc-http-port", "PORT", "8545", "Port of JSON-RPC over HTTP; 0 = any free one", |c, v, _| {
        c.rpc_http.port = number(v, 0, 65_535)?;
        Ok(())
    }),
    list(
        "rpc-http-api",
        "GROUP",
        "ETH,NET,WEB3",
        "Method groups over HTTP: ETH, NET, WEB3, QBFT, TXPOOL, ADMIN, DEBUG, TRACE, PERM, IPE",
        |c, v, _| {
            c.rpc_http.api = groups(v)?;
            Ok(())
        },
    ),
    value("rpc-http-max-active-connections", "N", "80", "HTTP connections at once", |c, v, _| {
        c.rpc_http.max_connections = number(v, 1, 100_000)?;
        Ok(())
    }),
    list("rpc-http-cors-origins", "ORIGIN", "none", "Origins that browsers may call from; * = any", |c, v, _| {
        c.rpc_cors_origins = v.iter().filter(|origin| *origin != "none").cloned().collect();
        Ok(())
    }),
    value("rpc-http-max-batch-size", "N", "1024", "Calls in one batch", |c, v, _| {
        c.rpc_max_batch = number(v, 1, 100_000)?;
        Ok(())
    }),
    value("rpc-http-max-request-content-length", "BYTES", "5242880", "Bytes of one request", |c, v, _| {
        c.rpc_max_body = number(v, 1024, 1 << 30)?;
        Ok(())
    }),
    switch(
        "rpc-http-authentication-enabled",
        "false",
        "Ask clients over HTTP for a token (docs/exposing-json-rpc.md)",
        |c, v, _| {
            c.rpc_http.authentication.enabled = boolean(v)?;
            Ok(())
        },
    ),
    value(
        "rpc-http-authentication-credentials-file",
        "FILE",
        "",
        "TOML file of users for POST /login: [Users.name] with password, a bcrypt hash, and permissions",
        |c, v, base| {
            c.rpc_http.authentication.credentials_file = Some(path(v, base)?);
            Ok(())
        },
    ),
    value(
        "rpc-http-authentication-jwt-public-key-file",
        "FILE",
        "",
        "PEM file with the public key of whoever signs tokens, in place of POST /login",
        |c, v, base| {
            c.rpc_http.authentication.public_key_file = Some(path(v, base)?);
            Ok(())
        },
    ),
    value(
        "rpc-http-authentication-jwt-algorithm",
        "NAME",
        "RS256",
        "How those tokens are signed: RS256, RS384, RS512, ES256, ES384 or ES512",
        |c, v, _| {
            c.rpc_http.authentication.algorithm = one(v)?.parse()?;
            Ok(())
        },
    ),
    list("rpc-http-api-methods-no-auth", "METHOD", "", "Methods that need no token", |c, v, _| {
        c.rpc_http.authentication.open_methods = v.to_vec();
        Ok(())
    }),
    switch("rpc-http-tls-enabled", "false", "Encrypt JSON-RPC over HTTP (docs/exposing-json-rpc.md)", |c, v, _| {
        c.rpc_http.tls.enabled = boolean(v)?;
        Ok(())
    }),
    value(
        "rpc-http-tls-keystore-file",
        "FILE",
        "",
        "PKCS#12 file with the private key and its certificates; read again when it changes",
        |c, v, base| {
            c.rpc_http.tls.keystore_file = Some(path(v, base)?);
            Ok(())
        },
    ),
    value("rpc-http-tls-keystore-password-file", "FILE", "", "File whose first line opens it", |c, v, base| {
        c.rpc_http.tls.keystore_password = Some(Password::File(path(v, base)?));
        Ok(())
    }),
    value("rpc-http-tls-key-file", "FILE", "", "PEM file with the private key, in place of the PKCS#12 file", |c, v, base| {
        c.rpc_http.tls.key_file = Some(path(v, base)?);
        Ok(())
    }),
    value("rpc-http-tls-cert-file", "FILE", "", "PEM file with its certificate and those of its authorities", |c, v, base| {
        c.rpc_http.tls.cert_file = Some(path(v, base)?);
        Ok(())
    }),
    switch(
        "rpc-http-tls-client-auth-enabled",
        "false",
        "Let in only clients with a certificate that the next settings name",
        |c, v, _| {
            c.rpc_http.tls.client_auth = boolean(v)?;
            Ok(())
        },
    ),
    value(
        "rpc-http-tls-known-clients-file",
        "FILE",
        "",
        "Lines with a common name and the SHA-256 fingerprint of a certificate",
        |c, v, base| {
            c.rpc_http.tls.known_clients_file = Some(path(v, base)?);
            Ok(())
        },
    ),
    value("rpc-http-tls-truststore-file", "FILE", "", "PKCS#12 file with certificates of authorities", |c, v, base| {
        c.rpc_http.tls.truststore_file = Some(path(v, base)?);
        Ok(())
    }),
    value("rpc-http-tls-truststore-password-file", "FILE", "", "File whose first line opens it", |c, v, base| {
        c.rpc_http.tls.truststore_password = Some(Password::File(path(v, base)?));
        Ok(())
    }),
    value(
        "rpc-http-tls-trustcert-file",
        "FILE",
        "",
        "PEM file with certificates of authorities, in place of the PKCS#12 file",
        |c, v, base| {
            c.rpc_http.tls.trustcert_file = Some(path(v, base)?);
            Ok(())
        },
    ),
    list("rpc-http-tls-protocols", "NAME", "TLSv1.3,TLSv1.2", "Versions that are spoken", |c, v, _| {
        c.rpc_http.tls.protocols = protocols(v)?;
        Ok(())
    }),
    list(
        "rpc-http-tls-cipher-suites",
        "NAME",
        "",
        "Ciphers that are spoken, by their names in Java and at IANA; none = all that are safe",
        |c, v, _| {
            c.rpc_http.tls.cipher_suites = v.to_vec();
            Ok(())
        },
    ),
    value("rpc-timeout-seconds", "SECONDS", "30", "Longest that one request may take, all calls of a batch together", |c, v, _| {
        c.rpc_timeout_s = number(v, 1, 86_400)?;
        Ok(())
    }),
    switch("rpc-ws-enabled", "false", "Serve JSON-RPC over WebSocket on a port of its own", |c, v, _| {
        c.rpc_ws.enabled = boolean(v)?;
        Ok(())
    }),
    value("rpc-ws-host", "IP", "127.0.0.1", "Address that WebSocket binds", |c, v, _| {
        c.rpc_ws.host = ip(v)?;
        Ok(())
    }),
    value("rpc-ws-port", "PORT", "8546", "Port of WebSocket; 0 = any free one", |c, v, _| {
        c.rpc_ws.port = number(v, 0, 65_535)?;
        Ok(())
    }),
    list("rpc-ws-api", "GROUP", "ETH,NET,WEB3", "Method groups over WebSocket", |c, v, _| {
        c.rpc_ws.api = groups(v)?;
        Ok(())
    }),
    value("rpc-ws-max-active-connections", "N", "80", "WebSocket connections at once", |c, v, _| {
        c.rpc_ws.max_connections = number(v, 1, 100_000)?;
        Ok(())
    }),
    value("rpc-ws-max-frame-size", "BYTES", "1048576", "Bytes of one WebSocket message", |c, v, _| {
        c.rpc_ws_max_frame = number(v, 1024, 1 << 30)?;
        Ok(())
    }),
    switch(
        "rpc-ws-authentication-enabled",
        "false",
        "Ask clients over WebSocket for a token (docs/exposing-json-rpc.md)",
        |c, v, _| {
            c.rpc_ws.authentication.enabled = boolean(v)?;
            Ok(())
        },
    ),
    value(
        "rpc-ws-authentication-credentials-file",
        "FILE",
        "",
        "TOML file of users for POST /login: [Users.name] with password, a bcrypt hash, and permissions",
        |c, v, base| {
            c.rpc_ws.authentication.credentials_file = Some(path(v, base)?);
            Ok(())
        },
    ),
    value(
        "rpc-ws-authentication-jwt-public-key-file",
        "FILE",
        "",
        "PEM file with the public key of whoever signs tokens, in place of POST /login",
        |c, v, base| {
            c.rpc_ws.authentication.public_key_file = Some(path(v, base)?);
            Ok(())
        },
    ),
    value(
        "rpc-ws-authentication-jwt-algorithm",
        "NAME",
        "RS256",
        "How those tokens are signed: RS256, RS384, RS512, ES256, ES384 or ES512",
        |c, v, _| {
            c.rpc_ws.authentication.algorithm = one(v)?.parse()?;
            Ok(())
        },
    ),
    list("rpc-ws-api-methods-no-auth", "METHOD", "", "Methods that need no token", |c, v, _| {
        c.rpc_ws.authentication.open_methods = v.to_vec();
        Ok(())
    }),
    switch("rpc-ws-ssl-enabled", "false", "Encrypt JSON-RPC over WebSocket (docs/exposing-json-rpc.md)", |c, v, _| {
        c.rpc_ws.tls.enabled = boolean(v)?;
        Ok(())
    }),
    value(
        "rpc-ws-ssl-keystore-file",
        "FILE",
        "",
        "PKCS#12 file with the private key and its certificates; read again when it changes",
        |c, v, base| {
            c.rpc_ws.tls.keystore_file = Some(path(v, base)?);
            Ok(())
        },
    ),
    value("rpc-ws-ssl-keystore-password", "TEXT", "", "What opens it; the file of the next setting is safer", |c, v, _| {
        c.rpc_ws.tls.keystore_password = Some(Password::Text(Zeroizing::new(v.concat())));
        Ok(())
    }),
    value("rpc-ws-ssl-keystore-password-file", "FILE", "", "File whose first line opens it", |c, v, base| {
        c.rpc_ws.tls.keystore_password = Some(Password::File(path(v, base)?));
        Ok(())
    }),
    value("rpc-ws-ssl-key-file", "FILE", "", "PEM file with the private key, in place of the PKCS#12 file", |c, v, base| {
        c.rpc_ws.tls.key_file = Some(path(v, base)?);
        Ok(())
    }),
    value("rpc-ws-ssl-cert-file", "FILE", "", "PEM file with its certificate and those of its authorities", |c, v, base| {
        c.rpc_ws.tls.cert_file = Some(path(v, base)?);
        Ok(())
    }),
    switch(
        "rpc-ws-ssl-client-auth-enabled",
        "false",
        "Let in only clients with a certificate that the next settings name",
        |c, v, _| {
            c.rpc_ws.tls.client_auth = boolean(v)?;
            Ok(())
        },
    ),
    value(
        "rpc-ws-ssl-known-clients-file",
        "FILE",
        "",
        "Lines with a common name and the SHA-256 fingerprint of a certificate",
        |c, v, base| {
            c.rpc_ws.tls.known_clients_file = Some(path(v, base)?);
            Ok(())
        },
    ),
    value("rpc-ws-ssl-truststore-file", "FILE", "", "PKCS#12 file with certificates of authorities", |c, v, base| {
        c.rpc_ws.tls.truststore_file = Some(path(v, base)?);
        Ok(())
    }),
    value("rpc-ws-ssl-truststore-password", "TEXT", "", "What opens it", |c, v, _| {
        c.rpc_ws.tls.truststore_password = Some(Password::Text(Zeroizing::new(v.concat())));
        Ok(())
    }),
    value("rpc-ws-ssl-truststore-password-file", "FILE", "", "File whose first line opens it", |c, v, base| {
        c.rpc_ws.tls.truststore_password = Some(Password::File(path(v, base)?));
        Ok(())
    }),
    value(
        "rpc-ws-ssl-trustcert-file",
        "FILE",
        "",
        "PEM file with certificates of authorities, in place of the PKCS#12 file",
        |c, v, base| {
            c.rpc_ws.tls.trustcert_file = Some(path(v, base)?);
            Ok(())
        },
    ),
    list("rpc-ws-ssl-protocols", "NAME", "TLSv1.3,TLSv1.2", "Versions that are spoken", |c, v, _| {
        c.rpc_ws.tls.protocols = protocols(v)?;
        Ok(())
    }),
    list(
        "rpc-ws-ssl-cipher-suites",
        "NAME",
        "",
        "Ciphers that are spoken, by their names in Java and at IANA; none = all that are safe",
        |c, v, _| {
            c.rpc_ws.tls.cipher_suites = v.to_vec();
            Ok(())
        },
    ),
    switch(
        "rpc-operator-enabled",
        "false",
        "Serve JSON-RPC over HTTP for operators on a port of its own, with the authentication and TLS of rpc-http",
        |c, v, _| {
            c.rpc_operator.enabled = boolean(v)?;
            Ok(())
        },
    ),
    value("rpc-operator-host", "IP", "127.0.0.1", "Address that it binds", |c, v, _| {
        c.rpc_operator.host = ip(v)?;
        Ok(())
    }),
    value("rpc-operator-port", "PORT", "8548", "Its port; 0 = any free one", |c, v, _| {
        c.rpc_operator.port = number(v, 0, 65_535)?;
        Ok(())
    }),
    list(
        "rpc-operator-api",
        "GROUP",
        "ETH,NET,WEB3,ADMIN,DEBUG,MINER,PERM,QBFT,TXPOOL,IPE",
        "Its method groups: leave those that change the node out of rpc-http-api and rpc-ws-api",
        |c, v, _| {
            c.rpc_operator.api = groups(v)?;
            Ok(())
        },
    ),
    value("rpc-operator-max-active-connections", "N", "16", "Its connections at once", |c, v, _| {
        c.rpc_operator.max_connections = number(v, 1, 100_000)?;
        Ok(())
    }),
    list(
        "host-allowlist",
        "HOST",
        "localhost,127.0.0.1,::1",
        "Host names that JSON-RPC and metrics requests may use; * = any",
        |c, v, _| {
            c.host_allowlist = v.to_vec();
            Ok(())
        },
    ),
    value("rpc-gas-cap", "GAS", "100000000", "Most gas of one simulated call, 0 = unlimited", |c, v, _| {
        c.rpc_gas_cap = number(v, 0, u64::MAX)?;
        Ok(())
    }),
    value("rpc-tx-feecap", "WEI", "1000000000000000000", "Most fees of a submitted transaction, 0 = unlimited", |c, v, _| {
        c.rpc_tx_fee_cap = one(v)?.parse().map_err(|_| "wei, 0 to 2^128-1".to_owned())?;
        Ok(())
    }),
    value("rpc-max-logs-range", "BLOCKS", "5000", "Most blocks of one eth_getLogs, 0 = unlimited", |c, v, _| {
        c.rpc_max_logs_range = number(v, 0, u64::MAX)?;
        Ok(())
    }),
    value("rpc-max-trace-filter-range", "BLOCKS", "1000", "Most blocks of one trace_filter, 0 = unlimited", |c, v, _| {
        c.rpc_max_trace_range = number(v, 0, u64::MAX)?;
        Ok(())
    }),
    value("rpc-release", "NAME", "besu26", "Whose shapes and texts JSON-RPC answers with: besu25 or besu26", |c, v, _| {
        c.rpc_release = choose(v, &[("besu25", RpcRelease::Besu25), ("besu26", RpcRelease::Besu26)])?;
        Ok(())
    }),
    switch("revert-reason-enabled", "false", "Show revert reasons in receipts", |c, v, _| {
        c.revert_reason = boolean(v)?;
        Ok(())
    }),
    switch("metrics-enabled", "false", "Serve Prometheus metrics", |c, v, _| {
        c.metrics_enabled = boolean(v)?;
        Ok(())
    }),
    value("metrics-host", "IP", "127.0.0.1", "Address that the metrics listener binds", |c, v, _| {
        c.metrics_host = ip(v)?;
        Ok(())
    }),
    value("metrics-port", "PORT", "9545", "Port of the metrics listener; 0 = any free one", |c, v, _| {
        c.metrics_port = number(v, 0, 65_535)?;
        Ok(())
    }),
    value("min-gas-price", "WEI", "0", "Least gas price accepted; also the base fee of chains that fix it", |c, v, _| {
        c.min_gas_price = number(v, 0, u64::MAX)?;
        Ok(())
    }),
    value("target-gas-limit", "GAS", "the parent's", "Gas limit that proposed blocks move towards", |c, v, _| {
        c.target_gas_limit = Some(number(v, 5000, i64::MAX as u64)?);
        Ok(())
    }),
    value("miner-extra-data", "TEXT", "client name", "Vanity of proposed blocks: text or 0x hex, at most 32 bytes", |c, v, _| {
        let text = one(v)?;
        let bytes = match text.strip_prefix("0x") {
            Some(digits) => unhex(digits).ok_or("text or 0x hex")?,
            None => text.as_bytes().to_vec(),
        };
        if bytes.len() > 32 {
            return Err("at most 32 bytes".to_owned());
        }
        c.miner_extra_data = Some(bytes);
        Ok(())
    }),
    value(
        "poa-block-txs-selection-max-time",
        "PERCENT",
        "75",
        "Share of the block period that choosing transactions may take",
        |c, v, _| {
            c.block_selection_percent = number(v, 1, 100)?;
            Ok(())
        },
    ),
    value(
        "tx-max-bytes",
        "BYTES",
        "524288",
        "Longest transaction that the pool takes, from 1,024 to 1,000,000 bytes: peers refuse messages of more than 1 MiB (go-ethereum takes 131072)",
        |c, v, _| {
            c.tx_bytes = number(v, 1_024, 1_000_000)?;
            Ok(())
        },
    ),
    value(
        "tx-max-gas-used",
        "GAS",
        "100000000",
        "Most gas that a transaction may use, not name, in a block built here",
        |c, v, _| {
            c.tx_gas = number(v, 21_000, u64::MAX)?;
            Ok(())
        },
    ),
    value("tx-pool-max-size", "N", "50000", "Transactions held in the pool", |c, v, _| {
        c.pool.max_count = number(v, 1, 10_000_000)?;
        Ok(())
    }),
    value("tx-pool-max-bytes", "BYTES", "67108864", "Bytes of transactions held in the pool", |c, v, _| {
        c.pool.max_bytes = number(v, 1 << 20, 1 << 36)?;
        Ok(())
    }),
    value("tx-pool-max-per-sender", "N", "5000", "Transactions held of one sender", |c, v, _| {
        c.pool.max_per_sender = number(v, 1, 10_000_000)?;
        Ok(())
    }),
    value("tx-pool-max-future-by-sender", "N", "1000", "How far a nonce may be ahead of its account", |c, v, _| {
        c.pool.max_gap = number(v, 0, 10_000_000)?;
        Ok(())
    }),
    value("tx-pool-price-bump", "PERCENT", "10", "How much more a replacement must pay", |c, v, _| {
        c.pool.price_bump_percent = number(v, 0, 1000)?;
        Ok(())
    }),
    value("tx-pool-retention-seconds", "SECONDS", "46800", "After this an unmined transaction is dropped", |c, v, _| {
        c.pool.retention_s = number(v, 1, 1 << 32)?;
        Ok(())
    }),
    switch("tx-pool-enable-save-restore", "true", "Keep transactions received over JSON-RPC across restarts", |c, v, _| {
        c.pool.journal = boolean(v)?;
        Ok(())
    }),
    value("logging", "LEVEL", "info", "error, warn, info, debug, trace, or a filter such as info,ipe_p2p=debug", |c, v, _| {
        c.log_level = one(v)?.to_owned();
        Ok(())
    }),
    value("logging-format", "FORMAT", "plain", "plain or json", |c, v, _| {
        c.log_format = choose(v, &[("plain", LogFormat::Plain), ("json", LogFormat::Json)])?;
        Ok(())
    }),
];

impl Default for NodeConfig {
    /// What the table's defaults say.
    fn default() -> NodeConfig {
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let api = || ["ETH", "NET", "WEB3"].map(str::to_owned).to_vec();
        NodeConfig {
            data_dir: PathBuf::from("ipe-data"),
            database_cache: None,
            archive: true,
            historical_blocks: 512,
            genesis: None,
            key_file: None,
            validator_key_file: None,
            role: Role::Observer,
            name: String::new(),
            institution: String::new(),
            topology: Topology::Sentry,
            members: None,
            dialect: Dialect::Legacy,
            network_id: None,
            checkpoint: None,
            p2p_host: vec!["127.0.0.1".to_owned()],
            p2p_interface: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            p2p_port: 30_303,
            p2p_listen: None,
            static_nodes: Vec::new(),
            static_nodes_file: None,
            carry: Vec::new(),
            carry_for: Vec::new(),
            reserved_nodes: Vec::new(),
            start_alone: false,
            bootnodes: None,
            discovery: false,
            max_peers: 25,
            nodes_list: AllowListSetting::default(),
            accounts_list: AllowListSetting::default(),
            rules: RulesSettings::default(),
            rpc_http: RpcListener {
                enabled: true,
                host: local,
                port: 8545,
                api: api(),
                max_connections: 80,
                authentication: RpcAuthentication::default(),
                tls: RpcTls::default(),
            },
            rpc_ws: RpcListener {
                enabled: false,
                host: local,
                port: 8546,
                api: api(),
                max_connections: 80,
                authentication: RpcAuthentication::default(),
                tls: RpcTls::default(),
            },
            rpc_operator: RpcListener {
                enabled: false,
                host: local,
                port: 8548,
                api: ["ETH", "NET", "WEB3", "ADMIN", "DEBUG", "MINER", "PERM", "QBFT", "TXPOOL", "IPE"].map(str::to_owned).to_vec(),
                max_connections: 16,
                authentication: RpcAuthentication::default(),
                tls: RpcTls::default(),
            },
            rpc_cors_origins: Vec::new(),
            rpc_max_batch: 1024,
            rpc_max_body: 5 << 20,
            rpc_timeout_s: 30,
            rpc_ws_max_frame: 1 << 20,
            host_allowlist: vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()],
            rpc_gas_cap: 100_000_000,
            rpc_tx_fee_cap: 1_000_000_000_000_000_000,
            rpc_max_logs_range: 5000,
            rpc_max_trace_range: 1000,
            rpc_release: RpcRelease::Besu26,
            revert_reason: false,
            metrics_enabled: false,
            metrics_host: local,
            metrics_port: 9545,
            min_gas_price: 0,
            target_gas_limit: None,
            miner_extra_data: None,
            block_selection_percent: 75,
            tx_gas: ipe_engine::pace::TX_GAS,
            tx_bytes: 512 << 10,
            pool: PoolSettings {
                max_count: 50_000,
                max_bytes: 64 << 20,
                max_per_sender: 5000,
                max_gap: 1000,
                price_bump_percent: 10,
                retention_s: 46_800,
                journal: true,
            },
            log_level: "info".to_owned(),
            log_format: LogFormat::Plain,
            warnings: Vec::new(),
        }
    }
}
