//! The part of a docker-compose file that configures Besu.

use super::shell::{Word, besu_arguments, words};
use super::variables_of;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Compose {
    services: BTreeMap<String, Service>,
}

#[derive(Clone, Default, Deserialize)]
struct Service {
    image: Option<String>,
    #[serde(default)]
    environment: Environment,
    #[serde(default)]
    entrypoint: Words,
    #[serde(default)]
    command: Words,
    #[serde(default)]
    env_file: EnvFiles,
    #[serde(default)]
    volumes: Vec<Volume>,
    extends: Option<Extends>,
}

/// `extends:` as a name or as `{service, file}`.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Extends {
    Name(String),
    Service { service: String, file: Option<String> },
}

/// `env_file:` as one path or as a list of paths or of `{path}`.
#[derive(Clone, Default, Deserialize)]
#[serde(untagged)]
enum EnvFiles {
    #[default]
    None,
    One(String),
    Many(Vec<EnvFile>),
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum EnvFile {
    Path(String),
    Map { path: String },
}

/// `source:target[:mode]`, or a map.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Volume {
    Short(String),
    Long { source: Option<String>, target: String },
}

impl Volume {
    /// Path outside and inside, when both are paths.
    fn paths(&self) -> Option<(&str, &str)> {
        let (source, target) = match self {
            Volume::Short(text) => {
                let mut parts = text.split(':');
                (parts.next()?, parts.next()?)
            }
            Volume::Long { source, target } => (source.as_deref()?, target.as_str()),
        };
        (source.starts_with(['.', '/', '~']) && target.starts_with('/')).then_some((source, target))
    }
}

/// `environment:` as a map or as a list of `KEY=VALUE`; a name without a value is taken from outside.
#[derive(Clone, Default)]
struct Environment(Vec<(String, Option<String>)>);

