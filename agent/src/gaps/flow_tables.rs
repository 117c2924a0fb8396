//! Whether connections are offloaded to flow tables, whose packets pass no hook once a connection is established.

use palisade_dataplane::netlink::{self, FlowTable};
use palisade_dataplane::ruleset::RulesetError;

/// What is not enforced, where there are flow tables.
pub(super) fn gap() -> Option<String> {
    told(netlink::flow_tables())
}

fn told(found: Result<Vec<FlowTable>, RulesetError>) -> Option<String> {
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            return Some(format!("whether flow tables offload connections is not known: {error}"));
        }
    };
    let names: Vec<String> = found.iter().map(ToString::to_string).collect();
    (!names.is_empty()).then(|| {
        format!(
            "established connections in the flow table {} pass no rule: each is judged when it begins, and may go on for some \
             time after policies forbid it; turn off the fast path of whatever made the table (kindnet, Calico)",
            names.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flow_tables_are_named_and_their_absence_is_no_gap() {
        assert_eq!(told(Ok(Vec::new())), None);
        let table = FlowTable { family: "inet", table: "kindnet".into(), name: "fast".into() };
        let gap = told(Ok(vec![table])).expect("a gap");
        assert!(gap.contains("inet kindnet fast"), "{gap}");
        let error = RulesetError::NotPermitted { what: "reading nftables".into() };
        assert!(told(Err(error)).is_some_and(|gap| gap.contains("CAP_NET_ADMIN")));
    }
}
