//! An Internet in a box: packet network, DNS, clients and the ground truth.
