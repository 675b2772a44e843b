//! Shell commands as compose files, scripts and service units have them: as much of the shell as it takes to find how
//! Besu is called. Nothing is executed.

use std::collections::BTreeMap;

/// Most words read of one script: those of kits have some hundred.
const MOST_WORDS: usize = 20_000;

/// Programs that run the command after them, with how many words of their own at least.
const WRAPPERS: [(&str, usize); 8] =
    [("exec", 0), ("nohup", 0), ("sudo", 0), ("tini", 0), ("dumb-init", 0), ("env", 0), ("gosu", 1), ("su-exec", 1)];

/// Words with which a command may begin that are no command.
const KEYWORDS: [&str; 8] = ["if", "then", "else", "elif", "do", "while", "until", "!"];

/// What Besu does when such a word is among its arguments: no node runs.
const SUBCOMMANDS: [&str; 8] = ["blocks", "public-key", "password", "operator", "rlp", "retesteth", "storage", "validate-config"];

/// A word with quotes taken off and variables filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    /// Parts that only the running shell knows, as they stand there: `$(hostname -i)`, `$NAME`.
    pub open: Vec<String>,
}

impl Word {
    pub fn plain(text: &str) -> Word {
        Word { text: text.to_owned(), open: Vec::new() }
    }
}

/// Besu's arguments in an argument vector: a program with its words, `sh -c SCRIPT`, or bare options.
///
/// # Errors
/// Why none are found.
pub fn besu_arguments(words: &[Word], variables: &BTreeMap<String, String>) -> Result<Vec<Word>, String> {
    let words = without_wrappers(words);
    let Some(first) = words.first() else { return Ok(Vec::new()) };
    if first.text.starts_with('-') {
        return Ok(words.to_vec());
    }
    let program = first.text.rsplit('/').next().unwrap_or_default();
    match program {
        "besu" | "besu-entry.sh" => {
            if let Some(word) = words.iter().find(|word| SUBCOMMANDS.contains(&word.text.as_str())) {
                return Err(format!("it runs besu {}, which is no node", word.text));
            }
            // The image's entrypoint is besu itself, and people write it once more.
            let again = words.get(1).is_some_and(|word| word.text.rsplit('/').next() == Some("besu"));
            Ok(words.get(1 + usize::from(again)..).unwrap_or_default().to_vec())
        }
        "sh" | "bash" | "ash" | "dash" => {
            let flag = words.iter().position(|word| word.text.starts_with('-') && word.text.ends_with('c'));
            match flag.and_then(|at| words.get(at + 1)) {
                Some(script) => besu_in_script(&script.text, variables),
                None => Err(format!("it runs the script {}, which is not read", shown(words.get(1).unwrap_or(first)))),
            }
        }
        _ => Err(format!("it runs {}, which is not besu", shown(first))),
    }
}

/// The arguments of the one call of Besu in a script that runs a node.
///
/// # Errors
/// There is none, or there are several that differ; a quote that is not closed.
pub fn besu_in_script(script: &str, variables: &BTreeMap<String, String>) -> Result<Vec<Word>, String> {
    let mut known = variables.clone();
    let mut found: Vec<Vec<Word>> = Vec::new();
    for command in commands(script, &mut known)? {
        let command = without_wrappers(&command);
        let is_besu = command.first().is_some_and(|word| word.text.rsplit('/').next() == Some("besu"));
        if !is_besu {
            continue;
        }
        if let Ok(arguments) = besu_arguments(command, &known)
            && !found.contains(&arguments)
        {
            found.push(arguments);
        }
    }
    match found.len() {
        0 => Err("no command in it runs besu as a node".to_owned()),
        1 => Ok(found.swap_remove(0)),
        many => Err(format!("{many} commands in it run besu, and which one is not known; give its options by FILE or --env")),
    }
}

fn without_wrappers(mut words: &[Word]) -> &[Word] {
    while let Some(first) = words.first() {
        let program = first.text.rsplit('/').next().unwrap_or_default();
        let Some((_, own)) = WRAPPERS.iter().find(|(name, _)| *name == program) else {
            let assignment = first.text.split_once('=').is_some_and(|(name, _)| is_name(name));
            if KEYWORDS.contains(&program) || assignment {
                words = &words[1..];
                continue;
            }
            break;
        };
        words = &words[1..];
        while words.first().is_some_and(|word| word.text.starts_with('-') && !word.text.starts_with("--data")) {
            words = &words[1..];
        }
        words = words.get(*own..).unwrap_or_default();
    }
    words
}

fn shown(word: &Word) -> String {
    format!("{:?}", word.text.chars().take(80).collect::<String>())
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !text.as_bytes()[0].is_ascii_digit()
}

