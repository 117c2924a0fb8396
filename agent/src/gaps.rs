//! Packets that pass none of our rules, by paths that other components made.

mod flow_tables;
mod ipvs;

pub(crate) use ipvs::gap as ipvs;

/// What is not enforced for such a path, in one sentence each, whatever the tables hold.
pub(crate) fn of_other_paths() -> impl Iterator<Item = String> {
    [ipvs::gap(), flow_tables::gap()].into_iter().flatten()
}
