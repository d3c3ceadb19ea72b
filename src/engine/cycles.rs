//! Finds the edges that close a cycle, by a depth-first walk with its own stack.

use std::ops::ControlFlow;

/// Where a node stands in the walk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    OnPath,
    Done,
}

/// Calls `found` for each edge that leads back to a node on the path of a depth-first walk, which starts at `first`
/// and then at each node that was not met yet. `found` gets the nodes of the cycle, from the edge's target to its
/// source, and the edge's place among those of its source; it says whether to go on. Without these edges there is no cycle.
pub(super) fn for_each_back_edge(
    adjacency: &[Vec<usize>],
    first: Option<usize>,
    mut found: impl FnMut(&[usize], usize) -> ControlFlow<()>,
) {
    let mut marks = vec![Mark::New; adjacency.len()];
    for root in first.into_iter().chain(0..adjacency.len()) {
        if !advance(&mut marks, root, Mark::New, Mark::OnPath) {
            continue;
        }
        let mut path = vec![root];
        let mut positions = vec![0];
        while let (Some(&node), Some(position)) = (path.last(), positions.last_mut()) {
            let nth = *position;
            *position += 1;
            let Some(&target) = adjacency.get(node).and_then(|targets| targets.get(nth)) else {
                advance(&mut marks, node, Mark::OnPath, Mark::Done);
                path.pop();
                positions.pop();
                continue;
            };
            if advance(&mut marks, target, Mark::New, Mark::OnPath) {
                path.push(target);
                positions.push(0);
            } else if marks.get(target) == Some(&Mark::OnPath) {
                let start = path
                    .iter()
                    .position(|&on_path| on_path == target)
                    .unwrap_or_default();
                if found(path.get(start..).unwrap_or_default(), nth).is_break() {
                    return;
                }
            }
        }
    }
}

/// Moves a node's mark from one to the other; whether it stood there.
fn advance(marks: &mut [Mark], node: usize, from: Mark, to: Mark) -> bool {
    marks
        .get_mut(node)
        .filter(|mark| **mark == from)
        .map(|mark| *mark = to)
        .is_some()
}

/// A cycle for the eye: `a → b → a`; the middle of a long one is left out.
pub(super) fn shown(ids: &[&str]) -> String {
    const SHOWN_AT_EACH_END: usize = 8;
    let back_at_start = ids.first().copied();
    let parts: Vec<&str> = match (
        ids.get(..SHOWN_AT_EACH_END),
        ids.len().checked_sub(SHOWN_AT_EACH_END),
    ) {
        (Some(head), Some(rest)) if rest > SHOWN_AT_EACH_END => head
            .iter()
            .chain(&["…"])
            .chain(ids.get(rest..).unwrap_or_default())
            .copied()
            .collect(),
        (Some(_) | None, _) => ids.to_vec(),
    };
    parts
        .into_iter()
        .chain(back_at_start)
        .collect::<Vec<_>>()
        .join(" → ")
}