/// Cuts a text at blanks, as compose does with a command of one line; quotes hold a word together.
///
/// # Errors
/// A quote that is not closed.
pub fn words(text: &str) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => match chars.next() {
                Some('\n') | None => {}
                Some(next) => word.get_or_insert_default().push(next),
            },
            (None, c) if c.is_whitespace() => out.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
        if out.len() > MOST_WORDS {
            return Err(format!("a command of more than {MOST_WORDS} words"));
        }
    }
    if quote.is_some() {
        return Err(format!("a quote is not closed in the command {:?}", text.chars().take(200).collect::<String>()));
    }
    out.extend(word);
    Ok(out)
}

/// The simple commands of a script, in order. Assignments that stand alone become variables.
fn commands(script: &str, variables: &mut BTreeMap<String, String>) -> Result<Vec<Vec<Word>>, String> {
    let mut reader = Reader { rest: script, variables };
    let mut out = Vec::new();
    let mut count = 0;
    loop {
        let (command, end) = reader.command()?;
        count += command.len() + 1;
        if count > MOST_WORDS {
            return Err(format!("a script of more than {MOST_WORDS} words"));
        }
        match command.as_slice() {
            [] => {}
            [only] if only.open.is_empty() && only.text.split_once('=').is_some_and(|(name, _)| is_name(name)) => {
                if let Some((name, value)) = only.text.split_once('=') {
                    reader.variables.insert(name.to_owned(), value.to_owned());
                }
            }
            _ => out.push(command),
        }
        if end {
            return Ok(out);
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
    variables: &'a mut BTreeMap<String, String>,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    /// Words up to what ends a command; whether the script ends there.
    fn command(&mut self) -> Result<(Vec<Word>, bool), String> {
        let mut out = Vec::new();
        let mut word: Option<Word> = None;
        while let Some(c) = self.next() {
            match c {
                '\\' => match self.next() {
                    Some('\n') => {}
                    Some('\r') => self.rest = self.rest.strip_prefix('\n').unwrap_or(self.rest),
                    Some(next) => word.get_or_insert_default().text.push(next),
                    None => {}
                },
                '\'' => {
                    let (inside, after) = self.rest.split_once('\'').ok_or("a quote is not closed")?;
                    word.get_or_insert_default().text.push_str(inside);
                    self.rest = after;
                }
                '"' => self.quoted(word.get_or_insert_default())?,
                '$' | '`' => self.substitution(c, word.get_or_insert_default())?,
                '#' if word.is_none() => {
                    self.rest = self.rest.find('\n').map_or("", |end| &self.rest[end..]);
                }
                '\n' | ';' | '&' | '|' | '(' | ')' => {
                    out.extend(word.take());
                    return Ok((out, false));
                }
                '{' | '}' if word.is_none() => {}
                // A file that output goes to is no argument.
                '>' | '<' => {
                    let descriptor =
                        word.as_ref().is_some_and(|word| word.text.len() == 1 && word.text.as_bytes()[0].is_ascii_digit());
                    if descriptor {
                        word = None;
                    }
                    out.extend(word.take());
                    self.rest = self.rest.trim_start_matches(['>', '<', '&', ' ', '\t']);
                    let end = self.rest.find([' ', '\t', '\n', ';', '&', '|']).unwrap_or(self.rest.len());
                    self.rest = &self.rest[end..];
                }
                c if c.is_whitespace() => out.extend(word.take()),
                c => word.get_or_insert_default().text.push(c),
            }
            if out.len() > MOST_WORDS {
                return Err(format!("a command of more than {MOST_WORDS} words"));
            }
        }
        out.extend(word);
        Ok((out, true))
    }

    fn quoted(&mut self, word: &mut Word) -> Result<(), String> {
        while let Some(c) = self.next() {
            match c {
                '"' => return Ok(()),
                '\\' => match self.next() {
                    Some('\n') | None => {}
                    Some(next @ ('"' | '\\' | '$' | '`')) => word.text.push(next),
                    Some(next) => word.text.extend(['\\', next]),
                },
                '$' | '`' => self.substitution(c, word)?,
                c => word.text.push(c),
            }
        }
        Err("a quote is not closed".to_owned())
    }

    /// What stands after a `$` or a back quote: a variable that is known, or a part that stays open.
    fn substitution(&mut self, first: char, word: &mut Word) -> Result<(), String> {
        let rest = self.rest;
        if first == '`' {
            let (inside, after) = rest.split_once('`').ok_or("a back quote is not closed")?;
            word.open.push(format!("`{inside}`"));
            self.rest = after;
            return Ok(());
        }
        if let Some(inside) = rest.strip_prefix('(') {
            let mut depth = 1;
            let end = inside.char_indices().find(|(_, c)| {
                depth += i32::from(*c == '(') - i32::from(*c == ')');
                depth == 0
            });
            let (end, _) = end.ok_or("a ( is not closed")?;
            word.open.push(format!("$({})", &inside[..end]));
            self.rest = &inside[end + 1..];
            return Ok(());
        }
        let (name, default, after) = match rest.strip_prefix('{') {
            Some(inside) => {
                let (inside, after) = inside.split_once('}').ok_or("a brace is not closed")?;
                let end = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
                let (name, more) = inside.split_at(end);
                (name, more.strip_prefix(":-").or_else(|| more.strip_prefix('-')), after)
            }
            None => {
                let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                let (name, after) = rest.split_at(end);
                (name, None, after)
            }
        };
        self.rest = after;
        match (self.variables.get(name).map(String::as_str).or(default), name.is_empty()) {
            (Some(value), _) => word.text.push_str(value),
            (None, true) => word.text.push('$'),
            (None, false) => word.open.push(format!("${name}")),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(script: &str) -> Result<Vec<String>, String> {
        let variables = BTreeMap::from([("ALGO".to_owned(), "QBFT".to_owned())]);
        let words = besu_in_script(script, &variables)?;
        Ok(words.into_iter().map(|word| word.text + &word.open.concat()).collect())
    }

    #[test]
    fn the_call_of_besu_is_found_in_a_script() {
        for (script, arguments) in [
            ("exec besu --genesis-file=/g.json --p2p-port=1", vec!["--genesis-file=/g.json", "--p2p-port=1"]),
            ("  cp \"/a\" /b\n\n /opt/besu/bin/besu \\\n --a=1 \\\r\n --b=\"x y\" ;\n", vec!["--a=1", "--b=x y"]),
            (
                "besu public-key export --to=/tmp/k && besu --p2p-host=$(hostname -i) --api=ETH,${ALGO:-IBFT}",
                vec!["--p2p-host=$(hostname -i)", "--api=ETH,QBFT"],
            ),
            ("if [ -f /x ]; then exec /opt/besu/bin/besu --a='1'; fi", vec!["--a=1"]),
            (
                "HOST=10.0.0.1\nJAVA_OPTS=-Xmx1g besu --p2p-host=$HOST --p2p-interface=${NOWHERE} # the end",
                vec!["--p2p-host=10.0.0.1", "--p2p-interface=$NOWHERE"],
            ),
            ("sleep 5; sudo -E besu --a 1 > /log 2>&1 &", vec!["--a", "1"]),
            ("besu --a=1 || besu --a=1", vec!["--a=1"]),
        ] {
            assert_eq!(found(script), Ok(arguments.into_iter().map(str::to_owned).collect()), "{script}");
        }
        for (script, words) in [
            ("besu --a=1; besu --b=1", "2 commands"),
            ("besu public-key export", "no command in it"),
            ("tail -f /dev/null", "no command in it"),
            ("besu --a=\"1", "not closed"),
            ("besu --a=$(x", "not closed"),
        ] {
            assert!(found(script).is_err_and(|error| error.contains(words)), "{script}: {:?}", found(script));
        }
    }

    #[test]
    fn argument_vectors_of_every_form_are_understood() {
        let arguments = |words: &[&str]| {
            let words: Vec<Word> = words.iter().map(|word| Word::plain(word)).collect();
            besu_arguments(&words, &BTreeMap::new()).map(|words| words.into_iter().map(|word| word.text).collect::<Vec<_>>())
        };
        for (words, wanted) in [
            (vec!["--a=1"], vec!["--a=1"]),
            (vec!["besu", "--a=1"], vec!["--a=1"]),
            (vec!["besu-entry.sh", "besu", "--a=1"], vec!["--a=1"]),
            (vec!["/usr/bin/env", "/opt/besu/bin/besu", "--a=1"], vec!["--a=1"]),
            (vec!["gosu", "besu", "besu", "--a=1"], vec!["--a=1"]),
            (vec!["/bin/bash", "-c", "exec besu --a=1"], vec!["--a=1"]),
            (vec!["sh", "-ec", "besu --a=1"], vec!["--a=1"]),
            (vec![], vec![]),
        ] {
            assert_eq!(arguments(&words), Ok(wanted.into_iter().map(str::to_owned).collect()), "{words:?}");
        }
        for (words, why) in [
            (vec!["/bin/sh", "/entrypoint.sh"], "/entrypoint.sh"),
            (vec!["geth", "--a"], "geth"),
            (vec!["besu", "operator", "x"], "besu operator"),
        ] {
            assert!(arguments(&words).is_err_and(|error| error.contains(why)), "{words:?}");
        }
    }

    #[test]
    fn commands_are_cut_into_words() {
        assert_eq!(words(" --a=1  '--b=2 3' --c \"\"\n"), Ok(vec!["--a=1".into(), "--b=2 3".into(), "--c".into(), String::new()]));
        assert_eq!(words("besu \\\n --a=\\\"x"), Ok(vec!["besu".into(), "--a=\"x".into()]));
        assert!(words("'x").is_err());
    }

    #[test]
    fn no_script_makes_the_reader_panic() {
        let parts = ["besu", "--a", "=", "$", "(", ")", "{", "}", "'", "\"", "`", "\\", "\n", " ", ";", "#", ">", "é", "X=1"];
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..20_000 {
            let mut script = String::new();
            for _ in 0..seed % 30 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                script += parts[(seed >> 33) as usize % parts.len()];
            }
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let _ = besu_in_script(&script, &BTreeMap::new());
            let _ = words(&script);
        }
    }
}
