//! Paths to many targets: a paced, parallel Paris traceroute.
