//! Who may have what the page shows.
//!
//! Where only this host reaches the listener, whoever is on it may read. A browser on it also runs pages of others, which must
//! not: their requests are told by the headers that browsers add, and those whose name was made to resolve to this host (DNS
//! rebinding) by the name. Elsewhere a token is needed, which no browser sends by itself.

use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq as _;

/// The shortest token, in bytes: fewer can be guessed.
pub const MIN_TOKEN_BYTES: usize = 16;
/// The longest, in bytes: it must fit the head of a request.
pub const MAX_TOKEN_BYTES: usize = 4096;

/// Says from where a browser's request comes (Fetch Metadata).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

const NO_TOKEN: &str = "the page is served to this host only: listen on 127.0.0.1, or give the agent --page-token-file\n";
const WRONG_TOKEN: &str = "the token is missing or wrong: it is what the agent's --page-token-file holds, as Authorization: Bearer TOKEN\n";
const FOREIGN_HOST: &str = "the page is at localhost or an address, not at a name: names can be made to resolve to this host\n";
const FOREIGN_SITE: &str = "another site's page asks, and must not know the answer\n";

/// A secret that opens the page.
#[derive(Clone)]
pub struct Token(Box<str>);

impl Token {
    /// Reads it from a file; white space around it is no part of it.
    ///
    /// # Errors
    ///
    /// Those of the file; `InvalidData` where it is no token: shorter than `MIN_TOKEN_BYTES`, longer than `MAX_TOKEN_BYTES`, or not
    /// of printable ASCII characters without spaces.
    pub fn read(path: &Path) -> io::Result<Self> {
        Self::parse(&fs::read_to_string(path)?)
    }

    pub(super) fn parse(text: &str) -> io::Result<Self> {
        let token = text.trim();
        let fits = (MIN_TOKEN_BYTES..=MAX_TOKEN_BYTES).contains(&token.len());
        if fits && token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(token.into()));
        }
        let what = format!(
            "a token is {MIN_TOKEN_BYTES} to {MAX_TOKEN_BYTES} printable ASCII characters without spaces, as openssl rand -hex 32 makes"
        );
        Err(io::Error::new(io::ErrorKind::InvalidData, what))
    }

    fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// What a request needs.
#[derive(Debug, Clone)]
pub(crate) enum Access {
    /// To come from this host, which the address sees to, and from none of another site's pages.
    Local,
    Token(Token),
    Nobody,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal {
    status: StatusCode,
    text: &'static str,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        if self.status == StatusCode::UNAUTHORIZED {
            return (self.status, [(header::WWW_AUTHENTICATE, "Bearer")], self.text)
                .into_response();
        }
        (self.status, self.text).into_response()
    }
}

const fn forbidden(text: &'static str) -> Refusal {
    Refusal { status: StatusCode::FORBIDDEN, text }
}

impl Access {
    pub(crate) fn new(address: SocketAddr, token: Option<Token>) -> Self {
        match token {
            Some(token) => Self::Token(token),
            None if address.ip().is_loopback() => Self::Local,
            None => Self::Nobody,
        }
    }

    /// Whether the page's own files may be had. There is nothing of the cluster in them.
    pub(super) fn check_host(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        match self {
            Self::Local if !is_local_name(headers) => {
                Err(Refusal { status: StatusCode::MISDIRECTED_REQUEST, text: FOREIGN_HOST })
            }
            Self::Nobody => Err(forbidden(NO_TOKEN)),
            Self::Local | Self::Token(_) => Ok(()),
        }
    }

    /// Whether what the page shows may be had.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        self.check_host(headers)?;
        if is_of_another_site(headers) {
            return Err(forbidden(FOREIGN_SITE));
        }
        match self {
            Self::Token(token) if !bearer(headers).is_some_and(|given| token.is(given)) => {
                Err(Refusal { status: StatusCode::UNAUTHORIZED, text: WRONG_TOKEN })
            }
            _ => Ok(()),
        }
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    text(headers, header::AUTHORIZATION)?.strip_prefix("Bearer ")
}

