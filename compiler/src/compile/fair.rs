//! Max-min fair shares of a bound.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashSet;

/// What a namespace wants: items with what each takes of the bound, in the order in which they are granted.
pub(super) type Demands<T> = BTreeMap<Arc<str>, Vec<(usize, T)>>;

/// Shares a bound between namespaces, and returns the items that find no room in their namespace's share.
///
/// Namespaces are served in the order of what they want, the least first, and each may take an equal part of what is left for
/// it and those after it. So a namespace that wants no more than an equal part of the whole gets all of it, whatever the
/// others want; what it leaves is shared by those that want more. An item that another namespace was granted takes
/// nothing a second time.
///
/// The result depends on the arguments alone, as long as the items of a namespace are in an order that does.
pub(super) fn refused<T: Copy + Eq + Hash>(
    bound: usize,
    demands: Demands<T>,
) -> Vec<(Arc<str>, T)> {
    let total = |items: &[(usize, T)]| {
        items.iter().fold(0_usize, |sum, (cost, _)| sum.saturating_add(*cost))
    };
    let mut order: Vec<_> =
        demands.into_iter().map(|(space, items)| (total(&items), space, items)).collect();
    order.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let (mut left, mut waiting) = (bound, order.len());
    let mut granted = HashSet::new();
    let mut refused = Vec::new();
    for (_, namespace, items) in order {
        let mut share = left / waiting;
        waiting -= 1;
        for (cost, item) in items {
            let cost = if granted.contains(&item) { 0 } else { cost };
            if cost <= share {
                share -= cost;
                left -= cost;
                granted.insert(item);
            } else {
                refused.push((Arc::clone(&namespace), item));
            }
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demands(list: &[(&str, &[(usize, u32)])]) -> Demands<u32> {
        list.iter().map(|(name, items)| (Arc::from(*name), items.to_vec())).collect()
    }

    fn names(refused: &[(Arc<str>, u32)]) -> Vec<(&str, u32)> {
        refused.iter().map(|(name, item)| (&**name, *item)).collect()
    }

    #[test]
    fn who_wants_little_gets_it_whatever_the_others_want() {
        let demands = demands(&[
            ("a-greedy", &[(90, 1), (10, 2), (1, 3)]),
            ("modest", &[(3, 4), (4, 5)]),
            ("small", &[(1, 6)]),
        ]);
        // Shares: small 10, modest 14, greedy what they leave: 22.
        assert_eq!(names(&refused(30, demands)), [("a-greedy", 1)]);
    }

    #[test]
    fn equal_demands_have_equal_shares() {
        let two = demands(&[("a", &[(1, 1), (1, 2), (1, 3)]), ("b", &[(1, 4), (1, 5), (1, 6)])]);
        assert_eq!(names(&refused(4, two.clone())), [("a", 3), ("b", 6)]);
        assert_eq!(names(&refused(6, two.clone())), []);
        assert_eq!(refused(0, two).len(), 6);
    }

    #[test]
    fn what_is_shared_is_paid_for_once() {
        let demands = demands(&[("a", &[(5, 1)]), ("b", &[(5, 1), (5, 2)])]);
        assert_eq!(names(&refused(10, demands)), []);
    }
}
