//! Why a list or a watch failed, and what that means for the next one.

use std::fmt;
use std::io;
use std::time::Duration;

use kube::core::Status;

use super::items::{MAX_OBJECT_BYTES, TooLarge};

/// Why a list or a watch failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server cannot be reached, or the connection broke.
    Connection(String),
    /// The server did not answer, or says nothing any more.
    Silent(Duration),
    /// A streaming list never came to its end.
    NoEnd,
    /// The server's own answer.
    Refused(Box<Status>),
    /// The answer is not what the API says.
    Garbled(String),
}

impl Failure {
    /// A word for counting, from a small set.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Connection(_) => "connection",
            Self::Silent(_) => "timeout",
            Self::NoEnd => "no-end-of-list",
            Self::Garbled(_) => "garbled",
            Self::Refused(status) => match status.code {
                401 => "unauthorized",
                403 => "forbidden",
                410 => "gone",
                429 => "too-many-requests",
                500.. => "server",
                _ => "refused",
            },
        }
    }

    fn code(&self) -> Option<u16> {
        match self {
            Self::Refused(status) => Some(status.code),
            _ => None,
        }
    }

    /// Whether the version to go on from is too old: everything must be listed anew.
    pub(super) fn is_gone(&self) -> bool {
        self.code() == Some(410)
    }

    pub(super) fn is_forbidden(&self) -> bool {
        self.code() == Some(403)
    }

    /// Whether another kind of list may succeed where a streaming list failed so.
    pub(super) fn refuses_streaming_list(&self) -> bool {
        matches!(self, Self::NoEnd) || matches!(self.code(), Some(400 | 403 | 405 | 422))
    }

    /// Whether a list may succeed that asks for no version in particular: the server does not have that one, or not yet.
    pub(super) fn refuses_version(&self) -> bool {
        matches!(self.code(), Some(400 | 410 | 422 | 504))
    }

    /// How long the server asks to be left alone.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let Self::Refused(status) = self else { return None };
        let seconds = status.details.as_ref()?.retry_after_seconds;
        (seconds > 0).then(|| Duration::from_secs(seconds.into()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(error) | Self::Garbled(error) => f.write_str(error),
            Self::Silent(patience) => {
                write!(f, "the server said nothing for {} s", patience.as_secs())
            }
            Self::NoEnd => f.write_str("the server never marked the end of a streaming list"),
            Self::Refused(status) if status.message.is_empty() => {
                write!(f, "the server answered {} {}", status.code, status.reason)
            }
            Self::Refused(status) => write!(f, "the server answered: {}", status.message),
        }
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused(status),
            kube::Error::SerdeError(error) => Self::Garbled(error.to_string()),
            other => Self::Connection(causes(&other)),
        }
    }
}

impl From<http::Error> for Failure {
    fn from(error: http::Error) -> Self {
        Self::Garbled(format!("the request cannot be written: {error}"))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::FileTooLarge => Self::Garbled(error.to_string()),
            _ => Self::Connection(format!("the connection broke: {}", causes(&error))),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Garbled(format!("the answer is not what the API says: {error}"))
    }
}

impl From<TooLarge> for Failure {
    fn from(_: TooLarge) -> Self {
        Self::Garbled(format!("an object of the list is longer than {MAX_OBJECT_BYTES} bytes"))
    }
}

/// The innermost cause says what happened; what is around it says where in the client.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: u16) -> Failure {
        let status = Status { code, ..Status::failure("why", "Reason") };
        Failure::Refused(Box::new(status))
    }

    #[test]
    fn an_answer_says_how_to_go_on() {
        assert!(refused(410).is_gone() && !refused(403).is_gone());
        for code in [400, 403, 405, 422] {
            assert!(refused(code).refuses_streaming_list(), "{code}");
        }
        for code in [401, 410, 429, 500, 503] {
            assert!(!refused(code).refuses_streaming_list(), "{code}");
        }
        assert!(Failure::NoEnd.refuses_streaming_list());
        assert_eq!(refused(503).kind(), "server");
        assert_eq!(refused(429).retry_after(), None);
        assert_eq!(refused(403).to_string(), "the server answered: why");
    }
}
