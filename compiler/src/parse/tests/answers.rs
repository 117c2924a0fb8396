//! What declares nothing that is known, so that a caller keeps what it knew.

use super::{assert_helpful, findings, good, names, read, read_bytes};

/// Nothing of these is read, and the absence of an object in them means nothing.
#[test]
fn an_answer_declares_nothing_that_is_known() {
    for (text, said) in [
        (
            r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Unauthorized","reason":"Unauthorized","code":401}"#,
            "in.yaml:1:2: error: A Status declares nothing that is known: it is a server's answer, not an object (Unauthorized).",
        ),
        (
            "kind: Status\napiVersion: v1\nstatus: Success\n",
            "A Status declares nothing that is known: it is a server's answer, not an object.",
        ),
        (
            r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"7"},"columnDefinitions":[],"rows":[{"cells":["a"],
                "object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a"}}}]}"#,
            "A Table declares nothing that is known",
        ),
        (
            "apiVersion: meta.k8s.io/v1\nkind: PartialObjectMetadata\nmetadata: {name: a, namespace: x}\n",
            "A PartialObjectMetadata declares nothing that is known",
        ),
        (
            r#"{"kind":"WatchEvent","apiVersion":"v1","type":"ADDED","object":{"kind":"Pod","metadata":{"name":"a"}}}"#,
            "A WatchEvent declares nothing that is known",
        ),
        (
            r#"{"type":"DELETED","object":{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}}"#,
            "An event of a watch declares nothing that is known",
        ),
        ("apiVersion: v1\nkind: APIResourceList\nresources: []\n", "An APIResourceList"),
        ("just text\n", "The document is a string and declares nothing that is known"),
        ("<html><body>404</body></html>\n", "The document is a string"),
        ("7\n", "The document is a number"),
        ("1.5\n", "The document is a number"),
        ("true\n", "The document is a truth value"),
        ("null\n", "The document is null"),
        ("~\n", "The document is null"),
        ("--- null\n", "The document is null"),
        ("# nothing\n---\nnull\n", "in.yaml:3:1: error: The document is null"),
        ("[]\n", "The document is an empty list"),
        ("- # nothing\n", "An item of the list is empty"),
        ("[1, 2]\n", "An item of the list is a number"),
        ("\"text\"\n", "The document is a string"),
        (r#"{"message":"Not Found"}"#, "The document has no kind"),
    ] {
        for text in [text.to_owned(), format!("{text}\n---\n# end\n")] {
            let (objects, parsed) = read(&text);
            assert!(objects.is_empty() && !parsed.readable && parsed.has_errors(), "{text}");
            assert!(findings(&parsed).contains(said), "{text}: {}", findings(&parsed));
            assert_helpful(&parsed);
        }
    }
}

#[test]
fn many_answers_are_one_finding_of_each_kind() {
    let item =
        r#"{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a"}}"#;
    for list in [
        format!(
            r#"{{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","items":[{item},{item}]}}"#
        ),
        format!(
            r#"{{"items":[{item},{item}],"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1"}}"#
        ),
    ] {
        let (objects, parsed) = read(&list);
        assert!(objects.is_empty() && !parsed.readable);
        assert_eq!(parsed.diagnostics.len(), 1, "{}", findings(&parsed));
        assert!(
            findings(&parsed).contains("2 objects of kind PartialObjectMetadata declare nothing")
        );
    }
    let empty = r#"{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","items":[]}"#;
    assert!(!read(empty).1.readable);
    let bare = r#"{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","items":[{"metadata":{"name":"a"}}]}"#;
    assert!(!read(bare).1.readable);
}

/// The objects beside it are read all the same: what a caller does with them is its own.
#[test]
fn an_answer_among_objects_leaves_the_set_unknown() {
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: x}\n";
    let (objects, parsed) = read(&format!("{pod}---\napiVersion: v1\nkind: Status\ncode: 401\n"));
    assert_eq!(names(&objects), ["pod x/a"]);
    assert!(!parsed.readable);
    // A custom resource may have any name.
    let (_, parsed) = read("apiVersion: example.org/v1\nkind: Status\nmetadata: {name: a}\n");
    assert!(parsed.readable && !parsed.has_errors());
}

