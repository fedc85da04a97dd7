//! A network of two layers learns handwritten digits, its gradients and steps called by hand, and then reads those that
//! it has not seen: `cargo run --release -p rusttorch-core --example mlp`.

use std::{error::Error, time::Instant};

use rusttorch_core::{
    kernel::{Elements, Exec, Geometry, Operand, Parameter},
    ops,
    random::Mt19937,
};

/// 1,797 records of 8 x 8 pixels from 0 to 16 and the digit; the source and its licence are in NOTICE.
const DIGITS: &[u8] = include_bytes!("digits.bin");
const PIXELS: usize = 64;
const HIDDEN: usize = 64;
const CLASSES: usize = 10;
/// Records to learn from; the others are the test.
const TRAINING: usize = 1437;
const BATCH: usize = 48;
const EPOCHS: usize = 20;

/// The index of rows to ignore, the mean over rows, and no smoothing.
const LOSS: [f64; 3] = [-100.0, 1.0, 0.0];
/// The betas, the learning rate, weight decay, epsilon, whether to maximise, and whether decay is decoupled.
const ADAM: [f64; 7] = [0.9, 0.999, 3e-3, 0.01, 1e-8, 0.0, 1.0];

/// A parameter, with what Adam keeps of it.
struct Weight {
    sizes: Vec<i64>,
    value: Vec<f32>,
    averages: [Vec<f32>; 2],
}

impl Weight {
    /// Numbers between `-bound` and `bound`.
    fn new(sizes: &[i64], bound: f64, random: &mut Mt19937) -> Self {
        let len = sizes.iter().product::<i64>() as usize;
        let mut number = || (random.draw_long() as f64 / u64::MAX as f64 * 2.0 - 1.0) * bound;
        Self {
            sizes: sizes.to_vec(),
            value: (0..len).map(|_| number() as f32).collect(),
            averages: [vec![0.0; len], vec![0.0; len]],
        }
    }

    fn operand(&self) -> Operand<'_> {
        floats(&self.sizes, &self.value)
    }
}

fn floats<'a>(sizes: &'a [i64], elements: &'a [f32]) -> Operand<'a> {
    Operand {
        sizes,
        elements: Elements::Floats(elements.into()),
    }
}

/// Images as rows of pixels from 0 to 1, and their digits.
fn load(records: &[u8]) -> (Vec<f32>, Vec<i64>) {
    let records = records.chunks_exact(PIXELS + 1);
    let pixels = records.clone().flat_map(|record| &record[..PIXELS]);
    (
        pixels.map(|&pixel| f32::from(pixel) / 16.0).collect(),
        records.map(|record| i64::from(record[PIXELS])).collect(),
    )
}

struct Network {
    /// The weight and bias of each layer.
    weights: [Weight; 4],
    steps: f64,
}

impl Network {
    fn new(random: &mut Mt19937) -> Self {
        let (pixels, hidden, classes) = (PIXELS as i64, HIDDEN as i64, CLASSES as i64);
        let mut weight = |sizes: &[i64], inputs: i64| Weight::new(sizes, 1.0 / (inputs as f64).sqrt(), random);
        Self {
            weights: [
                weight(&[hidden, pixels], pixels),
                weight(&[hidden], pixels),
                weight(&[classes, hidden], hidden),
                weight(&[classes], hidden),
            ],
            steps: 0.0,
        }
    }

