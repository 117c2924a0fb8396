//! The requests for lists and watches.
//!
//! kube's own list parameters leave out `resourceVersion=0` where there is a limit, and such a list is read from the store
//! behind the API server: a fleet of agents that start at once would overload it.

use form_urlencoded::Serializer;
use http::Request;

use super::kind::WatchedKind;

/// Objects that a page of a list may have. Servers may send more.
const PAGE: u32 = 500;
/// Any version that the server has at hand.
const ANY_VERSION: &str = "0";

/// From which version on a list may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ListFrom<'a> {
    /// Not older than this one, or whatever the server has.
    Version(Option<&'a str>),
    /// The next page.
    Page(&'a str),
}

pub(super) type GetRequest = Request<Vec<u8>>;

impl WatchedKind {
    pub(super) fn list(&self, from: ListFrom<'_>) -> Result<GetRequest, http::Error> {
        let mut query = self.query();
        query.append_pair("limit", &PAGE.to_string());
        match from {
            ListFrom::Version(version) => {
                query.append_pair("resourceVersion", version.unwrap_or(ANY_VERSION));
                query.append_pair("resourceVersionMatch", "NotOlderThan");
            }
            ListFrom::Page(token) => _ = query.append_pair("continue", token),
        }
        get(query)
    }

    /// A list that comes as the events of a watch, which goes on after it.
    pub(super) fn streaming_list(
        &self,
        version: Option<&str>,
        seconds: u64,
    ) -> Result<GetRequest, http::Error> {
        let mut query = self.watching(version.unwrap_or(ANY_VERSION), seconds);
        query.append_pair("sendInitialEvents", "true");
        query.append_pair("resourceVersionMatch", "NotOlderThan");
        get(query)
    }

    /// What happened since the version.
    pub(super) fn watch(&self, version: &str, seconds: u64) -> Result<GetRequest, http::Error> {
        get(self.watching(version, seconds))
    }

    fn watching(&self, version: &str, seconds: u64) -> Serializer<'static, String> {
        let mut query = self.query();
        query.append_pair("watch", "true");
        query.append_pair("allowWatchBookmarks", "true");
        query.append_pair("timeoutSeconds", &seconds.to_string());
        query.append_pair("resourceVersion", version);
        query
    }

    fn query(&self) -> Serializer<'static, String> {
        let path = format!("{}?", self.path);
        let start = path.len();
        let mut query = Serializer::for_suffix(path, start);
        if let Some(selector) = &self.field_selector {
            query.append_pair("fieldSelector", selector);
        }
        query
    }
}

fn get(mut query: Serializer<'static, String>) -> Result<GetRequest, http::Error> {
    // Servers from 1.37 on compress watches in a way that clients are not ready for.
    Request::get(query.finish()).header(http::header::ACCEPT_ENCODING, "identity").body(Vec::new())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::super::kind::watched;
    use super::*;

    fn uri(request: Result<GetRequest, http::Error>) -> String {
        request.unwrap().uri().to_string()
    }

    #[test]
    fn lists_are_read_from_the_servers_cache_and_never_go_back() {
        let node = watched("n1").find(|kind| kind.field_selector.is_some()).unwrap();
        assert_eq!(
            uri(node.list(ListFrom::Version(None))),
            "/api/v1/nodes?fieldSelector=metadata.name%3Dn1&limit=500&resourceVersion=0&resourceVersionMatch=NotOlderThan"
        );
        assert!(uri(node.list(ListFrom::Version(Some("7")))).contains("&resourceVersion=7&"));
        let page = uri(node.list(ListFrom::Page("a=b")));
        assert!(page.ends_with("&continue=a%3Db") && !page.contains("resourceVersion"), "{page}");
        assert_eq!(
            uri(watched("n1").next().unwrap().streaming_list(None, 200)),
            "/api/v1/namespaces?watch=true&allowWatchBookmarks=true&timeoutSeconds=200&resourceVersion=0&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
        );
    }
}