#[test]
fn a_list_that_goes_on_is_not_the_whole() {
    let list = |kind: &str, metadata: &str| {
        format!(
            "apiVersion: v1\nkind: {kind}\nmetadata: {metadata}\nitems:\n- {{metadata: {{name: a, namespace: x}}, apiVersion: v1, kind: Pod}}\n"
        )
    };
    for metadata in [
        "{}",
        "{continue: \"\"}",
        "{continue: , remainingItemCount: , shardInfo: }",
        "{remainingItemCount: 0, resourceVersion: \"7\", selfLink: \"\"}",
    ] {
        assert_eq!(good(&list("PodList", metadata)).len(), 1);
    }
    for (metadata, field) in [
        ("{continue: eyJ2IjoibWV0YS5r}", "continue"),
        ("{continue: 7}", "continue"),
        ("{remainingItemCount: 7}", "remainingItemCount"),
        ("{remainingItemCount: many}", "remainingItemCount"),
        ("{continue: next, remainingItemCount: 7}", "continue"),
        ("{shardInfo: {selector: a}}", "shardInfo"),
    ] {
        for kind in ["PodList", "List", "SecretList"] {
            let (_, parsed) = read(&list(kind, metadata));
            assert!(!parsed.readable, "{kind} {metadata}");
            let said = format!("in.yaml:3:12: error: metadata.{field} says that the list goes on");
            assert!(findings(&parsed).starts_with(&said), "{}", findings(&parsed));
            assert_helpful(&parsed);
        }
    }
}

/// Files that another tool makes objects from. What is beside them may mean something else without them.
#[test]
fn the_files_of_other_tools_are_named_for_what_they_are() {
    for (file, text, said, remedy) in [
        (
            "d/kustomization.yaml",
            "namespace: shop\nresources: [policy.yaml]\n",
            "A kustomization declares nothing that is known",
            "kubectl kustomize",
        ),
        (
            "d/any.yaml",
            "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [policy.yaml]\n",
            "A kustomization declares nothing that is known",
            "kubectl kustomize",
        ),
        (
            "d/Chart.yaml",
            "apiVersion: v2\nname: shop\nversion: 1.0.0\n",
            "The file describes a Helm chart",
            "helm template",
        ),
        (
            "chart/values.yaml",
            "image: {tag: 1}\nresources: {}\n",
            "A file of values for a Helm chart declares nothing",
            "helm template",
        ),
        ("prod-values.yml", "replicas: 3\n", "A file of values for a Helm chart", "helm template"),
        (
            "t.yaml",
            "apiVersion: template.openshift.io/v1\nkind: Template\nmetadata: {name: t}\nobjects:\n- apiVersion: networking.k8s.io/v1\n  kind: NetworkPolicy\n  metadata: {name: deny, namespace: x}\n  spec: {podSelector: {}}\nparameters: []\n",
            "A Template declares nothing that is known",
            "oc process",
        ),
    ] {
        let (objects, parsed) = read_bytes(file, text.as_bytes(), None);
        assert!(objects.is_empty() && !parsed.readable, "{file}");
        let [finding] = &parsed.diagnostics[..] else { panic!("{}", findings(&parsed)) };
        assert!(finding.message.starts_with(said), "{finding}");
        assert!(finding.remedy.contains(remedy), "{finding}");
        assert_eq!((finding.place.line, finding.place.column), (Some(1), Some(1)));
    }
    let (_, parsed) =
        read_bytes("values.yaml", b"spec: {podSelector: {}}\nmetadata: {name: x}\n", None);
    assert!(findings(&parsed).contains("has no kind"), "{}", findings(&parsed));
    // Flux's object of this name is one of a cluster.
    let flux =
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: a}\n";
    assert!(read(flux).1.readable);
}
