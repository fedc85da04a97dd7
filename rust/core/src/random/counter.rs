//! Random numbers that depend on a key and their index alone, whoever asks for them and in whatever order.
//!
//! Philox4x32-10 makes of the key and the index of a block the states of several xoshiro128++ generators, whose numbers in
//! turn are the block's: J. K. Salmon et al., Parallel random numbers: as easy as 1, 2, 3,
//! <https://doi.org/10.1145/2063384.2063405>; D. Blackman and S. Vigna, Scrambled linear pseudorandom number generators,
//! <https://doi.org/10.1145/3460772>.

use super::Draw;

/// Generators of a block: their words are as many lanes of a vector.
const LANES: usize = 16;
/// Numbers that they make at a time: each half of a word is one.
const EACH: usize = 2 * LANES;
/// Numbers of a block.
pub(crate) const BLOCK: usize = 16_384;

/// The ten rounds of Philox4x32, of several counters side by side.
#[inline(always)]
fn philox<const N: usize>([mut a, mut b, mut c, mut d]: [[u32; N]; 4], [mut low, mut high]: [u32; 2]) -> [[u32; N]; 4] {
    for _ in 0..10 {
        for i in 0..N {
            let (of_a, of_c) = (u64::from(a[i]) * 0xd251_1f53, u64::from(c[i]) * 0xcd9e_8d57);
            (a[i], b[i], c[i], d[i]) = (
                (of_c >> 32) as u32 ^ b[i] ^ low,
                of_c as u32,
                (of_a >> 32) as u32 ^ d[i] ^ high,
                of_a as u32,
            );
        }
        low = low.wrapping_add(0x9e37_79b9);
        high = high.wrapping_add(0xbb67_ae85);
    }
    [a, b, c, d]
}

/// xoshiro128++ generators side by side.
struct Lanes([[u32; LANES]; 4]);

impl Lanes {
    /// Those of a block.
    #[inline(always)]
    fn new(key: [u32; 2], block: u64) -> Self {
        let [low, high] = [block as u32, (block >> 32) as u32].map(|word| [word; LANES]);
        Self(philox(
            [low, high, core::array::from_fn(|lane| lane as u32), [0; LANES]],
            key,
        ))
    }

    /// The next word of each.
    #[inline(always)]
    fn next(&mut self) -> [u32; LANES] {
        let [a, b, c, d] = &mut self.0;
        let mut words = [0; LANES];
        for i in 0..LANES {
            words[i] = a[i].wrapping_add(d[i]).rotate_left(7).wrapping_add(a[i]);
            let shifted = b[i] << 9;
            c[i] ^= a[i];
            d[i] ^= b[i];
            b[i] ^= c[i];
            a[i] ^= d[i];
            c[i] ^= shifted;
            d[i] = d[i].rotate_left(11);
        }
        words
    }

    /// Negative for each of the next numbers that is less than that, else not.
    #[inline(always)]
    fn kept(&mut self, below: u32) -> [i32; EACH] {
        let words = self.next();
        let mut kept = [0; EACH];
        for i in 0..LANES {
            kept[i] = (words[i] & 0xffff).wrapping_sub(below) as i32;
            kept[LANES + i] = (words[i] >> 16).wrapping_sub(below) as i32;
        }
        kept
    }
}

/// Which elements are kept, with a probability each.
pub(crate) struct Counted {
    key: [u32; 2],
    /// The probability in units of `2^-16`, and of `2^-32` what is left.
    below: u32,
    rest: u32,
    /// The block, and its elements that are still to come, with their generators and the probability in units of `2^-16`.
    block: u64,
    left: usize,
    lanes: Lanes,
    block_below: u32,
}

impl Counted {
    /// From the element at `start` on, which a block begins with.
    #[inline(always)]
    pub(crate) fn new(key: u64, probability: f64, start: usize) -> Self {
        let below = (probability * 2.0_f64.powi(32)).round() as u64;
        Self {
            key: [key as u32, (key >> 32) as u32],
            below: (below >> 16) as u32,
            rest: (below & 0xffff) as u32,
            block: (start / BLOCK) as u64,
            left: 0,
            lanes: Lanes([[0; LANES]; 4]),
            block_below: 0,
        }
    }

    #[inline(always)]
    fn begin(&mut self) {
        self.lanes = Lanes::new(self.key, self.block);
        // Numbers of 16 bits are fewer than the probabilities: a block has the one below or the one above.
        let [[number], ..] = philox([[self.block as u32], [(self.block >> 32) as u32], [0], [1]], self.key);
        self.block_below = self.below + u32::from(number >> 16 < self.rest);
        self.block += 1;
        self.left = BLOCK;
    }
}

