//! What holds of layouts, against a list of all their elements' places.

use arbitrary::{Arbitrary, Result, Unstructured};
use rusttorch_core::{
    kernel::Geometry,
    layout::{Layout, MAX_DIMS},
};

/// The most elements whose places are listed.
const MOST: usize = 1 << MAX_DIMS;

/// The places of all elements, in row-major order.
fn places(sizes: &[i64], strides: &[i64]) -> Vec<i128> {
    let mut all = vec![0];
    for (&size, &stride) in sizes.iter().zip(strides) {
        all = all
            .iter()
            .flat_map(|place| (0..size).map(move |index| place + i128::from(index) * i128::from(stride)))
            .collect();
    }
    all
}

fn places_of(layout: &Layout) -> Vec<i128> {
    places(layout.sizes(), layout.strides())
}

/// Whether the places are, in this order, those of a block without gaps or overlap that starts at the first element.
fn is_ordered(places: &[i128]) -> bool {
    places.iter().zip(0..).all(|(&place, index)| place == index)
}

/// The same in any order.
fn is_block(mut places: Vec<i128>) -> bool {
    places.sort_unstable();
    is_ordered(&places)
}

/// Sizes and strides that a tensor might claim.
#[derive(Debug)]
pub struct Case {
    sizes: Vec<i64>,
    strides: Vec<i64>,
}

impl<'a> Arbitrary<'a> for Case {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        match u.int_in_range(0..=3)? {
            // Anything, of any length.
            0 => Ok(Self {
                sizes: list(u)?,
                strides: list(u)?,
            }),
            // Few elements, or none, anywhere.
            1 => Self::of_few(0, u, Unstructured::arbitrary),
            2 => Self::of_few(0, u, |u| u.int_in_range(-5..=30)),
            // A block, its dimensions in any order.
            _ => {
                let mut case = Self::of_few(1, u, Unstructured::arbitrary)?;
                let mut rest: Vec<usize> = (0..case.sizes.len()).filter(|&dim| case.sizes[dim] > 1).collect();
                let mut step = 1;
                while !rest.is_empty() {
                    let dim = rest.swap_remove(u.choose_index(rest.len())?);
                    case.strides[dim] = step;
                    step *= case.sizes[dim];
                }
                Ok(case)
            }
        }
    }
}

/// Numbers of any magnitude.
fn list(u: &mut Unstructured) -> Result<Vec<i64>> {
    (0..u.int_in_range(0..=MAX_DIMS + 1)?)
        .map(|_| Ok(u.arbitrary::<i64>()? >> u.int_in_range(0..=63)?))
        .collect()
}

impl Case {
    /// At most [`MOST`] elements, in dimensions of at least so many.
    fn of_few<'a>(
        least: i64,
        u: &mut Unstructured<'a>,
        mut stride: impl FnMut(&mut Unstructured<'a>) -> Result<i64>,
    ) -> Result<Self> {
        let ndim = u.int_in_range(0..=MAX_DIMS)?;
        let largest = if ndim <= MAX_DIMS / 2 { 4 } else { 2 };
        Ok(Self {
            sizes: (0..ndim)
                .map(|_| u.int_in_range(least..=largest))
                .collect::<Result<_>>()?,
            strides: (0..ndim).map(|_| stride(u)).collect::<Result<_>>()?,
        })
    }

    /// Whether there are as many strides as sizes, not too many, and the elements can be counted, whichever of the
    /// dimensions are left out.
    fn is_valid(&self) -> bool {
        let count = |product: i64, &size: &i64| product.checked_mul(size.max(1));
        self.sizes.len() <= MAX_DIMS
            && self.sizes.len() == self.strides.len()
            && self.sizes.iter().all(|&size| size >= 0)
            && self.sizes.iter().try_fold(1, count).is_some()
    }

    /// The sizes with that of `dim` replaced.
    fn sizes_with(&self, dim: usize, size: Option<i64>) -> Vec<i64> {
        let mut sizes = self.sizes.clone();
        sizes.splice(dim..=dim, size);
        sizes
    }

