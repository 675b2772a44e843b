//! Times as people and other programs read them: ISO 8601 in UTC.

/// `2025-05-14T09:30:00.123Z` of milliseconds since 1970.
pub fn millis(ms: u64) -> String {
    let (days, in_day) = (ms / 86_400_000, ms % 86_400_000);
    // Civil date from days since 1970: years of 365.2425 days counted from 1 March 0000.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (h, m, s, milli) = (in_day / 3_600_000, in_day / 60_000 % 60, in_day / 1000 % 60, in_day % 1000);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}.{milli:03}Z")
}

/// `2025-05-14T09:30:00Z` of seconds since 1970; `None` beyond what milliseconds in 64 bits can say.
pub fn seconds(seconds: u64) -> Option<String> {
    Some(millis(seconds.checked_mul(1_000)?).replace(".000Z", "Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc() {
        assert_eq!(millis(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(millis(951_782_400_123), "2000-02-29T00:00:00.123Z");
        assert_eq!(millis(1_747_215_000_000), "2025-05-14T09:30:00.000Z");
        assert_eq!(seconds(1_747_215_000).as_deref(), Some("2025-05-14T09:30:00Z"));
        assert_eq!(seconds(u64::MAX), None);
    }
}
