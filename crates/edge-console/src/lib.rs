//! What commands have in common: how they end, what they print and draw, and how they read files of paths.

pub mod exit;
pub mod output;
pub mod path_files;
pub mod svg;
