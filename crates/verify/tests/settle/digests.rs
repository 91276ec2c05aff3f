//! Digests of ranges as sums of their rows' digests.

use proptest::collection::vec;
use proptest::prelude::*;
use understudy_contract::{RangeDigest, RowDigest};

fn sum(rows: &[u128]) -> RangeDigest {
    rows.iter().copied().map(RowDigest).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Different rows must not pass for equal, whatever their order and number.
    #[test]
    fn different_rows_differ(one in vec(any::<u128>(), 0..40), two in vec(any::<u128>(), 0..40)) {
        let sorted = |rows: &[u128]| { let mut rows = rows.to_vec(); rows.sort_unstable(); rows };
        prop_assert_eq!(sum(&one) == sum(&two), sorted(&one) == sorted(&two));
    }

    /// A row that is lost, comes twice, or stands in for another is noticed, also among rows of the same number.
    #[test]
    fn one_row_matters(mut rows in vec(any::<u128>(), 2..40), at in any::<prop::sample::Index>(), bit in 0..128_u32) {
        let (whole, at) = (sum(&rows), at.index(rows.len()));
        let row = rows[at];
        rows[at] ^= 1 << bit;
        prop_assert_ne!(sum(&rows), whole, "a bit");
        rows[at] = rows[(at + 1) % rows.len()];
        prop_assert_eq!(sum(&rows) == whole, rows[at] == row, "its neighbour twice");
        rows.remove(at);
        prop_assert_ne!(sum(&rows), whole, "without it");
        rows.extend([row, row]);
        prop_assert_ne!(sum(&rows), whole, "twice");
    }

    /// Rows may be read in any order, and in parts.
    #[test]
    fn order_does_not_matter(mut rows in vec(any::<u128>(), 0..40)) {
        let whole = sum(&rows);
        rows.reverse();
        prop_assert_eq!(sum(&rows), whole);
    }
}
