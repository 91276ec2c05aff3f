//! Texts, codes and messages from Postgres 15 and 18 under the collation C.UTF-8.

use std::collections::HashMap;

use understudy_model::TableName;

use crate::expr::functions::CaseRule;
use crate::expr::{Collation, Expression, Scope};

/// The text of an expression over no columns, or the code and message of its failure.
fn found(text: &str) -> String {
    let table = TableName { schema: "public".to_owned(), name: "t".to_owned() };
    let collation =
        Collation { name: "C.UTF-8".to_owned(), case: Some(CaseRule::Simple), ..Collation::bytes() };
    let scope = Scope { table, columns: Vec::new(), types: HashMap::new(), collation, mask_key: None };
    match Expression::compile(text, &scope).unwrap().evaluate(&[]) {
        Ok(found) => found.unwrap_or_else(|| "null".to_owned()),
        Err(error) => format!("{} {}", error.state(), error.message_with_values()),
    }
}

fn check(cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(found(text), *expected, "{text}");
    }
}

/// A place or length outside the string is no failure, a negative length is.
#[test]
fn parts_are_cut_by_characters() {
    check(&[
        ("substring('héllo', 2, 3)", "éll"),
        ("substring('héllo', -1, 4)", "hé"),
        ("substring('héllo', -2147483648, 2147483647)", ""),
        ("substring('héllo', 3, 2147483647)", "llo"),
        ("substring('héllo', 2, -1)", "22011 negative substring length not allowed"),
        ("substring('héllo' for 2)", "hé"),
        (r"substring('\x010203'::bytea, -1, 3)", r"\x01"),
        (r"substring('\x010203'::bytea, 2, -1)", "22011 negative substring length not allowed"),
        ("left('héllo', -2)", "hél"),
        ("right('héllo', -2)", "llo"),
        ("right('héllo', -2147483648)", "héllo"),
        ("lpad('hi', 5, 'é')", "éééhi"),
        ("lpad('hello', 2)", "he"),
        ("lpad('hi', 5, '')", "hi"),
        ("lpad('hi', 268435455)", "54000 requested length too large"),
        ("rpad('hi', 2147483647, '')", "hi"),
        ("rpad('hi', 5, 'xyz')", "hixyz"),
        ("btrim('xyxabcxy', 'xy')", "abc"),
        (r"rtrim('\x00010200'::bytea, '\x0002'::bytea)", r"\x0001"),
        ("overlay('abcdef' placing 'X' from 3 for -1)", "abXbcdef"),
        ("overlay('abcdef' placing 'X' from 0)", "22011 negative substring length not allowed"),
        ("overlay('abcdef' placing 'X' from 2 for 2147483646)", "22003 integer out of range"),
        ("split_part('a,b,c', ',', -1)", "c"),
        ("split_part('a,b,c', ',', 0)", "22023 field position must not be zero"),
        ("split_part('a,b,c', '', -1)", "a,b,c"),
        ("split_part('aaa', 'aa', -1)", "a"),
        ("translate('12345', '143', 'ax')", "a2x5"),
        ("replace('aaa', 'aa', 'b')", "ba"),
        ("replace('abc', '', 'x')", "abc"),
        ("strpos('日本', '本')", "2"),
        (r"position('\x'::bytea in '\x0102'::bytea)", "1"),
        ("repeat('ab', -1)", ""),
        ("repeat('ab', 1000000000)", "54000 requested length too large"),
        ("reverse('héllo')", "olléh"),
        ("chr(-1)", "22023 character number must be positive"),
        ("chr(0)", "54000 null character not permitted"),
        ("chr(55296)", "54000 requested character not valid for encoding: 55296"),
        ("chr(1114112)", "54000 requested character too large for encoding: 1114112"),
        ("ascii('😀')", "128512"),
    ]);
}

