//! Whether commits on blue would wait for us as for a standby: green could then stop blue.

use understudy_contract::Findings;

use crate::ident::quote_literal;

/// The setting of blue that names the standbys for which commits wait.
pub(super) const SETTING: &str = "synchronous_standby_names";

/// A reader of the log counts as a standby when its application name is listed. `reader` is ours.
pub(super) fn check_standbys(setting: &str, reader: &str, out: &mut Findings) {
    let Some(name) = names(setting).into_iter().find(|name| name == "*" || name.eq_ignore_ascii_case(reader))
    else {
        return;
    };
    let how =
        if name == "*" { "matches every reader of the log".to_owned() } else { format!("names {reader}") };
    out.error(
        "commits-wait-for-us",
        format!("blue setting {SETTING}"),
        format!("is {}, which {how}: commits on blue would wait for green", quote_literal(setting)),
        format!(
            "name the real standbys of blue alone: ALTER SYSTEM SET {SETTING} = 'FIRST 1 (STANDBY, ...)' with their \
             application names, or '' where it has none, then SELECT pg_reload_conf()"
        ),
    );
}

/// The names in the list, and the words and numbers around it, which no name of ours equals.
fn names(setting: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = setting.chars().peekable();
    while let Some(first) = rest.next() {
        let mut name = String::new();
        if first == '"' {
            while let Some(next) = rest.next() {
                // A quote within a name is doubled.
                if next == '"' && rest.next_if_eq(&'"').is_none() {
                    break;
                }
                name.push(next);
            }
        } else if !is_between(first) {
            name.push(first);
            while let Some(next) = rest.next_if(|next| !is_between(*next) && *next != '"') {
                name.push(next);
            }
        }
        names.push(name);
    }
    names
}

fn is_between(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, ',' | '(' | ')')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every way in which Postgres lets the list be written, and none that only looks like our name.
    #[test]
    fn our_name_is_found_however_it_is_written() {
        let is_listed = |setting: &str| {
            let mut out = Findings::default();
            check_standbys(setting, "understudy/shop/stream", &mut out);
            !out.sorted().is_empty()
        };
        for setting in [
            "*",
            "\"*\"",
            "1(*)",
            "ANY 1 (a,*)",
            "first 2 (a, \"Understudy/Shop/STREAM\")",
            "\"a\"\"b\",\"understudy/shop/stream\"",
        ] {
            assert!(is_listed(setting), "{setting}");
        }
        for setting in [
            "",
            "a",
            "FIRST 1 (a, \"b c\")",
            "\"understudy/shop\"",
            "\"understudy/shop/stream2\"",
            "\"a, *\"",
            "\"a\"\"*\"",
        ] {
            assert!(!is_listed(setting), "{setting}");
        }
    }
}
