//! The chains of the tables.

use super::Hook;
use crate::program::TableFamily;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainName {
    Prerouting,
    SourceGuard,
    Advertisement,
    Unidentified,
    Fragments,
    Forged,
    Tunnels,
    Encapsulated,
    Input,
    Forward,
    Frames,
    FramesIpv6,
    GuardIpv4,
    GuardIpv6,
    Hold,
    HoldDestination,
    Revoked,
    Midstream,
    Egress,
    BaseOut,
    WideOut,
    PassOut,
    Ingress,
    BaseIn,
    WideIn,
    Pass,
    Control,
    ControlOut,
    DenyOut,
    DenyIn,
}

impl ChainName {
    /// Every chain comes before the chains whose rules name it.
    pub const ALL: [Self; 30] = [
        Self::Encapsulated,
        Self::Tunnels,
        Self::Forged,
        Self::Fragments,
        Self::Advertisement,
        Self::Unidentified,
        Self::SourceGuard,
        Self::Prerouting,
        Self::Input,
        Self::GuardIpv6,
        Self::GuardIpv4,
        Self::FramesIpv6,
        Self::Frames,
        Self::Hold,
        Self::HoldDestination,
        Self::Revoked,
        Self::Pass,
        Self::Control,
        Self::ControlOut,
        Self::DenyIn,
        Self::WideIn,
        Self::BaseIn,
        Self::Ingress,
        Self::PassOut,
        Self::DenyOut,
        Self::WideOut,
        Self::BaseOut,
        Self::Egress,
        Self::Midstream,
        Self::Forward,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::SourceGuard => "source_guard",
            Self::Advertisement => "advertisement",
            Self::Unidentified => "unidentified",
            Self::Fragments => "fragments",
            Self::Forged => "forged",
            Self::Tunnels => "tunnels",
            Self::Encapsulated => "encapsulated",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Frames => "frames",
            Self::FramesIpv6 => "frames_ipv6",
            Self::GuardIpv4 => "guard_ipv4",
            Self::GuardIpv6 => "guard_ipv6",
            Self::Hold => "hold",
            Self::HoldDestination => "hold_destination",
            Self::Revoked => "revoked",
            Self::Midstream => "midstream",
            Self::Egress => "egress",
            Self::BaseOut => "base_out",
            Self::WideOut => "wide_out",
            Self::PassOut => "pass_out",
            Self::Ingress => "ingress",
            Self::BaseIn => "base_in",
            Self::WideIn => "wide_in",
            Self::Pass => "pass",
            Self::Control => "control",
            Self::ControlOut => "control_out",
            Self::DenyOut => "deny_out",
            Self::DenyIn => "deny_in",
        }
    }

    /// The chains of a table, in the order of `ALL`.
    pub fn of(table: TableFamily) -> impl Iterator<Item = Self> {
        let is_there = move |chain: &Self| match chain {
            Self::Forward => true,
            Self::Prerouting | Self::SourceGuard | Self::Tunnels | Self::Encapsulated => {
                table != TableFamily::Inet
            }
            Self::Advertisement
            | Self::Unidentified
            | Self::Fragments
            | Self::Forged
            | Self::Input
            | Self::Frames
            | Self::FramesIpv6
            | Self::GuardIpv4
            | Self::GuardIpv6 => table == TableFamily::Bridge,
            Self::Hold | Self::HoldDestination | Self::Revoked => table == TableFamily::Inet,
            _ => TableFamily::OF_PROGRAM.contains(&table),
        };
        Self::ALL.into_iter().filter(is_there)
    }

    /// Where a base chain is hooked; `None` for a chain that others go to.
    pub const fn hook(self) -> Option<Hook> {
        match self {
            Self::Prerouting => Some(Hook::Prerouting),
            Self::Forward => Some(Hook::Forward),
            Self::Input => Some(Hook::Input),
            _ => None,
        }
    }

    /// Whether packets enter the table by it.
    pub const fn is_base(self) -> bool {
        self.hook().is_some()
    }
}
