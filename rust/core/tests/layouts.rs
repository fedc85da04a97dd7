//! Layouts at random.

#[path = "common/layout.rs"]
mod common;

use arbitrary::{Arbitrary, Unstructured};
use common::Case;
use proptest::prelude::*;
use rusttorch_core::layout::{Layout, MAX_DIMS};

fn any_case() -> impl Strategy<Value = Case> {
    prop::collection::vec(any::<u8>(), 300).prop_map(|bytes| Case::arbitrary(&mut Unstructured::new(&bytes)).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50_000))]

    #[test]
    fn any_layout_is_what_its_places_are(case in any_case()) {
        case.check();
    }

    #[test]
    fn dimensions_wrap_as_in_torch(ndim in 0_usize..=MAX_DIMS, dim in -20_i64..20) {
        let layout = Layout::contiguous(&vec![1; ndim]).unwrap();
        let count = ndim.max(1) as i64;
        let expected = (-count..count).contains(&dim).then(|| dim.rem_euclid(count) as usize);
        prop_assert_eq!(layout.wrap_dim(dim), expected);
    }
}