    /// Scores of the classes for each image.
    fn scores(&self, exec: &Exec, images: &[f32]) -> Result<Vec<f32>, &'static str> {
        let linear = ops::find_nary("linear").ok_or("no linear")?;
        let gelu = ops::find("gelu").ok_or("no gelu")?;
        let [first, first_bias, second, second_bias] = self.weights.each_ref().map(Weight::operand);
        let rows = (images.len() / PIXELS) as i64;
        let sizes = [rows, PIXELS as i64];
        let hidden = linear.apply::<f32>(exec, &[floats(&sizes, images), first, first_bias].map(Some), &[])?;
        let active = gelu.apply(exec, &hidden.result, Geometry::flat(hidden.result.len()), &[])?;
        let sizes = [rows, HIDDEN as i64];
        let scores = linear.apply(exec, &[floats(&sizes, &active), second, second_bias].map(Some), &[])?;
        Ok(scores.result)
    }

    /// One step of Adam; returns the loss before it.
    fn train(&mut self, exec: &Exec, images: &[f32], digits: &[i64]) -> Result<f32, &'static str> {
        let linear = ops::find_nary("linear").ok_or("no linear")?;
        let gelu = ops::find("gelu").ok_or("no gelu")?;
        let cross_entropy = ops::find_nary("cross_entropy").ok_or("no cross_entropy")?;
        let adam = ops::find_step("adam").ok_or("no adam")?;
        let rows = digits.len() as i64;
        let [first, first_bias, second, second_bias] = self.weights.each_ref().map(Weight::operand);

        // Forward, keeping what the gradients need.
        let sizes = [rows, PIXELS as i64];
        let into_first = [floats(&sizes, images), first, first_bias].map(Some);
        let hidden = linear.apply::<f32>(exec, &into_first, &[])?;
        let flat = Geometry::flat(hidden.result.len());
        let active = gelu.apply(exec, &hidden.result, flat, &[])?;
        let into_second = [floats(hidden.layout.sizes(), &active), second, second_bias].map(Some);
        let scores = linear.apply::<f32>(exec, &into_second, &[])?;
        let classes = Operand {
            sizes: &[rows],
            elements: Elements::Indices(digits),
        };
        let into_loss = [floats(scores.layout.sizes(), &scores.result), classes].map(Some);
        let loss = cross_entropy.apply::<f32>(exec, &into_loss, &LOSS)?;

        // Backward, from the loss to each weight.
        let of_scores = cross_entropy.gradients(exec, &[1.0], &into_loss, &loss.saved, &[true], &LOSS)?;
        let [of_active, of_second, of_second_bias] = linear
            .gradients(exec, &of_scores[0], &into_second, &scores.saved, &[true; 3], &[])?
            .try_into()
            .map_err(|_| "three operands")?;
        // gelu saves its input.
        let of_hidden = gelu.gradient(exec, &of_active, &hidden.result, flat, &[])?;
        let wanted = [false, true, true];
        let [_, of_first, of_first_bias] = linear
            .gradients(exec, &of_hidden, &into_first, &hidden.saved, &wanted, &[])?
            .try_into()
            .map_err(|_| "three operands")?;

        self.steps += 1.0;
        let gradients = [of_first, of_first_bias, of_second, of_second_bias];
        let parameters = self.weights.iter_mut().zip(&gradients).map(|(weight, grad)| Parameter {
            value: (&mut weight.value[..]).into(),
            grad: grad[..].into(),
            state: weight
                .averages
                .iter_mut()
                .map(|average| (&mut average[..]).into())
                .collect(),
            step: self.steps,
        });
        adam.step(exec, parameters.collect(), &ADAM);
        Ok(loss.result[0])
    }
}

/// Trains, and returns how many of the images that it has not seen the network reads right, and of how many.
fn run() -> Result<(usize, usize), &'static str> {
    let exec = Exec::default();
    let mut random = Mt19937::from_seed(0);
    let mut network = Network::new(&mut random);
    let (images, digits) = load(&DIGITS[..TRAINING * (PIXELS + 1)]);
    for epoch in 1..=EPOCHS {
        let (start, mut sum) = (Instant::now(), 0.0);
        for (images, digits) in images.chunks(BATCH * PIXELS).zip(digits.chunks(BATCH)) {
            sum += network.train(&exec, images, digits)? * digits.len() as f32;
        }
        let loss = sum / digits.len() as f32;
        println!("epoch {epoch:2}: mean loss {loss:.4}, {:.1?}", start.elapsed());
    }

    let (images, digits) = load(&DIGITS[TRAINING * (PIXELS + 1)..]);
    let scores = network.scores(&exec, &images)?;
    let highest = |scores: &[f32]| (0..CLASSES).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let answers = scores.chunks_exact(CLASSES).map(highest);
    let right = answers
        .zip(&digits)
        .filter(|&(answer, &digit)| answer == Some(digit as usize))
        .count();
    Ok((right, digits.len()))
}

fn main() -> Result<(), Box<dyn Error>> {
    let (right, of) = run()?;
    println!("{right} of {of} unseen images read right");
    Ok(())
}

#[test]
fn most_unseen_digits_are_read() {
    let (right, of) = run().expect("kernels take these");
    assert!(right * 8 > of * 7, "{right} of {of}");
}
