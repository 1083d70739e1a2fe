//! The decisions of the whole system in virtual time.
//!
//! A simulation runs the production code of layer 1 and nothing that resembles it: what is simulated is the world around it, who asks,
//! when, and what the paths are. All randomness comes from a seed ([`Random`]), sums are integers, and no result depends on the number
//! of threads, so that equal seeds give equal bytes.

pub mod anonymise;
mod digest;
pub mod engine;
pub mod figures;
pub mod over_time;
pub mod parallel;
pub mod population;
pub mod random;
pub mod record;
pub mod simulate;
pub mod world;

pub use population::{Population, Skew};
pub use random::Random;
