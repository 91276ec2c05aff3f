//! Figures and lists as people read them.

/// How many things of a list are named.
const NAMED_MAX: usize = 3;

/// Milliseconds as text: `850ms`, `1.5s`, `15m`, `2h 5m`, `3d 4h`.
pub fn span(ms: u64) -> String {
    let two = |big: u64, unit: &str, small: u64, less: &str| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit} {small}{less}"),
    };
    match ms {
        0 => "0s".to_owned(),
        1..1_000 => format!("{ms}ms"),
        1_000..60_000 if !ms.is_multiple_of(1_000) && ms < 10_000 => {
            format!("{}.{}s", ms / 1_000, ms % 1_000 / 100)
        }
        1_000..60_000 => format!("{}s", ms / 1_000),
        60_000..3_600_000 => two(ms / 60_000, "m", ms / 1_000 % 60, "s"),
        3_600_000..86_400_000 => two(ms / 3_600_000, "h", ms / 60_000 % 60, "m"),
        _ => two(ms / 86_400_000, "d", ms / 3_600_000 % 24, "h"),
    }
}

/// Seconds as text.
pub(crate) fn seconds(seconds: f64) -> String {
    // Saturates; what is not a number is never shown as a lag.
    span((seconds * 1_000.0).round() as u64)
}

/// The first few names, and how many more there are.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names = names.into_iter().collect::<Vec<_>>();
    let mut text = names.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    if names.len() > NAMED_MAX {
        text.push_str(&format!(" and {} more", names.len() - NAMED_MAX));
    }
    text
}

/// A count with its noun: `1 row`, `2 rows`.
pub(crate) fn count(count: u64, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

/// A share of one as per cent, never rounded up to the whole.
pub(crate) fn percent(share: f64) -> String {
    let tenths = (share * 1_000.0).floor() / 10.0;
    if share >= 1.0 { "100 %".to_owned() } else { format!("{tenths:.1} %") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A reader acts on these figures: each unit must turn over where people expect it.
    #[test]
    fn spans_read_well() {
        for (ms, text) in [
            (0, "0s"),
            (850, "850ms"),
            (1_500, "1.5s"),
            (5_000, "5s"),
            (42_900, "42s"),
            (60_000, "1m"),
            (192_000, "3m 12s"),
            (3_600_000, "1h"),
            (7_500_000, "2h 5m"),
            (273_600_000, "3d 4h"),
        ] {
            assert_eq!(span(ms), text);
        }
    }

    /// A share that is not whole must not be shown as whole: an operator would look for the fault elsewhere.
    #[test]
    fn nearly_all_is_not_all() {
        assert_eq!(percent(0.999_99), "99.9 %");
        assert_eq!(percent(1.0), "100 %");
        assert_eq!(percent(0.0), "0.0 %");
    }

    /// A thousand tables do not fill the screen.
    #[test]
    fn long_lists_are_cut() {
        assert_eq!(list(["a", "b", "c"]), "a, b, c");
        assert_eq!(list(["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
    }
}
