//! An Internet in a box: packet network, DNS, clients and the ground truth.

pub mod clients;
pub mod network;
pub mod scenario;
