//! Arrays.

use std::sync::Arc;

use super::Slot::{Bool, Element, ElementArray, Int4, Int4Array, Text, TextArray};
use super::comparison::{comparable, compare, compare_nulls_last};
use super::{Call, Function};
use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};
use crate::expr::text;
use crate::expr::types::SqlType;
use crate::expr::value::{Array, Dimension};

/// The code `data_exception`.
const DATA_EXCEPTION: SqlState = SqlState(*b"22000");

type Result<T> = std::result::Result<T, EvalError>;

/// An argument that is an array; null is none.
fn array<'d>(datum: &'d Datum<'_>) -> Option<&'d Array> {
    match datum {
        Datum::Array(array) => Some(array),
        _ => None,
    }
}

fn built<'a>(dimensions: Vec<Dimension>, elements: Vec<Datum<'static>>) -> Datum<'a> {
    let dimensions = if elements.is_empty() { Vec::new() } else { dimensions };
    Datum::Array(Arc::new(Array::of_shape(dimensions, elements)))
}

fn plain<'a>(elements: Vec<Datum<'static>>) -> Datum<'a> {
    Datum::Array(Arc::new(Array::of_elements(elements)))
}

fn int<'a>(value: Option<i64>) -> Datum<'a> {
    value.map_or(Datum::Null, Datum::Int)
}

/// The type of the elements of the argument that is an array.
fn element_type<'e>(call: Call<'e>) -> &'e SqlType {
    call.args.iter().find_map(SqlType::element).unwrap_or(&SqlType::Text)
}

fn one_dimension(array: &Array, what: &'static str) -> Result<()> {
    if array.dimensions().len() > 1 {
        return Err(EvalError::new(SqlState::NOT_SUPPORTED, what));
    }
    Ok(())
}

/// The dimension of an array that may get one more element; `None` when it is empty.
fn growing(array: &Array) -> Result<Option<Dimension>> {
    match array.dimensions() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        _ => Err(EvalError::new(DATA_EXCEPTION, "argument must be empty or one-dimensional array")),
    }
}

fn with_element<'a>(array: Option<&Array>, element: &Datum<'a>, is_front: bool) -> Result<Datum<'a>> {
    let dimension = array.map(growing).transpose()?.flatten();
    let first = dimension.map_or(1, |dimension| dimension.first);
    let mut elements = array.map(|array| array.elements().to_vec()).unwrap_or_default();
    let at = if is_front { 0 } else { elements.len() };
    elements.insert(at, element.clone().into_owned());
    let last = i64::from(first) + elements.len() as i64 - 1;
    if is_front && first == i32::MIN {
        return Err(EvalError::new(SqlState::OUT_OF_RANGE, "integer out of range"));
    }
    if last >= i64::from(i32::MAX) {
        return Err(EvalError::new(SqlState::LIMIT_EXCEEDED, "array upper bound is too large"));
    }
    Ok(built(vec![Dimension { len: elements.len(), first }], elements))
}

fn append<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    with_element(array(&args[0]), &args[1], false)
}

fn prepend<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    with_element(array(&args[1]), &args[0], true)
}

fn cat<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let (left, right) = match (array(&args[0]), array(&args[1])) {
        (Some(left), Some(right)) => (left, right),
        (Some(_), None) => return Ok(args[0].clone()),
        _ => return Ok(args[1].clone()),
    };
    if left.dimensions().is_empty() {
        return Ok(args[1].clone());
    }
    if right.dimensions().is_empty() {
        return Ok(args[0].clone());
    }
    let unequal = || EvalError::new(SqlState::SUBSCRIPT, "cannot concatenate incompatible arrays");
    let (left_shape, right_shape) = (left.dimensions(), right.dimensions());
    let dimensions = match left_shape.len() as i64 - right_shape.len() as i64 {
        0 if left_shape[1..] == right_shape[1..] => {
            let len = left_shape[0].len + right_shape[0].len;
            let mut shape = left_shape.to_vec();
            shape[0].len = len;
            shape
        }
        // One more element at either end.
        1 if left_shape[1..] == *right_shape => longer(left_shape),
        -1 if right_shape[1..] == *left_shape => longer(right_shape),
        _ => return Err(unequal()),
    };
    let elements = left.elements().iter().chain(right.elements()).cloned().collect();
    Ok(built(dimensions, elements))
}

fn longer(shape: &[Dimension]) -> Vec<Dimension> {
    let mut shape = shape.to_vec();
    shape[0].len += 1;
    shape
}

fn cardinality<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(int(array(&args[0]).map(|array| array.elements().len() as i64)))
}

