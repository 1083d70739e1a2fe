//! What a site would save beside those already chosen; one way to know it for each kind of problem.

mod listed;
mod nearest;
mod on_path;

use crate::network::Network;
use crate::problem::{Problem, Service};
use crate::reach::Reach;

/// Sites chosen so far, and what others would save beside them, in microseconds × thousandths of a request per second.
///
/// Without capacities a gain only shrinks as sites are added.
pub(crate) trait Gains {
    /// What the site would save.
    fn gain(&mut self, site: usize) -> u128;

    /// Chooses the site.
    fn add(&mut self, site: usize);

    /// What each site would save alone, by site.
    fn alone(&mut self, sites: usize) -> Vec<u128> {
        (0..sites).map(|site| self.gain(site)).collect()
    }
}

/// Nothing chosen yet.
pub(crate) fn gains<'p>(problem: &'p Problem, reach: Option<&'p Reach>) -> Box<dyn Gains + 'p> {
    match (problem.network(), problem.service(), reach) {
        (_, _, Some(reach)) => Box::new(listed::Listed::new(problem, reach)),
        (Network::Tree(tree), Service::AnyNearest, None) => {
            Box::new(nearest::NearestOnTree::new(problem, tree))
        }
        (Network::Graph(graph), Service::AnyNearest, None) => {
            Box::new(nearest::NearestOnGraph::new(problem, graph))
        }
        (_, Service::OnPath, None) => Box::new(on_path::OnPath::new(problem)),
    }
}
