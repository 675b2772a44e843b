//! The listeners of JSON-RPC as the settings have them, and what an operator should know about them.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ipe_api::{
    AuthenticationConfig, Authorities, Clients, Group, Groups, HttpConfig, Identity, Password, ServerConfig, Store, TlsConfig,
};
use zeroize::Zeroizing;

use crate::config::{NodeConfig, RpcAuthentication, RpcListener, RpcTls};
use crate::run::RunError;

/// Groups whose methods change what the node does, or cost it most.
const STRONG: [Group; 5] = [Group::Admin, Group::Debug, Group::Miner, Group::Perm, Group::Qbft];

/// The listeners. Warns of files that others can read, and of what is open to the world.
///
/// # Errors
/// Groups that do not exist, and settings that lack another.
pub(crate) fn config(config: &NodeConfig) -> Result<ServerConfig, RunError> {
    let operator = RpcListener {
        authentication: config.rpc_http.authentication.clone(),
        tls: config.rpc_http.tls.clone(),
        ..config.rpc_operator.clone()
    };
    Ok(ServerConfig {
        http: listener(config, "rpc-http", "rpc-http-tls", &config.rpc_http)?,
        ws: listener(config, "rpc-ws", "rpc-ws-ssl", &config.rpc_ws)?,
        operator: listener(config, "rpc-operator", "rpc-http-tls", &operator)?,
    })
}

fn listener(config: &NodeConfig, name: &str, tls_name: &str, settings: &RpcListener) -> Result<Option<HttpConfig>, RunError> {
    if !settings.enabled {
        return Ok(None);
    }
    let groups = Groups::parse(settings.api.iter().map(String::as_str))
        .map_err(|reason| RunError::Groups { key: format!("{name}-api"), reason })?;
    let authentication = settings.authentication.enabled.then(|| authentication(&settings.authentication));
    let tls = if settings.tls.enabled { Some(tls(tls_name, &settings.tls)?) } else { None };
    for secret in secrets(settings) {
        if let Some(warning) = exposure(&secret) {
            tracing::warn!("{warning}");
        }
    }
    for warning in openness(name, settings, groups, authentication.is_some(), tls.as_ref()) {
        tracing::warn!("{warning}");
    }
    Ok(Some(HttpConfig {
        groups,
        host_allowlist: config.host_allowlist.clone(),
        cors_origins: config.rpc_cors_origins.clone(),
        max_connections: settings.max_connections,
        max_batch: config.rpc_max_batch,
        max_body: config.rpc_max_body,
        max_frame: config.rpc_ws_max_frame,
        authentication,
        tls,
        ..HttpConfig::at(SocketAddr::new(settings.host, settings.port))
    }))
}

fn authentication(settings: &RpcAuthentication) -> AuthenticationConfig {
    AuthenticationConfig {
        credentials_file: settings.credentials_file.clone(),
        public_key: settings.public_key_file.clone().map(|file| (file, settings.algorithm)),
        open_methods: settings.open_methods.clone(),
    }
}

fn tls(name: &str, settings: &RpcTls) -> Result<TlsConfig, RunError> {
    let lacks = |key: &str, reason: &str| RunError::Rpc { key: format!("{name}-{key}"), reason: reason.to_owned() };
    let store = |file: &Path, password: &Option<Password>| Store {
        file: file.to_owned(),
        password: password.clone().unwrap_or(Password::Text(Zeroizing::new(String::new()))),
    };
    let identity = match (&settings.keystore_file, &settings.key_file, &settings.cert_file) {
        (Some(file), None, None) => Identity::Store(store(file, &settings.keystore_password)),
        (None, Some(key), Some(certificates)) => Identity::Pem { key: key.clone(), certificates: certificates.clone() },
        (None, None, None) => {
            return Err(lacks(
                "keystore-file",
                "TLS is on without a key; name a PKCS#12 file here, or PEM files in key-file and cert-file",
            ));
        }
        (Some(_), _, _) => return Err(lacks("keystore-file", "a PKCS#12 file and PEM files are named; name one or the other")),
        (None, Some(_), None) => return Err(lacks("cert-file", "a key is named without its certificate; name the PEM file here")),
        (None, None, Some(_)) => return Err(lacks("key-file", "a certificate is named without its key; name the PEM file here")),
    };
    let clients = if settings.client_auth {
        let authorities = match (&settings.truststore_file, &settings.trustcert_file) {
            (Some(file), None) => Some(Authorities::Store(store(file, &settings.truststore_password))),
            (None, Some(file)) => Some(Authorities::Pem(file.clone())),
            (None, None) => None,
            (Some(_), Some(_)) => {
                return Err(lacks("truststore-file", "a PKCS#12 file and a PEM file are named; name one or the other"));
            }
        };
        if authorities.is_none() && settings.known_clients_file.is_none() {
            let reason = "clients need a certificate and nothing says which; name the file of known clients, or authorities in truststore-file or trustcert-file";
            return Err(lacks("known-clients-file", reason));
        }
        Some(Clients { known: settings.known_clients_file.clone(), authorities })
    } else {
        None
    };
    Ok(TlsConfig { identity, clients, protocols: settings.protocols.clone(), cipher_suites: settings.cipher_suites.clone() })
}