fn dimension_count<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let count = array(&args[0]).map(|array| array.dimensions().len() as i64);
    Ok(int(count.filter(|count| *count > 0)))
}

/// The dimension that the second argument names.
fn dimension(args: &[Datum<'_>]) -> Option<Dimension> {
    let (Datum::Array(array), Datum::Int(at)) = (&args[0], &args[1]) else { return None };
    let at = usize::try_from(at - 1).ok()?;
    array.dimensions().get(at).copied()
}

fn length<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(int(dimension(args).map(|dimension| dimension.len as i64)))
}

fn lower<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(int(dimension(args).map(|dimension| i64::from(dimension.first))))
}

fn last(dimension: &Dimension) -> i64 {
    i64::from(dimension.first) + dimension.len as i64 - 1
}

fn upper<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(int(dimension(args).as_ref().map(last)))
}

fn dims<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let shape = array(&args[0]).map(Array::dimensions).unwrap_or_default();
    if shape.is_empty() {
        return Ok(Datum::Null);
    }
    let written = shape.iter().map(|dimension| format!("[{}:{}]", dimension.first, last(dimension)));
    Ok(Datum::text(written.collect::<String>()))
}

/// Whether two elements are the same; null is the same as null.
fn same(ty: &SqlType, left: &Datum<'_>, right: &Datum<'_>) -> bool {
    compare_nulls_last(ty, left, right).is_eq()
}

/// The indexes at which an element stands, from a given one on.
fn places(call: Call<'_>, args: &[Datum<'_>], from: Option<i64>) -> Result<Vec<i64>> {
    let ty = element_type(call);
    let Some(array) = array(&args[0]) else { return Ok(Vec::new()) };
    one_dimension(array, "searching for elements in multidimensional arrays is not supported")?;
    comparable(ty)?;
    let first = array.dimensions().first().map_or(1, |dimension| i64::from(dimension.first));
    let numbered = array.elements().iter().zip(first..);
    let found =
        numbered.filter(|(element, at)| from.is_none_or(|from| *at >= from) && same(ty, element, &args[1]));
    Ok(found.map(|(_, at)| at).collect())
}

fn position<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let may_be_found = array(&args[0]).is_some_and(|array| {
        !array.dimensions().is_empty() && (!args[1].is_null() || array.elements().iter().any(Datum::is_null))
    });
    // More than one dimension fails whatever is looked for.
    if !may_be_found && array(&args[0]).is_none_or(|array| array.dimensions().len() < 2) {
        return Ok(Datum::Null);
    }
    let from = match args.get(2) {
        Some(Datum::Int(from)) => Some(*from),
        Some(_) => {
            places(call, args, None)?;
            return Err(EvalError::new(SqlState::NULL_NOT_ALLOWED, "initial position must not be null"));
        }
        None => None,
    };
    Ok(int(places(call, args, from)?.first().copied()))
}

fn positions<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    if args[0].is_null() {
        return Ok(Datum::Null);
    }
    Ok(plain(places(call, args, None)?.into_iter().map(Datum::Int).collect()))
}

fn remove<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let ty = element_type(call);
    let Some(array) = array(&args[0]) else { return Ok(Datum::Null) };
    one_dimension(array, "removing elements from multidimensional arrays is not supported")?;
    comparable(ty)?;
    let kept = array.elements().iter().filter(|element| !same(ty, element, &args[1]));
    let kept = kept.cloned().collect::<Vec<_>>();
    let dimensions = array.dimensions().iter().map(|known| Dimension { len: kept.len(), ..*known });
    Ok(built(dimensions.collect(), kept))
}

fn replace<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let ty = element_type(call);
    let Some(array) = array(&args[0]) else { return Ok(Datum::Null) };
    comparable(ty)?;
    let by = args[2].clone().into_owned();
    let replaced =
        array.map(|element| Ok(if same(ty, element, &args[1]) { by.clone() } else { element.clone() }))?;
    Ok(Datum::Array(Arc::new(replaced)))
}

fn trim<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let (Datum::Array(array), Datum::Int(count)) = (&args[0], &args[1]) else { return Ok(Datum::Null) };
    let len = array.dimensions().first().map_or(0, |dimension| dimension.len);
    let count = usize::try_from(*count).ok().filter(|count| *count <= len).ok_or_else(|| {
        EvalError::new(SqlState::SUBSCRIPT, "number of elements to trim is negative or exceeds the array")
    })?;
    let inner = array.dimensions().iter().skip(1).map(|dimension| dimension.len).product::<usize>();
    let kept = array.elements()[..(len - count) * inner].to_vec();
    let dimensions = array.dimensions().iter().map(|known| Dimension { len: known.len, first: 1 });
    let mut dimensions = dimensions.collect::<Vec<_>>();
    if let Some(outer) = dimensions.first_mut() {
        outer.len = len - count;
    }
    Ok(built(dimensions, kept))
}

