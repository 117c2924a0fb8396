//! Texts that end where a value is missing.

use super::{assert_helpful, fields, findings, good, only_policy, read};
use crate::model::Peers;

const POLICY: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: p
  namespace: x
spec:
  podSelector:
    matchLabels: {app: web}
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - podSelector: {}
    ports:
    - port: 80
  egress:
  - to:
    - ipBlock:
        cidr: 10.0.0.0/8
        except:
        - 10.1.0.0/16
";

/// Up to and with the piece.
fn until(piece: &str) -> String {
    let end = POLICY.find(piece).unwrap() + piece.len();
    POLICY[..end].to_owned()
}

#[test]
fn a_text_that_ends_in_a_key_or_a_dash_may_be_cut_short() {
    for (piece, field, line) in [
        ("ingress:", "spec.ingress", 10),
        ("- from:", "spec.ingress[0].from", 11),
        ("ports:", "spec.ingress[0].ports", 13),
        ("- port:", "spec.ingress[0].ports[0].port", 14),
        ("egress:", "spec.egress", 15),
        ("- to:", "spec.egress[0].to", 16),
        ("except:", "spec.egress[0].to[0].ipBlock.except", 19),
        ("policyTypes:", "spec.policyTypes", 9),
    ] {
        for end in ["", "\n", "\n\n  # more\n", " # more", "\n---\n", "\n...\n", "\n---\n# end\n"] {
            let text = until(piece) + end;
            let (objects, parsed) = read(&text);
            let place = parsed.cut_short.clone().unwrap_or_else(|| panic!("{text}"));
            assert_eq!(place.line, Some(line), "{text}");
            assert!(parsed.readable, "{text}");
            only_policy(objects);
            let said =
                format!("The text ends in {field}, which has no value, and may be cut short");
            let last = parsed.diagnostics.last().unwrap();
            assert_eq!(last.message, said);
            assert_eq!(last.object.as_ref().unwrap().to_string(), "NetworkPolicy x/p");
            assert_eq!(last.place, place);
            assert_helpful(&parsed);
        }
    }
}

/// Each line of a policy that is written line by line: what would allow more than the whole is flagged, or is an error.
#[test]
fn no_beginning_of_a_policy_opens_unseen() {
    for end in 1..POLICY.len() {
        let Some(text) = POLICY.get(..end) else { continue };
        let (objects, parsed) = read(text);
        let allows = objects.iter().any(|object| match object {
            crate::parse::Object::Policy(policy) => policy
                .ingress
                .iter()
                .chain(&policy.egress)
                .any(|rule| rule.peers == Peers::Everyone),
            _ => false,
        });
        assert!(!allows || parsed.cut_short.is_some(), "{text}");
    }
}

#[test]
fn a_value_that_is_written_is_not_missing() {
    for end in [
        "  - from: []\n",
        "  - from: null\n",
        "  - from: ~\n",
        "  - from:\n    ports: [{port: 80}]\n",
        "  - {from: , ports: [{port: 80}]}\n",
        "  - from:\n  egress: []\n",
    ] {
        let text = until("ingress:\n") + end;
        let (objects, parsed) = read(&text);
        assert_eq!(findings(&parsed), "", "{text}");
        assert_eq!(parsed.cut_short, None, "{text}");
        assert_eq!(only_policy(objects).ingress[0].peers, Peers::Everyone);
    }
    // In another document than the last one it is what the API makes of it.
    let text = until("- from:") + "\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: x}\n";
    assert_eq!(good(&text).len(), 2);
}

#[test]
fn only_objects_that_are_read_are_flagged() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata:\n";
    assert_eq!(read(secret).1.cut_short, None);
    assert_eq!(read(&format!("{POLICY}---\n{secret}")).1.cut_short, None);
    for text in ["apiVersion: v1\nkind: List\nitems:\n", "", "a:\n", "- \n"] {
        assert_eq!(read(text).1.cut_short, None, "{text}");
    }
    let pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  namespace: x\n  labels:\n";
    assert_eq!(read(pod).1.cut_short, None);
    for piece in ["podSelector:", "matchLabels:", "spec:"] {
        assert_eq!(read(&until(piece)).1.cut_short, None, "{piece}");
    }
    let policy = until("- from:").replace('\n', "\n  ");
    let (_, parsed) = read(&format!("apiVersion: v1\nkind: List\nitems:\n- {policy}\n"));
    assert!(
        findings(&parsed).contains("NetworkPolicy x/p: The text ends in spec.ingress[0].from"),
        "{}",
        findings(&parsed)
    );
    assert_eq!(parsed.cut_short.unwrap().line, Some(14));
    // Where the object has errors it allows nothing, and they are said.
    let (_, parsed) = read(&(until("ports:\n") + "    - prt: 80\n      port:\n"));
    assert!(parsed.cut_short.is_some());
    assert_eq!(fields(&parsed), ["error spec.ingress[0].ports[0].prt"]);
}
