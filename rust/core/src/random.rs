//! The random numbers of torch's default generator on the CPU: `MT19937`, M. Matsumoto and T. Nishimura, Mersenne
//! Twister, <https://doi.org/10.1145/272991.272995>.

pub(crate) mod counter;

/// Where random numbers come from.
#[derive(Debug)]
pub enum Source<'a> {
    /// torch's generator, in the order of memory.
    Torch(&'a mut Mt19937),
    /// A key: the number of an element depends on this and its index alone.
    Key(u64),
}

/// Which elements are kept, with a probability each.
pub(crate) trait Draw {
    /// Writes a negative number for each of the next elements that is kept, and another for one that is not, as many as
    /// it returns: at least one if there is any.
    fn draw(&mut self, kept: &mut [i32]) -> usize;
}

/// Words of the state.
pub const STATE: usize = 624;
/// How far apart the words are that a new one is made of.
const SHIFT: usize = 397;

/// The generator: its state, and how many of its words have been drawn.
///
/// ```
/// use rusttorch_core::random::Mt19937;
///
/// // The first two words for the seed 5489.
/// let mut generator = Mt19937::from_seed(5489);
/// assert_eq!(generator.draw_long(), 3_499_211_612 << 32 | 581_869_302);
/// ```
#[derive(Clone, Debug)]
pub struct Mt19937 {
    state: [u32; STATE],
    drawn: usize,
}

impl Mt19937 {
    /// A generator that has been running: `drawn` words of the state, at most [`STATE`], are used up.
    ///
    /// # Panics
    /// Where `drawn` is more than that.
    pub fn new(state: [u32; STATE], drawn: usize) -> Self {
        assert!(drawn <= STATE, "drawn: {drawn} words of {STATE}");
        Self { state, drawn }
    }

    /// The generator that the reference implementation's `init_genrand(seed)` makes.
    pub fn from_seed(seed: u32) -> Self {
        let mut state = [seed; STATE];
        for i in 1..STATE {
            let last = state[i - 1];
            state[i] = 1_812_433_253_u32
                .wrapping_mul(last ^ (last >> 30))
                .wrapping_add(i as u32);
        }
        Self::new(state, STATE)
    }

    /// The state, and how many of its words are used up.
    pub fn parts(&self) -> (&[u32; STATE], usize) {
        (&self.state, self.drawn)
    }

    /// Draws the next two words, upper half first.
    pub fn draw_long(&mut self) -> u64 {
        let (mut words, mut have) = ([0; 2], 0);
        while have < words.len() {
            have += self.draw(&mut words[have..]);
        }
        u64::from(words[0]) << 32 | u64::from(words[1])
    }

    /// Draws the next word.
    pub fn draw_word(&mut self) -> u32 {
        let mut words = [0];
        self.draw(&mut words);
        words[0]
    }

    /// Draws the next words, at most as many as there is space for; at least one if there is any.
    #[inline(always)]
    pub(crate) fn draw(&mut self, words: &mut [u32]) -> usize {
        if self.drawn == STATE && !words.is_empty() {
            self.renew();
        }
        let count = words.len().min(STATE - self.drawn);
        for (word, &x) in words[..count].iter_mut().zip(&self.state[self.drawn..]) {
            *word = temper(x);
        }
        self.drawn += count;
        count
    }

    /// The next state. The loops are cut where they begin to read what they have written.
    #[inline(always)]
    fn renew(&mut self) {
        const REST: usize = STATE - SHIFT;
        let state = &mut self.state;
        for i in 0..REST {
            state[i] = twist(state[i], state[i + 1], state[i + SHIFT]);
        }
        for i in REST..2 * REST {
            state[i] = twist(state[i], state[i + 1], state[i - REST]);
        }
        for i in 2 * REST..STATE - 1 {
            state[i] = twist(state[i], state[i + 1], state[i - REST]);
        }
        state[STATE - 1] = twist(state[STATE - 1], state[0], state[SHIFT - 1]);
        self.drawn = 0;
    }
}

