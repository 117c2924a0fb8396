//! A sender that tries all the time what must not change, while something else changes.

use palisade_lab::{Flood, FloodCount, Write};

use crate::cluster::{A, B, C, Cluster, connection, guarded_among};

/// The pods `d` and `e` of a cluster in which a policy is edited.
pub(crate) const D: &str = "10.0.0.4";
pub(crate) const E: &str = "10.0.0.5";

/// Sends a -> b, which the policy of `guarded` allows, and c -> b, which it denies.
pub(crate) struct Prober(Flood);

impl Prober {
    #[track_caller]
    pub(crate) fn start(cluster: &Cluster) -> Self {
        let connections = [connection(A, B, 80), connection(C, B, 80)];
        Self(Flood::start(&cluster.lab, &connections).expect("a flood"))
    }

    /// That no verdict was ever wrong, until after this call.
    #[track_caller]
    pub(crate) fn end(self) -> [FloodCount; 2] {
        self.0.await_round();
        let counts = self.0.stop().expect("counted");
        let [allowed, denied] = counts[..] else { panic!("{counts:?}") };
        assert!(allowed.sent > 0 && allowed.missing() == 0, "{counts:?}");
        assert!(denied.sent > 0 && denied.arrived == 0, "{counts:?}");
        [allowed, denied]
    }
}

/// As `guarded`, with `e`, which takes `d` or nobody: see `edit`. It takes nobody at first.
#[track_caller]
pub(crate) fn edited() -> Cluster {
    let cluster = guarded_among(&[("d", D), ("e", E)], &[]);
    let spec = "{podSelector: {matchLabels: {app: e}}, policyTypes: [Ingress]}";
    cluster.add_policy("edited", spec);
    cluster
}

/// Has `e` take `d`, or nobody.
pub(crate) fn edit(takes: bool) -> Write {
    let ingress =
        if takes { r#"[{"from":[{"podSelector":{"matchLabels":{"app":"d"}}}]}]"# } else { "null" };
    Write::patch(
        "/apis/networking.k8s.io/v1/namespaces/x/networkpolicies/edited",
        format!(r#"{{"spec":{{"ingress":{ingress}}}}}"#),
    )
}

/// Sets the label `app` of a pod in `x`.
pub(crate) fn relabel(pod: &str, app: &str) -> Write {
    Write::patch(
        format!("/api/v1/namespaces/x/pods/{pod}"),
        format!(r#"{{"metadata":{{"labels":{{"app":"{app}"}}}}}}"#),
    )
}

/// A source of chance, and its seed, which is printed where a test fails. `PALISADE_SEED` repeats a run.
pub(crate) fn chance() -> fastrand::Rng {
    let given = std::env::var("PALISADE_SEED").ok();
    let seed = given.map_or_else(|| fastrand::u64(..), |text| text.parse().expect("a seed"));
    eprintln!("PALISADE_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}
