//! DNS lookups for discovery.
