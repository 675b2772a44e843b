//! Installs and starts every artefact, as a user of each would.
//!
//! Roots of packages and of the image are folders; a program in them is started by `chroot` as the user that the unit or the image
//! names. That needs root; without it, and where a tool is missing, this says "NOT RUN". Everything listens on loopback.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::files::read;
use crate::{Release, assets, fail, files, image, packages, run, sums};

/// Longest wait for what should happen within seconds.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs all trials on the artefacts in `folder`.
pub fn run_all(release: &Release, folder: &Path) -> Result<(), String> {
    let work = folder.join("trial");
    let _ = std::fs::remove_dir_all(&work);
    std::fs::create_dir_all(&work).map_err(fail("make", &work))?;
    let artefact = |end: &str| find(folder, end);
    println!("trial: checksums and signature");
    run(Command::new("sha256sum").args(["--check", "--quiet", "SHA256SUMS"]).current_dir(folder))?;
    signature(release, &work)?;
    println!("trial: bills of materials");
    bills(&artefact(".cdx.json")?, &artefact(".spdx.json")?)?;
    println!("trial: archive");
    let archive = work.join("archive");
    unpack(&artefact(".tar.gz")?, &archive, true)?;
    let program = archive.join(format!("ipe-{}/usr/bin/ipe", release.label));
    version(release, Command::new(&program).arg("--version"))?;
    let arguments: Vec<String> = unit(&program, &work)?;
    if !release.target.starts_with(std::env::consts::ARCH) {
        println!("trial: NOT RUN beyond unpacking: {} does not run here", release.target);
        return Ok(());
    }
    if String::from_utf8_lossy(&run(Command::new("id").arg("-u"))?).trim() != "0" {
        println!("trial: packages and image NOT RUN: chroot and dpkg --root need root");
        return Ok(());
    }
    let lab = Lab::up(&program, &work)?;
    println!("trial: Debian package");
    debian(release, &artefact(".deb")?, &work, &lab, &arguments)?;
    println!("trial: RPM package");
    redhat(release, &artefact(".rpm")?, &work)?;
    println!("trial: image");
    container(release, &artefact(".oci.tar")?, &work, &lab)?;
    drop(lab);
    std::fs::remove_dir_all(&work).map_err(fail("remove", &work))?;
    println!("trial: all artefacts were installed and started");
    Ok(())
}

/// Signs with a key made for this trial, and insists that other sums do not pass.
fn signature(release: &Release, work: &Path) -> Result<(), String> {
    let wrong = |error: minisign::PError| format!("minisign: {error}");
    let pair = minisign::KeyPair::generate_unencrypted_keypair().map_err(wrong)?;
    let key = work.join("key");
    std::fs::write(&key, pair.sk.to_box(None).map_err(wrong)?.into_string()).map_err(fail("write", &key))?;
    let signed = minisign::SignatureBox::from_string(&sums::sign(release, &key, "sums")?).map_err(wrong)?;
    let verify = |text: &str| minisign::verify(&pair.pk, &signed, std::io::Cursor::new(text.to_owned()), true, false, false);
    verify("sums").map_err(wrong)?;
    match verify("other sums") {
        Err(_) => Ok(()),
        Ok(()) => Err("the signature of one list passes for another".to_owned()),
    }
}

fn bills(cyclonedx: &Path, spdx: &Path) -> Result<(), String> {
    let json = |path: &Path| -> Result<Value, String> {
        serde_json::from_slice(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))
    };
    let (one, other) = (json(cyclonedx)?, json(spdx)?);
    let components = one["components"].as_array().map_or(0, Vec::len);
    let named = other["packages"].as_array().map_or(0, Vec::len);
    if one["bomFormat"] != "CycloneDX" || other["spdxVersion"] != "SPDX-2.3" || components < 100 || named != components + 1 {
        return Err(format!("bills of materials: {components} components, {named} packages"));
    }
    for name in ["revm", "rustls", "glibc"] {
        if !one["components"].as_array().into_iter().flatten().any(|component| component["name"] == name) {
            return Err(format!("{} does not name {name}", cyclonedx.display()));
        }
    }
    println!("  {components} components");
    Ok(())
}

