//! From path observations to the aggregate tree and its latencies.