    /// Checks all that holds of these sizes and strides.
    pub fn check(&self) {
        let layout = Layout::new(&self.sizes, &self.strides);
        assert_eq!(layout.is_some(), self.is_valid());
        let row_major = Layout::contiguous(&self.sizes);
        let (Some(layout), Some(row_major)) = (layout, row_major) else {
            return;
        };
        assert_eq!(layout.sizes(), self.sizes);
        assert_eq!(layout.strides(), self.strides);
        assert_eq!(layout.numel() as i64, self.sizes.iter().product());
        assert!(row_major.is_contiguous());
        assert_eq!(row_major.sizes(), self.sizes);

        self.check_order(&layout);
        for dim in 0..self.sizes.len() {
            self.check_along(&row_major, dim);
            self.check_halved(&layout, dim);
        }
        if self.sizes.is_empty() {
            assert_eq!(layout.along(0), Geometry::flat(1));
            assert_eq!(layout.without(0), layout);
            assert_eq!(layout.with_size(0, 1).numel(), 1);
        }
    }

    /// What is dense, in which order, and what an elementwise result is like.
    fn check_order(&self, layout: &Layout) {
        let ndim = self.sizes.len();
        let (contiguous, channels_last) = (layout.is_contiguous(), layout.is_channels_last());
        let (order, result) = (layout.dense_order(), layout.elementwise_result());
        // An empty tensor has no places to compare.
        if !(1..=MOST).contains(&layout.numel()) {
            return;
        }
        let permuted = |order: &[usize]| {
            let pick = |of: &[i64]| order.iter().map(|&dim| of[dim]).collect::<Vec<_>>();
            places(&pick(&self.sizes), &pick(&self.strides))
        };
        let all = places_of(layout);
        assert_eq!(contiguous, is_ordered(&all));
        let innermost_is_1 = matches!(ndim, 4 | 5) && {
            let order: Vec<usize> = [0].into_iter().chain(2..ndim).chain([1]).collect();
            is_ordered(&permuted(&order))
        };
        assert_eq!(channels_last, innermost_is_1);

        let dense = is_block(all.clone());
        assert_eq!(order.is_some(), dense);
        assert_eq!(result.is_some(), dense);
        if let (Some(order), Some(result)) = (order, result) {
            let mut dims = order[..ndim].to_vec();
            // Every place is visited once.
            assert!(is_ordered(&permuted(&dims)));
            dims.sort_unstable();
            assert!(dims.into_iter().eq(0..ndim));
            assert_eq!(result.sizes(), self.sizes);
            assert_eq!(places_of(&result), all);
        }
    }

    /// The geometry along a dimension, and results without it or with another size.
    fn check_along(&self, row_major: &Layout, dim: usize) {
        let geometry = row_major.along(dim);
        assert_eq!(geometry.dim as i64, self.sizes[dim]);
        assert_eq!(geometry.len(), row_major.numel());
        if !geometry.is_empty() {
            assert_eq!(geometry.inner as i64, row_major.strides()[dim]);
        }

        let without = row_major.without(dim);
        assert_eq!(Some(without), Layout::contiguous(&self.sizes_with(dim, None)));
        assert_eq!(without.numel(), geometry.outer * geometry.inner);
        let half = self.sizes[dim] / 2;
        let with = Layout::contiguous(&self.sizes_with(dim, Some(half)));
        assert_eq!(Some(row_major.with_size(dim, half)), with);
    }

    /// The half along a dimension lies in every block where the whole does.
    fn check_halved(&self, layout: &Layout, dim: usize) {
        let halved = layout.halved(dim);
        assert!(halved.is_none() || layout.dense_order().is_some());
        let Some((geometry, half)) = halved else {
            return;
        };
        assert_eq!(geometry.len(), layout.numel());
        assert_eq!(half.sizes(), self.sizes_with(dim, Some(self.sizes[dim] / 2)));
        if geometry.dim % 2 == 1 || !(1..=MOST).contains(&geometry.len()) {
            return;
        }
        assert!(half.dense_order().is_some());
        let (rows, block) = (geometry.dim / 2 * geometry.inner, geometry.dim * geometry.inner);
        for (place, in_half) in places(half.sizes(), &self.strides).into_iter().zip(places_of(&half)) {
            let (index, offset) = (place as usize / block, place as usize % block);
            assert!(offset < rows);
            assert_eq!(in_half as usize, index * rows + offset);
        }
    }
}
