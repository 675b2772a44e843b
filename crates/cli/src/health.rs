//! `ipe node health`: asks a running node whether it is well, for a supervisor or a container that has no other program.

use crate::failure::{Failure, Outcome};
use clap::Args;
use ipe_node::Endpoints;
use std::path::PathBuf;
use std::time::Duration;

/// Longest wait for the answer: it takes a healthy node milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Args)]
pub struct HealthArgs {
    /// Data folder of the node.
    #[arg(long, value_name = "DIR", env = "IPE_DATA_DIR", default_value = "ipe-data")]
    data_dir: PathBuf,
    /// Ask whether it is in step with the network and has peers, too; without this only whether it lives.
    #[arg(long)]
    ready: bool,
}

/// Reads the node's address from its folder, asks, and prints the answer: done when it is UP.
pub fn run(arguments: &HealthArgs) -> Outcome {
    let folder = &arguments.data_dir;
    let endpoints = Endpoints::read(folder).ok_or_else(|| {
        Failure::Failed(format!(
            "{} does not exist or cannot be read: no node runs on this folder",
            Endpoints::path(folder).display()
        ))
    })?;
    let address = endpoints.rpc_http.or(endpoints.rpc_operator).ok_or_else(|| {
        Failure::Failed(
            "the node serves no JSON-RPC over HTTP, which answers about its health; set rpc-http-enabled = true".to_owned(),
        )
    })?;
    let address = match address.ip() {
        // Bound to every address of the machine.
        ip if ip.is_unspecified() && ip.is_ipv6() => format!("[::1]:{}", address.port()),
        ip if ip.is_unspecified() => format!("127.0.0.1:{}", address.port()),
        _ => address.to_string(),
    };
    let url = format!("http://{address}/{}", if arguments.ready { "health" } else { "liveness" });
    let failed = |error: reqwest::Error| {
        Failure::failed(format!("could not ask {url} (a listener that speaks TLS is not asked)"), error.without_url())
    };
    let (status, body) = crate::node::runtime()?.block_on(async {
        let client = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build().map_err(failed)?;
        let answer = client.get(&url).send().await.map_err(failed)?;
        Ok::<_, Failure>((answer.status(), answer.text().await.map_err(failed)?))
    })?;
    if status.is_success() {
        println!("{}", body.trim());
        return Ok(());
    }
    Err(Failure::Failed(format!("{url} answered {status}: {}", body.trim())))
}
