//! What the routes of a simulated migration make of a row: as text for the compiler, and once more in plain Rust.

use std::collections::HashMap;

use understudy_model::{Key, ReplicaIdentity, RouteId, TableName};
use understudy_transform::expr::{Collation, Modifier, Scope, ScopeColumn, SqlType};
use understudy_transform::{BlueTable, ColumnSource, GreenShape, Requested, RouteSpec};

use crate::blue::{BOUND, Blue, Cell, Shape, TableKind};
use crate::dice::Dice;

use super::scenario::Class;

/// The mapping of one route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mapping {
    pub(super) columns: Columns,
    pub(super) filter: Option<Filter>,
    pub(super) key: GreenKey,
}

/// What a route fills green's columns with, beside the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Columns {
    /// Every column, or turned about with a constant added.
    AsItIs,
    /// Small values only.
    Narrow,
    /// Values computed from what is always sent, from what may not be sent, and from both.
    Computed,
    /// A value whose expression fails on some rows.
    Failing,
}

/// Which rows a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) over: Over,
    /// All rows for which it is false instead.
    pub(super) negated: bool,
}

/// What a condition reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// A value that changes and is always sent.
    Small,
    /// A value that may not be sent.
    Large,
    /// One of each.
    Both,
    /// A column of the key.
    Key,
    /// A value that always comes, with a condition that fails on some rows.
    Failing,
}

/// What green's key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GreenKey {
    /// Blue's.
    Passed,
    /// A text made of blue's.
    Code,
    /// The same with a value that changes while blue's key stays. Only where changes carry the whole old row.
    Moving,
    /// Blue's, behind a constant that tells the routes apart which fill the table.
    Origin(&'static str),
}

/// What a row of blue comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is on green, with these values.
    Row(Vec<Cell>),
    /// The condition leaves it out.
    LeftOut,
    /// Its values cannot be computed: under this key it is set aside.
    Refused,
}

/// A value that fails to be a number where the small value has a 7.
const FAILING: &str = "(CASE WHEN n LIKE '%7%' THEN 'x' ELSE '1' END)::int";

impl Mapping {
    pub(super) const AS_IT_IS: Mapping =
        Mapping { columns: Columns::AsItIs, filter: None, key: GreenKey::Passed };

    /// Some mapping or other.
    pub(super) fn any(dice: &mut Dice) -> Mapping {
        let columns = [Columns::AsItIs, Columns::Narrow, Columns::Computed][dice.below(3)];
        let key = if dice.percent(30) { GreenKey::Code } else { GreenKey::Passed };
        Mapping { columns, filter: dice.percent(50).then(|| Filter::any(dice)), key }
    }

    /// Whether rows are passed on and nothing is computed of them. Where every column is taken, green's are in blue's order.
    pub(super) fn is_plain(self) -> bool {
        self == Mapping::AS_IT_IS
    }

    /// Whether some rows cannot be computed.
    pub(super) fn may_fail(self) -> bool {
        self.columns == Columns::Failing || self.filter.is_some_and(|filter| filter.over == Over::Failing)
    }

    /// The route of a table as its columns are now. Routes that one table takes have targets of their own, unless a constant in
    /// the key tells their rows apart.
    pub(super) fn compile(self, blue: &Blue, table: usize, route: u16) -> Result<RouteSpec, String> {
        let (spec, shape) = (&blue.tables()[table], blue.shape(table));
        let columns = shape.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>();
        let key = shape.key.iter().rev().map(|at| columns[*at]).collect::<Vec<_>>();
        let mut source = BlueTable::named(spec.name.clone(), &columns, &key);
        source.types = (0..columns.len()).map(|at| shape.type_of(at)).collect();
        source.scope = Some(scope(&spec.name, &columns));
        source.identity_is_full = shape.identity == ReplicaIdentity::Full;
        let requested = self.requested(spec.kind, &shape);
        let filter = self.filter.map(|filter| filter.sql(&shape));
        let mapping =
            understudy_transform::Mapping { columns: requested.as_deref(), filter: filter.as_deref() };
        let (name, keys) = match self.key {
            GreenKey::Passed => (format!("{}_{route}", spec.name.name), Vec::new()),
            GreenKey::Code | GreenKey::Moving => {
                (format!("{}_{route}", spec.name.name), vec![vec!["code".to_owned()]])
            }
            GreenKey::Origin(_) => {
                let mut own = vec!["origin".to_owned()];
                own.extend(key.iter().map(|name| (*name).to_owned()));
                (format!("all_{}", key.len()), vec![own])
            }
        };
        let green = GreenShape { keys, ..GreenShape::default() };
        let green = (self.key != GreenKey::Passed).then_some(&green);
        RouteSpec::compile(RouteId(route), &source, (TableName::new("app", name), green), mapping)
            .map_err(|error| error.to_string())
    }