/// Has systemd judge the unit; returns the arguments of its ExecStart for the instance `observer`.
fn unit(program: &Path, work: &Path) -> Result<Vec<String>, String> {
    let line = assets::UNIT.lines().find_map(|line| line.strip_prefix("ExecStart=")).ok_or("the unit has no ExecStart")?;
    let arguments: Vec<String> = line.replace("%i", "observer").split(' ').map(str::to_owned).collect();
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("  unit NOT RUN: systemd-analyze is not installed");
        return Ok(arguments);
    }
    let path = work.join("ipe@.service");
    // The program is looked for where it is, not where it will be.
    let text = assets::UNIT.replace("/usr/bin/ipe ", &format!("{} ", program.display()));
    std::fs::write(&path, text).map_err(fail("write", &path))?;
    let instance = work.join("ipe@observer.service");
    std::os::unix::fs::symlink("ipe@.service", &instance).map_err(fail("make", &instance))?;
    let output =
        Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&instance).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Warnings about other units of this machine are none of ours.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("ipe@")).collect();
    if !ours.is_empty() {
        return Err(format!("systemd-analyze verify: {}", ours.join("; ")));
    }
    let security =
        run(Command::new("systemd-analyze").args(["security", "--offline=true", "--no-pager", "--threshold=20"]).arg(&path))
            .map_err(|error| format!("the unit is less protected than it was (threshold 2.0): {error}"))?;
    let score = String::from_utf8_lossy(&security)
        .lines()
        .rev()
        .find(|line| line.contains("exposure level"))
        .unwrap_or("no score")
        .to_owned();
    println!("  systemd-analyze security: {}", score.trim_start_matches(|c: char| !c.is_ascii_alphabetic()));
    Ok(arguments)
}

