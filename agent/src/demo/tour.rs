//! The tour: scenes, each with the state of the objects that it shows.

use serde::Serialize;

/// A state of the objects, and what there is to see.
#[derive(Debug)]
pub(super) struct Scene {
    title: &'static str,
    text: &'static str,
    /// Where to look on the map.
    look: &'static str,
    pub(super) policies: &'static [&'static str],
    /// Labels of namespaces in the place of the first ones.
    pub(super) labels: &'static [(&'static str, (&'static str, &'static str))],
}

pub(super) const FRONTEND: &str = include_str!("live/frontend.yaml");
pub(super) const API: &str = include_str!("live/api.yaml");
pub(super) const DB: &str = include_str!("live/db.yaml");
pub(super) const GATEWAY: &str = include_str!("live/gateway.yaml");
pub(super) const LEDGER: &str = include_str!("live/ledger.yaml");
const DB_SLIP: &str = include_str!("live/db-slip.yaml");
const LEDGER_CLOSED: &str = include_str!("live/ledger-closed.yaml");
const PARTNERS: &str = include_str!("live/partners.yaml");

pub(super) const SCENES: [Scene; 9] = [
    Scene {
        title: "Four traps",
        text: "Every line is a connection that was made a moment ago by a real client to a real server: green if it was \
               let through, red if a policy denied it. Nothing protects shop/db yet: whoever may connect reaches it. The next \
               steps protect it, and fall into four traps on the way.",
        look: "shop/db: the lines from prometheus and grafana are green.",
        policies: &[FRONTEND, API, GATEWAY],
        labels: &[],
    },
    Scene {
        title: "Trap 1: a policy that selects nothing",
        text: "A policy for the database is applied. Its podSelector asks for app=databse, a slip of the keyboard: it is a \
               valid policy that selects no pod, and no tool of the cluster says a word.",
        look: "shop/db: the lines from prometheus and grafana stay green. The tab Findings names the policy, and the label that was meant.",
        policies: &[FRONTEND, API, GATEWAY, DB_SLIP],
        labels: &[],
    },
    Scene {
        title: "Trap 1, mended",
        text: "The label is set right, and nothing else. From now on the database is isolated, and only the api is allowed.",
        look: "shop/db: the lines from prometheus and grafana turn red; the one from the api stays green.",
        policies: &[FRONTEND, API, GATEWAY, DB],
        labels: &[],
    },
    Scene {
        title: "Trap 2: ingress is closed, egress is open",
        text: "The ledger gets a policy with an ingress rule, and looks safe: nobody but the gateway reaches it. But the \
               policy isolates it in one direction only. Whoever takes over the ledger may send data anywhere.",
        look: "payments/ledger: the line from grafana turns red; the one that leaves the cluster stays green.",
        policies: &[FRONTEND, API, GATEWAY, DB, LEDGER],
        labels: &[],
    },
    Scene {
        title: "Trap 2, mended",
        text: "policyTypes names Egress as well, and there is no egress rule: the ledger connects to nobody.",
        look: "payments/ledger: the line that leaves the cluster turns red.",
        policies: &[FRONTEND, API, GATEWAY, DB, LEDGER_CLOSED],
        labels: &[],
    },
    Scene {
        title: "Trap 3: a label that drifts",
        text: "Somebody tidies up the labels of the namespace monitoring: purpose=monitoring becomes purpose=observability. \
               No policy was touched, but the policy api asks for the old label, and matches nothing any more.",
        look: "prometheus to shop/api, port 9090: it turns red. The tab Findings says what lost its match, and when.",
        policies: &[FRONTEND, API, GATEWAY, DB, LEDGER_CLOSED],
        labels: &[("monitoring", ("purpose", "observability"))],
    },
    Scene {
        title: "Trap 4: an exception that another policy undoes",
        text: "The label is back. The policy frontend lets customers in and excepts the guests' network. Now a second policy \
               lets partners in, from a block that holds the guests' network too. Policies only add: an exception takes \
               addresses from its own block, and from no other.",
        look: "the guest, 10.87.0.200, to the frontend: it turns green, though the exception still stands there.",
        policies: &[FRONTEND, API, GATEWAY, DB, LEDGER_CLOSED, PARTNERS],
        labels: &[],
    },
    Scene {
        title: "Trap 4, mended",
        text: "The second policy is gone, and the exception means again what it says.",
        look: "the guest to the frontend: it turns red.",
        policies: &[FRONTEND, API, GATEWAY, DB, LEDGER_CLOSED],
        labels: &[],
    },
    Scene {
        title: "It is yours now",
        text: "Open a policy and edit it, remove one, or change a label of a pod or a namespace: the agent enforces it at \
               once. \"What would change?\" tells beforehand which of the connections seen so far would get another verdict.",
        look: "the tab Policies.",
        policies: &[FRONTEND, API, GATEWAY, DB, LEDGER],
        labels: &[],
    },
];

/// A scene as the page shows it.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    pub(super) step: usize,
    steps: usize,
    title: &'static str,
    text: &'static str,
    look: &'static str,
}

/// The scene of a step; of a later one than the last, the last.
pub(super) fn scene(step: usize) -> (&'static Scene, Shown) {
    let step = step.min(SCENES.len() - 1);
    let [first, ..] = &SCENES;
    let scene = SCENES.get(step).unwrap_or(first);
    let Scene { title, text, look, .. } = *scene;
    (scene, Shown { step, steps: SCENES.len(), title, text, look })
}

impl Shown {
    pub(super) fn heading(&self) -> String {
        format!("{} of {}. {}", self.step + 1, self.steps, self.title)
    }

    pub(super) fn paragraphs(&self) -> [String; 2] {
        [self.text.to_owned(), format!("Look at {}", self.look)]
    }

    pub(super) fn is_last(&self) -> bool {
        self.step + 1 == self.steps
    }
}
