//! Replays the corpus of a fuzz target, as it is and mutated, in an ordinary test.
//!
//! A fuzzer finds more, but needs a nightly compiler and hours; this runs always and finds the same again.

use std::fs;
use std::path::Path;

/// Longer seeds have one bit of each byte turned over, not all eight.
const SHORT: usize = 256;

/// Runs `target` on each file of `fuzz/corpus/NAME`, on each cut short at every length, on each with every bit turned
/// over, on each with every field that may be a length set to extreme values, and on heads and tails of them put
/// together. Returns how often it ran.
///
/// # Panics
/// If there is no corpus, or if `target` panics: then the bytes are in the message.
pub(crate) fn replay(name: &str, target: fn(&[u8])) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let seeds: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(!seeds.is_empty(), "{} is empty", folder.display());
    let mut runs = 0;
    let mut run = |bytes: &[u8]| {
        runs += 1;
        let outcome = std::panic::catch_unwind(|| target(bytes));
        assert!(
            outcome.is_ok(),
            "{name} fails on {:?}",
            bytes.escape_ascii().to_string()
        );
    };
    run(&[]);
    for seed in &seeds {
        run(seed);
        for length in 0..seed.len() {
            run(&seed[..length]);
        }
        let mut bytes = seed.clone();
        for at in 0..seed.len() {
            let bits = if seed.len() <= SHORT {
                0..8
            } else {
                at % 8..at % 8 + 1
            };
            for bit in bits {
                bytes[at] ^= 1 << bit;
                run(&bytes);
                bytes[at] ^= 1 << bit;
            }
            for width in [1, 2, 4] {
                let Some(field) = bytes.get(at..at + width) else {
                    continue;
                };
                let old = field.to_vec();
                for value in [0x00, 0x7f, 0x80, 0xff] {
                    bytes[at..at + width].fill(value);
                    run(&bytes);
                }
                bytes[at..at + width].copy_from_slice(&old);
            }
        }
    }
    // Pseudo-random by Marsaglia's xorshift, always the same.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % (limit as u64 + 1)).unwrap()
    };
    for _ in 0..2000 {
        let (head, tail) = (
            &seeds[below(seeds.len() - 1)],
            &seeds[below(seeds.len() - 1)],
        );
        let spliced = [&head[..below(head.len())], &tail[below(tail.len())..]].concat();
        run(&spliced);
    }
    runs
}
