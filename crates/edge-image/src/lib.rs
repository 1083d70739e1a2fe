//! OCI images: build a layout, serve it read-only, pull it by digest.
