//! What an operator sees: dry runs, the status with and without an agent, and what `nft` makes of tables that are left behind.

use super::command::{Netns, Scratch, finish, guard, palisade, policy};

#[test]
fn a_dry_run_names_pods_and_policies_and_works_while_an_agent_owns_the_tables() {
    let scratch = Scratch::guarded();
    let netns = Netns::new();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    let changed = Scratch::guarded();
    changed.write("guard.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n");
    let dry = netns.palisade(&["apply", "-f", changed.path(), "--dry-run"]).exits(0);
    assert!(dry.out.contains("pod x/b is not isolated for ingress any more"), "{dry:?}");
    let owned = super::command::knows_owners();
    assert_eq!(dry.out.contains("palisade apply would be refused now"), owned, "{dry:?}");
    if owned {
        let refused = netns.palisade(&["apply", "-f", changed.path()]).exits(3);
        assert!(refused.err.contains("owned by"), "{refused:?}");
    }
    let netns = Netns::new();
    let dry = netns.palisade(&["apply", "-f", scratch.path(), "--dry-run"]).exits(0);
    let isolated = "pod x/b becomes isolated for ingress by NetworkPolicy x/guard";
    assert!(dry.out.contains(isolated), "{dry:?}");
}

#[test]
fn the_status_says_what_is_enforced_also_where_no_agent_runs() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    let socket = scratch.0.join("none.sock");
    let status = || netns.palisade(&["status", "--socket", socket.to_str().unwrap()]).exits(5);
    assert!(status().out.contains("the kernel holds no tables of Palisade"), "{:?}", status());
    netns.palisade(&["apply", "-f", scratch.path()]).exits(0);
    let told = status();
    assert!(told.out.contains("stays enforced"), "{told:?}");
    assert!(told.out.contains("isolated    1 address for ingress, 0 for egress"), "{told:?}");
    told.complains("no agent answers");
}

#[test]
fn the_status_speaks_of_pods_and_policies_first_and_of_tables_on_request() {
    let scratch = Scratch::guarded();
    let netns = Netns::new();
    let agent = netns.agent(&scratch.0);
    agent.until_enforcing();
    scratch.write(
        "guard.yaml",
        &policy("guard", "{podSelector: {matchLabels: {app: nobody}}, policyTypes: [Ingress]}"),
    );
    agent.until("the change", |status| status.isolated.pods == 0);
    scratch.write("guard.yaml", &guard("[]"));
    agent.until("the change back", |status| status.isolated.pods == 1);
    let socket = agent.socket.to_str().unwrap();
    let status = palisade(&["status", "--socket", socket]).exits(0);
    let words = &status.out;
    assert!(
        words.contains("isolated    1 of 2 pods (1 for ingress, 0 for egress), by 1 policy"),
        "{status:?}"
    );
    assert!(words.contains("last change NetworkPolicy x/guard"), "{status:?}");
    assert!(words.contains("denied      0 packets"), "{status:?}");
    assert!(!words.contains("classes"), "{status:?}");
    let verbose = palisade(&["status", "-v", "--socket", socket]).exits(0);
    assert!(verbose.out.contains("classes") && verbose.out.contains("revision"), "{verbose:?}");
}

/// nft 1.0.6 prints garbage for the flags of a table whose owner is gone, and its JSON then ends early.
#[test]
fn the_tables_that_apply_leaves_are_listed_as_json_and_replaced_by_nft() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    netns.palisade(&["apply", "-f", scratch.path()]).exits(0);
    let listed = finish(netns.command("nft", &["-j", "list", "ruleset"]), "").exits(0);
    let json: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
    let objects = json["nftables"].as_array().unwrap();
    let tables: Vec<_> = objects.iter().filter_map(|object| object.get("table")).collect();
    assert!(tables.len() >= 2, "{listed:?}");
    assert!(tables.iter().all(|table| table.get("flags").is_none()), "{tables:?}");
    assert!(objects.iter().any(|object| object.get("rule").is_some()), "{listed:?}");
    let rendered = palisade(&["render", "-f", scratch.path()]).exits(0).out;
    finish(netns.command("nft", &["-f", "-"]), &rendered).exits(0);
}

#[test]
fn verify_says_what_its_exit_status_says() {
    let netns = Netns::new();
    let scratch = Scratch::guarded();
    scratch.write("wrong.yaml", &policy("wrong", "{podSelektor: {}}"));
    netns.palisade(&["apply", "-f", scratch.path()]).exits(1);
    let verified = netns.palisade(&["verify", "-f", scratch.path()]).exits(1);
    assert!(verified.out.contains("the manifests have errors"), "{verified:?}");
}
