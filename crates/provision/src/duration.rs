//! Durations as people write them: `250ms`, `4s`, `1m`.

/// Milliseconds of a text such as `250ms`, `1s`, `2m`; a bare number is seconds. `Err` says what was expected.
pub fn parse_ms(text: &str) -> Result<u64, String> {
    let expected = || format!("got {text:?}, expected a duration above 0 such as 250ms, 1s or 2m");
    let text_trimmed = text.trim();
    let digits = text_trimmed.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| expected())?;
    let unit = match &text_trimmed[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        _ => return Err(expected()),
    };
    number.checked_mul(unit).filter(|ms| *ms > 0).ok_or_else(expected)
}

/// The shortest text that [`parse_ms`] reads back.
pub fn show_ms(ms: u64) -> String {
    if ms.is_multiple_of(1000) { format!("{}s", ms / 1000) } else { format!("{ms}ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_back() {
        for (text, ms) in [("250ms", 250), ("1s", 1000), ("4", 4000), ("2m", 120_000), (" 1500ms ", 1500)] {
            assert_eq!(parse_ms(text), Ok(ms), "{text}");
            assert_eq!(parse_ms(&show_ms(ms)), Ok(ms));
        }
        for text in ["", "0s", "-1s", "1h", "s", "1.5s", "99999999999999999999s", "18446744073709551615m", "1µs"] {
            assert!(parse_ms(text).is_err(), "{text}");
        }
    }
}