/// Whether the request names its server by an address, or as `localhost`.
fn is_local_name(headers: &HeaderMap) -> bool {
    let authority = text(headers, header::HOST).and_then(|host| host.parse::<Authority>().ok());
    authority.is_some_and(|authority| {
        let host = authority.host();
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        host.eq_ignore_ascii_case("localhost") || address.unwrap_or(host).parse::<IpAddr>().is_ok()
    })
}

/// Whether a browser says that another site's page made the request.
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let is_foreign_site = headers.contains_key(FETCH_SITE)
        && !matches!(text(headers, FETCH_SITE), Some("same-origin" | "none"));
    let is_foreign_origin = headers.contains_key(header::ORIGIN) && {
        let origin = text(headers, header::ORIGIN).and_then(|origin| origin.split_once("://"));
        origin.is_none_or(|(_, site)| text(headers, header::HOST) != Some(site))
    };
    is_foreign_site || is_foreign_origin
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let parse = |&(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())
        };
        pairs.iter().map(parse).collect()
    }

    fn token() -> Token {
        Token::parse(" 0123456789abcdef\n").unwrap()
    }

    #[track_caller]
    fn status(access: &Access, pairs: &[(&str, &str)]) -> u16 {
        access.check(&headers(pairs)).err().map_or(200, |refusal| refusal.status.as_u16())
    }

    #[test]
    fn on_loopback_a_name_that_may_resolve_to_it_is_refused() {
        let access = Access::new("127.0.0.1:9674".parse().unwrap(), None);
        for host in ["localhost", "LOCALHOST:9674", "127.0.0.1:9674", "[::1]:9674", "10.0.0.1"] {
            assert_eq!(status(&access, &[("host", host)]), 200, "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:9674", "", "a b"]
        {
            assert_eq!(status(&access, &[("host", host)]), 421, "{host}");
        }
        assert_eq!(status(&access, &[]), 421);
    }

    #[test]
    fn pages_of_other_sites_get_nothing() {
        let access = Access::Local;
        let host = ("host", "localhost:9674");
        for own in [
            ("origin", "http://localhost:9674"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
        ] {
            assert_eq!(status(&access, &[host, own]), 200, "{own:?}");
        }
        for foreign in [
            ("origin", "http://localhost:8000"),
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert_eq!(status(&access, &[host, foreign]), 403, "{foreign:?}");
        }
    }

    #[test]
    fn beyond_loopback_the_token_is_needed_and_without_one_nobody_reads() {
        let everywhere = "0.0.0.0:9674".parse().unwrap();
        let access = Access::new(everywhere, Some(token()));
        let host = ("host", "node.example");
        assert_eq!(status(&access, &[host]), 401);
        for wrong in
            ["Bearer 0123456789abcdeF", "Bearer 0123456789abcde", "0123456789abcdef", "Basic x"]
        {
            assert_eq!(status(&access, &[host, ("authorization", wrong)]), 401, "{wrong}");
        }
        let right = ("authorization", "Bearer 0123456789abcdef");
        assert_eq!(status(&access, &[host, right]), 200);
        assert_eq!(status(&access, &[host, right, ("origin", "http://evil.example")]), 403);
        assert_eq!(status(&Access::new(everywhere, None), &[("host", "10.0.0.1")]), 403);
        // Who sets a token wants it to be asked for.
        let loopback = Access::new("[::1]:9674".parse().unwrap(), Some(token()));
        assert_eq!(status(&loopback, &[("host", "localhost")]), 401);
    }

    #[test]
    fn a_token_is_long_and_plain() {
        for wrong in
            ["", "short", "0123456789 abcdef", "0123456789abcdeé", &"x".repeat(MAX_TOKEN_BYTES + 1)]
        {
            assert!(Token::parse(wrong).is_err(), "{wrong}");
        }
    }
}