fn debian(release: &Release, package: &Path, work: &Path, lab: &Lab, arguments: &[String]) -> Result<(), String> {
    if Command::new("dpkg").arg("--version").output().is_err() {
        println!("  NOT RUN: dpkg is not installed");
        return Ok(());
    }
    let root = work.join("debian");
    fresh_root(&root)?;
    let dpkg = |more: &[&str], path: Option<&Path>| {
        let mut command = Command::new("dpkg");
        command.arg(format!("--root={}", root.display())).arg("--log=/dev/null").arg("--force-not-root").args(more).args(path);
        run(command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"))
    };
    dpkg(&["--install"], Some(package))?;
    let owner = owner_of(&root)?;
    version(release, chroot(&root, owner).args(["/usr/bin/ipe", "--version"]))?;

    // As docs/installing.md says, with what the unit makes.
    let example = String::from_utf8_lossy(&read(&root.join("etc/ipe/observer.toml.example"))?).into_owned();
    let settings = root.join("etc/ipe/observer.toml");
    let configured = lab.configure(&example);
    std::fs::write(&settings, &configured).map_err(fail("write", &settings))?;
    std::fs::copy(lab.folder.join("genesis.json"), root.join("etc/ipe/genesis.json")).map_err(fail("write", &root))?;
    let data = root.join("var/lib/ipe/observer");
    lab.prepare(&data, owner)?;
    run(Command::new("chown").args(["-R", &format!("0:{}", owner.1)]).arg(root.join("etc/ipe")))?;
    let mut node = Node::start(chroot(&root, owner).args(arguments), &root, "/run/notify")?;
    node.ready()?;
    let height = lab.followed(&data)?;
    println!("  the node of the package follows the lab to block {height}; the boot was found by a name in /etc/hosts");
    node.stop()?;

    // An upgrade replaces the program and keeps settings and data.
    let newer = Release { package_version: format!("{}+next", release.package_version), ..release.clone() };
    let upgrade = work.join("next.deb");
    let binary = root.join("usr/bin/ipe");
    std::fs::write(&upgrade, packages::deb(&newer, &files::all(&newer, &binary)?)?).map_err(fail("write", &upgrade))?;
    let example = root.join("etc/ipe/observer.toml.example");
    std::fs::write(&example, "changed by the operator\n").map_err(fail("write", &example))?;
    dpkg(&["--force-confdef", "--force-confold", "--install"], Some(&upgrade))?;
    kept(&[(&settings, configured.as_bytes()), (&example, b"changed by the operator\n")])?;
    let key = read(&data.join("key"))?;
    let mut node = Node::start(chroot(&root, owner).args(arguments), &root, "/run/notify")?;
    node.ready()?;
    lab.followed(&data)?;
    node.stop()?;
    kept(&[(&data.join("key"), &key)])?;
    println!("  upgraded: settings, key and chain are the same, the node goes on");

    dpkg(&["--remove", "ipe"], None)?;
    if binary.exists() || root.join("usr/lib/systemd/system/ipe@.service").exists() {
        return Err("removed, and the program or its unit is still there".to_owned());
    }
    dpkg(&["--purge", "ipe"], None)?;
    kept(&[(&settings, configured.as_bytes()), (&data.join("key"), &key)])?;
    println!("  removed and purged: settings, key and chain are still there");
    Ok(())
}

fn redhat(release: &Release, package: &Path, work: &Path) -> Result<(), String> {
    let wrong = |error: rpm::Error| format!("{}: {error}", package.display());
    let read_back = rpm::Package::open(package).map_err(wrong)?;
    read_back.verify_digests().map_err(wrong)?;
    let root = work.join("redhat");
    if Command::new("rpm").arg("--version").output().is_ok() {
        fresh_root(&root)?;
        let rpm = |more: &[&str], path: Option<&Path>| run(Command::new("rpm").arg("--root").arg(&root).args(more).args(path));
        rpm(&["--initdb"], None)?;
        rpm(&["--install", "--nodeps"], Some(package))?;
        let owner = owner_of(&root)?;
        version(release, chroot(&root, owner).args(["/usr/bin/ipe", "--version"]))?;
        own(&root.join("var/lib/ipe/observer"), owner)?;
        rpm(&["--erase", "ipe"], None)?;
        if root.join("usr/bin/ipe").exists() || !root.join("var/lib/ipe/observer").exists() {
            return Err("rpm --erase left the program, or took the data".to_owned());
        }
        println!("  installed, started and erased by rpm; the data is still there");
    } else {
        let into = root.join("files");
        std::fs::create_dir_all(&root).map_err(fail("make", &root))?;
        read_back.extract(&into).map_err(wrong)?;
        version(release, Command::new(into.join("usr/bin/ipe")).arg("--version"))?;
        println!("  unpacked and started; installation NOT RUN: rpm is not installed");
    }
    Ok(())
}

fn container(release: &Release, archive: &Path, work: &Path, lab: &Lab) -> Result<(), String> {
    let (layout, root) = (work.join("layout"), work.join("image"));
    unpack(archive, &layout, false)?;
    let json = |path: &Path| -> Result<Value, String> {
        serde_json::from_slice(&read(path)?).map_err(|error| format!("{}: {error}", path.display()))
    };
    let blob = |value: &Value| -> Result<PathBuf, String> {
        let digest =
            value["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")).ok_or("a descriptor without a digest")?;
        let path = layout.join("blobs/sha256").join(digest);
        let bytes = read(&path)?;
        if sums::sha256(&bytes) != digest || Some(bytes.len() as u64) != value["size"].as_u64() {
            return Err(format!("{} is not what its descriptor says", path.display()));
        }
        Ok(path)
    };
    let manifest = json(&blob(&json(&layout.join("index.json"))?["manifests"][0])?)?;
    let config = json(&blob(&manifest["config"])?)?["config"].clone();
    unpack(&blob(&manifest["layers"][0])?, &root, true)?;
    let texts = |value: &Value| {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<String>>()
    };
    let owner = (image::OWNER, image::OWNER);
    if config["User"] != format!("{}:{}", owner.0, owner.1) {
        return Err(format!("the image's user is {}", config["User"]));
    }
    let inside = |arguments: &[String]| {
        let mut command = chroot(&root, owner);
        command.env_clear().envs(texts(&config["Env"]).iter().filter_map(|pair| pair.split_once('='))).args(arguments);
        command
    };
    let entry = texts(&config["Entrypoint"]);
    version(release, &mut inside(&[entry.clone(), vec!["--version".to_owned()]].concat()))?;
    // What is mounted into a container: settings, genesis, the folder of the data; names come from its /etc/hosts.
    let settings = root.join("etc/ipe/node.toml");
    let configured = lab.configure(assets::OBSERVER);
    std::fs::write(&settings, configured).map_err(fail("write", &settings))?;
    std::fs::copy(lab.folder.join("genesis.json"), root.join("etc/ipe/genesis.json")).map_err(fail("write", &root))?;
    hosts(&root)?;
    devices(&root)?;
    let data = root.join("var/lib/ipe");
    lab.prepare(&data, owner)?;
    let before = listing(&root)?;
    let mut node = Node::start(
        inside(&[entry, texts(&config["Cmd"])].concat()).env("IPE_RPC_HTTP_HOST", "127.0.0.1"),
        &root,
        "/var/lib/ipe/notify",
    )?;
    node.ready()?;
    let height = lab.followed(&data)?;
    let check = texts(&config["Healthcheck"]["Test"]);
    run(&mut inside(&check[1..]))?;
    node.stop()?;
    if run(&mut inside(&check[1..])).is_ok() {
        return Err("the health check passes although the node is stopped".to_owned());
    }
    let after = listing(&root)?;
    if let Some(written) = after.iter().find(|path| !before.contains(path)) {
        return Err(format!("the node wrote {written}, outside of its data: the root cannot be read-only"));
    }
    println!("  the node of the image follows the lab to block {height}, its health check passes, and it wrote only its data");
    Ok(())
}