/// Whether every element of the second is one of the first; null is none.
fn is_within(ty: &SqlType, whole: &Datum<'_>, part: &Datum<'_>) -> Result<bool> {
    let (Some(whole), Some(part)) = (array(whole), array(part)) else { return Ok(false) };
    comparable(ty)?;
    Ok(part.elements().iter().all(|wanted| holds(ty, whole, wanted)))
}

fn holds(ty: &SqlType, array: &Array, wanted: &Datum<'_>) -> bool {
    let mut known = array.elements().iter().filter(|element| !element.is_null());
    !wanted.is_null() && known.any(|element| compare(ty, element, wanted).is_eq())
}

fn contains<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(Datum::Bool(is_within(element_type(call), &args[0], &args[1])?))
}

fn contained<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    Ok(Datum::Bool(is_within(element_type(call), &args[1], &args[0])?))
}

fn overlaps<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let (Some(left), Some(right)) = (array(&args[0]), array(&args[1])) else { return Ok(Datum::Null) };
    let ty = element_type(call);
    comparable(ty)?;
    Ok(Datum::Bool(right.elements().iter().any(|element| holds(ty, left, element))))
}

fn joined<'a>(call: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let (Datum::Array(array), Datum::Text(separator)) = (&args[0], &args[1]) else { return Ok(Datum::Null) };
    let for_null = match args.get(2) {
        Some(Datum::Text(text)) => Some(text.as_ref()),
        _ => None,
    };
    let ty = element_type(call);
    let (mut written, mut is_first) = (String::new(), true);
    for element in array.elements() {
        let item = match (element, for_null) {
            (Datum::Null, None) => continue,
            (Datum::Null, Some(text)) => text.into(),
            (element, _) => text::output(element, ty),
        };
        if !is_first {
            written.push_str(separator);
        }
        is_first = false;
        written.push_str(&item);
    }
    Ok(Datum::text(written))
}

