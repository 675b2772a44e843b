//! What the executable is made of, as CycloneDX 1.5 and SPDX 2.3, from cargo's resolved dependencies.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value, json};

use crate::{Release, date, files, run, sums};

/// One library, or the program itself.
pub struct Part {
    name: String,
    version: String,
    /// SPDX expression.
    license: String,
    /// SHA-256 of the package at the registry; absent for the project's own.
    checksum: Option<String>,
    /// Indices of what it uses.
    uses: Vec<usize>,
}

/// Everything that is compiled into `ipe`, itself first. Build scripts, macros and tests are not.
pub fn parts(release: &Release) -> Result<Vec<Part>, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = run(Command::new(cargo)
        .args(["metadata", "--locked", "--format-version", "1", "--filter-platform", &release.target])
        .current_dir(&release.source))?;
    let metadata: Value = serde_json::from_slice(&metadata).map_err(|error| format!("cargo metadata: {error}"))?;
    let lock = String::from_utf8_lossy(&files::read(&release.source.join("Cargo.lock"))?).into_owned();
    select(&metadata, &checksums(&lock))
}

fn select(metadata: &Value, checksums: &BTreeMap<(String, String), String>) -> Result<Vec<Part>, String> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (text(&package["id"]), package)).collect();
    let is_macro =
        |id: &str| list(&packages[id]["targets"]).iter().any(|target| list(&target["kind"]).contains(&json!("proc-macro")));
    let nodes: BTreeMap<String, Vec<String>> = list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| {
            let compiled_in = |dependency: &Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"].is_null());
            let used = list(&node["deps"]).into_iter().filter(compiled_in).map(|dependency| text(&dependency["pkg"]));
            (text(&node["id"]), used.filter(|id| packages.contains_key(id) && !is_macro(id)).collect())
        })
        .collect();
    let root = packages
        .iter()
        .find(|(_, package)| package["name"] == "ipe")
        .map(|(id, _)| id.clone())
        .ok_or("cargo metadata has no package ipe")?;
    let (mut reached, mut waiting) = (BTreeSet::from([root.clone()]), vec![root.clone()]);
    while let Some(id) = waiting.pop() {
        waiting.extend(nodes.get(&id).into_iter().flatten().filter(|used| reached.insert((*used).clone())).cloned());
    }
    let mut order: Vec<&String> = reached.iter().collect();
    order.sort_by_key(|id| (**id != root, text(&packages[*id]["name"]), text(&packages[*id]["version"])));
    let index: BTreeMap<&String, usize> = order.iter().enumerate().map(|(index, id)| (*id, index)).collect();
    Ok(order
        .iter()
        .map(|id| {
            let (name, version) = (text(&packages[*id]["name"]), text(&packages[*id]["version"]));
            let mut uses: Vec<usize> = nodes.get(*id).into_iter().flatten().map(|used| index[used]).collect();
            uses.sort_unstable();
            uses.dedup();
            Part {
                license: text(&packages[*id]["license"]).replace('/', " OR ").replace("  ", " "),
                checksum: checksums.get(&(name.clone(), version.clone())).cloned(),
                name,
                version,
                uses,
            }
        })
        .collect())
}

/// Checksums of Cargo.lock by name and version.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for package in lock.split("[[package]]") {
        let field = |name: &str| package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \"")?.strip_suffix('"'));
        if let (Some(name), Some(version), Some(checksum)) = (field("name"), field("version"), field("checksum")) {
            found.insert((name.to_owned(), version.to_owned()), checksum.to_owned());
        }
    }
    found
}

impl Part {
    fn purl(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version.replace('+', "%2B"))
    }
}

/// The C library that a static executable contains: the version of the machine that links it.
fn c_library() -> String {
    let said = run(Command::new("getconf").arg("GNU_LIBC_VERSION")).unwrap_or_default();
    String::from_utf8_lossy(&said).trim().strip_prefix("glibc ").unwrap_or("unknown").to_owned()
}

