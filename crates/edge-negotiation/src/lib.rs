//! Both sides of an agreement as state machines, and the escrow's reference model.
