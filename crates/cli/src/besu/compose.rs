//! The part of a docker-compose file that configures Besu.

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

#[derive(Deserialize)]
struct Compose {
    services: BTreeMap<String, Service>,
}

#[derive(Deserialize)]
struct Service {
    image: Option<String>,
    #[serde(default)]
    environment: Environment,
    #[serde(default)]
    command: Words,
    env_file: Option<IgnoredAny>,
}

/// `environment:` as a map or as a list of `KEY=VALUE`; a name without a value is taken from outside.
#[derive(Default)]
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

/// `command:` as one line or as a list.
#[derive(Default)]
struct Words(Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Words;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a command as text or as a list")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Words, E> {
                words(text).map(Words).map_err(E::custom)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Words, A::Error> {
                let mut out = Vec::new();
                while let Some(item) = list.next_element::<String>()? {
                    out.push(item);
                }
                Ok(Words(out))
            }

            fn visit_unit<E>(self) -> Result<Words, E> {
                Ok(Words::default())
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Cuts a command at blanks; single and double quotes hold a word together.
fn words(text: &str) -> Result<Vec<String>, String> {
    let (mut out, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in text.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => out.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(format!("a quote is not closed in the command {text:?}"));
    }
    out.extend(word);
    Ok(out)
}

/// A Besu service, with its variables filled in.
#[derive(Debug)]
pub struct BesuService {
    /// Name in the file.
    pub name: String,
    /// Its variables, `BESU_…` and others.
    pub environment: Vec<(String, String)>,
    /// Arguments of the command.
    pub command: Vec<String>,
    /// Besu's major version by the image's tag, with the image.
    pub release: Option<(u32, String)>,
    /// What the operator has to look at.
    pub remarks: Vec<String>,
}

/// The Besu service of a compose file: the one named, or the only one with a variable `BESU_…` or Besu's image.
/// `variables` fill what the file refers to as `${NAME}`.
pub fn read(text: &str, service: Option<&str>, variables: &BTreeMap<String, String>) -> Result<BesuService, String> {
    let file: Compose = serde_saphyr::from_str(text).map_err(|error| format!("not a compose file: {error}"))?;
    let is_besu = |service: &Service| {
        service.environment.0.iter().any(|(name, _)| name.starts_with("BESU_"))
            || service.image.as_deref().is_some_and(|image| image.contains("besu"))
    };
    let besu: Vec<&String> = file.services.iter().filter(|(_, service)| is_besu(service)).map(|(name, _)| name).collect();
    let names = || besu.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
    let name = match (service, besu.as_slice()) {
        (Some(name), _) => name.to_owned(),
        (None, [only]) => (*only).clone(),
        (None, []) => return Err("no service has a variable BESU_… or Besu's image; name one by --service".to_owned()),
        (None, _) => return Err(format!("several services are Besu's: {}; choose one by --service", names())),
    };
    let found =
        file.services.get(&name).ok_or_else(|| format!("there is no service {name}; Besu's are {}", names()))?;
    let mut environment = Vec::new();
    for (key, value) in &found.environment.0 {
        if !key.starts_with("BESU_") {
            continue;
        }
        let value = match value {
            Some(text) => fill(text, variables).map_err(|problem| format!("{key} of {name}: {problem}"))?,
            None => variables.get(key).cloned().ok_or_else(|| format!("{key} of {name} has no value; give it by --env FILE"))?,
        };
        environment.push((key.clone(), value));
    }
    let command = found
        .command
        .0
        .iter()
        .map(|word| fill(word, variables).map_err(|problem| format!("command of {name}: {problem}")))
        .collect::<Result<Vec<String>, String>>()?;
    let image = found.image.as_deref().map(|image| fill(image, variables)).transpose();
    let image = image.map_err(|problem| format!("image of {name}: {problem}"))?;
    let mut remarks = Vec::new();
    if found.env_file.is_some() {
        remarks.push(format!("env_file of {name} was not read; give its content by --env FILE"));
    }
    remarks.push("paths are those inside the container".to_owned());
    let release = image.and_then(|image| Some((major(&image)?, format!("image {image}"))));
    Ok(BesuService { name, environment, command, release, remarks })
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
            out += &value_of(name, variables)?;
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
    fn commands_are_cut_into_words() {
        assert_eq!(words(" --a=1  '--b=2 3' --c \"\"\n"), Ok(vec!["--a=1".into(), "--b=2 3".into(), "--c".into(), String::new()]));
        assert!(words("'x").is_err());
    }

    #[test]
    fn services_are_found_and_bombs_are_not_swallowed() {
        let two = "services:\n  a: {environment: [BESU_P2P_PORT=1]}\n  b: {image: \"hyperledger/besu:26.8.0\"}\n  c: {image: nginx}\n";
        assert!(read(two, None, &BTreeMap::new()).unwrap_err().contains("a, b"));
        assert!(read(two, Some("z"), &BTreeMap::new()).unwrap_err().contains("no service z"));
        assert_eq!(read(two, Some("b"), &BTreeMap::new()).unwrap().release.map(|(major, _)| major), Some(26));
        assert!(read("services: {c: {image: nginx}}", None, &BTreeMap::new()).unwrap_err().contains("--service"));
        assert!(read("services: [", None, &BTreeMap::new()).unwrap_err().contains("not a compose file"));
        let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for level in 1..9 {
            let before = format!("*a{}", level - 1);
            bomb += &format!("a{level}: &a{level} [{}]\n", vec![before; 10].join(","));
        }
        bomb += "services: {s: {command: *a8}}\n";
        assert!(read(&bomb, None, &BTreeMap::new()).is_err());
    }
}
