//! Values by the rules of their columns.

use std::str::FromStr;

use understudy_contract::{CompareRule, ComparedColumn, SeenValue};
use understudy_transform::expr::Numeric;

/// The names of the columns of which the values do not count as equal. Values are in the order of `columns`.
pub fn differing(columns: &[ComparedColumn], blue: &[SeenValue], green: &[SeenValue]) -> Vec<String> {
    let values = blue.iter().map(Some).chain(std::iter::repeat(None));
    let values = values.zip(green.iter().map(Some).chain(std::iter::repeat(None)));
    let differ = |(column, (blue, green)): (&ComparedColumn, (Option<&SeenValue>, Option<&SeenValue>))| {
        let equal = match (blue, green) {
            (Some(blue), Some(green)) => equal(&column.rule, blue, green),
            // A value that was not read is not known to be equal.
            _ => column.rule == CompareRule::Ignore,
        };
        (!equal).then(|| column.name.clone())
    };
    columns.iter().zip(values).filter_map(differ).collect()
}

/// Whether two values count as equal. But for a tolerance the servers have given them the form that decides.
fn equal(rule: &CompareRule, blue: &SeenValue, green: &SeenValue) -> bool {
    match rule {
        CompareRule::Ignore => true,
        // What is compared tells only which cell of that width a value is in.
        CompareRule::Tolerance(most) => match (&blue.text, &green.text) {
            (Some(one), Some(other)) => {
                one == other || within(one, other, most).unwrap_or(blue.compared == green.compared)
            }
            (one, other) => one == other,
        },
        CompareRule::Exact
        | CompareRule::Trim
        | CompareRule::Fold
        | CompareRule::Json
        | CompareRule::Float => blue.compared == green.compared,
    }
}

/// Whether two numbers differ by `most` at most; `None` where one of the texts is no number. What is not finite equals itself
/// only.
fn within(blue: &str, green: &str, most: &str) -> Option<bool> {
    let number = |text| Numeric::from_str(text).ok();
    let (blue, green, most) = (number(blue)?, number(green)?, number(most)?);
    match distance(&blue, &green) {
        Some(distance) => Some(distance <= most),
        None if blue.is_finite() || green.is_finite() => Some(false),
        None => Some(blue == green),
    }
}

/// How far two numbers are apart, exactly; `None` unless both are finite.
pub(crate) fn distance(one: &Numeric, other: &Numeric) -> Option<Numeric> {
    let ((one, scale), (other, other_scale)) = (one.parts()?, other.parts()?);
    let ten_to = |digits: u16| Some(Numeric::from_str(&format!("1e{digits}")).ok()?.parts()?.0);
    let wide = scale.max(other_scale);
    let apart = one * ten_to(wide - scale)? - other * ten_to(wide - other_scale)?;
    let apart = Numeric::new(apart, wide).ok()?;
    match apart.parts() {
        Some((negative, scale)) if apart.is_negative() => Numeric::new(-negative, scale).ok(),
        _ => Some(apart),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: Option<&str>, compared: Option<&str>) -> SeenValue {
        SeenValue { text: text.map(Into::into), compared: compared.map(Into::into) }
    }

    fn same(rule: &CompareRule, blue: Option<&str>, green: Option<&str>) -> bool {
        let columns = [ComparedColumn { name: "a".into(), rule: rule.clone() }];
        // Only a tolerance looks at what the column holds.
        let is_tolerance = matches!(rule, CompareRule::Tolerance(_));
        let text = |own, other| if is_tolerance { own } else { Some(other) };
        let (on_blue, on_green) = (value(text(blue, "b"), blue), value(text(green, "g"), green));
        differing(&columns, &[on_blue], &[on_green]).is_empty()
    }

    /// A tolerance is exact decimal arithmetic: a bound that is met counts, and nothing is lost in binary digits.
    #[test]
    fn a_tolerance_is_exact() {
        let rule = CompareRule::Tolerance("0.01".into());
        let equal = [
            ("1.23", "1.24"),
            ("1.24", "1.23"),
            ("-0.005", "0.005"),
            ("1e3", "1000.01"),
            ("100000000000000000000000000000.01", "100000000000000000000000000000"),
            ("NaN", "NaN"),
            ("Infinity", "infinity"),
            ("one", "one"),
        ];
        let other = [
            ("1.23", "1.2400000000000000000000000000000001"),
            ("NaN", "1"),
            ("NaN", "Infinity"),
            ("Infinity", "-Infinity"),
            ("Infinity", "1"),
            ("one", "1"),
            ("one", "One"),
        ];
        for (blue, green) in equal {
            assert!(same(&rule, Some(blue), Some(green)), "{blue} and {green}");
        }
        for (blue, green) in other {
            assert!(!same(&rule, Some(blue), Some(green)), "{blue} and {green}");
        }
        assert!(same(&rule, None, None));
        assert!(!same(&rule, None, Some("0")) && !same(&rule, Some("0"), None));
    }

    /// Elsewhere the forms that the servers computed decide, and null equals null only.
    #[test]
    fn other_rules_compare_the_servers_forms() {
        for rule in
            [CompareRule::Exact, CompareRule::Trim, CompareRule::Fold, CompareRule::Json, CompareRule::Float]
        {
            assert!(same(&rule, Some("1"), Some("1")) && same(&rule, None, None));
            assert!(!same(&rule, Some("1"), Some("1.0")) && !same(&rule, None, Some("")));
        }
        assert!(same(&CompareRule::Ignore, None, Some("1")));
    }

    /// The names are those of the columns in which rows differ; a value that was not read does.
    #[test]
    fn columns_are_named() {
        let rules = [CompareRule::Exact, CompareRule::Ignore, CompareRule::Trim, CompareRule::Exact];
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        let columns: Vec<_> =
            names.into_iter().zip(rules).map(|(name, rule)| ComparedColumn { name, rule }).collect();
        let blue = [Some("1"), Some("2"), Some("3")].map(|text| value(text, text));
        let green = [Some("1"), Some("x"), Some("y"), Some("4")].map(|text| value(text, text));
        assert_eq!(differing(&columns, &blue, &green), ["c", "d"]);
    }
}
