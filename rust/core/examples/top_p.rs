//! Top-p sampling: of the most likely continuations that have a probability of `p` together, one is drawn. The model is the
//! simplest there is, how often a character follows two others in the crate's README:
//! `cargo run --release -p rusttorch-core --example top_p -- 0.8`.
//!
//! A. Holtzman et al., The curious case of neural text degeneration, <https://arxiv.org/abs/1904.09751>.

use std::{collections::BTreeSet, error::Error};

use rusttorch_core::{
    kernel::{Exec, Geometry},
    ops,
    random::Mt19937,
};

const TEXT: &str = include_str!("../README.md");
/// Texts that are written at once, and their length.
const ROWS: usize = 3;
const LENGTH: usize = 200;

/// Draws a place in each row of logits.
fn sample(
    exec: &Exec,
    logits: &[f32],
    columns: usize,
    p: f32,
    random: &mut Mt19937,
) -> Result<Vec<usize>, &'static str> {
    let rows = Geometry::rows(logits.len() / columns, columns);
    let softmax = ops::find("softmax").ok_or("no softmax")?;
    let sort = ops::find_along("sort").ok_or("no sort")?;
    let cumsum = ops::find_along("cumsum").ok_or("no cumsum")?;

    let probabilities = softmax.apply(exec, logits, rows, &[])?;
    // The likeliest first.
    let (sorted, places) = sort.apply(exec, &probabilities, rows, &[1.0])?;
    let (sums, _) = cumsum.apply(exec, &sorted, rows, &[])?;

    let mut draw = |sums: &[f32]| {
        // As many as are needed to reach `p`, and one at least.
        let kept = sums.partition_point(|&sum| sum < p).min(columns - 1);
        let mark = (random.draw_long() >> 40) as f32 / (1_u64 << 24) as f32 * sums[kept];
        sums[..kept].partition_point(|&sum| sum <= mark)
    };
    let drawn = sums.chunks_exact(columns).map(&mut draw);
    Ok(drawn
        .zip(places.chunks_exact(columns))
        .map(|(rank, places)| places[rank] as usize)
        .collect())
}

/// The characters of the text, and the logits of each one after any two, in the order of the characters.
struct Model {
    characters: Vec<char>,
    logits: Vec<f32>,
}

impl Model {
    fn new(text: &str) -> Self {
        let characters: Vec<char> = text.chars().collect::<BTreeSet<_>>().into_iter().collect();
        let count = characters.len();
        let index = |c| characters.binary_search(&c).expect("a character of the text");
        let text: Vec<usize> = text.chars().map(index).collect();
        // What never follows has next to no probability, and the same for all where nothing does.
        let mut counts = vec![1e-6_f32; count * count * count];
        for window in text.windows(3) {
            counts[(window[0] * count + window[1]) * count + window[2]] += 1.0;
        }
        let logits = counts.into_iter().map(f32::ln).collect();
        Self { characters, logits }
    }

    /// Continues each text by a character at a time.
    fn write(&self, exec: &Exec, start: [char; 2], p: f32, random: &mut Mt19937) -> Result<Vec<String>, &'static str> {
        let count = self.characters.len();
        let start = start.map(|c| self.characters.binary_search(&c).unwrap_or(0));
        let mut texts = vec![start.to_vec(); ROWS];
        while texts[0].len() < LENGTH {
            let last = |text: &Vec<usize>| text[text.len() - 2] * count + text[text.len() - 1];
            let logits: Vec<f32> = texts
                .iter()
                .flat_map(|text| &self.logits[last(text) * count..][..count])
                .copied()
                .collect();
            for (text, next) in texts.iter_mut().zip(sample(exec, &logits, count, p, random)?) {
                text.push(next);
            }
        }
        let spell = |text: Vec<usize>| text.into_iter().map(|at| self.characters[at]).collect();
        Ok(texts.into_iter().map(spell).collect())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let p = std::env::args().nth(1).map_or(Ok(0.9), |text| text.parse())?;
    let model = Model::new(TEXT);
    let texts = model.write(&Exec::default(), ['T', 'h'], p, &mut Mt19937::from_seed(0))?;
    for text in texts {
        println!("{}\n", text.replace('\n', " "));
    }
    Ok(())
}

#[test]
fn what_is_drawn_is_among_the_likeliest() {
    let (exec, mut random) = (Exec::default(), Mt19937::from_seed(1));
    // Probabilities of 0.1, 0.2, 0.3 and 0.4, in each of many rows.
    let logits: Vec<f32> = [1.0_f32, 2.0, 3.0, 4.0].map(f32::ln).repeat(1000);
    let mut draw = |p| sample(&exec, &logits, 4, p, &mut random).expect("kernels take these");
    assert!(draw(0.0).iter().all(|&place| place == 3));
    assert!(draw(0.35).iter().all(|&place| place == 3));
    let among = |drawn: Vec<usize>| [0, 1, 2, 3].map(|place| drawn.iter().filter(|&&at| at == place).count());
    let [a, b, c, d] = among(draw(0.6));
    assert!(a + b == 0 && (350..510).contains(&c) && (490..650).contains(&d));
    let [a, b, c, d] = among(draw(1.0));
    assert!((60..150).contains(&a) && (140..270).contains(&b) && (230..380).contains(&c) && (320..490).contains(&d));
}
