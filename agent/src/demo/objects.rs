//! The objects of the live demo, as files that the agent follows, and their edits.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use palisade_compiler::parse::{Diagnostic, Object, parse};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::DemoError;
use super::directory::write_file;

/// The longest policy, in bytes.
pub(super) const MAX_POLICY_BYTES: usize = 48 << 10;
/// Policies at a time.
pub(super) const MAX_POLICIES: usize = 200;
/// Labels of an object.
const MAX_LABELS: usize = 32;
/// The longest name of a policy that is a part of a file's name, in bytes.
const MAX_NAME_BYTES: usize = 200;

const POLICY_FILE: &str = "policy.";
const PODS_FILE: &str = "pods.json";
const NAMESPACES_FILE: &str = "namespaces.json";

pub(super) type Labels = BTreeMap<String, String>;

/// A pod of the live demo.
#[derive(Debug, Clone, Copy)]
pub(super) struct PodSpec {
    pub(super) namespace: &'static str,
    pub(super) name: &'static str,
    app: &'static str,
    /// The last part of its addresses.
    number: u8,
    /// Name and number, TCP.
    port: (&'static str, u16),
}

const fn pod(
    namespace: &'static str,
    name: &'static str,
    app: &'static str,
    number: u8,
    port: (&'static str, u16),
) -> PodSpec {
    PodSpec { namespace, name, app, number, port }
}

pub(super) const PODS: [PodSpec; 8] = [
    pod("shop", "frontend-1", "frontend", 10, ("http", 8080)),
    pod("shop", "frontend-2", "frontend", 11, ("http", 8080)),
    pod("shop", "api", "api", 20, ("http", 8080)),
    pod("shop", "db", "db", 30, ("postgres", 5432)),
    pod("monitoring", "prometheus", "prometheus", 40, ("http", 9090)),
    pod("monitoring", "grafana", "grafana", 41, ("http", 3000)),
    pod("payments", "gateway", "gateway", 50, ("https", 8443)),
    pod("payments", "ledger", "ledger", 60, ("grpc", 7000)),
];

/// Of the api, beside its own.
const METRICS: (&str, u16) = ("metrics", 9090);

/// The namespaces, each with a label.
pub(super) const NAMESPACES: [(&str, (&str, &str)); 3] = [
    ("shop", ("team", "shop")),
    ("monitoring", ("purpose", "monitoring")),
    ("payments", ("team", "payments")),
];

impl PodSpec {
    pub(super) fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub(super) fn addresses(&self) -> [String; 2] {
        [format!("10.87.0.{}", self.number), format!("fd87::{:x}", self.number)]
    }

    fn object(&self, labels: &Labels) -> Value {
        let ports = [Some(self.port), (self.app == "api").then_some(METRICS)];
        let ports = ports.into_iter().flatten();
        let ports: Vec<_> =
            ports.map(|(name, port)| json!({"name": name, "containerPort": port})).collect();
        let addresses: Vec<_> = self.addresses().into_iter().map(|ip| json!({"ip": ip})).collect();
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": self.namespace, "name": self.name, "labels": labels},
            "spec": {"containers": [{"name": self.app, "image": "registry.example/demo:1", "ports": ports}]},
            "status": {"phase": "Running", "podIPs": addresses},
        })
    }
}

fn namespace_object(name: &str, labels: &Labels) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

/// What is wrong with an edit, which has changed nothing.
#[derive(Debug, Serialize)]
pub(super) struct Refused {
    /// A sentence.
    reason: String,
    diagnostics: Vec<Diagnostic>,
}

impl Refused {
    fn because(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), diagnostics: Vec::new() }
    }
}

impl From<DemoError> for Refused {
    fn from(error: DemoError) -> Self {
        Self::because(error.to_string())
    }
}

/// An object whose labels can be edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Labelled {
    Pod,
    Namespace,
}

/// What the page shows for editing.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    /// The text of each policy by `namespace/name`.
    policies: BTreeMap<String, String>,
    /// The labels of each pod, by `namespace/name`.
    pods: BTreeMap<String, Labels>,
    namespaces: BTreeMap<String, Labels>,
}

/// The files of the objects.
#[derive(Debug)]
pub(super) struct Objects {
    root: PathBuf,
    manifests: PathBuf,
    pods: BTreeMap<String, Labels>,
    namespaces: BTreeMap<String, Labels>,
}

impl Objects {
    /// Writes pods and namespaces with the labels that they begin with, and these policies.
    pub(super) fn new(
        root: &Path,
        manifests: PathBuf,
        policies: &[&str],
    ) -> Result<Self, DemoError> {
        let mut objects = Self {
            root: root.to_owned(),
            manifests,
            pods: BTreeMap::new(),
            namespaces: BTreeMap::new(),
        };
        objects.set(policies, &[])?;
        Ok(objects)
    }

