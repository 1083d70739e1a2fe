//! The versioned JSON of the IEP API and its signatures.
