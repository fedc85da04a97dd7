//! Means and variances of blocks, each about its own centre, so that nothing cancels, put together in double precision as
//! in T. F. Chan, G. H. Golub and R. J. `LeVeque`, Updating formulae and a pairwise algorithm for computing sample
//! variances, <http://i.stanford.edu/pub/cstr/reports/cs/tr/79/773/CS-TR-79-773.pdf>.

/// How many numbers there were, their mean, and the sum of the squares of their distances from it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moments {
    pub(super) count: f64,
    pub(super) mean: f64,
    pub(super) squares: f64,
}

impl Moments {
    /// Of some numbers; `first` and `second` are the sums of their distances from `centre`, which is finite if they are, and
    /// of these squared.
    #[inline(always)]
    pub(super) fn about(centre: f64, count: f64, [first, second]: [f64; 2]) -> Self {
        let mut moments = Self {
            count,
            mean: centre,
            squares: if centre.is_finite() { second } else { f64::NAN },
        };
        // Where squares overflow, so may the other sum.
        if second.is_finite() {
            let shift = first / count;
            moments.mean += shift;
            let squares = second - first * shift;
            moments.squares = if squares < 0.0 { 0.0 } else { squares };
        }
        moments
    }

    /// With further numbers.
    #[inline(always)]
    pub(super) fn and(self, other: Self) -> Self {
        if self.count == 0.0 {
            return other;
        }
        let count = self.count + other.count;
        let (apart, share) = (other.mean - self.mean, other.count / count);
        Self {
            count,
            mean: if apart.is_finite() {
                self.mean + apart * share
            } else {
                self.mean + other.mean
            },
            squares: self.squares + other.squares + apart * apart * (self.count * share),
        }
    }

    /// The variance of the population that these are a sample of.
    pub(super) fn unbiased(self) -> f64 {
        self.squares / (self.count - 1.0)
    }
}
