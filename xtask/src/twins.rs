//! Pages for operators exist in English and in Portuguese (`docs/pt/`). Nobody can compare the words by machine, but what
//! has no language has to be the same: headings, tables, lists, commands, settings, names in backquotes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Pages that have a twin in `docs/pt/` of the same name.
const TWINS: [&str; 12] = [
    "glossary.md",
    "installing.md",
    "moving-from-besu.md",
    "carried-sessions.md",
    "local-permissioning.md",
    "signing-journal.md",
    "checkpoint.md",
    "threat-model.md",
    "exposing-json-rpc.md",
    "operating.md",
    "permissioning-cli.md",
    "permissioning.md",
];

/// Every page and its twin say the same as far as it can be seen, and lead to each other.
pub fn check(root: &Path, faults: &mut Vec<String>) {
    for name in TWINS {
        let read = |path: String| fs::read_to_string(root.join(&path)).map_err(|error| format!("{path}: {error}"));
        match (read(format!("docs/{name}")), read(format!("docs/pt/{name}"))) {
            (Ok(page), Ok(twin)) => faults.extend(compare(name, &page, &twin)),
            (page, twin) => faults.extend([page.err(), twin.err()].into_iter().flatten()),
        }
    }
    let Ok(entries) = fs::read_dir(root.join("docs/pt")) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !TWINS.contains(&name.as_str()) {
            faults.push(format!("docs/pt/{name}: not in the list of twins (xtask/src/twins.rs)"));
        }
    }
}

fn compare(name: &str, page: &str, twin: &str) -> Vec<String> {
    let mut faults = Vec::new();
    if !page.contains(&format!("](pt/{name})")) {
        faults.push(format!("docs/{name}: no link to its twin pt/{name}"));
    }
    if !twin.contains(&format!("](../{name})")) {
        faults.push(format!("docs/pt/{name}: no link to its twin ../{name}"));
    }
    let (page, twin) = (Shape::of(page), Shape::of(twin));
    for (what, here, there) in [
        ("headings", &page.headings, &twin.headings),
        ("table rows", &page.rows, &twin.rows),
        ("list items", &page.items, &twin.items),
        ("lines of commands and settings", &page.code, &twin.code),
    ] {
        if here != there {
            let at = here.iter().zip(there).position(|(a, b)| a != b).unwrap_or(here.len().min(there.len()));
            let show = |list: &[String]| list.get(at).cloned().unwrap_or_else(|| "nothing".to_owned());
            faults.push(format!("docs/pt/{name}: {what} differ from docs/{name}: `{}`, there `{}`", show(there), show(here)));
        }
    }
    for lost in page.names.difference(&twin.names) {
        faults.push(format!("docs/pt/{name}: says nothing of `{lost}`, docs/{name} does"));
    }
    for more in twin.names.difference(&page.names) {
        faults.push(format!("docs/pt/{name}: speaks of `{more}`, docs/{name} does not"));
    }
    faults
}

/// What of a page has no language.
#[derive(Default)]
struct Shape {
    /// Levels, as marks.
    headings: Vec<String>,
    /// Number of cells of each row.
    rows: Vec<String>,
    /// Indent and kind of each item.
    items: Vec<String>,
    /// Lines in fences, without comments and placeholders; of `text` fences, which are drawings, only that a line is there.
    code: Vec<String>,
    /// Words in backquotes, outside of fences.
    names: BTreeSet<String>,
}

/// `text` with every `<placeholder>` emptied: those are words.
fn emptied(text: &str) -> String {
    let mut out = String::new();
    for (index, part) in text.split('<').enumerate() {
        match part.split_once('>').filter(|_| index > 0) {
            Some((_, rest)) => out.extend(["<>", rest]),
            None if index > 0 => out.extend(["<", part]),
            None => out.push_str(part),
        }
    }
    out
}

impl Shape {
    fn of(text: &str) -> Shape {
        let (mut shape, mut fence, mut prose) = (Shape::default(), None::<String>, String::new());
        for line in text.lines() {
            if let Some(kind) = line.trim_start().strip_prefix("```") {
                shape.code.push(line.trim().to_owned());
                fence = if fence.is_some() { None } else { Some(kind.to_owned()) };
                continue;
            }
            if let Some(kind) = &fence {
                let code = if kind == "text" { "" } else { line.split(" #").next().unwrap_or_default().trim_end() };
                let comment = line.trim_start().starts_with('#');
                shape.code.push(if comment { "# a comment".to_owned() } else { emptied(code) });
                continue;
            }
            prose.push_str(line);
            prose.push('\n');
            let trimmed = line.trim_start();
            let indent = " ".repeat(line.len() - trimmed.len());
            if line.starts_with('#') {
                shape.headings.push(line.chars().take_while(|mark| *mark == '#').collect());
            } else if line.starts_with('|') {
                shape.rows.push(format!("{} cells", line.matches(" |").count()));
            } else if trimmed.starts_with("- ") {
                shape.items.push(format!("{indent}-"));
            } else if let Some((number, _)) = trimmed.split_once(". ").filter(|(number, _)| number.parse::<u8>().is_ok()) {
                shape.items.push(format!("{indent}{number}."));
            }
        }
        // Odd parts stand between backquotes; a name may be broken over two lines.
        shape.names = prose
            .split('`')
            .skip(1)
            .step_by(2)
            .map(|name| emptied(&name.split_whitespace().collect::<Vec<_>>().join(" ")))
            .collect();
        shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Title\n\n[pt](pt/a.md)\n\n1. Run `ipe`.\n\n```toml\n# why\nport = 1  # the port\nkey = \"<the key>\"\n```\n\n| A | B |\n|---|---|\n| x | `y` |\n";

    #[test]
    fn a_translation_that_says_the_same_passes() {
        let twin = "# Título\n\n[en](../a.md)\n\n1. Execute `ipe`.\n\n```toml\n# por quê\nport = 1  # a porta\nkey = \"<a chave>\"\n```\n\n| A | B |\n|---|---|\n| z | `y` |\n";
        assert_eq!(compare("a.md", PAGE, twin), Vec::<String>::new());
    }

    #[test]
    fn what_drifted_is_named() {
        let good = PAGE.replace("pt/a.md", "../a.md");
        assert_eq!(compare("a.md", PAGE, &good), Vec::<String>::new());
        for (from, to, expected) in [
            ("port = 1", "port = 2", "commands"),
            ("# Title", "# Title\n\n## More", "headings"),
            ("`ipe`", "it", "nothing of `ipe`"),
            ("`y`", "`y` and `z`", "speaks of `z`"),
            ("| x | `y` |\n", "", "table rows"),
            ("1. Run", "Run", "list items"),
            ("](../a.md)", "](b.md)", "no link"),
        ] {
            let faults = compare("a.md", PAGE, &good.replace(from, to));
            assert!(faults.iter().any(|fault| fault.contains(expected)), "{from} → {to}: {faults:?}");
        }
    }
}