    /// What the migration file asks for. `None`: every column as it is.
    fn requested(self, kind: TableKind, shape: &Shape) -> Option<Vec<Requested>> {
        if self.is_plain() {
            let turned = vec![
                Requested::Column("origin".to_owned(), ColumnSource::Constant(Some("blue".to_owned()))),
                Requested::Column("second".to_owned(), ColumnSource::Column("b".to_owned())),
                Requested::Rest,
            ];
            return (kind == TableKind::Composite).then_some(turned);
        }
        let pass = |name: &str| Requested::Column(name.to_owned(), ColumnSource::Column(name.to_owned()));
        let sql = |name: &str, text: String| Requested::Sql(name.to_owned(), text);
        let keys = shape.key.iter().map(|at| shape.columns[*at].0).collect::<Vec<_>>();
        let mut requested = Vec::new();
        match self.key {
            GreenKey::Passed => requested.extend(keys.iter().map(|name| pass(name))),
            GreenKey::Code => {
                requested.push(sql("code", format!("'k' || {}", keys.join(" || '/' || "))));
            }
            GreenKey::Moving => {
                let text = format!("concat('k', {}, '/', coalesce(n, '-'))", keys.join(", '/', "));
                requested.push(sql("code", text));
            }
            GreenKey::Origin(origin) => {
                requested.push(Requested::Column(
                    "origin".to_owned(),
                    ColumnSource::Constant(Some(origin.to_owned())),
                ));
                requested.extend(keys.iter().map(|name| pass(name)));
            }
        }
        if shape.bound_column().is_some() && (self.key == GreenKey::Code || !keys.contains(&BOUND)) {
            requested.push(pass(BOUND));
        }
        requested.push(pass("n"));
        match self.columns {
            Columns::AsItIs => requested.push(pass("doc")),
            Columns::Narrow => {}
            Columns::Computed => requested.extend([
                pass("doc"),
                // What an expression means depends on the types that it is compiled for: here it shows.
                sql("label", format!("coalesce(n, '-') || '/{}'", shape.revision)),
                sql("size", "length(doc)".to_owned()),
                sql("both", "concat(left(doc, 3), '|', n)".to_owned()),
            ]),
            Columns::Failing => requested.extend([pass("doc"), sql("checked", FAILING.to_owned())]),
        }
        Some(requested)
    }

