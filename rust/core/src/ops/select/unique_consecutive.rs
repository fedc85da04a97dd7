//! The runs of equal elements of a tensor.

use core::ops::Range;

use super::unique::{Distinct, Item};
use crate::{
    dtype::{Target, Unwritten, View},
    isa::{Program, Simd},
    kernel::Exec,
    parallel::{Shared, split_mut},
};

/// Elements whose runs are counted together.
const BLOCK: usize = 1 << 14;

/// What `torch.unique_consecutive` of a row-major tensor gives: the first element of each run of equal ones, where NaN differ
/// from one another; in [`Distinct::write`], `inverse` is the run of each element, and `counts` how long runs are.
///
/// # Errors
/// The reason why these elements are not for this kernel.
pub fn unique_consecutive<'a>(exec: &Exec, src: View<'a>) -> Result<Box<dyn Distinct + 'a>, &'static str> {
    macro_rules! runs {
        ($($kind:ident),*) => {
            match src {
                $(View::$kind(src) => find(exec, src),)*
                View::Bool(_) => Err("of two values"),
            }
        };
    }
    runs!(F32, F64, Bf16, F16, I64, I32, I16, I8, U8)
}

/// Runs: how many begin before each block, and in all.
struct Runs<'a, T> {
    src: &'a [T],
    before: Vec<usize>,
}

fn find<'a, T: Item>(exec: &Exec, src: &'a [T]) -> Result<Box<dyn Distinct + 'a>, &'static str> {
    if src.is_empty() {
        return Err("no elements");
    }
    let blocks = src.len().div_ceil(BLOCK);
    let mut before = vec![0; blocks + 1];
    let (team, grain) = exec.team(src.len(), size_of::<T>(), 2);
    split_mut(team, &mut before[1..], 1, grain.div_ceil(BLOCK), &|start, counts| {
        for (index, count) in (start..).zip(counts) {
            *count = exec.isa.run(Starts {
                src,
                block: block(index, src.len()),
            });
        }
    });
    for index in 1..before.len() {
        before[index] += before[index - 1];
    }
    Ok(Box::new(Runs { src, before }))
}

fn block(index: usize, len: usize) -> Range<usize> {
    index * BLOCK..len.min((index + 1) * BLOCK)
}

/// Counts the runs that begin in a block.
struct Starts<'a, T> {
    src: &'a [T],
    block: Range<usize>,
}

impl<T: Item> Program for Starts<'_, T> {
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> usize {
        each_run(self.src, self.block, |_, _, _| ())
    }
}

/// Calls `visit` with how many runs began in a block before each place of it, the place, and whether one begins there; how many
/// begin in the block.
#[inline(always)]
fn each_run<T: Item>(src: &[T], block: Range<usize>, mut visit: impl FnMut(usize, usize, bool)) -> usize {
    let (mut found, start) = if block.start == 0 {
        visit(0, 0, true);
        (1, 1)
    } else {
        (0, block.start)
    };
    let pairs = src[start..block.end].iter().zip(&src[start - 1..block.end - 1]);
    for (at, (x, last)) in (start..).zip(pairs) {
        let begins = !x.equals(*last);
        visit(found, at, begins);
        found += usize::from(begins);
    }
    found
}

impl<T: Item> Distinct for Runs<'_, T> {
    fn count(&self) -> usize {
        self.before[self.before.len() - 1]
    }

    fn write(
        &self,
        exec: &Exec,
        _: View,
        values: Target,
        inverse: Option<Unwritten<i64>>,
        counts: Option<Unwritten<i64>>,
    ) {
        let (src, len) = (self.src, self.src.len());
        let values = T::target(values).expect("elements of the type that was looked at").0;
        assert!(values.len() == self.count(), "as many values as there are runs");
        let counted = counts.is_some();
        let mut starts = vec![0_usize; if counted { self.count() } else { 0 }];
        let inverse = inverse.map(|Unwritten(inverse)| {
            assert!(inverse.len() == len, "a place for each element");
            Shared::new(inverse)
        });
        let (shared, all_starts) = (Shared::new(values), Shared::new(&mut starts));
        let (team, grain) = exec.team(len, 2 * size_of::<T>() + 8, 4);
        team.run(self.before.len() - 1, grain.div_ceil(BLOCK), &|range| {
            for index in range {
                let (block, runs) = (block(index, len), self.before[index]..self.before[index + 1]);
                // SAFETY: the runs that begin in a block, and its elements, are the thread's own.
                let (values, starts, places) = unsafe {
                    (
                        shared.piece(runs.clone()),
                        if counted {
                            all_starts.piece(runs.clone())
                        } else {
                            &mut [][..]
                        },
                        inverse.as_ref().map(|inverse| inverse.piece(block.clone())),
                    )
                };
                // What belongs to the run before is written over: that takes no branch.
                let found = each_run(src, block.clone(), |found, at, _| {
                    if let Some(value) = values.get_mut(found) {
                        value.write(src[at]);
                    }
                });
                // What has changed since it was counted may be too many runs, or too few.
                for value in values.iter_mut().skip(found) {
                    value.write(src[block.start]);
                }
                if counted {
                    each_run(src, block.clone(), |found, at, _| {
                        if let Some(start) = starts.get_mut(found) {
                            *start = at;
                        }
                    });
                }
                if let Some(places) = places {
                    each_run(src, block.clone(), |found, at, begins| {
                        let run = (runs.start + found + usize::from(begins)).saturating_sub(1);
                        places[at - block.start].write(run as i64);
                    });
                }
            }
        });
        if let Some(Unwritten(counts)) = counts {
            assert!(counts.len() == starts.len(), "as many counts as there are runs");
            let ends = starts.iter().skip(1).chain([&len]);
            for (count, (&start, &end)) in counts.iter_mut().zip(starts.iter().zip(ends)) {
                count.write(end.saturating_sub(start) as i64);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dtype::Typed,
        isa::Isa,
        parallel::{Serial, Team, test::Halves},
    };

    #[test]
    fn runs_begin_where_elements_differ() {
        for isa in Isa::available() {
            for team in [&Serial as &dyn Team, &Halves] {
                let exec = Exec::new(isa, team);
                for len in [1, 2, 3, 100, BLOCK, BLOCK + 1, 3 * BLOCK + 7] {
                    for run in [1, 3, 1000, len] {
                        let src: Vec<f32> = (0..len).map(|i| [0.0, -0.0, 1.0, f32::NAN][i / run % 4]).collect();
                        let runs = unique_consecutive(&exec, (&src[..]).into()).unwrap();
                        let (mut values, mut counts) = (vec![7.0_f32; runs.count()], vec![0_i64; runs.count()]);
                        let mut inverse = vec![-1_i64; len];
                        runs.write(
                            &exec,
                            (&src[..]).into(),
                            f32::written(&mut values),
                            Some((&mut inverse[..]).into()),
                            Some((&mut counts[..]).into()),
                        );
                        let mut starts: Vec<usize> = (0..len).filter(|&i| i == 0 || src[i] != src[i - 1]).collect();
                        let first: Vec<u32> = starts.iter().map(|&at| src[at].to_bits()).collect();
                        assert_eq!(values.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), first);
                        starts.push(len);
                        let lengths: Vec<i64> = starts.windows(2).map(|pair| (pair[1] - pair[0]) as i64).collect();
                        assert_eq!(counts, lengths);
                        for (i, &place) in inverse.iter().enumerate() {
                            assert_eq!(place as usize, starts.partition_point(|&start| start <= i) - 1);
                        }
                    }
                }
            }
        }
    }
}
