//! Shapes and strides, in elements: what is dense, and which strides torch gives a result.

use crate::kernel::Geometry;

/// The most dimensions that a [`Layout`] holds.
pub const MAX_DIMS: usize = 12;

/// Sizes and strides of a tensor.
///
/// ```
/// use rusttorch_core::layout::Layout;
///
/// let matrix = Layout::contiguous(&[2, 3]).unwrap();
/// assert_eq!(matrix.strides(), [3, 1]);
/// assert_eq!(matrix.along(0).inner, 3);
///
/// let transposed = Layout::new(&[3, 2], &[1, 3]).unwrap();
/// assert!(!transposed.is_contiguous() && transposed.dense_order().is_some());
/// assert!(Layout::contiguous(&[i64::MAX, 2]).is_none());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    ndim: usize,
    sizes: [i64; MAX_DIMS],
    strides: [i64; MAX_DIMS],
}

/// The dimension that a number of it, which may be counted from the end, stands for among `ndim`.
pub fn wrap_dim(ndim: usize, dim: i64) -> Option<usize> {
    let ndim = ndim.max(1) as i64;
    (-ndim..ndim)
        .contains(&dim)
        .then(|| (if dim < 0 { dim + ndim } else { dim }) as usize)
}

impl Layout {
    /// That of a single element, without dimensions.
    pub const SCALAR: Self = Self {
        ndim: 0,
        sizes: [1; MAX_DIMS],
        strides: [0; MAX_DIMS],
    };

    /// `None` if there are more than [`MAX_DIMS`] dimensions, the slices differ in length, a size is negative, or there
    /// are too many elements, without the dimensions of size 0 as well.
    #[inline(always)] // a copy of the result takes longer
    pub fn new(sizes: &[i64], strides: &[i64]) -> Option<Self> {
        if sizes.len() > MAX_DIMS || sizes.len() != strides.len() || sizes.iter().any(|&size| size < 0) {
            return None;
        }
        let mut layout = Self {
            ndim: sizes.len(),
            sizes: [1; MAX_DIMS],
            strides: [0; MAX_DIMS],
        };
        layout.sizes[..sizes.len()].copy_from_slice(sizes);
        layout.strides[..strides.len()].copy_from_slice(strides);
        // Products of some of the sizes must fit too: a size of 0 does not spare them.
        sizes
            .iter()
            .try_fold(1_i64, |product, &size| product.checked_mul(size.max(1)))?;
        Some(layout)
    }

    /// The row-major layout of these sizes.
    pub fn contiguous(sizes: &[i64]) -> Option<Self> {
        let mut layout = Self::new(sizes, &[0; MAX_DIMS][..sizes.len().min(MAX_DIMS)])?;
        layout.restride((0..sizes.len()).rev());
        Some(layout)
    }

    /// The layout of these sizes, of four or five dimensions, with dimension 1 innermost.
    pub fn channels_last(sizes: &[i64]) -> Option<Self> {
        let mut layout = Self::contiguous(sizes).filter(|layout| matches!(layout.ndim, 4 | 5))?;
        layout.restride(channels_last(sizes.len()));
        Some(layout)
    }

    /// Elements from the first to the last one in memory, those between included; `None` where a stride is negative or there
    /// are too many.
    pub fn extent(&self) -> Option<usize> {
        if self.numel() == 0 {
            return Some(0);
        }
        let steps = self.sizes().iter().zip(self.strides());
        let mut last = steps.map(|(&size, &stride)| (size - 1).checked_mul(stride).filter(|&step| step >= 0));
        last.try_fold(1_i64, |all, step| all.checked_add(step?))
            .map(|all| all as usize)
    }

    /// Size of each dimension.
    pub fn sizes(&self) -> &[i64] {
        &self.sizes[..self.ndim]
    }

    /// Step of each dimension, in elements.
    pub fn strides(&self) -> &[i64] {
        &self.strides[..self.ndim]
    }

    /// Number of elements.
    pub fn numel(&self) -> usize {
        self.sizes().iter().product::<i64>() as usize
    }

    /// Whether the elements lie in memory row-major and without gaps.
    pub fn is_contiguous(&self) -> bool {
        self.steps_match((0..self.ndim).rev())
    }

    /// The same, dimensions of size 1 having the steps that they have in a new row-major tensor.
    pub fn is_plain(&self) -> bool {
        let mut step = 1;
        for d in (0..self.ndim).rev() {
            if self.strides[d] != step {
                return false;
            }
            step *= self.sizes[d].max(1);
        }
        true
    }

    /// Whether dimension 1 of a 4-d or 5-d tensor is innermost in memory, the others being row-major.
    pub fn is_channels_last(&self) -> bool {
        matches!(self.ndim, 4 | 5) && self.steps_match(channels_last(self.ndim))
    }

