//! The agent of an independent edge provider.
