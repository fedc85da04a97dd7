//! Probabilities of rows of scores: `cargo run --release -p rusttorch-core --features rayon --example softmax`.

use rusttorch_core::{
    isa::Isa,
    kernel::{Exec, Geometry},
    ops,
    parallel::Team,
};

/// Without the feature, one thread does the work.
#[cfg(feature = "rayon")]
use rusttorch_core::parallel::Rayon as Threads;
#[cfg(not(feature = "rayon"))]
use rusttorch_core::parallel::Serial as Threads;

fn main() {
    let exec = Exec::new(Isa::detect(), &Threads);
    println!("{} thread(s), {}", Threads.threads(), exec.isa.name());

    let (rows, classes) = (1000, 512);
    let scores: Vec<f32> = (0..rows * classes).map(|i| (i as f32 * 0.37).sin() * 8.0).collect();
    let softmax = ops::find("softmax").expect("a kernel of the list");
    let probabilities = softmax
        .apply(&exec, &scores, Geometry::rows(rows, classes), &[])
        .expect("the kernel takes these");

    for (row, probabilities) in probabilities.chunks_exact(classes).enumerate().step_by(250) {
        let most = (0..classes).max_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
        let most = most.expect("a row has classes");
        let sum: f32 = probabilities.iter().sum();
        println!(
            "row {row:3}: class {most:3} has probability {:.4}; all add up to {sum:.6}",
            probabilities[most]
        );
    }
}
