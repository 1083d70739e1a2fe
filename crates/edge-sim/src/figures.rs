//! The simulations behind the figures of the paper's evaluation (section 3): what they show is computed here, drawing is for others.

pub mod equipped;
pub mod estimate;
pub mod over_share;
pub mod places;
pub mod shaped;

pub use equipped::{Equipped, equipped};
pub use estimate::Estimate;
pub use over_share::{OverShare, Rounds, Scheme, SchemeCurve, SimulationError, over_share};
pub use places::{Place, Places, PlacesError};
pub use shaped::{INNER, LEAVES, crossings, shaped};