/// A lab network of the released program.
struct Lab {
    program: PathBuf,
    folder: PathBuf,
}

impl Lab {
    fn up(program: &Path, work: &Path) -> Result<Self, String> {
        let lab = Lab { program: program.to_owned(), folder: work.join("lab") };
        run(&mut lab.ipe(&["up", "--detach"]))?;
        // The boots let in only nodes of their directory: the installed node takes the place of this one.
        run(&mut lab.ipe(&["stop", PLACE]))?;
        Ok(lab)
    }

    fn ipe(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("lab").args(arguments).arg("--dir").arg(&self.folder).stdin(Stdio::null());
        command
    }

    fn status(&self) -> Result<Value, String> {
        serde_json::from_slice(&run(&mut self.ipe(&["status", "--json"]))?).map_err(|error| format!("ipe lab status: {error}"))
    }

    /// The example settings with the lab's boot, under a name that only `/etc/hosts` knows, and free ports.
    fn configure(&self, example: &str) -> String {
        let enode = self
            .status()
            .ok()
            .and_then(|status| {
                status["nodes"].as_array()?.iter().find(|node| node["role"] == "boot")?["enode"].as_str().map(str::to_owned)
            })
            .unwrap_or_default()
            .replace("127.0.0.1", BOOT);
        example
            .replace("static-nodes = []", &format!("static-nodes = [\"{enode}\"]"))
            .replace("rpc-http-port = \"8545\"", "rpc-http-port = \"0\"")
            .replace("role = \"observer\"", "role = \"writer\"")
            .replace("#institution = \"example\"", "institution = \"inst1\"")
            + "\np2p-interface = \"127.0.0.1\"\np2p-port = \"0\"\n"
    }

    /// Makes the folder of the node's data, with the key that the boots know.
    fn prepare(&self, data: &Path, owner: (u64, u64)) -> Result<(), String> {
        own(data, owner)?;
        let key = data.join("key");
        std::fs::copy(self.folder.join(PLACE).join("key"), &key).map_err(fail("write", &key))?;
        run(Command::new("chown").arg(format!("{}:{}", owner.0, owner.1)).arg(&key)).map(drop)
    }

