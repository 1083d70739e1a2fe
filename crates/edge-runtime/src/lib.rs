//! Workloads in containers, started by a helper process of the same binary.