    /// What a row comes to by a mapping that names its columns, worked out without any of what is compiled.
    pub(super) fn outcome(self, shape: &Shape, cells: &[Cell]) -> Outcome {
        let row = Row { shape, cells };
        match self.filter.map(|filter| filter.holds(&row)) {
            Some(None) => return Outcome::Refused,
            Some(Some(false)) => return Outcome::LeftOut,
            Some(Some(true)) | None => {}
        }
        let mut values = self.key(&row);
        let bound_in_key = shape.bound_column().is_some_and(|at| shape.key.contains(&at));
        if shape.bound_column().is_some() && (self.key == GreenKey::Code || !bound_in_key) {
            values.push(row.cell(BOUND));
        }
        values.push(row.cell("n"));
        match self.columns {
            Columns::AsItIs => values.push(row.cell("doc")),
            Columns::Narrow => {}
            Columns::Computed => {
                let (n, doc) = (row.text("n"), row.text("doc"));
                let start = doc.as_deref().unwrap_or_default().chars().take(3).collect::<String>();
                values.extend([
                    row.cell("doc"),
                    cell(format!("{}/{}", n.as_deref().unwrap_or("-"), shape.revision)),
                    doc.map(|doc| doc.chars().count().to_string().into()),
                    cell(format!("{start}|{}", n.unwrap_or_default())),
                ]);
            }
            Columns::Failing if row.has_seven() => return Outcome::Refused,
            Columns::Failing => values.extend([row.cell("doc"), cell("1".to_owned())]),
        }
        Outcome::Row(values)
    }

    /// Green's key of a row.
    pub(super) fn key_of(self, row: &Row<'_>) -> Key {
        Key::from_texts(self.key(row).iter().map(|cell| cell.as_deref().unwrap_or_default()))
    }

    /// Green's key of a row, in the order of green's columns.
    fn key(self, row: &Row<'_>) -> Vec<Cell> {
        let keys = row.shape.key.iter().map(|at| row.cells[*at].clone()).collect::<Vec<_>>();
        match self.key {
            GreenKey::Passed => keys,
            GreenKey::Code => {
                let texts = keys.iter().map(|cell| text(cell).unwrap_or_default()).collect::<Vec<_>>();
                vec![cell(format!("k{}", texts.join("/")))]
            }
            GreenKey::Moving => {
                let texts = keys.iter().map(|cell| text(cell).unwrap_or_default()).collect::<Vec<_>>();
                let n = row.text("n").unwrap_or("-".to_owned());
                vec![cell(format!("k{}/{n}", texts.join("/")))]
            }
            GreenKey::Origin(origin) => [cell(origin.to_owned())].into_iter().chain(keys).collect(),
        }
    }
}

/// The mappings of every table's routes.
pub(super) fn draw(class: Class, tables: &[TableKind], dice: &mut Dice) -> Vec<Vec<Mapping>> {
    if class == Class::Rekeyed && *tables == [TableKind::Composite] {
        let filter = dice.percent(50).then(|| Filter::any(dice));
        return vec![vec![Mapping { key: GreenKey::Moving, columns: Columns::Narrow, filter }]];
    }
    (0..tables.len()).map(|at| draw_table(class, at, dice)).collect()
}

fn draw_table(class: Class, at: usize, dice: &mut Dice) -> Vec<Mapping> {
    let plain = Mapping::AS_IT_IS;
    match class {
        Class::Split => vec![Mapping::any(dice), Mapping::any(dice)],
        Class::Filter => {
            let filter = Filter::any(dice);
            let columns = if dice.percent(50) { Columns::AsItIs } else { Columns::Narrow };
            let one = Mapping { filter: Some(filter), columns, ..plain };
            let rest = Filter { negated: !filter.negated, ..filter };
            let split = dice.percent(30).then_some(Mapping { filter: Some(rest), ..one });
            [one].into_iter().chain(split).collect()
        }
        Class::Computed => {
            let filter = dice.percent(30).then(|| Filter::any(dice));
            vec![Mapping { columns: Columns::Computed, filter, ..plain }]
        }
        Class::Rekeyed if dice.percent(50) => {
            vec![Mapping { key: GreenKey::Code, ..Mapping::any(dice) }]
        }
        Class::Rekeyed => {
            let origins = [["east", "west"], ["north", "south"], ["up", "down"]][at.min(2)];
            let one = Mapping { key: GreenKey::Origin(origins[0]), ..Mapping::any(dice) };
            let other = Mapping { key: GreenKey::Origin(origins[1]), ..Mapping::any(dice) };
            if dice.percent(50) { vec![one, other] } else { vec![one] }
        }
        Class::Refused if dice.percent(50) => {
            vec![Mapping { columns: Columns::Failing, ..Mapping::any(dice) }]
        }
        Class::Refused => {
            let filter = Some(Filter { over: Over::Failing, negated: dice.percent(20) });
            vec![Mapping { filter, ..Mapping::any(dice) }]
        }
        Class::Repair => {
            let key = if dice.percent(30) {
                GreenKey::Origin(["east", "west", "up"][at.min(2)])
            } else {
                GreenKey::Passed
            };
            let any = Mapping { key, ..Mapping::any(dice) };
            vec![if dice.percent(40) { plain } else { any }]
        }
        Class::Mixed if dice.percent(60) => (0..1 + dice.below(2)).map(|_| Mapping::any(dice)).collect(),
        Class::Recopy | Class::Rewrite | Class::LaterTable if dice.percent(30) => vec![Mapping::any(dice)],
        _ => vec![plain],
    }
}

