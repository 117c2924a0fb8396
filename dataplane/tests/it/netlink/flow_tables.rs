//! Flow tables of others are found, of whatever family.

use palisade_dataplane::netlink::flow_tables;

use crate::netns::{in_netns, pipe};

fn found() -> Vec<String> {
    flow_tables().unwrap().iter().map(ToString::to_string).collect()
}

#[test]
fn flow_tables_are_listed_where_the_kernel_has_them() {
    in_netns(|| {
        assert_eq!(found(), [""; 0]);
        let text = |family: &str| {
            format!(
                "table {family} filter {{ flowtable fast {{ hook ingress priority 0; devices = {{ lo }}; }}\n}}"
            )
        };
        let made: Vec<String> = ["inet", "ip", "ip6"]
            .into_iter()
            .filter(|family| pipe("nft", &["-f", "-"], &text(family)).is_ok())
            .map(|family| format!("{family} filter fast"))
            .collect();
        // Without CONFIG_NF_FLOW_TABLE there can be none.
        assert_eq!(found(), made);
        println!("flow tables: {made:?}");
    });
}
