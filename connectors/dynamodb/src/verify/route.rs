//! A route as its items are compared: the one form of each value, the digest of a row, and rows whose time is over.

use std::borrow::Cow;
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use sha2::{Digest, Sha256};
use understudy_contract::{Class, CompareRule, ComparedRoute, Failure, RowDigest, RowSeen, SeenValue};
use understudy_model::RouteId;

use crate::layout::{Item, ItemLayout, KeyKind, LayoutPlan, Seen, TAG};
use crate::types::{ColumnType, Form, Odd, canonical};

/// What no text of Postgres begins with: what stands behind it is why there is no value to compare.
const NO_VALUE: char = '\0';

/// The canonical text of a value, or why there is none.
type Text = Result<Option<String>, Cow<'static, str>>;

/// A route with what is compared of it, and how its rows lie in items. Of the queries only those of blue count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRoute {
    /// What is compared. Its columns are those of the layout, in its order, and its key is that of the route on green.
    pub compared: ComparedRoute,
    /// How its rows lie in items.
    pub layout: ItemLayout,
}

impl StoredRoute {
    /// The values of a row, in the order of its columns and in Postgres' texts, as reading it back would show them: a value that
    /// does not fit as the reason why.
    pub fn shown(&self, values: Vec<Option<Box<str>>>) -> Vec<Option<Box<str>>> {
        let value = |((ty, form), value): ((ColumnType, Form), Option<Box<str>>)| {
            let text = value.map(|text| canonical(&ty, form, &text))?;
            Some(text.unwrap_or_else(|not_fit| told(&not_fit.reason)).into_boxed_str())
        };
        stored(self.layout.plan()).into_iter().zip(values).map(value).collect()
    }
}

/// Why there is no value, where people look for one.
fn told(why: &str) -> String {
    format!("({why})")
}

/// A route, ready for comparison.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) compared: ComparedRoute,
    pub(super) layout: Arc<ItemLayout>,
    /// As what each of the columns is stored.
    stored: Vec<(ColumnType, Form)>,
    /// The column that says when DynamoDB may remove a row.
    expiry: Option<usize>,
    /// The tags of all routes into its table.
    tags: Vec<String>,
}

/// The routes, each checked.
pub(super) fn routes(routes: &[StoredRoute]) -> Result<Arc<[Route]>, Failure> {
    let plans = routes.iter().map(|route| route.layout.plan()).collect::<Vec<_>>();
    let tags = |table: &str| {
        plans.iter().filter(|plan| plan.table == table).map(|plan| plan.tag.clone()).collect::<Vec<_>>()
    };
    let checked = routes.iter().map(|route| Route::new(route, tags(&route.layout.plan().table)));
    checked.collect::<Result<Vec<_>, _>>().map(Arc::from)
}

/// The route of a number.
pub(super) fn route(routes: &[Route], id: RouteId) -> Result<&Route, Failure> {
    let found = routes.iter().find(|route| route.compared.route == id);
    found.ok_or_else(|| Failure::new(Class::Internal, "a route is to be read that is not compared"))
}

impl Route {
    fn new(route: &StoredRoute, tags: Vec<String>) -> Result<Route, Failure> {
        let StoredRoute { compared, layout } = route;
        let plan = layout.plan();
        let stored = stored(plan);
        if stored.len() != compared.columns.len() {
            let cause = format!("the columns of {} are not those of its items", compared.target);
            return Err(Failure::new(Class::Internal, cause));
        }
        let is_below = plan.part.as_ref().is_some_and(|part| part.at.is_some());
        let expiry = plan.columns.iter().find(|placed| {
            !is_below && placed.path.is_root() && Some(placed.path.root()) == plan.ttl.as_deref()
        });
        Ok(Route {
            compared: compared.clone(),
            layout: Arc::new(layout.clone()),
            stored,
            expiry: expiry.map(|placed| placed.column),
            tags,
        })
    }

