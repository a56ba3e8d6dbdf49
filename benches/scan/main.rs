//! The scanner beside others, on a trade message: CPU time per message, and the ratios; then what each dialect takes of its
//! recording ([`dialects`], [`natures`]). `cargo bench --bench scan`
//!
//! The texts differ in their numbers, so that the branch predictor cannot learn a single one by heart.

mod dialects;
mod natures;

use std::hint::black_box;
use std::time::Duration;

use sluice::scanner::{Fields, Pointer, PointerSet, Utf8};

const POINTERS: [&str; 4] = ["/stream", "/data/t", "/data/s", "/data/E"];
const TEXTS: usize = 1024;
const ROUNDS: usize = 9;
const PASSES: usize = 100;

fn main() {
    let texts = trades();
    let bytes = texts.iter().map(String::len).sum::<usize>() / texts.len();
    println!(
        "{TEXTS} different trade messages of {bytes} bytes on average, {} pointers, best of {ROUNDS} rounds",
        POINTERS.len()
    );

    let pointers: Vec<_> = POINTERS.iter().map(|text| Pointer::parse(text).expect("a constant")).collect();
    let set = PointerSet::new(&pointers);
    let mut fields = Fields::default();
    let mut scan = |text: &str, utf8| {
        set.scan(text.as_bytes(), utf8, &mut fields).expect("valid");
        black_box(&fields);
    };
    let checked = measure(&texts, |text| scan(text, Utf8::Checked));
    let unchecked = measure(&texts, |text| scan(text, Utf8::Unchecked));
    let nothing = PointerSet::default();
    let mut none = Fields::default();
    let validated = measure(&texts, |text| {
        nothing.scan(text.as_bytes(), Utf8::Checked, &mut none).expect("valid");
        black_box(&none);
    });

    let mut tree = sonic_rs::PointerTree::new();
    for pointer in &pointers {
        let path: Vec<_> = pointer.tokens().map(str::to_owned).collect();
        tree.add_path(path.iter().map(String::as_str));
    }
    let sonic = measure(&texts, |text| {
        black_box(sonic_rs::get_many(text, &tree).expect("valid"));
    });
    let serde = measure(&texts, |text| {
        let value: serde_json::Value = serde_json::from_str(text).expect("valid");
        for pointer in POINTERS {
            black_box(value.pointer(pointer));
        }
    });

    println!("{:<44}{:>8}  {:>8}", "", "ns", "ratio");
    for (name, figure) in [
        ("scan, known to be UTF-8", checked),
        ("scan, UTF-8 checked, too", unchecked),
        ("scan without pointers (validation only)", validated),
        ("sonic-rs get_many (validates only in part)", sonic),
        ("serde_json Value and pointer", serde),
    ] {
        println!("{name:<44}{figure:>8.1}  {:>8.2}", figure / checked);
    }
    let base = dialects::compare();
    natures::compare(base);
}

/// CPU nanoseconds per text, of the best round.
fn measure(texts: &[String], mut read: impl FnMut(&str)) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..=ROUNDS {
        let start = cpu_time();
        for _ in 0..PASSES {
            for text in texts {
                read(black_box(text));
            }
        }
        let texts_read = u32::try_from(texts.len() * PASSES).expect("a small constant");
        best = best.min(cpu_time().saturating_sub(start).as_secs_f64() * 1e9 / f64::from(texts_read));
    }
    best
}

/// What this thread has used so far, user and system.
pub(crate) fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("below a second"))
}

/// Trade messages as Binance's combined streams carry them, with invented numbers.
fn trades() -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(7);
    let symbols = [("BTCUSDT", 61_837), ("ETHUSDT", 2_405), ("BNBBTC", 1), ("SOLUSDT", 154), ("1000SATSUSDT", 1)];
    (0..TEXTS as u64)
        .map(|number| {
            let (symbol, whole) = symbols[random.usize(..symbols.len())];
            let time = 1_723_161_255_342 + number * 3;
            let trade = 3_735_683_259 + number;
            let price = format!("{}.{:08}", random.u32(whole / 2..whole * 2), random.u32(..10_000) * 10_000);
            let lots = random.u32(1..1_000_000);
            let quantity = format!("{}.{:08}", lots / 2_000, lots % 2_000 * 10_000);
            let maker = random.bool();
            format!(
                r#"{{"stream":"{}@trade","data":{{"e":"trade","E":{},"s":"{symbol}","t":{trade},"p":"{price}","q":"{quantity}","T":{time},"m":{maker},"M":true}}}}"#,
                symbol.to_lowercase(),
                time + 1,
            )
        })
        .collect()
}
