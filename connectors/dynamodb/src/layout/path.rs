//! Paths of attributes: a name, and what lies below it in maps and lists.

use std::collections::BTreeMap;
use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;

use super::LayoutError;
use crate::types::Odd;

/// Names with a meaning of ours, which no column may have.
const OWN: [&str; 6] = [VERSION, DIGEST, TAG, DELETED, DEAD_PARTS, PART];

/// The version of a whole item; of a part it is this, a dot and the part.
pub(super) const VERSION: &str = "_v";
/// The digest of a whole item as it was written; of a part it is this, a dot and the part.
pub(super) const DIGEST: &str = "_h";
/// Whose item it is.
pub(crate) const TAG: &str = "_t";
/// Of a tombstone: when it may go.
pub(super) const DELETED: &str = "_d";
/// Of an item with parts: those that are deleted.
pub(super) const DEAD_PARTS: &str = "_dp";
/// The column that tells the routes into one item apart.
pub(super) const PART: &str = "_part";

/// The longest name of an attribute in bytes.
const NAME_BYTES_MAX: usize = 65_535;

/// Where an attribute is: `city`, `address.city`, `phones[0]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path {
    root: String,
    steps: Vec<Step>,
}

/// One step below an attribute.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Step {
    Field(String),
    Element(usize),
}

impl Path {
    /// The path that a name in a migration file stands for.
    pub fn parse(text: &str) -> Result<Path, LayoutError> {
        let mut fields = text.split('.');
        let (root, elements) = name_and_elements(text, fields.next().unwrap_or_default())?;
        if OWN.contains(&root) {
            let what = format!("`{root}` is a name of Understudy's own attributes");
            return Err(LayoutError::new(text, what, "give the attribute another name"));
        }
        let (root, mut steps) = (root.to_owned(), elements);
        for field in fields {
            let (name, elements) = name_and_elements(text, field)?;
            steps.push(Step::Field(name.to_owned()));
            steps.extend(elements);
        }
        Ok(Path { root, steps })
    }

    /// The attribute of the item.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// Whether it is an attribute of the item itself.
    pub fn is_root(&self) -> bool {
        self.steps.is_empty()
    }

    /// What lies at the path in the attribute of its root; nothing where any of it is missing.
    pub(super) fn below<'v>(
        &self,
        root: Option<&'v AttributeValue>,
    ) -> Result<Option<&'v AttributeValue>, Odd> {
        let mut value = root;
        for step in &self.steps {
            let Some(outer) = value else { break };
            value = match step {
                Step::Field(name) => {
                    outer.as_m().map_err(|_| Odd::new("something else than a map"))?.get(name)
                }
                Step::Element(at) => {
                    outer.as_l().map_err(|_| Odd::new("something else than a list"))?.get(*at)
                }
            };
        }
        Ok(value)
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.root)?;
        self.steps.iter().try_for_each(|step| match step {
            Step::Field(name) => write!(f, ".{name}"),
            Step::Element(at) => write!(f, "[{at}]"),
        })
    }
}

/// `phones[0][1]` as a name and its elements.
fn name_and_elements<'t>(path: &str, text: &'t str) -> Result<(&'t str, Vec<Step>), LayoutError> {
    let wrong = |what: &str| {
        let remedy = "write a path as `name`, `map.name` or `list[0]`";
        LayoutError::new(path, what.to_owned(), remedy)
    };
    let (name, mut rest) = match text.find('[') {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    if name.is_empty() {
        return Err(wrong("a name in its path is empty"));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(wrong("a name in its path is longer than 65,535 bytes"));
    }
    let mut elements = Vec::new();
    while !rest.is_empty() {
        let inner = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
        let (digits, behind) = inner.ok_or_else(|| wrong("a bracket in its path is not closed"))?;
        let at = digits.parse().ok().filter(|_| digits.bytes().all(|digit| digit.is_ascii_digit()));
        elements.push(Step::Element(at.ok_or_else(|| wrong("an index in its path is not a number"))?));
        rest = behind;
    }
    Ok((name, elements))
}

/// What an attribute consists of. A leaf is the place of its column among the layout's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    Leaf(usize),
    Map(BTreeMap<String, Node>),
    List(Vec<Node>),
}

impl Node {
    /// Calls back with each leaf.
    pub(super) fn each_leaf(&self, take: &mut impl FnMut(usize)) {
        match self {
            Node::Leaf(leaf) => take(*leaf),
            Node::Map(fields) => fields.values().for_each(|field| field.each_leaf(take)),
            Node::List(elements) => elements.iter().for_each(|element| element.each_leaf(take)),
        }
    }
}