impl<'de> Deserialize<'de> for Environment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Environment;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("environment as a map or as a list of KEY=VALUE")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Environment, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry::<String, Option<String>>()? {
                    pairs.push(pair);
                }
                Ok(Environment(pairs))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Environment, A::Error> {
                let mut pairs = Vec::new();
                while let Some(item) = list.next_element::<String>()? {
                    pairs.push(match item.split_once('=') {
                        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                        None => (item, None),
                    });
                }
                Ok(Environment(pairs))
            }

            fn visit_unit<E>(self) -> Result<Environment, E> {
                Ok(Environment::default())
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// `command:` and `entrypoint:`, as one line or as a list; absent is another thing than empty.
#[derive(Clone, Default)]
struct Words(Option<Vec<String>>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Words;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a command as text or as a list")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Words, E> {
                words(text).map(|words| Words(Some(words))).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Words, A::Error> {
                let mut out = Vec::new();
                while let Some(item) = list.next_element::<String>()? {
                    out.push(item);
                }
                Ok(Words(Some(out)))
            }

            fn visit_unit<E>(self) -> Result<Words, E> {
                Ok(Words::default())
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A Besu service, with its variables filled in.
#[derive(Debug)]
pub struct BesuService {
    /// Name in the file.
    pub name: String,
    /// Its variables, `BESU_…` and others.
    pub environment: BTreeMap<String, String>,
    /// Besu's arguments.
    pub arguments: Vec<Word>,
    /// Paths outside the container and inside.
    volumes: Vec<(String, String)>,
    /// Besu's major version by the image's tag, with the image.
    pub release: Option<(u32, String)>,
    /// What the operator has to look at.
    pub remarks: Vec<String>,
}

impl BesuService {
    /// Where a file of the container is outside, by the longest mount; relative to the compose file.
    pub fn outside(&self, inside: &str) -> Option<PathBuf> {
        let below = |target: &str| {
            let rest = inside.strip_prefix(target.trim_end_matches('/'))?;
            (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/').to_owned())
        };
        let found = self.volumes.iter().filter_map(|(source, target)| Some((target.len(), source, below(target)?)));
        let (_, source, rest) = found.max_by_key(|(length, ..)| *length)?;
        Some(if rest.is_empty() { PathBuf::from(source) } else { Path::new(source).join(rest) })
    }
}

/// The Besu service of a compose file: the one named, or the only one with a variable `BESU_…`, Besu's image or a command
/// that names besu. `variables` fill what the file refers to as `${NAME}`; files of variables are read from `folder`.
pub fn read(text: &str, folder: &Path, service: Option<&str>, variables: &BTreeMap<String, String>) -> Result<BesuService, String> {
    let file: Compose = serde_saphyr::from_str(text).map_err(|error| {
        let template = if text.contains("{%") || text.contains("{{") { "; it is a template: fill it in first" } else { "" };
        format!("not a compose file: {error}{template}")
    })?;
    let is_besu = |service: &Service| {
        let words = [&service.entrypoint, &service.command].into_iter().filter_map(|words| words.0.as_ref()).flatten();
        service.environment.0.iter().any(|(name, _)| name.starts_with("BESU_"))
            || service.image.as_deref().is_some_and(|image| image.contains("besu"))
            || words.into_iter().any(|word| word.contains("besu") || word.starts_with("--genesis-file"))
    };
    let besu: Vec<&String> = file.services.iter().filter(|(_, service)| is_besu(service)).map(|(name, _)| name).collect();
    let names = || besu.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    let name = match (service, besu.as_slice()) {
        (Some(name), _) => name.to_owned(),
        (None, [only]) => (*only).clone(),
        (None, []) => return Err("no service has a variable BESU_… or Besu's image; name one by --service".to_owned()),
        (None, _) => return Err(format!("several services are Besu's: {}; choose one by --service", names())),
    };
    let found = file.services.get(&name).ok_or_else(|| format!("there is no service {name}; Besu's are {}", names()))?;
    let mut remarks = Vec::new();
    let found = extended(found.clone(), &file.services, &mut remarks);
    let environment = environment(&found, &name, folder, variables, &mut remarks)?;
    let fill_words = |words: &Words, what: &str| {
        let fill_one = |word: &String| fill(word, variables).map_err(|problem| format!("{what} of {name}: {problem}"));
        words.0.iter().flatten().map(fill_one).map(|word| word.map(|word| Word::plain(&word))).collect::<Result<Vec<_>, _>>()
    };
    let mut vector = fill_words(&found.entrypoint, "entrypoint")?;
    vector.extend(fill_words(&found.command, "command")?);
    let arguments = besu_arguments(&vector, &environment).map_err(|why| format!("service {name}: {why}"))?;
    let image = found.image.as_deref().map(|image| fill(image, variables)).transpose();
    let image = image.map_err(|problem| format!("image of {name}: {problem}"))?;
    let volumes = found.volumes.iter().filter_map(Volume::paths);
    let volumes = volumes.map(|(source, target)| Ok((fill(source, variables)?, fill(target, variables)?)));
    let volumes = volumes.collect::<Result<Vec<_>, String>>().map_err(|problem| format!("volumes of {name}: {problem}"))?;
    remarks.push("paths are those inside the container".to_owned());
    let release = image.and_then(|image| Some((major(&image)?, format!("image {image}"))));
    Ok(BesuService { name, environment, arguments, volumes, release, remarks })
}

/// A service with what it takes over from others of the file, up to 8 of them.
fn extended(mut service: Service, services: &BTreeMap<String, Service>, remarks: &mut Vec<String>) -> Service {
    for _ in 0..8 {
        let base = match service.extends.take() {
            None => return service,
            Some(Extends::Name(name)) => name,
            Some(Extends::Service { service, file: None }) => service,
            Some(Extends::Service { service: base, file: Some(file) }) => {
                remarks.push(format!("it extends {base} of {file}, which was not read"));
                return service;
            }
        };
        let Some(base) = services.get(&base) else { return service };
        let mut merged = base.clone();
        merged.image = service.image.or(merged.image);
        merged.environment.0.extend(service.environment.0);
        merged.entrypoint = Words(service.entrypoint.0.or(merged.entrypoint.0));
        merged.command = Words(service.command.0.or(merged.command.0));
        merged.volumes.extend(service.volumes);
        if !matches!(service.env_file, EnvFiles::None) {
            merged.env_file = service.env_file;
        }
        service = merged;
    }
    service
}

/// The service's variables: its files' first, then its own. A name without a value is taken from `variables`.
fn environment(
    service: &Service,
    name: &str,
    folder: &Path,
    variables: &BTreeMap<String, String>,
    remarks: &mut Vec<String>,
) -> Result<BTreeMap<String, String>, String> {
    let mut out = BTreeMap::new();
    let files: Vec<&String> = match &service.env_file {
        EnvFiles::None => Vec::new(),
        EnvFiles::One(path) => vec![path],
        EnvFiles::Many(files) => files
            .iter()
            .map(|file| match file {
                EnvFile::Path(path) | EnvFile::Map { path } => path,
            })
            .collect(),
    };
    for file in files {
        let path = folder.join(fill(file, variables).map_err(|problem| format!("env_file of {name}: {problem}"))?);
        match variables_of(&path) {
            Ok(read) => out.extend(read),
            Err(_) => remarks.push(format!(
                "env_file {file} of {name} was not read: {} is no file of KEY=VALUE lines here; give its content by --env FILE",
                path.display()
            )),
        }
    }
    for (key, value) in &service.environment.0 {
        let value = match value {
            Some(text) => match fill(text, variables) {
                Ok(value) => value,
                Err(problem) if key.starts_with("BESU_") => return Err(format!("{key} of {name}: {problem}")),
                Err(_) => continue,
            },
            None => match variables.get(key) {
                Some(value) => value.clone(),
                None if key.starts_with("BESU_") => return Err(format!("{key} of {name} has no value; give it by --env FILE")),
                None => continue,
            },
        };
        out.insert(key.clone(), value);
    }
    Ok(out)
}

/// 25 of `hyperledger/besu:25.5.0`.
fn major(image: &str) -> Option<u32> {
    let (_, tag) = image.rsplit_once(':')?;
    tag.split('.').next()?.parse().ok()
}

/// Fills `$NAME`, `${NAME}`, `${NAME-default}` and `${NAME:-default}` as docker compose does; `$$` is a dollar. A name that
/// is not set and has no default is an error here, because an empty setting would pass unnoticed.
fn fill(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out += before;
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix('{') {
            let (inside, after) = after.split_once('}').ok_or_else(|| format!("a brace is not closed in {text:?}"))?;
            out += &value_of(inside, variables)?;
            rest = after;
        } else {
            let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
            let (name, after) = after.split_at(end);
            if name.is_empty() {
                out.push('$');
            } else {
                out += &value_of(name, variables)?;
            }
            rest = after;
        }
    }
    Ok(out + rest)
}

fn value_of(inside: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let end = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
    let (name, rest) = inside.split_at(end);
    let set = variables.get(name);
    let missing = || format!("the variable {name:?} is not set; give it by --env FILE");
    match rest {
        "" => set.cloned().ok_or_else(missing),
        _ => {
            if let Some(default) = rest.strip_prefix(":-") {
                return Ok(set.filter(|value| !value.is_empty()).cloned().unwrap_or_else(|| default.to_owned()));
            }
            if let Some(default) = rest.strip_prefix('-') {
                return Ok(set.cloned().unwrap_or_else(|| default.to_owned()));
            }
            if rest.starts_with(":?") || rest.starts_with('?') {
                return set.filter(|value| !value.is_empty()).cloned().ok_or_else(missing);
            }
            Err(format!("got ${{{inside}}}, expected ${{NAME}}, ${{NAME:-default}} or ${{NAME-default}}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn variables_are_filled_as_compose_does() {
        let set = variables(&[("A", "1"), ("EMPTY", "")]);
        for (text, filled) in [
            ("x", "x"),
            ("$A-$A", "1-1"),
            ("${A}${B:-b}${B-c}", "1bc"),
            ("${EMPTY:-e}[${EMPTY-e}]", "e[]"),
            ("$$A ${A:?needed}", "$A 1"),
            ("${B:-hyperledger/besu}:25.5.0", "hyperledger/besu:25.5.0"),
        ] {
            assert_eq!(fill(text, &set).as_deref(), Ok(filled), "{text}");
        }
        for text in ["$B", "${B}", "${A", "${A!x}", "${EMPTY:?}"] {
            assert!(fill(text, &set).is_err(), "{text}");
        }
    }

    #[test]
    fn services_are_found_and_bombs_are_not_swallowed() {
        let here = Path::new(".");
        let two =
            "services:\n  a: {environment: [BESU_P2P_PORT=1]}\n  b: {image: \"hyperledger/besu:26.8.0\"}\n  c: {image: nginx}\n";
        assert!(read(two, here, None, &BTreeMap::new()).unwrap_err().contains("a, b"));
        assert!(read(two, here, Some("z"), &BTreeMap::new()).unwrap_err().contains("no service z"));
        assert_eq!(read(two, here, Some("b"), &BTreeMap::new()).unwrap().release.map(|(major, _)| major), Some(26));
        assert!(read("services: {c: {image: nginx}}", here, None, &BTreeMap::new()).unwrap_err().contains("--service"));
        assert!(read("services: [", here, None, &BTreeMap::new()).unwrap_err().contains("not a compose file"));
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..9 {
            let before = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(","));
        }
        bomb += "services: {s: {command: *a8}}\n";
        assert!(read(&bomb, here, None, &BTreeMap::new()).is_err());
    }

    /// Every way to write the same call.
    #[test]
    fn every_form_of_entrypoint_and_command_is_understood() {
        for service in [
            "entrypoint: [/bin/bash, -c, \"exec besu --genesis-file=/g.json --rpc-http-enabled --p2p-port=30310\"]",
            "entrypoint:\n      - /bin/sh\n      - -c\n      - |\n        mkdir -p /x\n\n        /opt/besu/bin/besu \\\n        --genesis-file=/g.json \\\n        --rpc-http-enabled --p2p-port=${PORT:-30310} ;\n",
            "entrypoint: /bin/sh -c 'besu --genesis-file=/g.json --rpc-http-enabled --p2p-port=30310'",
            "command: --genesis-file=/g.json --rpc-http-enabled --p2p-port=30310",
            "command: besu --genesis-file=/g.json --rpc-http-enabled --p2p-port=30310",
            "command: [\"--genesis-file=/g.json\", \"--rpc-http-enabled\", \"--p2p-port=30310\"]",
            "command: [besu, \"--genesis-file=/g.json\", --rpc-http-enabled, \"--p2p-port=30310\"]",
            "command: >\n      --genesis-file=/g.json\n      --rpc-http-enabled\n      --p2p-port=30310\n",
            "entrypoint: [besu]\n    command: [\"--genesis-file=/g.json\", \"--rpc-http-enabled\", \"--p2p-port=30310\"]",
            "entrypoint: [/opt/besu/bin/besu, \"--genesis-file=/g.json\"]\n    command: --rpc-http-enabled --p2p-port=30310",
            "command: /bin/sh -c \"besu --genesis-file=/g.json --rpc-http-enabled --p2p-port=$${P:-30310}\"",
            "<<: *base\n    command: [\"--genesis-file=/g.json\", \"--rpc-http-enabled\", \"--p2p-port=30310\"]",
            "extends: {service: base}\n    command: [\"--genesis-file=/g.json\", \"--rpc-http-enabled\", \"--p2p-port=30310\"]",
        ] {
            let text = format!(
                "x-base: &base\n  image: hyperledger/besu:25.5.0\nservices:\n  base: {{image: \"hyperledger/besu:24.1.0\"}}\n  n:\n    {service}\n"
            );
            let found = read(&text, Path::new("."), Some("n"), &BTreeMap::new()).unwrap_or_else(|error| panic!("{error}\n{text}"));
            let words: Vec<&str> = found.arguments.iter().map(|word| word.text.as_str()).collect();
            assert_eq!(words, ["--genesis-file=/g.json", "--rpc-http-enabled", "--p2p-port=30310"], "{text}");
            let release = found.release.map(|(major, _)| major);
            assert_eq!(
                release,
                if service.contains("*base") {
                    Some(25)
                } else if service.contains("extends") {
                    Some(24)
                } else {
                    None
                }
            );
        }
        let text = "services: {n: {image: besu, volumes: [\"./config/besu/:/config\", \"./special.toml:/config/c.toml:ro\", \"data:/data\", {type: bind, source: ./keys, target: /keys}]}}";
        let found = read(text, Path::new("."), None, &BTreeMap::new()).unwrap();
        for (inside, outside) in [
            ("/config/x.toml", Some("./config/besu/x.toml")),
            ("/config/c.toml", Some("./special.toml")),
            ("/configuration", None),
            ("/data/x", None),
            ("/keys/k", Some("./keys/k")),
        ] {
            assert_eq!(found.outside(inside), outside.map(PathBuf::from), "{inside}");
        }
    }
}