/// CycloneDX.
pub fn cyclonedx(release: &Release, parts: &[Part]) -> Vec<u8> {
    let component = |part: &Part| {
        let mut value = json!({
            "type": "library", "bom-ref": part.purl(), "name": part.name, "version": part.version, "purl": part.purl(),
        });
        if !part.license.is_empty() {
            value["licenses"] = json!([{ "expression": part.license }]);
        }
        if let Some(checksum) = &part.checksum {
            value["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
        }
        value
    };
    let glibc = format!("pkg:generic/glibc@{}", c_library());
    let mut components: Vec<Value> = parts[1..].iter().map(component).collect();
    components.push(json!({
        "type": "library", "bom-ref": glibc, "name": "glibc", "version": c_library(), "purl": glibc,
        "licenses": [{ "expression": "LGPL-2.1-or-later" }],
    }));
    let mut dependencies: Vec<Value> = parts
        .iter()
        .map(
            |part| json!({ "ref": part.purl(), "dependsOn": part.uses.iter().map(|used| parts[*used].purl()).collect::<Vec<_>>() }),
        )
        .collect();
    if let Some(uses) = dependencies[0]["dependsOn"].as_array_mut() {
        uses.push(json!(glibc));
    }
    let mut program = component(&parts[0]);
    program["type"] = json!("application");
    let id = sums::sha256(format!("{}{}", release.commit, release.target).as_bytes());
    let uuid = format!("{}-{}-5{}-8{}-{}", &id[..8], &id[8..12], &id[13..16], &id[17..20], &id[20..32]);
    pretty(&json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": format!("urn:uuid:{uuid}"),
        "version": 1,
        "metadata": {
            "timestamp": date(release.time),
            "component": program,
            "properties": [{ "name": "commit", "value": release.commit }, { "name": "target", "value": release.target }],
        },
        "components": components,
        "dependencies": dependencies,
    }))
}

/// SPDX.
pub fn spdx(release: &Release, parts: &[Part]) -> Vec<u8> {
    let id = |index: usize| format!("SPDXRef-Package-{index}");
    let package = |(index, part): (usize, &Part)| {
        let license = if part.license.is_empty() { "NOASSERTION" } else { &part.license };
        let mut value = json!({
            "SPDXID": id(index), "name": part.name, "versionInfo": part.version, "downloadLocation": "NOASSERTION",
            "filesAnalyzed": false, "licenseConcluded": "NOASSERTION", "licenseDeclared": license, "copyrightText": "NOASSERTION",
            "externalRefs": [{ "referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": part.purl() }],
        });
        if let Some(checksum) = &part.checksum {
            value["checksums"] = json!([{ "algorithm": "SHA256", "checksumValue": checksum }]);
        }
        value
    };
    let mut packages: Vec<Value> = parts.iter().enumerate().map(package).collect();
    let glibc = id(parts.len());
    packages.push(json!({
        "SPDXID": glibc, "name": "glibc", "versionInfo": c_library(), "downloadLocation": "NOASSERTION", "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION", "licenseDeclared": "LGPL-2.1-or-later", "copyrightText": "NOASSERTION",
    }));
    let relation =
        |from: String, kind: &str, to: String| json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to });
    let mut relations = vec![relation("SPDXRef-DOCUMENT".to_owned(), "DESCRIBES", id(0)), relation(id(0), "STATIC_LINK", glibc)];
    for (index, part) in parts.iter().enumerate() {
        relations.extend(part.uses.iter().map(|used| relation(id(index), "DEPENDS_ON", id(*used))));
    }
    pretty(&json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("ipe-{}", release.label),
        "documentNamespace": format!("urn:ipe:sbom:{}:{}", release.commit, release.target),
        "creationInfo": { "created": date(release.time), "creators": [format!("Tool: ipe-dist-{}", env!("CARGO_PKG_VERSION"))] },
        "packages": packages,
        "relationships": relations,
    }))
}

fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_compiled_in_is_a_part() {
        let package = |name: &str, kind: &str| json!({ "id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0", "targets": [{ "kind": [kind] }] });
        let uses = |name: &str, kind: Value| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let metadata = json!({
            "packages": [package("ipe", "bin"), package("a", "lib"), package("b", "lib"), package("m", "proc-macro"), package("cc", "lib"), package("t", "lib")],
            "resolve": { "nodes": [
                { "id": "ipe", "deps": [uses("a", Value::Null), uses("m", Value::Null), uses("cc", json!("build")), uses("t", json!("dev"))] },
                { "id": "a", "deps": [uses("b", Value::Null)] },
                { "id": "b", "deps": [] }, { "id": "m", "deps": [uses("t", Value::Null)] }, { "id": "cc", "deps": [] }, { "id": "t", "deps": [] },
            ] },
        });
        let lock = "version = 4\n\n[[package]]\nname = \"b\"\nversion = \"1.0.0\"\nchecksum = \"ff\"\n";
        let parts = select(&metadata, &checksums(lock)).expect("parts");
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["ipe", "a", "b"]);
        assert_eq!((parts[0].uses.clone(), parts[1].uses.clone()), (vec![1], vec![2]));
        assert_eq!((parts[2].checksum.as_deref(), parts[1].license.as_str()), (Some("ff"), "MIT OR Apache-2.0"));
    }
}
