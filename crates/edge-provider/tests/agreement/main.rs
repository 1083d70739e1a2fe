//! Two strangers, a real chain, real HTTP over loopback: from hello to settled, and every way to be refused.
//!
//! Only the container runtime is replaced.

#![expect(clippy::unwrap_used, reason = "tests")]

mod attacks;
mod claims;
mod conditions;
mod lease;
mod requests;
mod schemathesis;
mod tokens;
mod world;
