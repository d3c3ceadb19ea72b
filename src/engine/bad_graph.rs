//! Why nodes and edges are not a graph.

use thiserror::Error;

use crate::ids::NodeId;

/// Why nodes and edges are not a graph.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BadGraph {
    /// An edge to nowhere.
    #[error("edge {edge} from node \"{from}\" points to node \"{to}\", which does not exist")]
    UnknownTarget {
        /// Its place in the list, from 1.
        edge: usize,
        /// Where it starts.
        from: NodeId,
        /// The missing node.
        to: NodeId,
    },
    /// An edge from nowhere.
    #[error("edge {edge} to node \"{to}\" starts at node \"{from}\", which does not exist")]
    UnknownSource {
        /// Its place in the list, from 1.
        edge: usize,
        /// The missing node.
        from: NodeId,
        /// Where it leads.
        to: NodeId,
    },
    /// Two nodes with one id.
    #[error(
        "nodes {first} and {second} both have the id \"{id}\"; each node needs an id of its own"
    )]
    DuplicateNode {
        /// The id.
        id: NodeId,
        /// The place of the first in the list, from 1.
        first: usize,
        /// The place of the other.
        second: usize,
    },
    /// More than can be read in reasonable time.
    #[error(
        "{walks} loops and tries among {size} nodes and edges are too many for one workflow; move some of them into \
         sub-workflows"
    )]
    TooManyContainers {
        /// Loop and try nodes.
        walks: usize,
        /// Nodes and edges.
        size: usize,
    },
    /// Nobody can tell what it holds.
    #[error(
        "from the try node \"{id}\" too many ways lead through other try nodes to tell which catch and finally \
         belong to it; label its edges body, catch, finally and done"
    )]
    TangledTry {
        /// The node.
        id: NodeId,
    },
    /// A path that comes back to its start, with nothing on it that could end it.
    #[error("cycle without a loop node: {path}")]
    Cycle {
        /// The ids on it, the first one repeated at the end.
        path: String,
    },
}
