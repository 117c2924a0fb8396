//! A request of the page, without a listener.

use axum::extract::Query;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri, header};

use super::access::{Access, Token};
use super::{flow_events, state};

/// What opens the page here.
const BEARER: &str = "Bearer 0123456789abcdef";

/// A path with its query on the first line, and headers on the others. Without the token, nothing is let in that asks for one.
pub(crate) fn request(bytes: &[u8]) {
    let mut lines = bytes.split(|&byte| byte == b'\n');
    let Some(uri) = lines.next().and_then(|line| Uri::try_from(line).ok()) else { return };
    let _ = Query::<state::Known>::try_from_uri(&uri);
    let _ = Query::<state::Question>::try_from_uri(&uri);
    let _ = Query::<flow_events::Wanted>::try_from_uri(&uri);
    let mut headers = HeaderMap::new();
    for line in lines {
        let mut parts = line.splitn(2, |&byte| byte == b':');
        let name = parts.next().and_then(|name| HeaderName::from_bytes(name).ok());
        let value = parts.next().and_then(|value| HeaderValue::from_bytes(value).ok());
        if let Some((name, value)) = name.zip(value) {
            headers.try_append(name, value).ok();
        }
    }
    let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let is_known = given == Some(BEARER.as_bytes());
    let token = BEARER.strip_prefix("Bearer ").and_then(|token| Token::parse(token).ok());
    let is_refused = token.is_none_or(|token| Access::Token(token).check(&headers).is_err());
    assert!(is_refused || is_known, "{headers:?}");
    assert!(Access::Nobody.check(&headers).is_err(), "{headers:?}");
    let _ = Access::Local.check(&headers);
}
