//! `torch.bernoulli` with one probability for all elements.

use super::{Chance, Fate};
use crate::{dtype::Element, float::Float, ops::elementwise::number};

/// 1 with the probability `p` (0.5), or 0, whatever the input. The gradient is zero.
///
/// As in torch, it is 1 where a uniform number of 53 bits is less than `p`.
#[derive(Clone, Copy, Debug)]
pub struct Bernoulli;

impl Chance for Bernoulli {
    const NAME: &'static str = "bernoulli";

    fn accepts(numbers: &[f64]) -> Result<(), &'static str> {
        if (0.0..=1.0).contains(&Self::kept(numbers)) {
            Ok(())
        } else {
            Err("p is not from 0 to 1")
        }
    }

    fn kept(numbers: &[f64]) -> f64 {
        number(numbers, 0, 0.5)
    }

    fn fate<T: Element>(_: &[f64]) -> Fate<T::Lane> {
        Fate::Chosen([T::Lane::of(0.0), T::Lane::of(1.0)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        isa::Isa,
        kernel::{Exec, RandomKernel},
        ops::random::Random,
        parallel::Serial,
        random::{Mt19937, Source},
    };

    const KERNEL: Random<Bernoulli> = Random::NEW;

    #[test]
    fn the_ends_are_certain() {
        let exec = Exec::new(Isa::detect(), &Serial);
        for p in [0.0, 1.0] {
            assert!(KERNEL.accepts(&[p]).is_ok());
            let mut buf = vec![f32::NAN; 1000];
            KERNEL.inplace(
                &exec,
                Source::Torch(&mut Mt19937::from_seed(1)),
                (&mut buf[..]).into(),
                1,
                &[p],
            );
            assert!(buf.iter().all(|&x| f64::from(x) == p));
            buf.fill(f32::NAN);
            KERNEL.inplace(&exec, Source::Key(1), (&mut buf[..]).into(), 1, &[p]);
            assert!(buf.iter().all(|&x| f64::from(x) == p));
        }
        for p in [-1e-9, 1.0 + 1e-9, f64::NAN] {
            assert!(KERNEL.accepts(&[p]).is_err());
        }
    }

    #[test]
    fn the_gradient_is_zero() {
        let exec = Exec::new(Isa::detect(), &Serial);
        let mut gradient = [1.0_f64; 3];
        let grad = [f64::NAN, f64::INFINITY, -1.0];
        KERNEL.backward(
            &exec,
            (&grad[..]).into(),
            &[0, 1, 1],
            (&mut gradient[..]).into(),
            1,
            &[0.5],
        );
        assert_eq!(gradient.map(f64::to_bits), [0; 3]);
    }
}
