//! The container image: one layer without a system under it, as an OCI archive that `podman load`, `docker load` and `skopeo` read.

use serde_json::json;

use crate::files::{File, Tar, gzip, read};
use crate::sums::sha256;
use crate::{Release, date};

/// User and group inside of the image: none of a host's.
pub const OWNER: u64 = 65532;

/// Bytes of the archive.
pub fn image(release: &Release, files: &[File]) -> Result<Vec<u8>, String> {
    let layer = layer(release, files)?;
    let packed = gzip(&layer)?;
    let labels = json!({
        "org.opencontainers.image.title": "ipe",
        "org.opencontainers.image.description": "Permissioned Ethereum node (QBFT) that joins Hyperledger Besu networks",
        "org.opencontainers.image.version": release.label,
        "org.opencontainers.image.revision": release.commit,
        "org.opencontainers.image.created": date(release.time),
        "org.opencontainers.image.licenses": "MIT OR Apache-2.0",
        "org.opencontainers.image.vendor": "Ipê",
    });
    // `Healthcheck` is reserved by the OCI specification for what Docker made of it: Docker honours it, others ignore it.
    let config = json!({
        "created": date(release.time),
        "architecture": release.deb_arch,
        "os": "linux",
        "config": {
            "User": format!("{OWNER}:{OWNER}"),
            "ExposedPorts": { "30303/tcp": {}, "30303/udp": {}, "8545/tcp": {} },
            "Env": ["PATH=/usr/bin", "IPE_DATA_DIR=/var/lib/ipe", "IPE_RPC_HTTP_HOST=0.0.0.0"],
            "Entrypoint": ["/usr/bin/ipe"],
            "Cmd": ["node", "run", "--config", "/etc/ipe/node.toml"],
            "Volumes": { "/var/lib/ipe": {} },
            "WorkingDir": "/var/lib/ipe",
            "StopSignal": "SIGTERM",
            "Labels": labels,
            "Healthcheck": {
                "Test": ["CMD", "/usr/bin/ipe", "node", "health"],
                "Interval": 30_000_000_000u64, "Timeout": 10_000_000_000u64, "StartPeriod": 60_000_000_000u64, "Retries": 3,
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))] },
        "history": [{ "created": date(release.time), "created_by": "cargo xtask dist" }],
    })
    .to_string()
    .into_bytes();
    let blob = |kind: &str, bytes: &[u8]| json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": format!("sha256:{}", sha256(bytes)), "size": bytes.len() });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("config.v1+json", &config),
        "layers": [blob("layer.v1.tar+gzip", &packed)],
        "annotations": labels,
    })
    .to_string()
    .into_bytes();
    let tag = release.label.replace(['+', '~'], "-");
    let mut entry = blob("manifest.v1+json", &manifest);
    entry["platform"] = json!({ "architecture": release.deb_arch, "os": "linux" });
    entry["annotations"] =
        json!({ "org.opencontainers.image.ref.name": tag, "io.containerd.image.name": format!("localhost/ipe:{tag}") });
    let index = json!({ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry] });
    // What older versions of Docker read instead of the index.
    let path = |bytes: &[u8]| format!("blobs/sha256/{}", sha256(bytes));
    let docker = json!([{ "Config": path(&config), "RepoTags": [format!("localhost/ipe:{tag}")], "Layers": [path(&packed)] }]);

    let mut tar = Tar::new(release.time);
    tar.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    tar.file("index.json", 0o644, index.to_string().as_bytes())?;
    tar.file("manifest.json", 0o644, docker.to_string().as_bytes())?;
    tar.folder("blobs", 0o755, 0)?;
    tar.folder("blobs/sha256", 0o755, 0)?;
    for bytes in [&config, &manifest, &packed] {
        tar.file(&path(bytes), 0o644, bytes)?;
    }
    tar.end()
}

/// The executable, the user, and the folder of the data, which alone the user may write.
fn layer(release: &Release, files: &[File]) -> Result<Vec<u8>, String> {
    let binary = files.iter().find(|file| file.path == "/usr/bin/ipe").ok_or("the files have no /usr/bin/ipe")?;
    let mut tar = Tar::new(release.time);
    for folder in ["etc", "etc/ipe", "usr", "usr/bin", "usr/share", "usr/share/doc", "usr/share/doc/ipe", "var", "var/lib"] {
        tar.folder(folder, 0o755, 0)?;
    }
    tar.folder("tmp", 0o1777, 0)?;
    tar.folder("var/lib/ipe", 0o700, OWNER)?;
    tar.file("etc/passwd", 0o644, format!("ipe:x:{OWNER}:{OWNER}::/var/lib/ipe:/nonexistent\n").as_bytes())?;
    tar.file("etc/group", 0o644, format!("ipe:x:{OWNER}:\n").as_bytes())?;
    tar.file("etc/nsswitch.conf", 0o644, b"hosts: files dns\n")?;
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        tar.file(&format!("usr/share/doc/ipe/{name}"), 0o644, &read(&release.source.join(name))?)?;
    }
    tar.file("usr/bin/ipe", 0o755, &binary.bytes)?;
    tar.end()
}
