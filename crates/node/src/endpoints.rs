//! Where a running node really listens: `<data-dir>/endpoints.json`, for whoever started it with port 0.

use serde::{Deserialize, Serialize};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The listeners of a running node. Written once all are open, removed at shutdown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// Process id of the node that wrote it.
    pub pid: u32,
    /// RLPx, when the node listens.
    pub p2p: Option<SocketAddr>,
    /// The node's enode URL; port 0 when it does not listen.
    pub enode: Option<String>,
    /// JSON-RPC over HTTP.
    pub rpc_http: Option<SocketAddr>,
    /// JSON-RPC over WebSocket.
    pub rpc_ws: Option<SocketAddr>,
    /// JSON-RPC for operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rpc_operator: Option<SocketAddr>,
    /// Prometheus.
    pub metrics: Option<SocketAddr>,
}

impl Endpoints {
    /// Where the file is.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("endpoints.json")
    }

    /// Writes the file so that a reader sees all of it or nothing.
    pub fn write(&self, data_dir: &Path) -> io::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        let part = data_dir.join("endpoints.json.part");
        std::fs::write(&part, text + "\n")?;
        std::fs::rename(&part, Endpoints::path(data_dir))
    }

    /// Reads the file; `None` when it is not there (yet) or not readable.
    pub fn read(data_dir: &Path) -> Option<Endpoints> {
        let text = std::fs::read_to_string(Endpoints::path(data_dir)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Removes the file, at shutdown.
    pub fn remove(data_dir: &Path) {
        // Already gone is as good.
        let _ = std::fs::remove_file(Endpoints::path(data_dir));
    }
}
