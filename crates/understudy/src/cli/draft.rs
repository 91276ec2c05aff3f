//! The draft of a migration file from what two databases hold. Pure: text from descriptions.

use std::fmt::Write as _;

use understudy_model::TableName;
use understudy_postgres::preflight::{
    ColumnDescription, Generated, Identity, Persistence, TableDescription, TableKind,
};

/// How alike two column names must be for a renaming to be guessed.
const LIKENESS_MIN: f64 = 0.7;

/// What the draft is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draft<'a> {
    pub(super) name: &'a str,
    pub(super) blue_url: &'a str,
    pub(super) green_url: &'a str,
    pub(super) blue: &'a [TableDescription],
    pub(super) green: &'a [TableDescription],
}

impl Draft<'_> {
    /// The file's text.
    pub(super) fn text(&self) -> String {
        let (name, blue, green) = (self.name, yaml(self.blue_url), yaml(self.green_url));
        let mut text = format!(
            "# yaml-language-server: $schema=./understudy.schema.json
# Drafted from what blue and green hold now. Read it through, then: understudy check FILE
version: 1
name: {name}
blue:
  url: {blue}
  # Secrets never stand in this file. Without this line libpq's password file is used.
  # password: {{ file: /run/secrets/blue }}   # or {{ env: BLUE_PASSWORD }}
green:
  postgres:
    url: {green}
    # password: {{ file: /run/secrets/green }}
"
        );
        let (mut entries, mut left) = (String::new(), Vec::new());
        for table in self.blue.iter().filter(|table| is_candidate(table)) {
            match self.target_of(table) {
                Ok(target) => entries.push_str(&entry(table, target)),
                Err(why) => left.push(format!("  # {}: {why}\n", table.name)),
            }
        }
        text.push_str(
            "# A table named here moves as described; `schema.*` takes all that are not named.\ntables:\n",
        );
        if entries.is_empty() {
            text.push_str(
                "  # No table of blue has a counterpart on green: create green's tables, then draft again.\n",
            );
        }
        text.push_str(&entries);
        if !left.is_empty() {
            text.push_str("  # Tables of blue that stay behind as things are:\n");
            text.extend(left);
        }
        text.push_str(
            "# The HTTP interface: probes, metrics, status.\ncontrol: { listen: 127.0.0.1:7070 }\n",
        );
        text
    }

    /// Where a table goes, or why it cannot.
    fn target_of(&self, table: &TableDescription) -> Result<&TableDescription, &'static str> {
        if table.persistence != Persistence::Permanent {
            return Err("not in the write-ahead log, so it cannot be followed");
        }
        if table.key.is_none() {
            return Err("no usable key: give it a primary key, or REPLICA IDENTITY USING INDEX");
        }
        let fillable = || self.green.iter().filter(|green| is_candidate(green));
        if let Some(same) = fillable().find(|green| green.name == table.name) {
            return Ok(same);
        }
        let taken = |name: &TableName| self.blue.iter().any(|blue| blue.name == *name);
        let mut alike = fillable().filter(|green| green.name.name == table.name.name && !taken(&green.name));
        match (alike.next(), alike.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err("no table of that name on green"),
            (Some(_), Some(_)) => Err("several tables of that name on green: name one with `to`"),
        }
    }
}

fn is_candidate(table: &TableDescription) -> bool {
    matches!(table.kind, TableKind::Ordinary | TableKind::Partitioned)
        && !table.is_partition
        && !table.in_extension
        && table.name.schema != "understudy"
}

fn entry(blue: &TableDescription, green: &TableDescription) -> String {
    let mut text = format!("  - from: {}\n", yaml(&dotted(&blue.name)));
    if green.name != blue.name {
        let _ = writeln!(text, "    to: {}", yaml(&dotted(&green.name)));
    }
    text.push_str(&columns(blue, green));
    text
}