    /// The rows of the route that an item holds or held, or would hold by its key where its tag is none of the migration's.
    pub(super) fn rows_in(&self, item: &Item) -> Vec<Seen> {
        let is_known =
            |tag: &AttributeValue| tag.as_s().is_ok_and(|tag| self.tags.iter().any(|known| known == tag));
        match item.get(TAG) {
            Some(tag) if !is_known(tag) => {
                let mut untagged = item.clone();
                untagged.remove(TAG);
                self.layout.rows(&untagged)
            }
            Some(_) | None => self.layout.rows(item),
        }
    }

    /// A row of blue in the form that it has on green; `None` for one whose time is over.
    pub(super) fn of_blue(&self, mut row: RowSeen, now_s: i64) -> Result<Option<RowSeen>, Failure> {
        let values = row.values.take().filter(|values| values.len() == self.stored.len());
        let values = values.ok_or_else(|| {
            Failure::new(Class::Internal, "a row of blue was read without all of its values")
        })?;
        let value = |((ty, form), value): (&(ColumnType, Form), SeenValue)| match value.text {
            None => Ok(None),
            Some(text) => canonical(ty, *form, &text).map(Some).map_err(|not_fit| not_fit.reason),
        };
        let texts = self.stored.iter().zip(values).map(value).collect::<Vec<_>>();
        if self.is_over(&texts, now_s) {
            return Ok(None);
        }
        let values = self.values(texts);
        let digest = self.digest(&values);
        Ok(Some(RowSeen { digest, values: Some(values), ..row }))
    }

    /// The values of a row that an item has; `None` for one whose time is over.
    pub(super) fn of_green(&self, seen: &Seen, now_s: i64) -> Option<Vec<SeenValue>> {
        let text =
            |text: &Result<Option<String>, Odd>| -> Text { text.clone().map_err(|odd| odd.reason.into()) };
        let texts = seen.columns.iter().map(text).collect::<Vec<_>>();
        (!self.is_over(&texts, now_s)).then(|| self.values(texts))
    }

    /// DynamoDB removes such a row some time, and nobody writes that blue has none.
    fn is_over(&self, texts: &[Text], now_s: i64) -> bool {
        let at = self.expiry.and_then(|at| texts.get(at)?.as_ref().ok()?.as_deref());
        at.and_then(|text| text.parse::<i64>().ok()).is_some_and(|at_s| at_s <= now_s)
    }

    fn values(&self, texts: Vec<Text>) -> Vec<SeenValue> {
        let rules = self.compared.columns.iter().map(|column| &column.rule);
        let value = |((rule, (ty, form)), text): ((&CompareRule, &(ColumnType, Form)), Text)| match text {
            Ok(text) => {
                let compared = text.as_deref().and_then(|text| compared(rule, (ty, *form), text));
                SeenValue { compared: compared.map(Into::into), text: text.map(String::into_boxed_str) }
            }
            Err(why) => {
                let compared = (*rule != CompareRule::Ignore).then(|| format!("{NO_VALUE}{why}").into());
                SeenValue { text: Some(told(&why).into()), compared }
            }
        };
        rules.zip(&self.stored).zip(texts).map(value).collect()
    }

    /// Sixteen bytes over what is compared, in which null and an empty text are kept apart.
    pub(super) fn digest(&self, values: &[SeenValue]) -> RowDigest {
        let mut digest = Sha256::new();
        for (column, value) in self.compared.columns.iter().zip(values) {
            match &value.compared {
                _ if column.rule == CompareRule::Ignore => {}
                None => digest.update([0]),
                Some(text) => {
                    digest.update([1]);
                    digest.update((text.len() as u64).to_be_bytes());
                    digest.update(text.as_bytes());
                }
            }
        }
        let mut first = [0; 16];
        first.copy_from_slice(&digest.finalize()[..16]);
        RowDigest(u128::from_be_bytes(first))
    }
}

