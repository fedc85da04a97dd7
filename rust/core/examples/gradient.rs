//! Gelu and its gradient, with each instruction set of this machine or the one that is named:
//! `cargo run --release -p rusttorch-core --example gradient -- avx2`.

use std::{process::exit, time::Instant};

use rusttorch_core::{
    isa::Isa,
    kernel::{Exec, Geometry},
    ops,
    parallel::Serial,
};

const LEN: usize = 1 << 20;

fn main() {
    let sets = match std::env::args().nth(1) {
        None => Isa::available(),
        Some(name) => Isa::by_name(&name).map_or_else(
            || {
                eprintln!("this machine does not have {name}");
                exit(2);
            },
            |isa| vec![isa],
        ),
    };
    let gelu = ops::find("gelu").expect("a kernel of the list");
    let geometry = Geometry::flat(LEN);
    let x: Vec<f64> = (0..LEN).map(|i| i as f64 / LEN as f64 * 8.0 - 4.0).collect();
    // Of the sum of all results.
    let grad = vec![1.0_f64; LEN];

    for isa in sets {
        let exec = Exec::new(isa, &Serial);
        let (mut y, mut slope) = (vec![0.0_f64; LEN], vec![0.0_f64; LEN]);
        let start = Instant::now();
        gelu.forward(&exec, (&x[..]).into(), (&mut y[..]).into(), geometry, &[]);
        let forward = start.elapsed();
        let start = Instant::now();
        let (of_result, saved) = ((&grad[..]).into(), (&x[..]).into());
        gelu.backward(&exec, of_result, saved, (&mut slope[..]).into(), geometry, &[]);
        let backward = start.elapsed();

        println!("{}: forward {forward:.2?}, backward {backward:.2?}", isa.name());
        for i in (1..LEN - 1).step_by(LEN / 5) {
            let difference = (y[i + 1] - y[i - 1]) / (x[i + 1] - x[i - 1]);
            println!(
                "  gelu({:7.4}) = {:8.5}, its slope {:8.5}, by differences {difference:8.5}",
                x[i], y[i], slope[i]
            );
        }
    }
}
