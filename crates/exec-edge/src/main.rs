//! The exec-edge command.

fn main() {}