fn split<'a>(_: Call<'_>, args: &[Datum<'a>]) -> Result<Datum<'a>> {
    let Datum::Text(text) = &args[0] else { return Ok(Datum::Null) };
    let for_null = match args.get(2) {
        Some(Datum::Text(text)) => Some(text.as_ref()),
        _ => None,
    };
    let item = |part: &str| if Some(part) == for_null { Datum::Null } else { Datum::text(part) };
    let text = text.as_ref();
    Ok(plain(match &args[1] {
        _ if text.is_empty() => Vec::new(),
        Datum::Text(separator) if separator.is_empty() => vec![item(text)],
        Datum::Text(separator) => text.split(separator.as_ref()).map(item).collect(),
        _ => text.char_indices().map(|(at, letter)| item(&text[at..at + letter.len_utf8()])).collect(),
    }))
}

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new(
        "||",
        &[ElementArray, ElementArray],
        ElementArray,
        cat,
        "Both arrays, one behind the other.",
    )
    .takes_nulls(),
    Function::new(
        "||",
        &[ElementArray, Element],
        ElementArray,
        append,
        "The array with an element at its end.",
    )
    .takes_nulls(),
    Function::new(
        "||",
        &[Element, ElementArray],
        ElementArray,
        prepend,
        "The array with an element in front.",
    )
    .takes_nulls(),
    Function::new(
        "@>",
        &[ElementArray, ElementArray],
        Bool,
        contains,
        "The first has every element of the second.",
    ),
    Function::new(
        "<@",
        &[ElementArray, ElementArray],
        Bool,
        contained,
        "The second has every element of the first.",
    ),
    Function::new("&&", &[ElementArray, ElementArray], Bool, overlaps, "Both have an element in common."),
    Function::new(
        "array_append",
        &[ElementArray, Element],
        ElementArray,
        append,
        "The array with an element at its end.",
    )
    .takes_nulls(),
    Function::new(
        "array_cat",
        &[ElementArray, ElementArray],
        ElementArray,
        cat,
        "Both arrays, one behind the other.",
    )
    .takes_nulls(),
    Function::new("array_dims", &[ElementArray], Text, dims, "The bounds of each dimension, as in `[1:3]`."),
    Function::new("array_length", &[ElementArray, Int4], Int4, length, "The length of a dimension."),
    Function::new("array_lower", &[ElementArray, Int4], Int4, lower, "The first index of a dimension."),
    Function::new("array_ndims", &[ElementArray], Int4, dimension_count, "How many dimensions."),
    Function::new(
        "array_position",
        &[ElementArray, Element],
        Int4,
        position,
        "The index of the first such element. Fails for more than one dimension.",
    )
    .takes_nulls(),
    Function::new(
        "array_position",
        &[ElementArray, Element, Int4],
        Int4,
        position,
        "The same from a given index on.",
    )
    .takes_nulls(),
    Function::new(
        "array_positions",
        &[ElementArray, Element],
        Int4Array,
        positions,
        "The index of every such element. Fails for more than one dimension.",
    )
    .takes_nulls(),
    Function::new(
        "array_prepend",
        &[Element, ElementArray],
        ElementArray,
        prepend,
        "The array with an element in front.",
    )
    .takes_nulls(),
    Function::new(
        "array_remove",
        &[ElementArray, Element],
        ElementArray,
        remove,
        "The array without such elements. Fails for more than one dimension.",
    )
    .takes_nulls(),
    Function::new(
        "array_replace",
        &[ElementArray, Element, Element],
        ElementArray,
        replace,
        "The array with another element in place of each such one.",
    )
    .takes_nulls(),
    Function::new(
        "array_to_string",
        &[ElementArray, Text],
        Text,
        joined,
        "The texts of all elements that are not null, with a separator between them.",
    ),
    Function::new(
        "array_to_string",
        &[ElementArray, Text, Text],
        Text,
        joined,
        "The same with a text in place of each null.",
    )
    .takes_nulls(),
    Function::new("array_upper", &[ElementArray, Int4], Int4, upper, "The last index of a dimension."),
    Function::new("cardinality", &[ElementArray], Int4, cardinality, "How many elements in all dimensions."),
    Function::new(
        "string_to_array",
        &[Text, Text],
        TextArray,
        split,
        "The parts of a text between separators; its letters where the separator is null.",
    )
    .takes_nulls(),
    Function::new(
        "string_to_array",
        &[Text, Text, Text],
        TextArray,
        split,
        "The same with null in place of each part that equals the last argument.",
    )
    .takes_nulls(),
    Function::new(
        "trim_array",
        &[ElementArray, Int4],
        ElementArray,
        trim,
        "The array without its last elements.",
    ),
];

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashMap;

    use understudy_model::TableName;

    use crate::expr::{Collation, Expression, Scope};

    /// The text of an expression's value, NULL, or the code of its failure.
    pub(in crate::expr::functions) fn answer(expression: &str) -> String {
        let table = TableName::new("public", "t");
        let collation = Collation::bytes();
        let scope = Scope { table, columns: Vec::new(), types: HashMap::new(), collation, mask_key: None };
        match Expression::compile(expression, &scope).map(|compiled| compiled.evaluate(&[])) {
            Ok(Ok(value)) => value.unwrap_or_else(|| "NULL".to_owned()),
            Ok(Err(failure)) => failure.state().to_string(),
            Err(problem) => problem.what,
        }
    }

    /// What Postgres 15 and 18 answer.
    const CASES: &[(&str, &str)] = &[
        ("array_append('{{1}}'::int[],1)", "22000"),
        ("array_append(null::int[],1)", "{1}"),
        ("array_append('[2:3]={1,2}'::int[],9)", "[2:4]={1,2,9}"),
        ("array_prepend(9,'[2:3]={1,2}'::int[])", "[2:4]={9,1,2}"),
        ("array_prepend(null::int, null::int[])", "{NULL}"),
        ("array_append('[2147483646:2147483646]={1}'::int[],9)", "54000"),
        ("array_prepend(9,'[-2147483648:-2147483648]={1}'::int[])", "22003"),
        ("array_cat('{1}'::int[],'{}')", "{1}"),
        ("array_cat(null,'{1}'::int[])", "{1}"),
        ("array_cat('[2:3]={1,2}'::int[],'[5:5]={9}'::int[])", "[2:4]={1,2,9}"),
        ("array_cat('{}'::int[],'[5:5]={9}'::int[])", "[5:5]={9}"),
        ("array_cat('{{1,2}}'::int[],'{3,4}'::int[])", "{{1,2},{3,4}}"),
        ("array_cat('{1,2}'::int[],'{{3,4}}'::int[])", "{{1,2},{3,4}}"),
        ("array_cat('{{1,2}}'::int[],'{3,4,5}'::int[])", "2202E"),
        ("array_cat('[4:4]={9}'::int[],'[2:3][4:4]={{1},{2}}'::int[])", "[2:4][4:4]={{9},{1},{2}}"),
        ("array_cat('[4:4]={9}'::int[],'[2:3][3:3]={{1},{2}}'::int[])", "2202E"),
        (
            "array_cat('[2:3][3:3]={{1},{2}}'::int[],'[5:6][3:3]={{1},{2}}'::int[])",
            "[2:5][3:3]={{1},{2},{1},{2}}",
        ),
        ("array_cat('{1}'::int[],'{{{1}}}'::int[])", "2202E"),
        ("'{1,2}'::int[] || 3", "{1,2,3}"),
        ("3 || '{1,2}'::int[]", "{3,1,2}"),
        ("array_position('{1,2,null,2}'::int[],null)", "3"),
        ("array_position('{1,2,null,2}'::int[],2,3)", "4"),
        ("array_position('[5:6]={1,2}'::int[],2)", "6"),
        ("array_position('{1,2}'::int[],2,null)", "22004"),
        ("array_position('{}'::int[],2,null)", "NULL"),
        ("array_position('{1}'::int[],null,null::int)", "NULL"),
        ("array_position('{{1,2}}'::int[],2)", "0A000"),
        ("array_positions('{1,2,null,2}'::int[],2)", "{2,4}"),
        ("array_positions('[5:6]={1,2}'::int[],2)", "{6}"),
        ("array_positions('{1}'::int[],2)", "{}"),
        ("array_remove('{1,2,null,2}'::int[],2)", "{1,NULL}"),
        ("array_remove('[5:6]={1,2}'::int[],1)", "[5:5]={2}"),
        ("array_remove('{1}'::int[],1)", "{}"),
        ("array_remove('{{1,2}}'::int[],5)", "0A000"),
        ("array_replace('{{1,2},{3,null}}'::int[],2,9)", "{{1,9},{3,NULL}}"),
        ("array_replace('[2:3]={1,null}'::int[],null,9)", "[2:3]={1,9}"),
        ("array_dims('{}'::int[])", "NULL"),
        ("array_dims('[2:3][1:1]={{1},{2}}'::int[])", "[2:3][1:1]"),
        ("array_ndims('{}'::int[])", "NULL"),
        ("array_ndims('{{1}}'::int[])", "2"),
        ("array_length('{1}'::int[],2)", "NULL"),
        ("array_length('{1}'::int[],0)", "NULL"),
        ("array_upper('[2:3]={1,2}'::int[],1)", "3"),
        ("array_lower('[2:3]={1,2}'::int[],1)", "2"),
        ("cardinality('{}'::int[])", "0"),
        ("cardinality('{{1,2},{3,4}}'::int[])", "4"),
        ("trim_array('[2:4]={1,2,3}'::int[],1)", "{1,2}"),
        ("trim_array('[2:4][5:5]={{1},{2},{3}}'::int[],1)", "{{1},{2}}"),
        ("trim_array('{1}'::int[],2)", "2202E"),
        ("trim_array('{1}'::int[],-1)", "2202E"),
        ("'{1,null}'::int[] @> '{null}'", "f"),
        ("'{}'::int[] <@ '{1}'", "t"),
        ("'{null}'::int[] && '{null}'", "f"),
        ("'{{1,2}}'::int[] @> '{2}'", "t"),
        ("array_to_string('{1,null,3}'::int[],',')", "1,3"),
        ("array_to_string('{{1,2},{null,4}}'::int[],',','*')", "1,2,*,4"),
        ("array_to_string('{t,f}'::bool[],',')", "t,f"),
        ("array_to_string('{1,null}'::int[],',',null)", "1"),
        ("string_to_array('a,,b',',')", r#"{a,"",b}"#),
        ("string_to_array('abc',null,'b')", "{a,NULL,c}"),
        ("string_to_array('abc','')", "{abc}"),
        ("string_to_array('',',')", "{}"),
        ("string_to_array('aXXXb','XX')", "{a,Xb}"),
        ("string_to_array('a,b',',','b')", "{a,NULL}"),
        ("string_to_array(',',',')", r#"{"",""}"#),
        ("'{1,2}'::int[] < '{1,NULL}'", "t"),
        ("'[2:2]={1}'::int[] = '{1}'", "f"),
    ];

    #[test]
    fn arrays_are_those_of_postgres() {
        for (expression, expected) in CASES {
            assert_eq!(answer(expression), *expected, "{expression}");
        }
    }
}
