//! How rows of a route lie in items: which attributes they fill, under which key, and the way back from an item to rows.
//!
//! A route fills whole items, or a part of items that it shares. What is ours besides the route's columns begins with `_`:
//! `_v` is the version, `_h` a digest of what was written with it, `_t` whose item it is, `_d` until when a tombstone stays.
//! Of a part, version and digest are `_v.<part>` and `_h.<part>`, and `_dp` names the parts that are deleted.

mod apart;
mod key;
mod path;
mod remains;
mod row;
mod seen;
mod size;
mod standing;
mod version;
mod write;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use understudy_model::Key;

use crate::types::{ColumnType, Form, NotFit};

pub use apart::{Clash, settle_ttl, told_apart};
pub use key::{Beginning, ItemKey, KeyAttribute, KeyKind, KeyRole};
pub use path::Path;
pub(crate) use path::TAG;
pub use remains::bury;
pub(crate) use remains::{Bound, Family, Remains};
pub use row::Row;
pub use seen::Seen;
pub use size::{ITEM_BYTES_MAX, STORED_BYTES_EXTRA, item_size, value_size};
pub use standing::{Expect, Standing};
pub use version::Version;
pub(crate) use write::Finds;
pub use write::{Guard, Removal, UpdateParts};

use path::Node;

/// Attributes by name.
pub type Item = HashMap<String, AttributeValue>;

/// What becomes of null.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum NullForm {
    /// The attribute is left out. An element of a list is null all the same, so that others keep their places.
    #[default]
    Omit,
    /// The attribute is there and null.
    Null,
}

/// Where a column's values are, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Its place among the route's columns.
    pub column: usize,
    /// Its attribute.
    pub path: Path,
    /// Its type.
    pub ty: ColumnType,
    /// Its form.
    pub form: Form,
    /// What becomes of null.
    pub null: NullForm,
    /// What it is to the key of an index, the strictest where it is in several.
    pub index: Option<KeyRole>,
}

/// The part of an item that a route fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The part's name, or what the names begin with where each row has its own.
    pub name: Beginning,
    /// The attribute below which parts are entries of a map; `None` where attributes of the item itself are filled.
    pub at: Option<String>,
    /// Whether any route into these items fills the attribute of the TTL, so that tombstones must leave it alone. See
    /// [`settle_ttl`].
    pub ttl_is_filled: bool,
}

/// What a mapping says of a route's items. The route's columns are `pk`, `sk`, the one of `part_column`, and `columns`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutPlan {
    /// The table on DynamoDB.
    pub table: String,
    /// Its partition key.
    pub pk: KeyAttribute,
    /// Its sort key.
    pub sk: Option<KeyAttribute>,
    /// All other columns that are attributes.
    pub columns: Vec<Placed>,
    /// The part that rows fill; `None` where each row is an item.
    pub part: Option<Part>,
    /// The place of the column `_part` among the route's: of a part its name, else the tag.
    pub part_column: usize,
    /// Whose items they are: the same for all routes that share items, and different for any others.
    pub tag: String,
    /// The attribute of the table's TTL.
    pub ttl: Option<String>,
    /// Where the route passes every column of blue's key on: their places among the route's columns, in the order of blue's
    /// key.
    pub blue_key: Option<Vec<usize>>,
}