/// The attributes that paths make up together, or why they do not.
pub(super) fn shape<'p>(
    paths: impl Iterator<Item = &'p Path>,
) -> Result<BTreeMap<String, Node>, LayoutError> {
    let mut roots = BTreeMap::<String, Loose>::new();
    for (leaf, path) in paths.enumerate() {
        let mut at = roots.entry(path.root.clone()).or_default();
        for step in &path.steps {
            at = match step {
                Step::Field(name) => at.fields.entry(name.clone()).or_default(),
                Step::Element(index) => at.elements.entry(*index).or_default(),
            };
        }
        if at.leaf.replace(leaf).is_some() {
            return Err(LayoutError::new(&path.to_string(), "it is filled twice", "take one of the two out"));
        }
    }
    roots.into_iter().map(|(name, loose)| Ok((name.clone(), loose.settle(&name)?))).collect()
}

/// A node of which it is not settled yet what it is.
#[derive(Default)]
struct Loose {
    leaf: Option<usize>,
    fields: BTreeMap<String, Loose>,
    elements: BTreeMap<usize, Loose>,
}

impl Loose {
    fn settle(self, path: &str) -> Result<Node, LayoutError> {
        let is = [self.leaf.is_some(), !self.fields.is_empty(), !self.elements.is_empty()];
        if is.iter().filter(|is| **is).count() > 1 {
            let what = "it is more than one of a value, a map and a list";
            return Err(LayoutError::new(path, what, "give one of them another name"));
        }
        if let Some(leaf) = self.leaf {
            return Ok(Node::Leaf(leaf));
        }
        if !self.fields.is_empty() {
            let field = |(name, loose): (String, Loose)| {
                let node = loose.settle(&format!("{path}.{name}"))?;
                Ok((name, node))
            };
            return Ok(Node::Map(self.fields.into_iter().map(field).collect::<Result<_, _>>()?));
        }
        let mut elements = Vec::with_capacity(self.elements.len());
        for (expected, (index, loose)) in self.elements.into_iter().enumerate() {
            if index != expected {
                let what = format!("the list has no element {expected}");
                return Err(LayoutError::new(path, what, "number the elements from 0 without a gap"));
            }
            elements.push(loose.settle(&format!("{path}[{index}]"))?);
        }
        Ok(Node::List(elements))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape_of(paths: &[&str]) -> Result<BTreeMap<String, Node>, LayoutError> {
        let paths = paths.iter().map(|path| Path::parse(path).unwrap()).collect::<Vec<_>>();
        shape(paths.iter())
    }

    /// A path is the name of its column, so it must read as it was written.
    #[test]
    fn paths_read_as_they_were_written() {
        for text in ["city", "address.city", "phones[0]", "a.b[1][2].c", "with blank.ö", "_value"] {
            assert_eq!(Path::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "", ".", "a.", ".a", "a..b", "[0]", "a[", "a[x]", "a[-1]", "a[0", "a[0]b", "a[+1]", "_v",
            "_v.order", "_t", "_part",
        ] {
            let error = Path::parse(text).unwrap_err();
            assert!(!error.remedy.is_empty() && error.to_string().contains(text), "{text}: {error}");
        }
    }

    /// What could not be stored is found when the file is read, and told with its path.
    #[test]
    fn a_shape_is_one_thing_everywhere() {
        let shape = shape_of(&["a.b", "c[1]", "c[0].d", "a.e"]).unwrap();
        let (a, c) = (&shape["a"], &shape["c"]);
        assert_eq!(*a, Node::Map(BTreeMap::from([("b".into(), Node::Leaf(0)), ("e".into(), Node::Leaf(3))])));
        let first = Node::Map(BTreeMap::from([("d".into(), Node::Leaf(2))]));
        assert_eq!(*c, Node::List(vec![first, Node::Leaf(1)]));
        for (paths, path) in [
            (&["a", "a.b"][..], "a"),
            (&["a.b", "a[0]"], "a"),
            (&["x.a", "x.a"], "x.a"),
            (&["a[1]"], "a"),
            (&["x.a[0]", "x.a[2]"], "x.a"),
        ] {
            assert_eq!(shape_of(paths).unwrap_err().column.as_deref(), Some(path));
        }
    }
}
