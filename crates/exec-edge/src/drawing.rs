//! Pictures: SVG without any script or outside reference.

pub(crate) mod tree;