#[inline(always)]
fn twist(upper: u32, lower: u32, far: u32) -> u32 {
    let mixed = (upper & 0x8000_0000) | (lower & 0x7fff_ffff);
    far ^ (mixed >> 1) ^ ((lower & 1).wrapping_neg() & 0x9908_b0df)
}

#[inline(always)]
fn temper(mut x: u32) -> u32 {
    x ^= x >> 11;
    x ^= (x << 7) & 0x9d2c_5680;
    x ^= (x << 15) & 0xefc6_0000;
    x ^ (x >> 18)
}

/// Which elements are kept, with a probability each, as of `torch.Tensor.bernoulli_`: a uniform number of 53 bits, the upper
/// of two words first, is less than the probability.
pub(crate) struct Bernoulli<'a> {
    generator: &'a mut Mt19937,
    /// The probability in units of `2^-53`.
    below: u64,
    /// Words drawn and not yet used, of which there is one at most, before those of a stretch.
    words: [u32; STATE + 1],
    left: usize,
}

/// Elements for which random numbers are drawn at a time: the words of one state, and one word that was left.
pub(crate) const STRETCH: usize = STATE.div_ceil(2);

impl<'a> Bernoulli<'a> {
    pub(crate) fn new(generator: &'a mut Mt19937, probability: f64) -> Self {
        Self {
            generator,
            below: (probability * 2.0_f64.powi(53)).ceil() as u64,
            words: [0; STATE + 1],
            left: 0,
        }
    }
}

impl Draw for Bernoulli<'_> {
    #[inline(always)]
    fn draw(&mut self, kept: &mut [i32]) -> usize {
        if kept.is_empty() {
            return 0;
        }
        let mut have = self.left;
        // Two words make a number, so that a single one is drawn for at most once.
        while have < 2 {
            let want = (2 * kept.len()).min(STATE + 1);
            have += self.generator.draw(&mut self.words[have..want]);
        }
        let count = have / 2;
        let (pairs, _) = self.words[..2 * count].as_chunks::<2>();
        for (kept, &[upper, lower]) in kept.iter_mut().zip(pairs) {
            let number = (u64::from(upper & 0x001f_ffff) << 32) | u64::from(lower);
            *kept = (number.wrapping_sub(self.below) >> 32) as i32;
        }
        self.left = have % 2;
        self.words[0] = self.words[have - 1];
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(generator: &mut Mt19937, count: usize) -> Vec<u32> {
        let (mut words, mut have) = (vec![0; count], 0);
        while have < count {
            have += generator.draw(&mut words[have..]);
        }
        words
    }

    #[test]
    fn the_words_are_those_of_the_standard() {
        let mut generator = Mt19937::from_seed(5489);
        let words = words(&mut generator, 10_000);
        assert_eq!(words[..3], [3_499_211_612, 581_869_302, 3_890_346_734]);
        // ISO C++, [rand.predef].
        assert_eq!(words[9_999], 4_123_659_995);
    }

    #[test]
    fn bernoulli_draws_two_words_an_element_whatever_the_stretches() {
        for before in [0, 1, 623] {
            let all = words(&mut Mt19937::from_seed(1), 4000);
            let mut generator = Mt19937::from_seed(1);
            words(&mut generator, before);
            let (mut kept, mut done) = ([0; 1500], 0);
            let mut bernoulli = Bernoulli::new(&mut generator, 0.3);
            while done < kept.len() {
                let end = kept.len().min(done + 7 + done % 400);
                done += bernoulli.draw(&mut kept[done..end]);
            }
            for (kept, pair) in kept.iter().zip(all[before..].chunks(2)) {
                let number = (u64::from(pair[0] & 0x001f_ffff) << 32) | u64::from(pair[1]);
                assert_eq!(*kept < 0, (number as f64) * 2.0_f64.powi(-53) < 0.3);
            }
            assert_eq!(words(&mut generator, 1)[0], all[before + 2 * kept.len()]);
        }
    }
}
