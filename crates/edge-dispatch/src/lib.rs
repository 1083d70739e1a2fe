//! Which site a client is sent to, and for how long.