/// The `columns` of an entry; nothing when every column of blue has its own on green and nothing else is needed.
fn columns(blue: &TableDescription, green: &TableDescription) -> String {
    let ours = blue.columns.iter().filter(|column| column.generated == Generated::No).collect::<Vec<_>>();
    let theirs = green.columns.iter().filter(|column| column.generated == Generated::No).collect::<Vec<_>>();
    let in_ours = |name: &str| ours.iter().any(|column| column.name == name);
    let in_theirs = |name: &str| theirs.iter().any(|column| column.name == name);
    let lonely = ours.iter().copied().filter(|column| !in_theirs(&column.name)).collect::<Vec<_>>();
    let mut free = theirs.iter().copied().filter(|column| !in_ours(&column.name)).collect::<Vec<_>>();
    let (mut renamed, mut left_out) = (Vec::new(), Vec::new());
    for column in &lonely {
        match take_alike(column, &mut free) {
            Some(target) => renamed.push((target.name.as_str(), column.name.as_str())),
            None => left_out.push(column.name.as_str()),
        }
    }
    let needs_value = |column: &&ColumnDescription| {
        column.not_null && !column.has_default && column.identity == Identity::No
    };
    let wanting = free.iter().copied().filter(needs_value).collect::<Vec<_>>();
    if lonely.is_empty() && wanting.is_empty() {
        return String::new();
    }
    let mut text = "    columns:\n".to_owned();
    for (target, source) in &renamed {
        let _ = writeln!(
            text,
            "      {}: {}   # a guess: no column of the same name",
            yaml(target),
            source_of(source)
        );
    }
    if left_out.is_empty() {
        text.push_str("      \"*\": \"*\"   # the rest, unchanged\n");
    } else {
        for column in ours.iter().filter(|column| in_theirs(&column.name)) {
            let _ = writeln!(text, "      {}: {}", yaml(&column.name), source_of(&column.name));
        }
        let _ = writeln!(text, "      # left out: {}", left_out.join(", "));
    }
    for column in wanting {
        let (name, kind) = (yaml(&column.name), &column.type_name);
        let _ = writeln!(
            text,
            "      # {name}: \"'...'\"   # {kind}, not null, no default: give a column or a constant"
        );
    }
    text
}

/// Takes the free column that is most like a column of blue, if one of the same type is like it at all.
fn take_alike<'a>(
    column: &ColumnDescription,
    free: &mut Vec<&'a ColumnDescription>,
) -> Option<&'a ColumnDescription> {
    let alike = |other: &ColumnDescription| strsim::jaro_winkler(&column.name, &other.name);
    let same_type = |other: &&ColumnDescription| other.type_name == column.type_name;
    let best = free.iter().copied().filter(same_type).max_by(|a, b| alike(a).total_cmp(&alike(b)))?;
    // A longer name that holds the shorter one (`id`, `customer_id`) is alike too.
    let holds = best.name.ends_with(&format!("_{}", column.name))
        || column.name.ends_with(&format!("_{}", best.name));
    if alike(best) < LIKENESS_MIN && !holds {
        return None;
    }
    free.retain(|other| other.name != best.name);
    Some(best)
}

/// A name as `from` and `to` take it.
fn dotted(name: &TableName) -> String {
    let part = |text: &str| {
        let odd = |c: char| matches!(c, '.' | '*' | '"' | '\'') || c.is_whitespace();
        if text.contains(odd) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
    };
    format!("{}.{}", part(&name.schema), part(&name.name))
}

/// A column of blue as a source takes it: SQL, so that capital letters are quoted.
fn source_of(name: &str) -> String {
    let quoted = format!("\"{}\"", name.replace('"', "\"\""));
    match crate::settings::column_source(name) {
        Some(understudy_transform::ColumnSource::Column(_)) => yaml(name),
        Some(
            understudy_transform::ColumnSource::Constant(_) | understudy_transform::ColumnSource::Computed(_),
        )
        | None => yaml(&quoted),
    }
}