    /// Waits until the node of `data` has a block that the lab made after this was called, the same one; its height.
    fn followed(&self, data: &Path) -> Result<u64, String> {
        let target = self.status()?["height"].as_u64().unwrap_or(0) + 2;
        let boot =
            self.status()?["nodes"].as_array().into_iter().flatten().find_map(|node| node["rpc"].as_str().map(str::to_owned));
        let boot = boot.ok_or("the lab has no node with JSON-RPC")?;
        let began = Instant::now();
        loop {
            let own: Option<Value> =
                std::fs::read(data.join("endpoints.json")).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let own = own.and_then(|endpoints| endpoints["rpcHttp"].as_str().map(str::to_owned));
            if let (Some(own), Some(theirs)) = (own, block(&boot, target)) {
                if block(&own, target).is_some_and(|block| block == theirs) {
                    return Ok(target);
                }
            }
            if began.elapsed() > PATIENCE {
                return Err(format!("the node of {} did not reach block {target} of the lab", data.display()));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = run(&mut self.ipe(&["down"])) {
            eprintln!("trial: {error}");
        }
    }
}

/// Node of the lab whose key and place the installed node has.
const PLACE: &str = "inst1-writer";

/// Name of the lab's boot inside of a root.
const BOOT: &str = "boot.lab.example";

/// Hash of a block, asked over HTTP.
fn block(address: &str, number: u64) -> Option<String> {
    use std::io::{Read, Write};
    let address = address.trim_start_matches("http://");
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"eth_getBlockByNumber","params":["{number:#x}",false]}}"#);
    let mut stream = std::net::TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(
        stream,
        "POST / HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
    .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split("\"hash\":\"").nth(1)?.split('"').next().map(str::to_owned)
}

/// A node in a root, with a supervisor's socket.
struct Node {
    process: Child,
    socket: UnixDatagram,
    path: PathBuf,
}

impl Node {
    fn start(command: &mut Command, root: &Path, socket: &str) -> Result<Self, String> {
        let path = root.join(socket.trim_start_matches('/'));
        let _ = std::fs::remove_file(&path);
        let bound = UnixDatagram::bind(&path).map_err(fail("bind", &path))?;
        bound.set_read_timeout(Some(PATIENCE)).map_err(fail("set up", &path))?;
        run(Command::new("chmod").arg("0666").arg(&path))?;
        let process = command.env("NOTIFY_SOCKET", socket).stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        Ok(Node { process: process.map_err(|error| format!("{command:?} did not start: {error}"))?, socket: bound, path })
    }

    fn told(&self, wanted: &str) -> Result<(), String> {
        let (began, mut bytes) = (Instant::now(), [0; 256]);
        while began.elapsed() < PATIENCE {
            let length = self.socket.recv(&mut bytes).map_err(|error| format!("the node did not tell {wanted}: {error}"))?;
            if String::from_utf8_lossy(&bytes[..length]).lines().any(|line| line == wanted) {
                return Ok(());
            }
        }
        Err(format!("the node did not tell {wanted}"))
    }

    fn ready(&mut self) -> Result<(), String> {
        self.told("READY=1")?;
        self.told("WATCHDOG=1")
    }

    fn stop(mut self) -> Result<(), String> {
        run(Command::new("kill").arg(self.process.id().to_string()))?;
        self.told("STOPPING=1")?;
        let status = self.process.wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("the node ended with {status}")) }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.path);
    }
}

fn find(folder: &Path, end: &str) -> Result<PathBuf, String> {
    let mut entries = std::fs::read_dir(folder).map_err(fail("read", folder))?.flatten().map(|entry| entry.path());
    entries.find(|path| path.to_string_lossy().ends_with(end)).ok_or_else(|| format!("{} has no *{end}", folder.display()))
}

fn unpack(archive: &Path, into: &Path, packed: bool) -> Result<(), String> {
    std::fs::create_dir_all(into).map_err(fail("make", into))?;
    run(Command::new("tar").args(if packed { &["-xzf"][..] } else { &["-xf"] }).arg(archive).arg("-C").arg(into)).map(drop)
}

fn version(release: &Release, command: &mut Command) -> Result<(), String> {
    let text = String::from_utf8_lossy(&run(command)?).into_owned();
    if text.contains(&release.commit) && text.contains(", static") {
        println!("  {}", text.lines().next().unwrap_or_default());
        return Ok(());
    }
    Err(format!("expected commit {} and a static executable, got\n{text}", release.commit))
}

