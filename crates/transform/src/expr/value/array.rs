//! Arrays of any number of dimensions.

use crate::expr::datum::Datum;
use crate::expr::error::{EvalError, SqlState};

/// An array: its elements in row-major order, and for each dimension its length and the index of its first element.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    dimensions: Vec<Dimension>,
    elements: Vec<Datum<'static>>,
}

/// One dimension of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dimension {
    /// How many elements.
    pub len: usize,
    /// Index of the first; one unless said otherwise.
    pub first: i32,
}

/// As Postgres allows.
pub(crate) const DIMENSIONS_MAX: usize = 6;

impl Array {
    /// One dimension, counted from one; no dimension at all without elements.
    pub fn of_elements(elements: Vec<Datum<'static>>) -> Array {
        let dimension = Dimension { len: elements.len(), first: 1 };
        let dimensions = if elements.is_empty() { Vec::new() } else { vec![dimension] };
        Array { dimensions, elements }
    }

    /// An array of arrays of the same shape. Null counts as an empty one.
    pub fn of_arrays(arrays: Vec<Datum<'static>>) -> Result<Array, EvalError> {
        let unequal = || {
            EvalError::new(
                SqlState::SUBSCRIPT,
                "multidimensional arrays must have array expressions with matching dimensions",
            )
        };
        let count = arrays.len();
        let (mut inner, mut elements) = (None, Vec::new());
        for array in arrays {
            let (dimensions, more) = match array {
                Datum::Array(array) => (array.dimensions.clone(), array.elements.clone()),
                _ => (Vec::new(), Vec::new()),
            };
            if inner.as_ref().is_some_and(|known| *known != dimensions) {
                return Err(unequal());
            }
            inner = Some(dimensions);
            elements.extend(more);
        }
        let inner = inner.unwrap_or_default();
        if inner.is_empty() {
            return Ok(Array { dimensions: inner, elements });
        }
        if inner.len() == DIMENSIONS_MAX {
            return Err(EvalError::new(
                SqlState::LIMIT_EXCEEDED,
                "number of array dimensions exceeds the maximum allowed (6)",
            ));
        }
        let mut dimensions = vec![Dimension { len: count, first: 1 }];
        dimensions.extend(inner);
        Ok(Array { dimensions, elements })
    }

    /// An array of a shape. The product of the lengths must be the count of elements.
    pub(crate) fn of_shape(dimensions: Vec<Dimension>, elements: Vec<Datum<'static>>) -> Array {
        Array { dimensions, elements }
    }

    /// The elements in row-major order.
    pub fn elements(&self) -> &[Datum<'static>] {
        &self.elements
    }

    /// Its dimensions; none for an empty array.
    pub fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }

    /// The element at these indexes; `None` outside, or with another number of indexes than dimensions.
    pub fn get(&self, indexes: &[i64]) -> Option<&Datum<'static>> {
        if indexes.len() != self.dimensions.len() || indexes.is_empty() {
            return None;
        }
        let mut place = 0;
        for (index, dimension) in indexes.iter().zip(&self.dimensions) {
            let offset = usize::try_from(index - i64::from(dimension.first)).ok()?;
            if offset >= dimension.len {
                return None;
            }
            place = place * dimension.len + offset;
        }
        self.elements.get(place)
    }

    /// An array of the same shape.
    pub(crate) fn map(
        &self,
        each: impl Fn(&Datum<'static>) -> Result<Datum<'static>, EvalError>,
    ) -> Result<Array, EvalError> {
        let elements = self.elements.iter().map(each).collect::<Result<_, _>>()?;
        Ok(Array { dimensions: self.dimensions.clone(), elements })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_find_elements_and_nothing_outside() {
        let row =
            |from: i64| Datum::Array(Array::of_elements((from..from + 2).map(Datum::Int).collect()).into());
        let array = Array::of_arrays(vec![row(1), row(3)]).unwrap();
        assert_eq!(array.get(&[2, 1]), Some(&Datum::Int(3)));
        assert_eq!([array.get(&[0, 1]), array.get(&[3, 1]), array.get(&[1])], [None; 3]);
    }

    #[test]
    fn arrays_of_unequal_shape_are_refused() {
        let short = Datum::Array(Array::of_elements(vec![Datum::Int(1)]).into());
        let long = Datum::Array(Array::of_elements(vec![Datum::Int(1), Datum::Int(2)]).into());
        assert_eq!(Array::of_arrays(vec![short, long]).unwrap_err().state(), SqlState::SUBSCRIPT);
    }
}