impl Draw for Counted {
    /// A whole number of [`EACH`], but for the last ones.
    #[inline(always)]
    fn draw(&mut self, kept: &mut [i32]) -> usize {
        if self.left == 0 {
            self.begin();
        }
        let len = kept.len().min(self.left);
        self.left -= len;
        let (whole, rest) = kept[..len].as_chunks_mut::<EACH>();
        for kept in whole {
            *kept = self.lanes.kept(self.block_below);
        }
        if !rest.is_empty() {
            rest.copy_from_slice(&self.lanes.kept(self.block_below)[..rest.len()]);
        }
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_papers() {
        // The known answers of Random123.
        assert_eq!(
            philox([[0]; 4], [0; 2]),
            [[0x6627_e8d5], [0xe169_c58d], [0xbc57_ac4c], [0x9b00_dbd8]]
        );
        assert_eq!(
            philox([[u32::MAX]; 4], [u32::MAX; 2]),
            [[0x408f_276d], [0x41c8_3b0e], [0xa20b_c7c6], [0x6d54_51fd]]
        );
        // By hand, of the state 1, 2, 3, 4.
        let mut lanes = Lanes([1, 2, 3, 4].map(|word| [word; LANES]));
        assert_eq!(lanes.next(), [641; LANES]);
        assert_eq!(lanes.0.map(|word| word[3]), [7, 0, 1026, 6 << 11]);
    }

    /// The numbers of a key, of 16 bits each.
    fn numbers(key: u64, blocks: u64) -> Vec<u32> {
        let key = [key as u32, (key >> 32) as u32];
        let block = |block| {
            let mut lanes = Lanes::new(key, block);
            (0..BLOCK / LANES / 2).flat_map(move |_| lanes.next())
        };
        (0..blocks)
            .flat_map(block)
            .flat_map(|word| [word & 0xffff, word >> 16])
            .collect()
    }

    /// How far counts are from what is expected, in units of the deviation that chi-squared has.
    fn chi_squared(counts: &[usize], expected: f64) -> f64 {
        let sum: f64 = counts
            .iter()
            .map(|&count| (count as f64 - expected).powi(2) / expected)
            .sum();
        let freedom = (counts.len() - 1) as f64;
        (sum - freedom) / (2.0 * freedom).sqrt()
    }

    #[test]
    fn bytes_and_pairs_are_uniform() {
        for key in [0, 1, u64::MAX, 0x1234_5678_9abc_def0] {
            let numbers = numbers(key, 32);
            // Bytes, pairs of neighbours, and pairs at the distances of a step, of two, and of a block.
            let (mut low, mut high) = ([0; 256], [0; 256]);
            for &number in &numbers {
                low[number as usize & 0xff] += 1;
                high[number as usize >> 8] += 1;
            }
            let expected = numbers.len() as f64 / 256.0;
            assert!(chi_squared(&low, expected).abs() < 4.0 && chi_squared(&high, expected).abs() < 4.0);
            for distance in [1, 2, EACH, 2 * EACH, BLOCK] {
                let mut pairs = [0; 256];
                for (a, b) in numbers.iter().zip(&numbers[distance..]) {
                    pairs[(a >> 12 << 4 | b >> 12) as usize] += 1;
                }
                let expected = (numbers.len() - distance) as f64 / 256.0;
                assert!(chi_squared(&pairs, expected).abs() < 4.0, "{distance}");
            }
        }
    }

    /// Whether each of the elements is kept.
    fn kept(key: u64, probability: f64, len: usize) -> Vec<bool> {
        let mut draws = Counted::new(key, probability, 0);
        let (mut kept, mut done) = (vec![0; len], 0);
        while done < len {
            let end = len.min(done + 512);
            done += draws.draw(&mut kept[done..end]);
        }
        kept.into_iter().map(|kept| kept < 0).collect()
    }

    #[test]
    fn frequencies_runs_and_correlations_are_those_of_chance() {
        const LEN: usize = 1 << 20;
        for (key, p) in [
            (1, 0.5),
            (2, 0.1),
            (3, 1.0 / 3.0),
            (4, 0.999),
            (5, 1e-5),
            (6, 0.3 + 2e-6),
        ] {
            let kept = kept(key, p, LEN);
            let within = |count: usize, p: f64, trials: usize| {
                let trials = trials as f64;
                (count as f64 - p * trials).abs() <= 4.0 * (trials * p * (1.0 - p)).sqrt() + 1.0
            };
            let count = kept.iter().filter(|&&kept| kept).count();
            assert!(within(count, p, LEN), "{p}: {count}");
            for distance in [1, 2, 3, LANES, EACH, 512, BLOCK] {
                let both = kept.iter().zip(&kept[distance..]).filter(|&(&a, &b)| a && b).count();
                assert!(within(both, p * p, LEN - distance), "{p}, {distance}: {both}");
            }
            // Runs of kept elements end where one is kept and the next is not.
            let ends = kept.windows(2).filter(|pair| pair[0] && !pair[1]).count();
            assert!(within(ends, p * (1.0 - p), LEN - 1), "{p}: {ends}");
        }
    }

    #[test]
    fn keys_differ_and_ends_are_certain() {
        let first = kept(1, 0.5, 10_000);
        for key in [0, 2, 1 << 32, 1 | 1 << 32] {
            let same = kept(key, 0.5, 10_000)
                .iter()
                .zip(&first)
                .filter(|(a, b)| a == b)
                .count();
            assert!(same.abs_diff(5000) < 200, "{key}: {same}");
        }
        assert!(kept(1, 1.0, 10_000).into_iter().all(|kept| kept));
        assert!(!kept(1, 0.0, 10_000).into_iter().any(|kept| kept));
    }
}
