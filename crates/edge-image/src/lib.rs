//! OCI images: build a layout, serve it read-only, pull it by digest.
//!
//! * [`build`] writes an OCI image layout whose one layer is this program and the libraries that it is loaded with.
//! * [`registry`] serves a layout over the read-only part of the OCI distribution protocol.
//! * [`store`] pulls images by digest, checks everything, and keeps unpacked root file systems that containers share.
//!
//! Formats: OCI image specification 1.1 and OCI distribution specification 1.1. A registry is not trusted: every octet
//! is checked against a digest, and sizes, counts and times are bounded.

pub mod build;
pub mod digest;
pub mod manifest;
pub mod pull;
pub mod registry;
pub mod store;
pub mod unpack;

pub use build::{BuildError, BuiltImage, ImageOptions, build_from_self};
pub use pull::{PullError, PullLimits};
pub use registry::{ReadAccess, Registry};
pub use store::{ImageStore, PulledImage};
