//! How findings put things.

use std::fmt;

/// Names for a person: the first few, and how many more there are.
pub(super) fn some_of<T: fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    const SHOWN: usize = 12;
    let names = names.into_iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}
