//! Values that several kinds have: protocols and port numbers.

use crate::model::Protocol;

pub(super) fn protocol_named(name: &str) -> Option<Protocol> {
    Protocol::ALL.into_iter().find(|protocol| protocol.to_string() == name)
}

pub(super) const PROTOCOL_REMEDY: &str = "Write TCP, UDP or SCTP";

pub(super) fn port_number(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|&port| port != 0)
}

pub(super) const PORT_REMEDY: &str = "Write a number from 1 to 65535";
