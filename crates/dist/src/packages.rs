//! The archive, the Debian package and the RPM package of the same files.

use crate::files::{File, Kind, Tar, folders, gzip};
use crate::{Release, assets};

const SUMMARY: &str = "Permissioned Ethereum node (QBFT) that joins Hyperledger Besu networks";
const DESCRIPTION: &str = "Ipê runs the nodes of a permissioned Ethereum network: validators, boots, writers and observers.\n\
    A node joins networks of Hyperledger Besu and GoQuorum with QBFT. Each node of a machine is an instance of the\n\
    systemd unit ipe@.service.";

/// `ipe-VERSION-ARCH-linux.tar.gz`: all files under one folder, for systems without a package manager.
pub fn archive(release: &Release, files: &[File]) -> Result<Vec<u8>, String> {
    let mut tar = Tar::new(release.time);
    let root = format!("ipe-{}", release.label);
    tar.folder(&root, 0o755, 0)?;
    for folder in folders(files) {
        tar.folder(&format!("{root}{folder}"), 0o755, 0)?;
    }
    for file in files {
        tar.file(&format!("{root}{}", file.path), file.mode, &file.bytes)?;
    }
    gzip(&tar.end()?)
}

/// A Debian package (deb(5)): an `ar` archive of the format's number, the control files and the data.
pub fn deb(release: &Release, files: &[File]) -> Result<Vec<u8>, String> {
    let mut data = Tar::new(release.time);
    data.folder("./", 0o755, 0)?;
    for folder in folders(files) {
        data.folder(&format!(".{folder}"), if folder == "/etc/ipe" { 0o750 } else { 0o755 }, 0)?;
    }
    for file in files {
        data.file(&format!(".{}", file.path), file.mode, &file.bytes)?;
    }
    let size: usize = files.iter().map(|file| file.bytes.len().div_ceil(1024)).sum();
    let mut description = DESCRIPTION.lines().map(str::trim).fold(String::new(), |text, line| format!("{text}\n {line}"));
    description.push('\n');
    let control = format!(
        "Package: ipe\nVersion: {}\nArchitecture: {}\nMaintainer: {}\nInstalled-Size: {size}\nRecommends: systemd\n\
         Section: net\nPriority: optional\nDescription: {SUMMARY}{description}",
        release.package_version, release.deb_arch, release.maintainer,
    );
    let settings =
        files.iter().filter(|file| file.kind == Kind::Setting).fold(String::new(), |text, file| text + &file.path + "\n");
    let on = |word: &str, script: &str| format!("#!/bin/sh\nset -e\nif [ \"$1\" = {word} ]; then\n{script}fi\n");
    let mut parts = Tar::new(release.time);
    parts.folder("./", 0o755, 0)?;
    parts.file("./control", 0o644, control.as_bytes())?;
    parts.file("./conffiles", 0o644, settings.as_bytes())?;
    parts.file("./postinst", 0o755, on("configure", assets::POSTINST).as_bytes())?;
    parts.file("./prerm", 0o755, on("remove", assets::PRERM).as_bytes())?;
    parts.file("./postrm", 0o755, on("remove", assets::POSTRM).as_bytes())?;
    let mut archive = ar::Builder::new(Vec::new());
    for (name, bytes) in
        [("debian-binary", b"2.0\n".to_vec()), ("control.tar.gz", gzip(&parts.end()?)?), ("data.tar.gz", gzip(&data.end()?)?)]
    {
        let mut header = ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64);
        header.set_mode(0o100_644);
        header.set_mtime(release.time);
        archive.append(&header, &bytes[..]).map_err(|error| format!("ar entry {name}: {error}"))?;
    }
    archive.into_inner().map_err(|error| format!("ar: {error}"))
}

/// An RPM package.
pub fn rpm(release: &Release, files: &[File]) -> Result<Vec<u8>, String> {
    let fail = |error: rpm::Error| format!("rpm: {error}");
    let time = u32::try_from(release.time).map_err(|_| "rpm: the time of the commit is after 2106".to_owned())?;
    let config = rpm::BuildConfig::v4().compression(rpm::CompressionType::Gzip).source_date(time);
    let mut builder = rpm::PackageBuilder::new("ipe", &release.package_version, "MIT OR Apache-2.0", &release.rpm_arch, SUMMARY);
    builder.using_config(config).release("1").description(DESCRIPTION).packager(&release.maintainer).build_host("localhost");
    for folder in folders(files).into_iter().filter(|folder| folder.ends_with("/ipe")) {
        let mode = if folder == "/etc/ipe" { 0o750 } else { 0o755 };
        builder.with_dir_entry(rpm::FileOptions::dir(folder).permissions(mode)).map_err(fail)?;
    }
    for file in files {
        let mode = u16::try_from(file.mode).map_err(|_| format!("{}: mode {:o}", file.path, file.mode))?;
        let options = rpm::FileOptions::new(file.path.as_str()).permissions(mode);
        let options = match file.kind {
            Kind::Program => options,
            Kind::Setting => options.config().noreplace(),
            Kind::Document => options.doc(),
        };
        builder.with_file_contents(file.bytes.clone(), options).map_err(fail)?;
    }
    // The argument is how many versions stay installed: 0 at a removal.
    let on_removal = |script: &str| format!("if [ \"$1\" = 0 ]; then\n{script}fi\n");
    builder.post_install_script(assets::POSTINST).pre_uninstall_script(on_removal(assets::PRERM));
    builder.post_uninstall_script(on_removal(assets::POSTRM));
    let mut bytes = Vec::new();
    builder.build().and_then(|package| package.write(&mut bytes)).map_err(fail)?;
    Ok(bytes)
}
