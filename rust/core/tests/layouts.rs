//! Layouts at random, against a list of all their elements' places.

use proptest::prelude::*;
use rusttorch_core::layout::{Layout, MAX_DIMS};

/// The places of all elements, in row-major order.
fn places(sizes: &[i64], strides: &[i64]) -> Vec<i64> {
    let mut all = vec![0];
    for (&size, &stride) in sizes.iter().zip(strides) {
        all = all
            .iter()
            .flat_map(|place| (0..size).map(move |index| place + index * stride))
            .collect();
    }
    all
}

/// Whether the places are those of a block without gaps or overlap that starts at the first element.
fn is_block(mut places: Vec<i64>) -> bool {
    places.sort_unstable();
    places.into_iter().zip(0..).all(|(place, index)| place == index)
}

fn sizes_and_strides() -> impl Strategy<Value = (Vec<i64>, Vec<i64>)> {
    prop::collection::vec((0_i64..5, prop_oneof![4 => 0_i64..30, 1 => -5_i64..0]), 0..6)
        .prop_map(|dims| dims.into_iter().unzip())
}

/// A dense tensor's sizes and strides: the dimensions in memory in any order.
fn permuted() -> impl Strategy<Value = (Vec<i64>, Vec<i64>)> {
    prop::collection::vec((1_i64..5, any::<u32>()), 0..6).prop_map(|dims| {
        let sizes: Vec<i64> = dims.iter().map(|dim| dim.0).collect();
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        order.sort_by_key(|&d| dims[d].1);
        let (mut strides, mut step) = (vec![0; sizes.len()], 1);
        for d in order {
            strides[d] = step;
            step *= sizes[d];
        }
        (sizes, strides)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn dense_is_a_block((sizes, strides) in sizes_and_strides()) {
        let layout = Layout::new(&sizes, &strides).unwrap();
        let all = places(&sizes, &strides);
        prop_assert_eq!(layout.numel(), all.len());
        // An empty tensor has no places to compare.
        if !all.is_empty() {
            let ordered = all.iter().copied().eq(0..all.len() as i64);
            prop_assert_eq!(layout.is_contiguous(), ordered);
            prop_assert_eq!(layout.dense_order().is_some(), is_block(all));
        }
    }

    #[test]
    fn a_permutation_is_dense_and_its_result_keeps_the_order((sizes, strides) in permuted()) {
        let layout = Layout::new(&sizes, &strides).unwrap();
        prop_assert!(layout.dense_order().is_some());
        let result = layout.elementwise_result().unwrap();
        prop_assert_eq!(places(result.sizes(), result.strides()), places(&sizes, &strides));
    }

    #[test]
    fn along_a_dimension_every_element_has_its_place((sizes, strides) in permuted(), dim in any::<prop::sample::Index>()) {
        prop_assume!(!sizes.is_empty());
        let dim = dim.index(sizes.len());
        let row_major = Layout::contiguous(&sizes).unwrap();
        let geometry = row_major.along(dim);
        prop_assert_eq!(geometry.dim as i64, sizes[dim]);
        prop_assert_eq!(geometry.len(), row_major.numel());
        prop_assert_eq!(geometry.inner as i64, row_major.strides()[dim]);

        let without = row_major.without(dim);
        prop_assert!(without.is_contiguous());
        prop_assert_eq!(without.numel(), geometry.outer * geometry.inner);
        let with = row_major.with_size(dim, 3);
        prop_assert!(with.is_contiguous());
        prop_assert_eq!(with.numel(), geometry.outer * geometry.inner * 3);

        let layout = Layout::new(&sizes, &strides).unwrap();
        if let (Some((geometry, half)), true) = (layout.halved(dim), sizes[dim] % 2 == 0) {
            prop_assert_eq!(geometry.len(), layout.numel());
            prop_assert_eq!(half.sizes()[dim] * 2, sizes[dim]);
            prop_assert!(half.dense_order().is_some());
            // The half lies in every block where the whole does.
            let (rows, block) = (geometry.dim / 2 * geometry.inner, geometry.dim * geometry.inner);
            let first: Vec<i64> = {
                let mut sizes = sizes.clone();
                sizes[dim] /= 2;
                places(&sizes, &strides)
            };
            let halves = places(half.sizes(), half.strides());
            for (place, in_half) in first.into_iter().zip(halves) {
                let (block_index, offset) = (place as usize / block, place as usize % block);
                prop_assert!(offset < rows);
                prop_assert_eq!(in_half as usize, block_index * rows + offset);
            }
        }
    }

    #[test]
    fn dimensions_wrap_as_in_torch(ndim in 0_usize..=MAX_DIMS, dim in -20_i64..20) {
        let layout = Layout::contiguous(&vec![1; ndim]).unwrap();
        let count = ndim.max(1) as i64;
        let expected = (-count..count).contains(&dim).then(|| dim.rem_euclid(count) as usize);
        prop_assert_eq!(layout.wrap_dim(dim), expected);
    }

    /// Whatever a tensor claims, nothing panics.
    #[test]
    fn nothing_panics(dims in prop::collection::vec((any::<i64>(), any::<i64>()), 0..15), small in any::<bool>()) {
        let (mut sizes, strides): (Vec<i64>, Vec<i64>) = dims.into_iter().unzip();
        if small {
            sizes.iter_mut().for_each(|size| *size = size.rem_euclid(4));
        }
        if let Some(layout) = Layout::new(&sizes, &strides) {
            let _ = (layout.numel(), layout.is_contiguous(), layout.is_channels_last(), layout.dense_order());
            let _ = (layout.elementwise_result(), layout.wrap_dim(-1));
            for dim in 0..sizes.len() {
                let _ = (layout.along(dim), layout.halved(dim), layout.without(dim), layout.with_size(dim, 1));
            }
        }
        let _ = Layout::contiguous(&sizes);
    }
}