    /// Puts everything in the state that it has with these policies, and these labels of namespaces in the place of the first ones.
    pub(super) fn set(
        &mut self,
        policies: &[&str],
        labels: &[(&str, (&str, &str))],
    ) -> Result<(), DemoError> {
        let one = |(key, value): (&str, &str)| Labels::from([(key.into(), value.into())]);
        self.pods = PODS.iter().map(|pod| (pod.full_name(), one(("app", pod.app)))).collect();
        self.namespaces = NAMESPACES.into_iter().map(|(name, it)| (name.into(), one(it))).collect();
        for (name, label) in labels {
            self.namespaces.insert((*name).to_owned(), one(*label));
        }
        // First what is there, so that nothing is open for a moment that is closed before and after.
        let mut kept = Vec::new();
        for text in policies {
            let (_, file) = policy(text).map_err(|it| DemoError::Failed(it.reason))?;
            write_file(&self.root, &self.manifests, &file, text)?;
            kept.push(file);
        }
        self.write_labels()?;
        for file in self.policy_files()? {
            if !kept.contains(&file) {
                self.delete(&file)?;
            }
        }
        Ok(())
    }

    fn write_labels(&self) -> Result<(), DemoError> {
        let pods = PODS.iter().filter_map(|pod| Some(pod.object(self.pods.get(&pod.full_name())?)));
        let namespaces = self.namespaces.iter().map(|(name, it)| namespace_object(name, it));
        self.write(PODS_FILE, &list(pods.collect()))?;
        self.write(NAMESPACES_FILE, &list(namespaces.collect()))
    }

    fn write(&self, file: &str, text: &str) -> Result<(), DemoError> {
        write_file(&self.root, &self.manifests, file, text)
    }

    fn delete(&self, file: &str) -> Result<(), DemoError> {
        let path = self.manifests.join(file);
        fs::remove_file(&path)
            .map_err(|error| DemoError::io(format!("remove {}", path.display()), error))
    }

    fn policy_files(&self) -> Result<Vec<String>, DemoError> {
        let failed = |error| DemoError::io(format!("list {}", self.manifests.display()), error);
        let entries = fs::read_dir(&self.manifests).map_err(failed)?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter(|name| name.starts_with(POLICY_FILE)).collect())
    }

    /// Adds a policy, or puts it in the place of the one of its name.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn apply(&self, text: &str) -> Result<(), Refused> {
        let (_, file) = policy(text)?;
        let files = self.policy_files()?;
        if files.len() >= MAX_POLICIES && !files.contains(&file) {
            return Err(Refused::because(format!("there are {MAX_POLICIES} policies already")));
        }
        Ok(self.write(&file, text)?)
    }

    /// Removes a policy, by `namespace/name`.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(super) fn remove(&self, name: &str) -> Result<(), Refused> {
        let file = name.split_once('/').map(|(namespace, name)| file_name(namespace, name));
        match file.filter(|file| self.policy_files().is_ok_and(|files| files.contains(file))) {
            Some(file) => Ok(self.delete(&file)?),
            None => Err(Refused::because(format!("there is no policy {name}"))),
        }
    }

    /// Gives a pod or a namespace these labels.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub(super) fn label(
        &mut self,
        kind: Labelled,
        name: &str,
        labels: Labels,
    ) -> Result<(), Refused> {
        let objects = match kind {
            Labelled::Pod => &mut self.pods,
            Labelled::Namespace => &mut self.namespaces,
        };
        let Some(old) = objects.get_mut(name) else {
            return Err(Refused::because(format!("there is no {kind:?} {name}")));
        };
        if labels.len() > MAX_LABELS {
            return Err(Refused::because(format!("at most {MAX_LABELS} labels")));
        }
        let object = match kind {
            Labelled::Pod => {
                PODS.iter().find(|pod| pod.full_name() == name).map(|it| it.object(&labels))
            }
            Labelled::Namespace => Some(namespace_object(name, &labels)),
        };
        let text = object.unwrap_or_default().to_string();
        let parsed = parse("labels", text.as_bytes(), &mut |_| ());
        if parsed.has_errors() || parsed.objects != 1 {
            let diagnostics = parsed.diagnostics;
            return Err(Refused { diagnostics, ..Refused::because("these are no labels") });
        }
        *old = labels;
        Ok(self.write_labels()?)
    }

    pub(super) fn listed(&self) -> Result<Listed, DemoError> {
        let mut policies = BTreeMap::new();
        for file in self.policy_files()? {
            // Somebody may be writing it in an editor.
            let Ok(text) = fs::read_to_string(self.manifests.join(&file)) else { continue };
            if let Ok((name, _)) = policy(&text) {
                policies.insert(name, text);
            }
        }
        let (pods, namespaces) = (self.pods.clone(), self.namespaces.clone());
        Ok(Listed { policies, pods, namespaces })
    }
}