/// A value is joined as a cast to text writes it, which for booleans and addresses is not how it is shown.
#[test]
fn strings_are_joined() {
    check(&[
        ("true || 'x'::text", "truex"),
        ("concat(true, null, 'ab'::char(4), '1.2.3.4'::inet)", "tab  1.2.3.4"),
        ("'1.2.3.4'::inet || 'x'::text", "1.2.3.4/32x"),
        ("'ab'::char(5) || 'x'", "abx"),
        ("'a' || 1.50", "a1.50"),
        ("'a' || null", "null"),
        ("concat_ws(',', 'a', null, 'b')", "a,b"),
        ("concat_ws(null, 'a')", "null"),
        ("true::text", "true"),
        ("'1.2.3.4'::inet::text", "1.2.3.4/32"),
        ("quote_literal(true)", "'true'"),
        ("quote_nullable(null::int)", "NULL"),
        ("quote_ident('select')", r#""select""#),
        (r#"quote_ident('a"b')"#, r#""a""b""#),
        ("quote_ident('é')", r#""é""#),
        (r"quote_literal('a\b''c')", r"E'a\\b''c'"),
    ]);
}

/// Blanks at the end of `character` count in LIKE and bytes only.
#[test]
fn blanks_of_character_mean_nothing() {
    check(&[
        ("length('ab  '::char(6))", "2"),
        ("octet_length('日本'::char(4))", "8"),
        ("'ab'::char(4) like 'ab'", "f"),
        ("'ab'::char(4) like 'ab%'", "t"),
        ("'ab'::char(4) ~ 'b$'", "f"),
        ("'hello'::varchar(3)", "hel"),
        ("'h'::char(3)::text || '|'", "h|"),
        ("concat('h'::char(3), '|')", "h  |"),
    ]);
}

/// Marks of `format` as the server reads them.
#[test]
fn formats_are_filled_in() {
    check(&[
        ("format('%2$s %s', 'a', 'b', 'c')", "b c"),
        ("format('%0$s', 'a')", "22023 format specifies argument 0, but arguments are numbered from 1"),
        ("format('%s')", "22023 too few arguments for format()"),
        ("format('|%*s|', -10, 'abc')", "|abc       |"),
        ("format('|%-*s|', 10, 'abc')", "|abc       |"),
        ("format('|%1$*2$s|', 'abc', 10)", "|       abc|"),
        ("format('%*2s|', 'x', 'y')", r#"22023 width argument position must be ended by "$""#),
        ("format('%5%')", r#"22023 unrecognized format() type specifier "%""#),
        ("format('%1$-5s|', 'é')", "é    |"),
        ("format('%10L|', 'a')", "       'a'|"),
        (r"format('%I %L', 'Sel', 'o''b\')", r#""Sel" E'o''b\\'"#),
        ("format('%I', null)", "22004 null values cannot be formatted as an SQL identifier"),
        ("format('%L %s|', null, null)", "NULL |"),
        ("format('%x', 'a')", r#"22023 unrecognized format() type specifier "x""#),
        ("format('a%')", "22023 unterminated format() type specifier"),
        ("format('%99999999999s', 'a')", "22003 number is out of range"),
        ("format('%*s|', 'z', 'x')", r#"22P02 invalid input syntax for type integer: "z""#),
        ("format('%s', true)", "t"),
    ]);
}

/// Another case is that of each letter by itself; words are letters and digits.
#[test]
fn letters_change_their_case() {
    check(&[
        ("upper('äöüßéÿŉǆ')", "ÄÖÜßÉŸŉǄ"),
        ("lower('ÄÖÜẞÉŸİΑΣ')", "äöüßéÿiασ"),
        ("upper('ᾳᾀ')", "ᾼᾈ"),
        ("initcap('hello wORLD it''s 1st élan o²x')", "Hello World It'S 1st Élan O²X"),
        (r#"upper('äa' collate "C")"#, "äA"),
        (r#"initcap('éa bC' collate "C")"#, "éA Bc"),
        ("'É' ilike 'é'", "t"),
        (r#"'É' ilike 'é' collate "C""#, "f"),
    ]);
}

/// An escape at the end fails only where the comparison reaches it.
#[test]
fn like_compares_as_the_server_does() {
    check(&[
        (r"'ab' like 'a\'", "22025 LIKE pattern must not end with escape character"),
        (r"'a' like 'a\'", "f"),
        (r"'b' like 'a\'", "f"),
        (r"'' like '%\'", "f"),
        (r"'a%c' like 'a\%c'", "t"),
        ("'日本語' like '_本_'", "t"),
        ("'mississippi' like '%iss%ip%i'", "t"),
        ("'aaaa' like '%a%a%a%a%a'", "f"),
        (r"'a\c' like 'a\c' escape ''", "t"),
        ("'abcd' like 'abc#' escape '#'", "22025 LIKE pattern must not end with escape character"),
        ("'abc' like 'abc' escape '##'", "22025 invalid escape string"),
        (r"like_escape('a#%\b##', '#')", r"a\%\\b\#"),
        (r"'\x61ff'::bytea like '\x615f'::bytea", "t"),
    ]);
}

/// The forms of `bytea`: line ends of base64, octal escapes, blanks between digits, and what is refused.
#[test]
fn bytes_are_encoded_and_decoded() {
    check(&[
        (r"encode('\x0123ff5c00'::bytea, 'HEX')", "0123ff5c00"),
        (r"encode('\x0123ff5c00'::bytea, 'escape')", "#\\377\\\\\\000"),
        (r"encode('\x0123ff5c'::bytea, 'base64')", "ASP/XA=="),
        (
            "encode(repeat('a', 56)::bytea, 'base64')",
            "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=",
        ),
        (
            "encode(repeat('a', 57)::bytea, 'base64')",
            "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFh\n",
        ),
        ("encode('x'::bytea, 'foo')", r#"22023 unrecognized encoding: "foo""#),
        (r"decode(E'01\n2 3', 'hex')", r#"22023 invalid hexadecimal digit: " ""#),
        ("decode('01 2 3', 'hex')", r#"22023 invalid hexadecimal digit: " ""#),
        ("decode('012', 'hex')", "22023 invalid hexadecimal data: odd number of digits"),
        ("decode('0é', 'hex')", r#"22023 invalid hexadecimal digit: "é""#),
        ("decode('AA==AAAA', 'base64')", r"\x0000"),
        ("decode('AA=A', 'base64')", r"\x00"),
        ("decode('A===', 'base64')", r#"22023 unexpected "=" while decoding base64 sequence"#),
        ("decode('AA', 'base64')", "22023 invalid base64 end sequence"),
        ("decode('AA!A', 'base64')", r#"22023 invalid symbol "!" found while decoding base64 sequence"#),
        (r"decode('a\\b\001é', 'escape')", r"\x615c6201c3a9"),
        (r"decode('a\400', 'escape')", "22P02 invalid input syntax for type bytea"),
        ("md5('héllo')", "be50e8478cf24ff3595bc7307fb91b50"),
        (r"sha224('\x00'::bytea)", r"\xfff9292b4201617bdc4d3053fce02734166a683d7d858a7f5f59b073"),
        (r"sha256('\x00'::bytea)", r"\x6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (
            r"sha384('\x00'::bytea)",
            r"\xbec021b4f368e3069134e012c2b4307083d3a9bdd206e24e5f0d86e13d6636655933ec2b413465966817a9c208a11717",
        ),
        (
            r"sha512('\x00'::bytea)",
            r"\xb8244d028981d693af7b456af8efa4cad63d282e19ff14942c246e50d9351d22704a802a71c3580b6370de4ceb293c324a8423342557d4e5c38438f0e36910ee",
        ),
        ("convert_to('é', 'utf-8')", r"\xc3a9"),
        (
            r"convert_from('\xc3410000'::bytea, 'UTF8')",
            r#"22021 invalid byte sequence for encoding "UTF8": 0xc3 0x41"#,
        ),
        (
            r"convert_from('\xeda080'::bytea, 'UTF8')",
            r#"22021 invalid byte sequence for encoding "UTF8": 0xed 0xa0 0x80"#,
        ),
        (
            r"convert_from('\x00ff'::bytea, 'UTF8')",
            r#"22021 invalid byte sequence for encoding "UTF8": 0x00"#,
        ),
        (r"get_byte('\x0102'::bytea, 2)", "2202E index 2 out of valid range, 0..1"),
        (r"set_byte('\x0102'::bytea, 1, -1)", r"\x01ff"),
        (r"get_bit('\x0102'::bytea, 9)", "1"),
        (r"set_bit('\x0102'::bytea, 15, 2)", "22023 new bit must be 0 or 1"),
        (r"bit_count('\x01ff'::bytea)", "9"),
    ]);
}
