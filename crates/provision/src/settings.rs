//! Rendering one node's configuration file.

use std::fmt::Write;

/// Lines of a TOML file, in the order they were added.
#[derive(Clone, Debug, Default)]
pub struct Settings(String);

impl Settings {
    /// A file that begins with this comment.
    pub fn new(comment: &str) -> Settings {
        let mut text = String::new();
        for line in comment.lines() {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# {line}");
        }
        Settings(text)
    }

    /// `key = "text"`.
    pub fn text(&mut self, key: &str, value: &str) -> &mut Settings {
        let _ = writeln!(self.0, "{key} = {}", quoted(value));
        self
    }

    /// `key = 1`.
    pub fn number(&mut self, key: &str, value: u64) -> &mut Settings {
        let _ = writeln!(self.0, "{key} = {value}");
        self
    }

    /// `key = true`.
    pub fn switch(&mut self, key: &str, value: bool) -> &mut Settings {
        let _ = writeln!(self.0, "{key} = {value}");
        self
    }

    /// `key = ["a", "b"]`, one entry a line when there are several.
    pub fn list(&mut self, key: &str, values: &[String]) -> &mut Settings {
        let entries: Vec<String> = values.iter().map(|value| quoted(value)).collect();
        let _ = match entries.len() {
            0 | 1 => writeln!(self.0, "{key} = [{}]", entries.join("")),
            _ => writeln!(self.0, "{key} = [\n  {},\n]", entries.join(",\n  ")),
        };
        self
    }

    /// The file's text.
    pub fn finish(self) -> String {
        self.0
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back() {
        let nasty = "a\"b\\c\nd\u{7f}é";
        let mut settings = Settings::new("two\nlines");
        settings.text("t", nasty).number("n", 7).switch("s", true).list("l", &[nasty.into(), "x".into()]).list("e", &[]);
        let table: toml::Table = settings.finish().parse().expect("TOML");
        assert_eq!(table["t"].as_str(), Some(nasty));
        assert_eq!(table["l"][0].as_str(), Some(nasty));
        assert_eq!(table["e"].as_array().map(Vec::len), Some(0));
    }
}
