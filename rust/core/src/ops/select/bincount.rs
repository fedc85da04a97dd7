//! How often each integer occurs.

use core::sync::atomic::{AtomicI64, Ordering::Relaxed};

use crate::{
    dtype::{DType, Unwritten, View},
    isa::{Program, Simd},
    kernel::Exec,
};

/// Whether there is a way for integers of this type.
pub fn takes(dtype: DType) -> bool {
    matches!(dtype, DType::I64 | DType::I32 | DType::I16 | DType::I8 | DType::U8)
}

/// Bins up to which integers are counted in four tables by turns: to count one again waits for its last count.
const FEW: usize = 1 << 12;

/// An integer that is counted.
pub(super) trait Integer: Copy + Ord + Default + Send + Sync + Into<i64> + 'static {}
impl<T: Copy + Ord + Default + Send + Sync + Into<i64> + 'static> Integer for T {}

/// Runs `$call` with the integers of `$src`.
macro_rules! by_type {
    ($src:ident => $call:expr) => {
        match $src {
            View::I64($src) => $call,
            View::I32($src) => $call,
            View::I16($src) => $call,
            View::I8($src) => $call,
            View::U8($src) => $call,
            _ => panic!("integers are counted"),
        }
    };
}

/// How many bins `torch.bincount` of some integers has, `least` of them at least: one more than the greatest is.
///
/// # Errors
/// Where one is negative, or there is none.
///
/// # Panics
/// Where they are no integers.
pub fn bins(exec: &Exec, src: View, least: usize) -> Result<usize, &'static str> {
    by_type!(src => bins_of(exec, src, least))
}

fn bins_of<T: Integer>(exec: &Exec, src: &[T], least: usize) -> Result<usize, &'static str> {
    let (low, high) = bounds(exec, src).ok_or("no integers")?;
    if low < 0 {
        return Err("negative integers");
    }
    Ok((high as usize).saturating_add(1).max(least))
}

/// The least and the greatest of some integers, if there are any.
pub(super) fn bounds<T: Integer>(exec: &Exec, src: &[T]) -> Option<(i64, i64)> {
    let first = (*src.first()?).into();
    let (low, high) = (AtomicI64::new(first), AtomicI64::new(first));
    let (team, grain) = exec.team(src.len(), size_of::<T>(), 2);
    team.run(src.len(), grain, &|range| {
        let (least, most) = exec.isa.run(Bounds(&src[range]));
        low.fetch_min(least.into(), Relaxed);
        high.fetch_max(most.into(), Relaxed);
    });
    Some((low.into_inner(), high.into_inner()))
}

/// The least and the greatest.
struct Bounds<'a, T>(&'a [T]);

impl<T: Integer> Program for Bounds<'_, T> {
    type Output = (T, T);

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> (T, T) {
        const LANES: usize = 16;
        let first = self.0.first().copied().unwrap_or_default();
        let (mut low, mut high) = ([first; LANES], [first; LANES]);
        let (chunks, rest) = self.0.as_chunks::<LANES>();
        for chunk in chunks {
            for ((low, high), &x) in low.iter_mut().zip(&mut high).zip(chunk) {
                *low = if x < *low { x } else { *low };
                *high = if x > *high { x } else { *high };
            }
        }
        let low = low.iter().chain(rest).min();
        let high = high.iter().chain(rest).max();
        (low.copied().unwrap_or(first), high.copied().unwrap_or(first))
    }
}

/// Writes how often each integer occurs to all of `dst`, of as many as [`bins`] says. What has changed since, and has no bin,
/// is not counted.
///
/// # Panics
/// Where they are no integers.
pub fn bincount(exec: &Exec, src: View, Unwritten(dst): Unwritten<i64>) {
    let mut counts = vec![0; dst.len()];
    by_type!(src => count(exec, src, 0, &mut counts));
    dst.write_copy_of_slice(&counts);
}

/// How often each integer from the `lowest` on occurs, of so many; others, which may have changed since, are not counted.
pub(super) fn count<T: Integer>(exec: &Exec, src: &[T], lowest: i64, dst: &mut [i64]) {
    let bins = dst.len();
    let (team, grain) = exec.team(src.len(), 2 * size_of::<T>(), 8);
    // A table for each thread pays where there are several integers to a bin.
    if team.threads() < 2 || src.len() < 8 * bins {
        return tally(src, lowest, dst);
    }
    let sums: Vec<AtomicI64> = (0..bins).map(|_| AtomicI64::new(0)).collect();
    team.run(src.len(), grain.max(4 * bins), &|range| {
        let mut table = vec![0; bins];
        tally(&src[range], lowest, &mut table);
        for (sum, count) in sums.iter().zip(table) {
            sum.fetch_add(count, Relaxed);
        }
    });
    for (dst, sum) in dst.iter_mut().zip(sums) {
        *dst = sum.into_inner();
    }
}

fn tally<T: Integer>(src: &[T], lowest: i64, counts: &mut [i64]) {
    // Lower ones wrap around to where no bin is.
    let place = |x: T| x.into().wrapping_sub(lowest) as usize;
    if counts.len() > FEW || src.len() < 4 * counts.len() {
        for &x in src {
            if let Some(count) = counts.get_mut(place(x)) {
                *count += 1;
            }
        }
        return;
    }
    let mut tables = vec![[0_i64; 4]; counts.len()];
    let (fours, rest) = src.as_chunks::<4>();
    for four in fours {
        for (turn, &x) in four.iter().enumerate() {
            if let Some(table) = tables.get_mut(place(x)) {
                table[turn] += 1;
            }
        }
    }
    for &x in rest {
        if let Some(table) = tables.get_mut(place(x)) {
            table[0] += 1;
        }
    }
    for (count, table) in counts.iter_mut().zip(tables) {
        *count = table.iter().sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        isa::Isa,
        parallel::{Serial, Team, test::Halves},
    };

    #[test]
    fn every_integer_is_counted_once() {
        for isa in Isa::available() {
            for team in [&Serial as &dyn Team, &Halves] {
                let exec = Exec::new(isa, team);
                for (len, range) in [(1, 1), (7, 100), (1000, 9), (70_000, 5000), (70_000, 3)] {
                    let src: Vec<i32> = (0..len).map(|i: i32| i.wrapping_mul(7919).rem_euclid(range)).collect();
                    let bins = bins(&exec, (&src[..]).into(), 0).unwrap();
                    assert_eq!(bins as i32, src.iter().max().unwrap() + 1);
                    let mut counts = vec![-1; bins];
                    bincount(&exec, (&src[..]).into(), (&mut counts[..]).into());
                    let mut want = vec![0; bins];
                    for &x in &src {
                        want[x as usize] += 1;
                    }
                    assert_eq!(counts, want);
                }
                assert_eq!(super::bins(&exec, (&[3_u8, 0][..]).into(), 9), Ok(9));
                assert!(super::bins(&exec, (&[3_i64, -1][..]).into(), 0).is_err());
                assert!(super::bins(&exec, (&[0_i64; 0][..]).into(), 0).is_err());
            }
        }
    }
}
