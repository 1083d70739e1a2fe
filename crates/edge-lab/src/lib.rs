//! An Internet in a box: packet network, DNS, clients and the ground truth.

pub mod bench;
pub mod capture;
pub mod clients;
pub mod dns_server;
pub mod forwarder;
pub mod generate;
pub mod lab;
pub mod network;
pub mod party;
mod random;
pub mod sample;
pub mod sandbox;
pub mod scenario;
pub mod truth;
pub mod zones;