/// Files of a listener that nobody else should read.
fn secrets(settings: &RpcListener) -> Vec<PathBuf> {
    let mut all = Vec::new();
    if settings.authentication.enabled {
        all.extend(settings.authentication.credentials_file.clone());
    }
    if settings.tls.enabled {
        all.extend(settings.tls.keystore_file.clone());
        all.extend(settings.tls.key_file.clone());
        for password in [&settings.tls.keystore_password, &settings.tls.truststore_password] {
            if let Some(Password::File(path)) = password {
                all.push(path.clone());
            }
        }
    }
    all
}

/// What is wrong with the permissions of a secret file, and what to do about it.
fn exposure(path: &Path) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    let path = path.display();
    (mode & 0o077 != 0).then(|| format!("{path}, which holds a secret of JSON-RPC, can be used by other users of this machine (mode {mode:04o}): chmod 600 {path}"))
}

/// What a listener that others than this machine reach leaves open.
fn openness(name: &str, settings: &RpcListener, groups: Groups, authenticated: bool, tls: Option<&TlsConfig>) -> Vec<String> {
    let mut all = Vec::new();
    if settings.host.is_loopback() {
        return all;
    }
    let strong: Vec<&str> = STRONG.into_iter().filter(|group| groups.has(*group)).map(Group::name).collect();
    if !strong.is_empty() && !authenticated && tls.is_none_or(|tls| tls.clients.is_none()) {
        all.push(format!(
            "{name} serves {} to everybody who reaches {}:{}: ask for a token or a certificate, or leave these groups to rpc-operator (docs/exposing-json-rpc.md)",
            strong.join(", "),
            settings.host,
            settings.port
        ));
    }
    if authenticated && tls.is_none() {
        all.push(format!(
            "{name} takes passwords and tokens in clear on {}:{}: turn TLS on, here or in a proxy before it",
            settings.host, settings.port
        ));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Given, resolve};

    fn given(flags: &[(&'static str, &str)]) -> NodeConfig {
        let flags = flags.iter().map(|(key, text)| (*key, vec![(*text).to_owned()])).collect();
        resolve(&Given { flags, ..Given::default() }).expect("valid")
    }

    #[test]
    fn settings_that_lack_another_name_it() {
        for (flags, words) in [
            (&[("rpc-http-tls-enabled", "true")][..], "rpc-http-tls-keystore-file: TLS is on without a key"),
            (&[("rpc-http-tls-enabled", "true"), ("rpc-http-tls-key-file", "k")], "rpc-http-tls-cert-file"),
            (&[("rpc-http-tls-enabled", "true"), ("rpc-http-tls-cert-file", "c")], "rpc-http-tls-key-file"),
            (
                &[("rpc-http-tls-enabled", "true"), ("rpc-http-tls-cert-file", "c"), ("rpc-http-tls-keystore-file", "s")],
                "one or the other",
            ),
            (
                &[
                    ("rpc-ws-enabled", "true"),
                    ("rpc-ws-ssl-enabled", "true"),
                    ("rpc-ws-ssl-keystore-file", "s"),
                    ("rpc-ws-ssl-client-auth-enabled", "true"),
                ],
                "rpc-ws-ssl-known-clients-file: clients need a certificate",
            ),
            (&[("rpc-operator-enabled", "true"), ("rpc-operator-api", "NONE")], "rpc-operator-api"),
        ] {
            let error = config(&given(flags)).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn operators_have_a_listener_with_the_same_locks() {
        let settings = given(&[
            ("rpc-operator-enabled", "true"),
            ("rpc-http-authentication-enabled", "true"),
            ("rpc-http-authentication-credentials-file", "users.toml"),
            ("rpc-http-tls-enabled", "true"),
            ("rpc-http-tls-keystore-file", "store.p12"),
            ("rpc-http-tls-keystore-password-file", "password"),
        ]);
        let made = config(&settings).expect("valid");
        let (http, operator) = (made.http.expect("on"), made.operator.expect("on"));
        assert!(http.authentication.is_some() && http.tls.is_some());
        assert_eq!((&http.authentication, &http.tls), (&operator.authentication, &operator.tls));
        assert!(operator.groups.has(Group::Admin) && !http.groups.has(Group::Admin));
    }

    #[test]
    fn what_is_open_to_the_world_is_said() {
        let said = |flags: &[(&'static str, &str)]| {
            let settings = given(flags).rpc_http;
            let groups = Groups::parse(settings.api.iter().map(String::as_str)).expect("groups");
            openness("rpc-http", &settings, groups, settings.authentication.enabled, None)
        };
        let world = ("rpc-http-host", "0.0.0.0");
        assert_eq!(said(&[("rpc-http-api", "ETH,ADMIN")]), Vec::<String>::new());
        assert_eq!(said(&[world]), Vec::<String>::new());
        assert!(said(&[world, ("rpc-http-api", "ETH,ADMIN,QBFT")])[0].contains("serves admin, qbft to everybody"));
        assert!(said(&[world, ("rpc-http-authentication-enabled", "true")])[0].contains("in clear"));
    }
}