/// As what each column of a route is stored, in their order.
fn stored(plan: &LayoutPlan) -> Vec<(ColumnType, Form)> {
    let key = |kind: KeyKind| match kind {
        KeyKind::S => (ColumnType::Text, Form::S),
        KeyKind::N => (ColumnType::Int, Form::N),
        KeyKind::B => (ColumnType::Bytea, Form::B),
    };
    let keys = std::iter::once(&plan.pk).chain(&plan.sk).map(|own| (own.column, key(own.kind)));
    let columns = plan.columns.iter().map(|placed| (placed.column, (placed.ty.clone(), placed.form)));
    let part = (plan.part_column, (ColumnType::Text, Form::S));
    let mut all = keys.chain(columns).chain([part]).collect::<Vec<_>>();
    all.sort_unstable_by_key(|(column, _)| *column);
    all.into_iter().map(|(_, stored)| stored).collect()
}

/// The form of a canonical text that is the same wherever the rule says equal.
fn compared(rule: &CompareRule, (ty, form): (&ColumnType, Form), text: &str) -> Option<String> {
    Some(match rule {
        CompareRule::Ignore => return None,
        // Of a tolerance the texts decide; these only must not agree where they do not.
        CompareRule::Exact | CompareRule::Tolerance(_) => text.to_owned(),
        CompareRule::Trim => text.trim_end_matches(' ').to_owned(),
        CompareRule::Fold => text.to_ascii_lowercase(),
        CompareRule::Json => match (form, ty) {
            // What is stored by value has one text already.
            (Form::M | Form::L, ColumnType::Json) => text.to_owned(),
            _ => canonical(&ColumnType::Json, Form::M, text).unwrap_or_else(|_| text.to_owned()),
        },
        CompareRule::Float => match text.parse::<f64>() {
            Ok(0.0) => "0".to_owned(),
            Ok(number) => format!("{number:.14e}"),
            Err(_) => text.to_owned(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(rule: &CompareRule, (ty, form): (ColumnType, Form), one: &str, other: &str) -> bool {
        let of = |text: &str| {
            let text = canonical(&ty, form, text).expect("a value that fits");
            compared(rule, (&ty, form), &text)
        };
        of(one) == of(other)
    }

    /// A rule that takes more for equal than it says would hide a row that is wrong, and one that takes less would tell of
    /// rows that are right.
    #[test]
    fn rules_hold_for_values_as_they_are_stored() {
        let (text, number, json) =
            ((ColumnType::Text, Form::S), (ColumnType::Numeric, Form::N), (ColumnType::Json, Form::JsonText));
        let float = (ColumnType::Float, Form::N);
        for (rule, stored, one, other, expected) in [
            (CompareRule::Exact, number.clone(), "1.50", "1.5", true),
            (CompareRule::Exact, number.clone(), "1.50", "1.51", false),
            (CompareRule::Exact, text.clone(), "1.50", "1.5", false),
            (CompareRule::Trim, text.clone(), "a  ", "a", true),
            (CompareRule::Trim, text.clone(), "a\t", " a", false),
            (CompareRule::Fold, text.clone(), "Ab", "aB", true),
            (CompareRule::Fold, text, "a", "b", false),
            (CompareRule::Json, json.clone(), "{\"b\": 1, \"a\": 2}", "{\"a\":2,\"b\":1}", true),
            (CompareRule::Json, json.clone(), "{\"a\":1}", "{\"a\":\"1\"}", false),
            (CompareRule::Exact, json, "{\"a\": 1}", "{\"a\":1}", false),
            (CompareRule::Float, float.clone(), "0.1", "0.1000000000000000055", true),
            (CompareRule::Float, float, "0.1", "0.1000000001", false),
            (CompareRule::Ignore, number, "1", "2", true),
        ] {
            assert_eq!(same(&rule, stored, one, other), expected, "{rule}: {one} and {other}");
        }
    }
}