/// A text as a YAML scalar: plain where it cannot be taken for anything else.
fn yaml(text: &str) -> String {
    const WORDS: [&str; 9] = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    let plain = |c: char| {
        c.is_alphanumeric() || matches!(c, '_' | '.' | '/' | ':' | '@' | '-' | '?' | '=' | '%' | '+')
    };
    let good = text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && text.chars().all(plain)
        && !text.ends_with(':')
        && !WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    if good { text.to_owned() } else { format!("'{}'", text.replace('\'', "''")) }
}

#[cfg(test)]
mod tests {
    use understudy_model::ReplicaIdentity;

    use super::*;

    /// `name type` for each column, with `!` where null is refused.
    fn described(name: &str, columns: &str) -> TableDescription {
        let (schema, name) = name.split_once('.').unwrap();
        let column = |text: &str| {
            let (name, type_name) = text.trim().split_once(' ').unwrap();
            ColumnDescription {
                name: name.to_owned(),
                type_name: type_name.trim_end_matches('!').to_owned(),
                type_oid: 25,
                type_modifier: -1,
                not_null: type_name.ends_with('!'),
                has_default: false,
                generated: Generated::No,
                identity: Identity::No,
                collation: None,
                nondeterministic: false,
            }
        };
        TableDescription {
            oid: 1,
            name: TableName::new(schema, name),
            kind: TableKind::Ordinary,
            persistence: Persistence::Permanent,
            columns: columns.split(',').map(column).collect(),
            identity: ReplicaIdentity::Default,
            key: Some(vec!["id".to_owned()]),
            unique: Vec::new(),
            bytes: 0,
            rows_estimate: None,
            partition_children: false,
            is_partition: false,
            parent: None,
            has_heirs: false,
            row_security: false,
            in_extension: false,
        }
    }

    fn draft(blue: &[TableDescription], green: &[TableDescription]) -> String {
        let (blue_url, green_url) = ("postgres://me@blue/shop", "postgres://me@green/shop?sslmode=require");
        Draft { name: "shop", blue_url, green_url, blue, green }.text()
    }

    #[test]
    fn drafts_can_be_read_again() {
        let blue = [
            described("public.orders", "id bigint!, note text"),
            described("public.users", "id bigint!, userName text!, old jsonb"),
            described("public.items", "id bigint!, qty integer!"),
            described("public.odd.one", "id bigint!"),
            described("public.lonely", "id bigint!"),
            TableDescription { key: None, ..described("public.keyless", "id bigint!") },
        ];
        let green = [
            described("public.orders", "id bigint!, note text"),
            described("app.users", "id bigint!, user_name text!"),
            described("public.items", "item_id bigint!, qty integer!, region text!"),
            described("public.odd.one", "id bigint!"),
        ];
        let text = draft(&blue, &green);
        let expected = "tables:
  - from: public.orders
  - from: public.users
    to: app.users
    columns:
      user_name: '\"userName\"'   # a guess: no column of the same name
      id: id
      # left out: old
  - from: public.items
    columns:
      item_id: id   # a guess: no column of the same name
      \"*\": \"*\"   # the rest, unchanged
      # region: \"'...'\"   # text, not null, no default: give a column or a constant
  - from: 'public.\"odd.one\"'
  # Tables of blue that stay behind as things are:
  # public.lonely: no table of that name on green
  # public.keyless: no usable key: give it a primary key, or REPLICA IDENTITY USING INDEX
";
        assert!(text.contains(expected), "{text}");
        let surroundings = crate::settings::Surroundings {
            variables: std::collections::HashMap::new(),
            folder: std::path::PathBuf::new(),
            secrets: crate::settings::Secrets::Read,
        };
        let settings = crate::settings::parse("draft", &text, &surroundings).unwrap();
        assert_eq!(settings.tables.len(), 4);
    }

    #[test]
    fn a_draft_without_tables_says_what_to_do() {
        let text = draft(&[described("public.t", "id bigint!")], &[]);
        assert!(text.contains("create green's tables, then draft again"), "{text}");
    }
}
