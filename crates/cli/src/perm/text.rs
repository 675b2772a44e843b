//! Texts that come from a node or from a contract, on an operator's terminal.

use std::fmt::Write as _;

/// Most characters of one text that are printed: names and reasons are far shorter.
const MAX_SHOWN: usize = 400;

/// A text that moves no cursor, starts no colour and turns no writing direction: such characters are written as `\u{…}`. What is
/// longer than 400 characters is cut.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(MAX_SHOWN));
    for (count, character) in text.chars().enumerate() {
        if count == MAX_SHOWN {
            let _ = write!(out, "... ({} characters)", text.chars().count());
            break;
        }
        if unsafe_to_show(character) {
            let _ = write!(out, "{}", character.escape_unicode());
        } else {
            out.push(character);
        }
    }
    out
}

/// Control characters (C0, DEL, C1), and those that format invisibly: directions, joiners, line and paragraph separators, tags.
fn unsafe_to_show(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Prints JSON whose texts are as the node gave them, with the same characters written as JSON escapes.
pub fn print_json(value: &serde_json::Value) {
    println!("{}", escaped(&format!("{value:#}")));
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character != '\n' && unsafe_to_show(character) {
            // Outside texts JSON has none of them but the line feed.
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(character);
        }
    }
    out
}

/// Columns of equal width, two spaces between them; the first row is the head.
pub fn table(head: &[&str], rows: &[Vec<String>]) {
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0).max(head[column].len())
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    };
    line(&head.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    for row in rows {
        line(row);
    }
}

/// `1 block`, `2 blocks`.
pub fn count(number: u64, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_passes() {
        assert_eq!(clean("a\u{1b}[2Jb\u{9b}31mç\u{202e}\r\n"), "a\\u{1b}[2Jb\\u{9b}31mç\\u{202e}\\u{d}\\u{a}");
        assert!(clean(&"x".repeat(1_000)).ends_with("x... (1000 characters)"));
        assert_eq!(clean("Serviço Federal"), "Serviço Federal");
    }

    #[test]
    fn json_keeps_the_text_and_shows_none_of_it() {
        let value = serde_json::json!({ "name": "a\u{9b}31m\u{202e}\u{e0041}\u{1b}" });
        let text = escaped(&format!("{value:#}"));
        assert!(text.chars().all(|character| character == '\n' || !unsafe_to_show(character)), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