    /// Whether the elements fill a block of memory without gaps or overlap, in the order of some permutation; then that
    /// permutation, outermost first (dimensions of size 1 where they stand).
    pub fn dense_order(&self) -> Option<[usize; MAX_DIMS]> {
        let mut order: [usize; MAX_DIMS] = core::array::from_fn(|d| d);
        // An insertion sort, stable, over the dimensions that count.
        let live = |d: usize| self.sizes[d] != 1;
        for i in 1..self.ndim {
            let mut j = i;
            while j > 0 {
                let (a, b) = (order[j - 1], order[j]);
                if live(a) && live(b) && self.strides[a] < self.strides[b]
                    || !live(a)
                        && live(b)
                        && (0..j - 1).any(|k| live(order[k]) && self.strides[order[k]] < self.strides[b])
                {
                    order.swap(j - 1, j);
                    j -= 1;
                } else {
                    break;
                }
            }
        }
        self.steps_match(order[..self.ndim].iter().rev().copied())
            .then_some(order)
    }

    /// The strides that torch gives the result of an elementwise operation on this input, or `None` where the input is
    /// not dense: row-major if that is what the input is, else channels-last, else the input's own (the fast paths of
    /// `TensorIteratorBase::fast_set_up`).
    pub fn elementwise_result(&self) -> Option<Self> {
        let mut result = *self;
        if self.is_contiguous() {
            result.restride((0..self.ndim).rev());
        } else if self.is_channels_last() {
            result.restride(channels_last(self.ndim));
        } else {
            self.dense_order()?;
        }
        Some(result)
    }

    /// The strides that torch gives a new tensor like this one: its own if it is dense, else dense ones in their order
    /// (`at::infer_dense_strides`).
    #[must_use]
    pub fn like(&self) -> Self {
        let mut result = *self;
        if self.dense_order().is_some() {
            return result;
        }
        // Innermost first. What cannot be told from one of two dimensions is told from others, or stays.
        let mut order: [usize; MAX_DIMS] = core::array::from_fn(|place| self.ndim.saturating_sub(place + 1));
        for next in 1..self.ndim {
            let mut at = next;
            for before in (0..next).rev() {
                let (inner, outer) = (order[before], order[at]);
                let (a, b) = (self.strides[inner], self.strides[outer]);
                if a == 0 || b == 0 {
                    continue;
                }
                if a > b || a == b && self.sizes[inner] > self.sizes[outer] {
                    order.swap(before, at);
                    at = before;
                } else if a < b {
                    break;
                }
            }
        }
        result.restride(order[..self.ndim].iter().copied());
        result
    }

    /// The dimension that `dim` names, counting from the end if negative; a scalar has one, of size 1.
    pub fn wrap_dim(&self, dim: i64) -> Option<usize> {
        wrap_dim(self.ndim, dim)
    }

    /// The geometry along `dim` of a row-major tensor.
    pub fn along(&self, dim: usize) -> Geometry {
        Geometry::along(self.sizes(), dim)
    }

    /// The geometry along `dim` of a dense tensor in any order, or `None` where it is not dense.
    pub fn dense_along(&self, dim: usize) -> Option<Geometry> {
        let order = self.dense_order()?;
        let place = order[..self.ndim].iter().position(|&d| d == dim);
        let product = |dims: &[usize]| dims.iter().map(|&d| self.sizes[d]).product::<i64>() as usize;
        let (before, after) = place.map_or((0..0, 0..0), |place| (0..place, place + 1..self.ndim));
        Some(Geometry {
            outer: product(&order[before]),
            dim: self.sizes[dim] as usize,
            inner: product(&order[after]),
        })
    }

    /// The geometry along `dim` of a dense tensor in any order, and its layout with that dimension halved in the same
    /// order. `None` where it is not dense, or a dimension of size 1 leaves the order open.
    pub fn halved(&self, dim: usize) -> Option<(Geometry, Self)> {
        let order = self.dense_order()?;
        if self.sizes().contains(&1) || self.sizes[dim] == 2 {
            return None;
        }
        let geometry = self.dense_along(dim)?;
        let mut result = *self;
        result.sizes[dim] /= 2;
        result.restride(order[..self.ndim].iter().rev().copied());
        Some((geometry, result))
    }

    /// This layout with `dim` of another size, row-major.
    pub fn with_size(&self, dim: usize, size: i64) -> Self {
        let mut result = *self;
        result.sizes[dim] = size;
        result.restride((0..self.ndim).rev());
        result
    }