/// A root with a shell and nothing else that runs: what maintainer scripts need.
fn fresh_root(root: &Path) -> Result<(), String> {
    for folder in ["bin", "etc", "run", "tmp", "usr/bin", "usr/sbin", "var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/rpm"] {
        std::fs::create_dir_all(root.join(folder)).map_err(fail("make", root))?;
    }
    for file in ["var/lib/dpkg/status", "var/lib/dpkg/available", "etc/group"] {
        std::fs::write(root.join(file), "").map_err(fail("write", root))?;
    }
    std::fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").map_err(fail("write", root))?;
    std::fs::write(root.join("etc/group"), "root:x:0:\n").map_err(fail("write", root))?;
    devices(root)?;
    for program in ["/bin/sh", "/bin/grep", "/bin/chgrp", "/usr/bin/systemd-sysusers"] {
        let real = std::fs::canonicalize(program).map_err(fail("find", Path::new(program)))?;
        copy_into(root, &real, program)?;
        let libraries = String::from_utf8_lossy(&run(Command::new("ldd").arg(&real))?).into_owned();
        for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
            copy_into(root, Path::new(library), library)?;
        }
        // Libraries that are looked up beside others.
        if let Some(private) = libraries.split_whitespace().find(|word| word.contains("/systemd/")) {
            copy_into(root, Path::new(private), private)?;
        }
    }
    hosts(root)
}

/// The devices that every container and unit has: the executable takes random numbers from two of them.
fn devices(root: &Path) -> Result<(), String> {
    let folder = root.join("dev");
    std::fs::create_dir_all(&folder).map_err(fail("make", &folder))?;
    for (name, minor) in [("null", "3"), ("random", "8"), ("urandom", "9")] {
        run(Command::new("mknod").args(["-m", "666"]).arg(folder.join(name)).args(["c", "1", minor]))?;
    }
    Ok(())
}

fn copy_into(root: &Path, from: &Path, to: &str) -> Result<(), String> {
    let path = root.join(to.trim_start_matches('/'));
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(fail("make", parent))?;
    }
    std::fs::copy(from, &path).map(drop).map_err(fail("copy", from))
}

fn hosts(root: &Path) -> Result<(), String> {
    let path = root.join("etc/hosts");
    std::fs::write(&path, format!("127.0.0.1 localhost {BOOT}\n")).map_err(fail("write", &path))
}

/// User and group `ipe` of a root.
fn owner_of(root: &Path) -> Result<(u64, u64), String> {
    let path = root.join("etc/passwd");
    let text = String::from_utf8_lossy(&read(&path)?).into_owned();
    let ids = text.lines().find_map(|line| {
        let mut fields = line.strip_prefix("ipe:")?.split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    });
    ids.filter(|(user, _)| *user != 0).ok_or_else(|| format!("{}: the package made no user ipe", path.display()))
}

fn own(folder: &Path, (user, group): (u64, u64)) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(fail("make", folder))?;
    run(Command::new("chown").arg(format!("{user}:{group}")).arg(folder))?;
    run(Command::new("chmod").arg("0700").arg(folder)).map(drop)
}

/// Runs a program of `root` without rights.
fn chroot(root: &Path, (user, group): (u64, u64)) -> Command {
    let mut command = Command::new("/usr/sbin/chroot");
    command.arg(format!("--userspec={user}:{group}")).arg("--groups=").arg(root);
    command
}

fn kept(files: &[(&Path, &[u8])]) -> Result<(), String> {
    for (path, bytes) in files {
        if read(path)? != *bytes {
            return Err(format!("{} was changed", path.display()));
        }
    }
    Ok(())
}

/// Every path of a root outside of the node's data.
fn listing(root: &Path) -> Result<Vec<String>, String> {
    let all = run(Command::new("find").arg(root).args(["-path", "*/var/lib/ipe/*", "-prune", "-o", "-printf", "%p %s %T@\n"]))?;
    Ok(String::from_utf8_lossy(&all).lines().filter(|line| !line.contains("/var/lib/ipe ")).map(str::to_owned).collect())
}
