//! How a plan is laid out: lines that a terminal shows whole, and SQL that reads as it was written.

use understudy_transform::expr::{Modifier, SqlType};

use crate::cli::output::table;

/// So many columns a line has, where it can be broken.
pub(super) const WIDTH: usize = 120;

/// What the last column of a table has at least, however wide the others are.
const LAST_MIN: usize = 60;

/// Longer values are cut: a plan is read by people.
const VALUE_CHARS_MAX: usize = 60;

/// Rows whose last cell is SQL, in aligned columns, indented by two.
pub(super) fn with_sql(header: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let before = header.len().saturating_sub(1);
    let wide = |at: usize| {
        let cells = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count());
        cells.chain([header[at].chars().count()]).max().unwrap_or(0) + 2
    };
    let taken = (0..before).map(wide).sum::<usize>() + 2;
    let room = WIDTH.saturating_sub(taken).max(LAST_MIN);
    let mut broken = Vec::with_capacity(rows.len());
    for row in rows {
        let (cells, last) = row.split_at(before.min(row.len()));
        for (at, line) in sql(last.first().map_or("", String::as_str), room).into_iter().enumerate() {
            let first = |cell: &String| if at == 0 { cell.clone() } else { String::new() };
            broken.push(cells.iter().map(first).chain([line]).collect::<Vec<_>>());
        }
    }
    table(header, &broken).lines().map(|line| format!("  {line}")).collect()
}

/// SQL line by line, as it was written; a line that is too long goes on in the next one, a little further in.
pub(super) fn sql(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut is_quoted = false;
    for line in text.trim().lines() {
        let line = line.trim_end();
        let indent = line.len() - line.trim_start().len();
        let (mut words, mut from) = (Vec::new(), 0);
        for (at, letter) in line.char_indices() {
            is_quoted ^= letter == '\'';
            if letter == ' ' && !is_quoted && at > indent {
                words.push(line[from..at].to_owned());
                from = at + 1;
            }
        }
        words.push(line[from..].to_owned());
        lines.extend(filled(&words, width, " ".repeat(indent + 2).as_str()));
    }
    lines
}

/// Words one after the other, as many on a line as it has room for; further lines are indented.
pub(super) fn filled(words: &[String], width: usize, indent: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) => lines.push(format!("{indent}{word}")),
            None => lines.push(word.clone()),
        }
    }
    lines
}

/// A text of one or several lines, each on as many as it needs.
pub(super) fn paragraphs(text: &str) -> Vec<String> {
    let broken = |line: &str| {
        let words = line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        filled(&words, WIDTH - 2, "    ").into_iter().map(|line| format!("  {line}")).collect::<Vec<_>>()
    };
    text.lines().flat_map(broken).collect()
}

/// A type with what stands in brackets behind it.
pub(super) fn type_name(ty: &SqlType, modifier: Modifier) -> String {
    let bracketed = match ty {
        SqlType::Varchar | SqlType::Bpchar => modifier.characters().map(|count| count.to_string()),
        SqlType::Numeric => modifier.precision_and_scale().map(|(digits, scale)| format!("{digits},{scale}")),
        _ => None,
    };
    bracketed.map_or_else(|| ty.to_string(), |bracketed| format!("{ty}({bracketed})"))
}

/// One value, in quotes as SQL has them, without anything that would move the terminal's cursor.
pub(super) fn value(value: Option<&str>) -> String {
    let Some(value) = value else { return "null".to_owned() };
    let mut shown = String::from("'");
    for letter in value.chars().take(VALUE_CHARS_MAX) {
        match letter {
            '\'' => shown.push_str("''"),
            letter if letter.is_control() => shown.extend(letter.escape_default()),
            letter => shown.push(letter),
        }
    }
    shown.push('\'');
    if value.chars().nth(VALUE_CHARS_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text in quotes is shown as it is; the blanks in it are values.
    #[test]
    fn sql_is_broken_between_words_and_never_inside_quotes() {
        assert_eq!(sql("  a ||  'b  c' ||\n  d\n", 99), ["a ||  'b  c' ||", "  d"]);
        assert_eq!(sql("first || 'x y z' || last", 12), ["first ||", "  'x y z' ||", "  last"]);
        assert_eq!(sql("'it''s a very long text'", 9), ["'it''s a very long text'"]);
        assert_eq!(sql("", 9), Vec::<String>::new());
    }

    #[test]
    fn only_the_last_cell_is_broken() {
        let long = "x + ".repeat(20) + "x";
        let rows = [vec!["a".to_owned(), "'t'".to_owned()], vec!["long".repeat(15), long]];
        let lines = with_sql(&["NAME", "FROM"], &rows);
        assert_eq!(lines.len(), 4, "{lines:#?}");
        assert!(lines.iter().all(|line| line.chars().count() <= 2 + 60 + 2 + LAST_MIN), "{lines:#?}");
        assert!(lines[3].trim_start().starts_with(['x', '+']), "{lines:#?}");
    }

    /// A value must neither move the cursor nor look like what follows it.
    #[test]
    fn values_are_quoted_and_short() {
        assert_eq!(value(None), "null");
        assert_eq!(value(Some("it's\t\u{1b}[2J \"x\" \\ é")), "'it''s\\t\\u{1b}[2J \"x\" \\ é'");
        assert_eq!(value(Some(&"é".repeat(60))), format!("'{}'", "é".repeat(60)));
        assert_eq!(value(Some(&"é".repeat(61))), format!("'{}'...", "é".repeat(60)));
    }

    #[test]
    fn types_have_their_lengths() {
        assert_eq!(type_name(&SqlType::Varchar, Modifier::of_characters(40)), "character varying(40)");
        assert_eq!(type_name(&SqlType::Numeric, Modifier::of_numeric(10, 2)), "numeric(10,2)");
        assert_eq!(type_name(&SqlType::Numeric, Modifier::NONE), "numeric");
    }
}