/// A layout that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutError {
    /// The column or attribute.
    pub column: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl LayoutError {
    pub(crate) fn new(column: &str, what: impl Into<String>, remedy: impl Into<String>) -> LayoutError {
        LayoutError { column: Some(column.to_owned()), what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.column {
            Some(column) => write!(f, "attribute `{column}`: {}", self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl std::error::Error for LayoutError {}

/// What a column of the route is to an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Pk,
    Sk,
    Part,
    Column(usize),
}

/// A route's items, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemLayout {
    plan: LayoutPlan,
    table: Arc<str>,
    /// The name of each of the plan's columns.
    names: Vec<String>,
    /// What each of the route's columns is.
    places: Vec<Place>,
    /// The attributes that are filled: of the item, or of the part's map.
    shape: BTreeMap<String, Node>,
}

impl ItemLayout {
    /// Checks a plan.
    pub fn new(mut plan: LayoutPlan) -> Result<ItemLayout, LayoutError> {
        let places = places(&plan)?;
        plan.columns.iter().try_for_each(|placed| check_column(&plan, placed))?;
        check_part(&plan)?;
        let shape = path::shape(plan.columns.iter().map(|placed| &placed.path))?;
        let tells = |column: &usize| match places.get(*column) {
            Some(Place::Column(at)) => {
                let placed = &plan.columns[*at];
                let is_exact =
                    !matches!(placed.ty, ColumnType::Numeric | ColumnType::Float) || placed.form == Form::S;
                is_exact
                    && !matches!(
                        placed.form,
                        Form::Epoch | Form::M | Form::L | Form::Ss | Form::Ns | Form::Bs
                    )
            }
            place => place.is_some(),
        };
        plan.blue_key = plan.blue_key.take().filter(|key| !key.is_empty() && key.iter().all(tells));
        if let Some(part) = plan.part.as_mut().filter(|part| part.at.is_none()) {
            let fills_ttl = plan.columns.iter().any(|placed| Some(placed.path.root()) == plan.ttl.as_deref());
            part.ttl_is_filled |= fills_ttl;
        }
        let names = plan.columns.iter().map(|placed| placed.path.to_string()).collect();
        Ok(ItemLayout { table: plan.table.as_str().into(), names, places, shape, plan })
    }

    /// What was checked. Its `blue_key` is gone where items would not tell the very texts of blue.
    pub fn plan(&self) -> &LayoutPlan {
        &self.plan
    }

    /// The item that a key of the route means.
    pub fn item_key(&self, key: &Key) -> Result<ItemKey, NotFit> {
        let (mut pk, mut sk, mut others) = (None, None, 0);
        for (place, text) in self.key_places().zip(key.texts()) {
            match place {
                Place::Pk => pk = Some(utf8(text)?),
                Place::Sk => sk = Some(utf8(text)?),
                Place::Part | Place::Column(_) => others += 1,
            }
        }
        match pk {
            Some(pk) if others == 1 => self.key_of(pk, sk),
            _ => Err(NotFit::new("its key is not one of this layout")),
        }
    }

    /// The part that a key of the route means; the tag where each row is an item.
    pub fn part_of(&self, key: &Key) -> Result<String, NotFit> {
        let part = self.key_places().zip(key.texts()).find(|(place, _)| *place == Place::Part);
        let (_, text) = part.ok_or_else(|| NotFit::new("its key is not one of this layout"))?;
        part_name(utf8(text)?)
    }

    /// What the texts of the route's keys are, in their order.
    fn key_places(&self) -> impl Iterator<Item = Place> {
        self.places.iter().copied().filter(|place| !matches!(place, Place::Column(_)))
    }

    fn key_of(&self, pk: &str, sk: Option<&str>) -> Result<ItemKey, NotFit> {
        let sk = match (&self.plan.sk, sk) {
            (Some(attribute), Some(text)) => {
                Some((Arc::clone(&attribute.name), attribute.value(KeyRole::Sort, text)?))
            }
            (None, None) => None,
            (attribute, _) => {
                let not_fit = NotFit::new("a key cannot be null");
                return Err(attribute.iter().fold(not_fit, |not_fit, attribute| not_fit.of(&attribute.name)));
            }
        };
        let pk = (Arc::clone(&self.plan.pk.name), self.plan.pk.value(KeyRole::Partition, pk)?);
        Ok(ItemKey { table: Arc::clone(&self.table), pk, sk })
    }

    /// Whether DynamoDB may remove a row by itself once its time is over.
    pub(crate) fn may_end(&self) -> bool {
        apart::fills_ttl(&self.plan)
    }

    /// Whether DynamoDB's TTL has this attribute, and tombstones may use it.
    fn ttl_of_tombstones(&self) -> Option<&String> {
        let is_filled = self.plan.part.as_ref().is_some_and(|part| part.ttl_is_filled);
        self.plan.ttl.as_ref().filter(|_| !is_filled)
    }
}

fn utf8(text: &[u8]) -> Result<&str, NotFit> {
    std::str::from_utf8(text).map_err(|_| NotFit::new("a text that is not UTF-8"))
}

fn part_name(text: &str) -> Result<String, NotFit> {
    if text.is_empty() {
        return Err(NotFit::new("the name of a part cannot be empty").of(path::PART));
    }
    Ok(text.to_owned())
}

/// The attribute of the version, or of the digest, of an item or of a part of it.
fn own_name(base: &str, part: Option<&str>) -> String {
    part.map_or_else(|| base.to_owned(), |part| format!("{base}.{part}"))
}

/// Whether an attribute is ours and no column's.
fn is_own(name: &str) -> bool {
    let of_part = |base: &str| name.strip_prefix(base).is_some_and(|rest| rest.starts_with('.'));
    [path::VERSION, path::DIGEST, path::TAG, path::DELETED, path::DEAD_PARTS].contains(&name)
        || of_part(path::VERSION)
        || of_part(path::DIGEST)
}

fn places(plan: &LayoutPlan) -> Result<Vec<Place>, LayoutError> {
    let keys = [Some((plan.pk.column, Place::Pk)), plan.sk.as_ref().map(|sk| (sk.column, Place::Sk))];
    let columns = plan.columns.iter().enumerate().map(|(at, placed)| (placed.column, Place::Column(at)));
    let all = keys.into_iter().flatten().chain([(plan.part_column, Place::Part)]).chain(columns);
    let mut all = all.collect::<Vec<_>>();
    all.sort_unstable_by_key(|(column, _)| *column);
    if all.iter().enumerate().any(|(at, (column, _))| at != *column) {
        return Err(LayoutError {
            column: None,
            what: "the columns of the route are not all placed, each once".to_owned(),
            remedy: "report this".to_owned(),
        });
    }
    Ok(all.into_iter().map(|(_, place)| place).collect())
}

fn check_column(plan: &LayoutPlan, placed: &Placed) -> Result<(), LayoutError> {
    let Placed { path, ty, form, null, index, .. } = placed;
    let wrong = |what: String, remedy: &str| Err(LayoutError::new(&path.to_string(), what, remedy));
    let is_below = plan.part.as_ref().is_some_and(|part| part.at.is_some());
    if !form.fits(ty) {
        let forms = ty.forms().iter().map(|form| form.name()).collect::<Vec<_>>().join(", ");
        return wrong(
            format!("values of its type have no form `{}`", form.name()),
            &format!("choose one of {forms}"),
        );
    }
    let is_element = matches!(path.steps().last(), Some(path::Step::Element(_)));
    if *ty == ColumnType::Json && matches!(form, Form::M | Form::L) && (*null == NullForm::Null || is_element)
    {
        let what = "a null of SQL and a null of JSON would be the same in it".to_owned();
        return wrong(what, "choose `form: json_text`, or leave null out");
    }
    if index.is_some() {
        let is_scalar =
            matches!(form, Form::S | Form::N | Form::B | Form::Text | Form::Epoch | Form::JsonText);
        if !is_scalar || !path.is_root() || is_below {
            let what = "the key of an index is a string, a number or bytes of the item itself".to_owned();
            return wrong(what, "choose another attribute or form for it");
        }
        if *null == NullForm::Null {
            let what = "the key of an index cannot be null".to_owned();
            return wrong(what, "leave null out: an item without the attribute is not in the index");
        }
    }
    let of_item = |name: &str| !is_below && path.root() == name;
    if of_item(&plan.pk.name) || plan.sk.as_ref().is_some_and(|sk| of_item(&sk.name)) {
        return wrong("it is the key, and filled once more".to_owned(), "fill the key under `key` alone");
    }
    let is_ttl = plan.ttl.as_deref().is_some_and(of_item);
    let is_seconds = *form == Form::Epoch || (*form == Form::N && *ty == ColumnType::Int);
    if is_ttl && !(path.is_root() && is_seconds) {
        let what = "the attribute of the TTL holds seconds since 1970".to_owned();
        return wrong(what, "choose `form: epoch` for a time, or fill it with a whole number");
    }
    Ok(())
}

fn check_part(plan: &LayoutPlan) -> Result<(), LayoutError> {
    let Some(part) = &plan.part else { return Ok(()) };
    let Some(at) = &part.at else {
        if part.name.is_all {
            return Ok(());
        }
        let what = "each row has a part of its own, and all would fill the same attributes";
        return Err(LayoutError::new(&part.name.text, what, "name a map for the parts under `at`"));
    };
    let path = Path::parse(at)?;
    let is_key = *at == *plan.pk.name || plan.sk.as_ref().is_some_and(|sk| *at == *sk.name);
    if !path.is_root() || is_key || plan.ttl.as_ref() == Some(at) {
        let what = "parts are entries of one map, which is an attribute of the item itself";
        return Err(LayoutError::new(at, what, "choose another name under `at`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
