//! The page's own files, which are part of this program, and the headers that keep a browser from everything else.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

/// No script, style or request but those of this server; no frame of another site shows the page.
pub(super) const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     worker-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

macro_rules! files {
    ($($path:literal, $kind:expr, $file:literal;)*) => {
        [$(($path, $kind, include_str!(concat!("../page/", $file)))),*]
    };
}

/// The path, the content type and the content of each.
const FILES: [(&str, &str, &str); 27] = files! {
    "/", HTML, "index.html";
    "/page/page.css", CSS, "page.css";
    "/page/icon.svg", SVG, "icon.svg";
    "/page/page.js", SCRIPT, "page.js";
    "/page/agent.js", SCRIPT, "agent.js";
    "/page/cluster.js", SCRIPT, "cluster.js";
    "/page/map.js", SCRIPT, "map.js";
    "/page/drawing.js", SCRIPT, "drawing.js";
    "/page/edges.js", SCRIPT, "edges.js";
    "/page/labels.js", SCRIPT, "labels.js";
    "/page/lines.js", SCRIPT, "lines.js";
    "/page/pods.js", SCRIPT, "pods.js";
    "/page/findings.js", SCRIPT, "findings.js";
    "/page/policies.js", SCRIPT, "policies.js";
    "/page/reach.js", SCRIPT, "reach.js";
    "/page/what_if.js", SCRIPT, "what_if.js";
    "/page/demo.js", SCRIPT, "demo.js";
    "/page/stream.js", SCRIPT, "stream.js";
    "/page/details.js", SCRIPT, "details.js";
    "/page/status.js", SCRIPT, "status.js";
    "/page/elements.js", SCRIPT, "elements.js";
    "/page/layout.js", SCRIPT, "layout.js";
    "/page/d3/d3-dispatch.min.js", SCRIPT, "d3/d3-dispatch.min.js";
    "/page/d3/d3-force.min.js", SCRIPT, "d3/d3-force.min.js";
    "/page/d3/d3-quadtree.min.js", SCRIPT, "d3/d3-quadtree.min.js";
    "/page/d3/d3-timer.min.js", SCRIPT, "d3/d3-timer.min.js";
    "/page/d3/LICENSE", TEXT, "d3/LICENSE";
};

/// Answers requests for the files.
pub(super) fn files<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, content)| {
        let answer =
            move || async move { ([(header::CONTENT_TYPE, kind)], content).into_response() };
        router.route(path, get(answer))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::path::Path;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// The page's size, compressed.
    const MAX_BYTES: usize = 150_000;

    #[test]
    fn the_page_is_small_and_has_no_external_resource() {
        let mut all = GzEncoder::new(Vec::new(), Compression::default());
        for (path, kind, content) in FILES {
            all.write_all(content.as_bytes()).unwrap();
            let is_own = !path.contains("/d3/") && kind != SVG;
            assert!(!(is_own && content.contains("://")), "{path} names another server");
            assert!(!content.contains("innerHTML") && !content.contains("eval("), "{path}");
            assert!(
                kind != HTML || !(content.contains("<style") || content.contains("style=")),
                "{path}"
            );
        }
        let size = all.finish().unwrap().len();
        assert!(size <= MAX_BYTES, "{size} bytes");
    }

    #[test]
    fn every_module_is_asked_for_at_once() {
        let html = FILES[0].2;
        let worker = ["/page/layout.js", "/page/page.js"];
        for (path, kind, _) in FILES {
            let is_module = kind == SCRIPT && !path.contains("/d3/") && !worker.contains(&path);
            let link = format!("<link rel=\"modulepreload\" href=\"{path}\">");
            assert_eq!(html.contains(&link), is_module, "{path}");
        }
    }

    #[test]
    fn every_file_is_served() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/page");
        let count = |dir: &Path| {
            fs::read_dir(dir).unwrap().filter(|it| it.as_ref().unwrap().path().is_file()).count()
        };
        assert_eq!(count(&root) + count(&root.join("d3")), FILES.len());
    }
}
