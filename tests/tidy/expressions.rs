//! docs/reference/expressions.md is written by the table of functions.

use std::fmt::Write as _;

use understudy_transform::expr::functions::families;

use crate::reference::{NOTE, keep_fresh};

const INTRODUCTION: &str = "
What `columns`, `where` and `back` of a migration file may say (transforms.md has what for): SQL over the columns of one table,
with the semantics of Postgres: nulls, overloads, casts, errors and all. What is not listed here is refused with its name and
place; so is whatever depends on the clock, on chance or on the session. Sessions are pinned to UTC, ISO dates and UTF-8.

Besides the functions and operators below there are `AND`, `OR`, `NOT`, `IS [NOT] NULL`, `IS [NOT] TRUE`, `IS [NOT] FALSE`,
`IS [NOT] UNKNOWN`, `IS [NOT] DISTINCT FROM`, `[NOT] BETWEEN`, `[NOT] IN (...)`, `[NOT] LIKE`, `[NOT] ILIKE`, `ANY` and `ALL` of
arrays, `CASE`, `COALESCE`, `NULLIF`, `GREATEST`, `LEAST`, `ARRAY[...]`, subscripts, `AT TIME ZONE`, `EXTRACT`, `POSITION`,
`SUBSTRING`, `TRIM`, `OVERLAY`, `CAST` and `::`, and `COLLATE \"C\"`.

Where the order of texts or the case of letters matters and the collation is one that only the server has, the expression is
refused.

`mask(x)` is not of Postgres: the HMAC-SHA-256 of the value's text, as a cast to text writes it, under the key that the settings
name (`mask: { key: { file: ... } }`), as 64 hexadecimal digits. Null stays null. Without a key it is refused. The same value
under the same key has the same mask in every table, so masked columns can still be joined; another key makes the mapping
another one. Sent to a server, it is written with `sha256`, and the session is told the key by `set_config`, so that no SQL text
holds it.
";

#[test]
fn reference_of_the_expressions() {
    let mut page = format!("# Expressions\n{NOTE}{INTRODUCTION}");
    for (family, functions) in families() {
        let _ = write!(page, "\n## {family}\n\n| call | result | meaning |\n|---|---|---|\n");
        for function in functions {
            let call = function.to_string().replace('|', "\\|");
            let about = function.about.replace('|', "\\|");
            let _ = match function.refused {
                None => writeln!(page, "| `{call}` | {} | {about} |", function.result),
                Some(why) => writeln!(page, "| `{call}` | refused | {why} |"),
            };
        }
    }
    keep_fresh("docs/reference/expressions.md", &page);
}