    /// This layout without `dim`, row-major.
    pub fn without(&self, dim: usize) -> Self {
        let mut result = *self;
        result.sizes.copy_within(dim + 1.., dim);
        result.strides.copy_within(dim + 1.., dim);
        // As `new` leaves what is beyond the dimensions, so that equal layouts compare equal.
        (result.sizes[MAX_DIMS - 1], result.strides[MAX_DIMS - 1]) = (1, 0);
        result.ndim = self.ndim.saturating_sub(1);
        result.restride((0..result.ndim).rev());
        result
    }

    /// Whether the strides are those of a dense tensor whose dimensions, innermost first, are `order`.
    fn steps_match(&self, order: impl Iterator<Item = usize>) -> bool {
        let mut step = 1;
        for d in order {
            if self.sizes[d] != 1 {
                if self.strides[d] != step {
                    return false;
                }
                step *= self.sizes[d].max(1);
            }
        }
        true
    }

    /// Sets the strides of a dense tensor whose dimensions, innermost first, are `order`.
    fn restride(&mut self, order: impl Iterator<Item = usize>) {
        let mut step = 1;
        for d in order {
            self.strides[d] = step;
            step *= self.sizes[d].max(1);
        }
    }
}

/// Dimensions innermost first: 1, then the others from the last.
fn channels_last(ndim: usize) -> impl Iterator<Item = usize> {
    core::iter::once(1).chain((2..ndim).rev()).chain(core::iter::once(0))
}

/// The shape that shapes are broadcast to, and how many of its dimensions there are: from the last on sizes must be equal, or
/// 1. `None` where they are not, or there are more than [`MAX_DIMS`].
///
/// ```
/// use rusttorch_core::layout::broadcast;
///
/// let (sizes, ndim) = broadcast([&[2, 1][..], &[3][..]]).unwrap();
/// assert_eq!(sizes[..ndim], [2, 3]);
/// assert!(broadcast([&[2][..], &[3][..]]).is_none());
/// ```
pub fn broadcast<const N: usize>(shapes: [&[i64]; N]) -> Option<([i64; MAX_DIMS], usize)> {
    let ndim = shapes.iter().map(|shape| shape.len()).max()?;
    let mut sizes = [1; MAX_DIMS];
    for shape in shapes {
        for (size, &its) in sizes.get_mut(ndim - shape.len()..ndim)?.iter_mut().zip(shape) {
            match (*size, its) {
                (_, 1) => {}
                (1, its) => *size = its,
                (size, its) if size == its => {}
                _ => return None,
            }
        }
    }
    Some((sizes, ndim))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn channels_last_is_found_and_kept() {
        let layout = Layout::new(&[2, 3, 4, 5], &[60, 1, 15, 3]).unwrap();
        assert!(layout.is_channels_last() && !layout.is_contiguous());
        assert_eq!(Layout::channels_last(layout.sizes()), Some(layout));
        assert!(Layout::channels_last(&[2, 3, 4]).is_none());
        assert_eq!(layout.elementwise_result().unwrap().strides(), [60, 1, 15, 3]);
        assert_eq!(layout.dense_order().unwrap()[..4], [0, 2, 3, 1]);
    }

    #[test]
    fn gaps_and_overlaps_are_not_dense() {
        for strides in [[8, 1], [0, 1], [1, 1], [2, 1]] {
            assert!(Layout::new(&[3, 4], &strides).unwrap().elementwise_result().is_none());
        }
    }

    #[test]
    fn too_many_elements_are_refused() {
        assert!(Layout::new(&[i64::MAX, 2], &[2, 1]).is_none());
        assert!(Layout::new(&[0, i64::MAX, 2], &[0, 2, 1]).is_none());
        assert!(Layout::new(&[-1], &[1]).is_none());
        assert!(Layout::new(&[1; 13], &[1; 13]).is_none());
    }

    proptest! {
        /// Every permutation of a dense tensor is dense, and no element is visited twice.
        #[test]
        fn permutations_are_dense(sizes in prop::collection::vec(1_i64..5, 1..6), seed in any::<u64>()) {
            let base = Layout::contiguous(&sizes).unwrap();
            let mut order: Vec<usize> = (0..sizes.len()).collect();
            let mut state = seed;
            for i in (1..order.len()).rev() {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                order.swap(i, (state >> 33) as usize % (i + 1));
            }
            let pick = |of: &[i64]| order.iter().map(|&d| of[d]).collect::<Vec<_>>();
            let permuted = Layout::new(&pick(base.sizes()), &pick(base.strides())).unwrap();
            prop_assert!(permuted.dense_order().is_some());
            prop_assert_eq!(permuted.elementwise_result().unwrap().numel(), base.numel());
        }
    }
}
