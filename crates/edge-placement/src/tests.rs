//! Algorithms, planner and checker against each other, against brute force and against the paper.

mod bad_input;
mod economy;
mod plan;
mod solve;