impl Filter {
    pub(super) fn any(dice: &mut Dice) -> Filter {
        let over = [Over::Small, Over::Small, Over::Large, Over::Both, Over::Key][dice.below(5)];
        Filter { over, negated: dice.percent(50) }
    }

    fn sql(self, shape: &Shape) -> String {
        let text = match self.over {
            Over::Small => "n LIKE '%1%' OR n LIKE '%3%'".to_owned(),
            Over::Large => "doc LIKE '%1%' OR doc LIKE '%3%'".to_owned(),
            Over::Both => "concat(left(doc, 4), n) LIKE '%3%'".to_owned(),
            Over::Key => format!("{} IN ('1', '2', '5', '9')", shape.columns[shape.key[0]].0),
            Over::Failing => format!("{FAILING} = 1"),
        };
        if self.negated { format!("NOT ({text})") } else { text }
    }

    /// `None` where it fails.
    fn holds(self, row: &Row<'_>) -> Option<bool> {
        let has = |name: &str| row.text(name).map(|text| text.contains('1') || text.contains('3'));
        let holds = match self.over {
            Over::Small => has("n"),
            Over::Large => has("doc"),
            Over::Both => {
                let doc = row.text("doc").unwrap_or_default();
                let start = doc.chars().take(4);
                Some(start.chain(row.text("n").unwrap_or_default().chars()).any(|letter| letter == '3'))
            }
            Over::Key => {
                text(&row.cells[row.shape.key[0]]).map(|key| ["1", "2", "5", "9"].contains(&key.as_str()))
            }
            Over::Failing if row.has_seven() => return None,
            Over::Failing => Some(true),
        };
        Some(holds.is_some_and(|holds| holds != self.negated))
    }
}

/// A row of blue with the names of its columns.
pub(super) struct Row<'a> {
    pub(super) shape: &'a Shape,
    pub(super) cells: &'a [Cell],
}

impl Row<'_> {
    fn cell(&self, name: &str) -> Cell {
        let at = self.shape.columns.iter().position(|(column, _)| *column == name);
        at.and_then(|at| self.cells[at].clone())
    }

    fn text(&self, name: &str) -> Option<String> {
        text(&self.cell(name))
    }

    fn has_seven(&self) -> bool {
        self.text("n").is_some_and(|text| text.contains('7'))
    }
}

fn text(cell: &Cell) -> Option<String> {
    cell.as_ref().map(|text| String::from_utf8_lossy(text).into_owned())
}

fn cell(text: String) -> Cell {
    Some(text.into())
}

/// Every column is text to an expression, whatever the simulated catalog calls its type.
fn scope(table: &TableName, columns: &[&str]) -> Scope {
    let collation = Collation { is_default: true, ..Collation::bytes() };
    let column = |name: &&str| ScopeColumn {
        name: (*name).to_owned(),
        ty: SqlType::Text,
        modifier: Modifier::NONE,
        collation: Some(collation.clone()),
    };
    Scope {
        table: table.clone(),
        columns: columns.iter().map(column).collect(),
        types: HashMap::new(),
        collation: collation.clone(),
        mask_key: None,
    }
}
