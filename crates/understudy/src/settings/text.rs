//! The small languages inside values: durations, sizes, names, table patterns and column sources.

use std::time::Duration;

use understudy_model::TableName;
use understudy_transform::ColumnSource;

/// Which tables of blue an entry takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TablePattern {
    /// This one.
    Table(TableName),
    /// Every table of the schema whose name starts with the prefix; all of them when it is empty.
    Prefix {
        /// The schema.
        schema: String,
        /// How the names start.
        prefix: String,
    },
}

impl TablePattern {
    /// Whether the pattern takes a table.
    pub fn matches(&self, table: &TableName) -> bool {
        match self {
            TablePattern::Table(name) => name == table,
            TablePattern::Prefix { schema, prefix } => {
                *schema == table.schema && table.name.starts_with(prefix.as_str())
            }
        }
    }
}

impl std::fmt::Display for TablePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TablePattern::Table(name) => name.fmt(f),
            TablePattern::Prefix { schema, prefix } => write!(f, "{schema}.{prefix}*"),
        }
    }
}

/// Where an entry's tables go on green.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Into this table.
    Table(TableName),
    /// Into a table of the same name in this schema.
    Schema(String),
}

/// A text that is not what its place asks for: what is wrong, and what to write instead.
pub(super) type Refusal = (String, String);

/// `1h30m`, `500ms`, `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, Refusal> {
    let refusal = || {
        (
            format!("`{text}` is not a duration"),
            "write a number with its unit: 500ms, 5s, 2m, 1h30m, 7d".to_owned(),
        )
    };
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = leading_number(rest).ok_or_else(refusal)?;
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let unit_ms = match &after[..end] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(refusal()),
        };
        let part = number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(refusal)?;
        total = total.checked_add(part).ok_or_else(refusal)?;
        rest = &after[end..];
    }
    if total.is_zero() { Err(refusal()) } else { Ok(total) }
}

/// `64MiB`, `500kB`.
pub(super) fn size(text: &str) -> Result<u64, Refusal> {
    let refusal = || {
        (
            format!("`{text}` is not a size"),
            "write a whole number with its unit: 512KiB, 64MiB, 10GiB".to_owned(),
        )
    };
    let (number, unit) = leading_number(text.trim()).ok_or_else(refusal)?;
    let unit_bytes: u64 = match unit.trim_start() {
        "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(refusal()),
    };
    number.checked_mul(unit_bytes).filter(|bytes| *bytes > 0).ok_or_else(refusal)
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// `public.orders`, `public.*`, `public.order_*`, `public."odd name"`.
pub(super) fn table_pattern(text: &str) -> Result<TablePattern, Refusal> {
    let (schema, name) = two_parts(text)?;
    match name {
        Part::Quoted(name) => Ok(TablePattern::Table(TableName::new(schema, name))),
        Part::Bare(name) => match name.strip_suffix('*') {
            Some(prefix) if !prefix.contains('*') => {
                Ok(TablePattern::Prefix { schema, prefix: prefix.to_owned() })
            }
            None if !name.contains('*') => Ok(TablePattern::Table(TableName::new(schema, name))),
            _ => Err((
                format!("`{text}` holds `*` elsewhere than at the end"),
                "a pattern is `schema.*` or `schema.prefix*`".to_owned(),
            )),
        },
    }
}

/// `app.customers`, `app.*`.
pub(super) fn target(text: &str) -> Result<Target, Refusal> {
    let (schema, name) = two_parts(text)?;
    match name {
        Part::Bare("*") => Ok(Target::Schema(schema)),
        Part::Bare(name) if name.contains('*') => Err((
            format!("`{text}` holds `*` beside other letters"),
            "write `schema.table`, or `schema.*` to keep the names".to_owned(),
        )),
        Part::Bare(name) => Ok(Target::Table(TableName::new(schema, name))),
        Part::Quoted(name) => Ok(Target::Table(TableName::new(schema, name))),
    }
}

enum Part<'a> {
    Bare(&'a str),
    Quoted(String),
}

fn two_parts(text: &str) -> Result<(String, Part<'_>), Refusal> {
    let refusal = || {
        (
            format!("`{text}` is not of the form schema.table"),
            "write both parts, such as public.orders; quote a part that holds a dot: public.\"odd.name\""
                .to_owned(),
        )
    };
    let (schema, rest) = part(text.trim()).ok_or_else(refusal)?;
    let (name, rest) = rest.strip_prefix('.').and_then(part).ok_or_else(refusal)?;
    match schema {
        Part::Bare(schema) if rest.is_empty() && !schema.contains('*') => Ok((schema.to_owned(), name)),
        Part::Quoted(schema) if rest.is_empty() => Ok((schema, name)),
        _ => Err(refusal()),
    }
}

/// The first part of a dotted name, and what follows it.
fn part(text: &str) -> Option<(Part<'_>, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        let (name, rest) = quoted_name(quoted)?;
        return Some((Part::Quoted(name), rest));
    }
    let end = text.find('.').unwrap_or(text.len());
    let bare = &text[..end];
    let odd = |c: char| c.is_whitespace() || c == '"' || c == '\'';
    (!bare.is_empty() && !bare.contains(odd)).then_some((Part::Bare(bare), &text[end..]))
}

/// What stands before the closing double quote, and what follows it.
fn quoted_name(text: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return (!name.is_empty()).then_some((name, rest)),
        }
    }
}

/// Where a green column's value comes from: the part of SQL that needs no evaluation. `None` for any other expression.
pub(super) fn column_source(text: &str) -> Result<Option<ColumnSource>, Refusal> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("null") {
        return Ok(Some(ColumnSource::Constant(None)));
    }
    if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false") || is_number(text) {
        return Ok(Some(ColumnSource::Constant(Some(text.to_ascii_lowercase()))));
    }
    if let Some(inner) = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        let is_one = !inner.replace("''", "").contains('\'');
        return Ok(is_one.then(|| ColumnSource::Constant(Some(inner.replace("''", "'")))));
    }
    if let Some(quoted) = text.strip_prefix('"') {
        return Ok(match quoted_name(quoted) {
            Some((name, "")) => Some(ColumnSource::Column(name)),
            _ => None,
        });
    }
    if !is_identifier(text) || is_niladic_function(text) {
        return Ok(None);
    }
    if text.chars().any(char::is_uppercase) {
        return Err((
            format!("`{text}` holds capital letters, which SQL folds to `{}`", text.to_lowercase()),
            format!("write '\"{text}\"' for the column of that very name"),
        ));
    }
    Ok(Some(ColumnSource::Column(text.to_owned())))
}

fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$')
}

/// Words that look like columns and are evaluated by SQL.
fn is_niladic_function(text: &str) -> bool {
    const WORDS: [&str; 11] = [
        "current_catalog",
        "current_date",
        "current_role",
        "current_schema",
        "current_time",
        "current_timestamp",
        "current_user",
        "default",
        "localtime",
        "localtimestamp",
        "session_user",
    ];
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && digits.parse::<f64>().is_ok_and(f64::is_finite)
}
