//! A destination port as people give it: a number, or a name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A destination port. A name is looked up on the destination, as policies do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Port {
    /// In host byte order.
    Number(u16),
    Name(String),
}

impl From<u16> for Port {
    fn from(number: u16) -> Self {
        Self::Number(number)
    }
}

/// The longest port name (`IANA_SVC_NAME`).
const MAX_NAME: usize = 15;

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(number));
        }
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if is_number(text.strip_prefix('-').unwrap_or(text)) {
            return Err(format!("{text} is no port: ports are numbers from 1 to 65535"));
        }
        if let Some((first, last)) = text.split_once(['-', ':'])
            && is_number(first)
            && is_number(last)
        {
            return Err(format!(
                "{text} is a range, and a connection has one port: ask for each, as in --port {first} (a policy writes the \
                 range as port: {first} and endPort: {last})"
            ));
        }
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let is_name = text.len() <= MAX_NAME
            && text.bytes().all(fits)
            && text.bytes().any(|b| b.is_ascii_lowercase())
            && !text.starts_with('-')
            && !text.ends_with('-');
        if is_name {
            return Ok(Self::Name(text.to_owned()));
        }
        Err(format!(
            "{text:?} is neither a port number from 1 to 65535 nor a port name (up to {MAX_NAME} of a-z, 0-9 and -)"
        ))
    }
}

/// The inverse of `from_str`.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_number_or_a_name_and_what_is_neither_says_why() {
        assert_eq!("80".parse(), Ok(Port::Number(80)));
        for name in ["http", "dns-tcp", "8080-http"] {
            assert_eq!(name.parse(), Ok(Port::Name(name.into())));
        }
        let error = |text: &str| text.parse::<Port>().unwrap_err();
        assert!(
            error("5432-5440").contains("port: 5432 and endPort: 5440"),
            "{}",
            error("5432-5440")
        );
        assert!(error("65536").contains("from 1 to 65535"));
        assert!(error("-1").contains("from 1 to 65535"));
        for text in ["HTTP", "a_b", "", "-a", "a-name-that-is-too-long"] {
            assert!(error(text).contains("neither"), "{}", error(text));
        }
    }
}