/// As the API server lists objects; JSON is YAML too.
fn list(items: Vec<Value>) -> String {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    serde_json::to_string_pretty(&list).unwrap_or_default()
}

fn file_name(namespace: &str, name: &str) -> String {
    // A namespace's name has no dot.
    format!("{POLICY_FILE}{namespace}.{name}.yaml")
}

/// The name and the file of the one policy that the text declares.
fn policy(text: &str) -> Result<(String, String), Refused> {
    if text.len() > MAX_POLICY_BYTES {
        return Err(Refused::because(format!("a policy has at most {MAX_POLICY_BYTES} bytes")));
    }
    let (mut keys, mut others) = (Vec::new(), 0);
    let parsed = parse("policy", text.as_bytes(), &mut |object| match object {
        Object::Policy(policy) => keys.push(policy.key),
        _ => others += 1,
    });
    if parsed.has_errors() || !parsed.readable {
        let diagnostics = parsed.diagnostics;
        return Err(Refused { diagnostics, ..Refused::because("the policy is not understood") });
    }
    match (keys.as_slice(), others) {
        ([key], 0) if key.name.len() <= MAX_NAME_BYTES => {
            Ok((key.to_string(), file_name(&key.namespace, &key.name)))
        }
        ([_], 0) => {
            Err(Refused::because(format!("a name has at most {MAX_NAME_BYTES} bytes here")))
        }
        _ => Err(Refused::because("write one NetworkPolicy, and nothing else")),
    }
}

#[cfg(test)]
mod tests {
    use palisade_compiler::snapshot::Snapshot;

    use super::super::directory::Directory;
    use super::*;

    const DB: &str = include_str!("live/db.yaml");

    #[track_caller]
    fn reason(refused: Result<(), Refused>) -> String {
        let refused = refused.unwrap_err();
        format!("{} {:?}", refused.reason, refused.diagnostics)
    }

    #[test]
    fn an_edit_is_a_file_and_a_bad_one_changes_nothing() {
        let directory = Directory::named(&format!("objects-{}", std::process::id())).unwrap();
        let mut objects = Objects::new(directory.root(), directory.path(), &[DB]).unwrap();
        let files = || {
            let mut names: Vec<_> =
                fs::read_dir(directory.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
            names.sort();
            names
                .iter()
                .map(|it| fs::read_to_string(directory.path().join(it)).unwrap())
                .collect::<Vec<_>>()
        };
        let before = files();
        assert!(reason(objects.apply("")).contains("one NetworkPolicy"));
        assert!(objects.apply(&format!("{DB}---\n{DB}")).is_err());
        assert!(reason(objects.apply(&DB.replace("port: 5432", "port: 70000"))).contains("70000"));
        assert!(
            reason(objects.apply("{apiVersion: v1, kind: Pod, metadata: {name: x}}"))
                .contains("one NetworkPolicy")
        );
        assert!(reason(objects.apply(&DB.replace("name: db", "name: ../../x"))).contains("name"));
        assert!(reason(objects.remove("shop/../pods")).contains("no policy"));
        assert!(reason(objects.remove("db")).contains("no policy"));
        let labels = |key: &str| Labels::from([(key.to_owned(), "x".to_owned())]);
        assert!(
            reason(objects.label(Labelled::Pod, "shop/db", labels("not a key")))
                .contains("not a key")
        );
        assert!(
            reason(objects.label(Labelled::Pod, "shop/nobody", labels("a"))).contains("no Pod")
        );
        assert_eq!(files(), before);

        objects.apply(&DB.replace("name: db", "name: other")).unwrap();
        objects.remove("shop/db").unwrap();
        objects.label(Labelled::Namespace, "shop", labels("stage")).unwrap();
        let listed = objects.listed().unwrap();
        assert_eq!(listed.policies.keys().collect::<Vec<_>>(), ["shop/other"]);
        assert_eq!(listed.namespaces["shop"], labels("stage"));
        let mut snapshot = Snapshot::new();
        for text in files() {
            let parsed = parse("x", text.as_bytes(), &mut |it| snapshot.apply(it.into()));
            assert!(parsed.diagnostics.is_empty(), "{:?}", parsed.diagnostics);
        }
        assert_eq!((snapshot.pod_count(), snapshot.policy_count()), (PODS.len(), 1));
        assert!(snapshot.namespace("shop").unwrap().labels.get("stage").is_some());
        objects.set(&[DB], &[]).unwrap();
        assert_eq!(files(), before);
    }
}
