//! JSON as it stands in the file: members in their order, each as often as it is there, numbers as they are spelled.
//!
//! Clients read genesis files token by token: Besu takes the digits of `"nonce": 10` as hexadecimal, and of two equal
//! addresses the last wins. A tree of maps and numbers has lost both.

use serde::de::{Deserialize, IgnoredAny};
use serde_json::Deserializer;

/// The text of one JSON value, without blanks around it. Made by [`Json::parse`], so its syntax is right all through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Json<'a>(&'a str);

/// A value that has no parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Null,
    Bool(bool),
    /// As spelled.
    Number(&'a str),
    Text(String),
    /// An object or an array.
    Nested,
}

impl<'a> Json<'a> {
    /// One value and nothing after it; a byte order mark before it is passed over.
    ///
    /// Time is linear in the text; nothing is kept of it.
    pub(super) fn parse(text: &'a str) -> Result<Json<'a>, serde_json::Error> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_matches([' ', '\t', '\r', '\n']);
        serde_json::from_str::<IgnoredAny>(text)?;
        Ok(Json(text))
    }

    /// As it stands in the file.
    pub(super) fn text(self) -> &'a str {
        self.0
    }

    pub(super) fn is_null(self) -> bool {
        self.0 == "null"
    }

    pub(super) fn is_object(self) -> bool {
        self.0.starts_with('{')
    }

    pub(super) fn is_array(self) -> bool {
        self.0.starts_with('[')
    }

    pub(super) fn token(self) -> Token<'a> {
        match self.0.as_bytes().first() {
            Some(b'n') => Token::Null,
            Some(b't') => Token::Bool(true),
            Some(b'f') => Token::Bool(false),
            Some(b'{' | b'[') | None => Token::Nested,
            Some(b'"') => Token::Text(unquoted(self.0)),
            Some(_) => Token::Number(self.0),
        }
    }

    /// Key and value of every member, in the file's order; `None` when it is no object.
    pub(super) fn members(self) -> Option<Vec<(String, Json<'a>)>> {
        let mut rest = self.0.strip_prefix('{')?;
        let mut out = Vec::new();
        while let Some((key, after)) = next_value(rest) {
            let (value, after) = next_value(after)?;
            out.push((unquoted(key), Json(value)));
            rest = after;
        }
        Some(out)
    }

    /// Every element; `None` when it is no array.
    pub(super) fn items(self) -> Option<Vec<Json<'a>>> {
        let mut rest = self.0.strip_prefix('[')?;
        let mut out = Vec::new();
        while let Some((value, after)) = next_value(rest) {
            out.push(Json(value));
            rest = after;
        }
        Some(out)
    }
}

/// The next value inside an object or array and what follows it; `None` at the end. The syntax is known to be right, so
/// colons, commas and the closing bracket are told apart by looking at them.
fn next_value(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches([' ', '\t', '\r', '\n', ',', ':']);
    let mut values = Deserializer::from_str(text).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    let end = values.byte_offset();
    Some((text.get(..end)?, text.get(end..)?))
}

/// The text inside quotes; half a surrogate pair, which no text can hold, leaves it as it is spelled.
fn unquoted(text: &str) -> String {
    let mut source = Deserializer::from_str(text);
    String::deserialize(&mut source).unwrap_or_else(|_| text.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_in_order_and_numbers_as_spelled() {
        let text = "\u{feff} {\"b\" : 10, \"a\":{\"x\":[1 ,\"}\",null]} ,\"b\":1.50, \"k\\u0041\":true,\"z\":100000000000000000000000}\r\n";
        let json = Json::parse(text).expect("JSON");
        let members = json.members().expect("an object");
        let shown: Vec<(&str, &str)> = members.iter().map(|(key, value)| (key.as_str(), value.text())).collect();
        assert_eq!(
            shown,
            [("b", "10"), ("a", "{\"x\":[1 ,\"}\",null]}"), ("b", "1.50"), ("kA", "true"), ("z", "100000000000000000000000")]
        );
        let inner = members[1].1.members().expect("an object");
        let items: Vec<Token> = inner[0].1.items().expect("an array").into_iter().map(Json::token).collect();
        assert_eq!(items, [Token::Number("1"), Token::Text("}".to_owned()), Token::Null]);
        assert_eq!((members[0].1.members(), json.items(), json.token()), (None, None, Token::Nested));
        assert_eq!(Json::parse("{}").expect("JSON").members(), Some(vec![]));
        assert_eq!(Json::parse("[ ]").expect("JSON").items(), Some(vec![]));
        for wrong in ["", "{", "{\"a\"}", "[1,]", "{} x", "nul"] {
            assert!(Json::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_value_is_found_again(values in proptest::collection::vec("[0-9]{1,3}|\"\\PC{0,9}\"|\\{\"a\":[0-9]\\}|\\[[0-9]?\\]", 0..9)) {
            let values: Vec<String> = values.into_iter().filter(|value| serde_json::from_str::<IgnoredAny>(value).is_ok()).collect();
            let text = format!("[{}]", values.join(" , "));
            let found: Vec<&str> = Json::parse(&text).unwrap().items().unwrap().into_iter().map(Json::text).collect();
            proptest::prop_assert_eq!(found, values);
        }
    }
}
