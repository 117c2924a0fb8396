use crate::model::Family;

/// The family of a table of ours, in nft's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableFamily {
    /// IPv4 packets that are forwarded, routed or bridged.
    Ip,
    /// IPv6 packets that are forwarded, routed or bridged.
    Ip6,
    /// Frames that a bridge forwards. This table holds facts of the host only, and is there only where some are needed.
    Bridge,
    /// Packets of both versions of IP that are forwarded: the hold of unknown addresses. This table, too, holds facts of the host
    /// only, and is there only while addresses are held.
    Inet,
}

impl TableFamily {
    pub const ALL: [Self; 4] = [Self::Ip, Self::Ip6, Self::Bridge, Self::Inet];
    /// The tables that hold a program, and without which nothing is enforced.
    pub const OF_PROGRAM: [Self; 2] = [Self::Ip, Self::Ip6];

    /// The family of the addresses that a program has in the table; `None` for tables without one.
    pub const fn family(self) -> Option<Family> {
        match self {
            Self::Ip => Some(Family::V4),
            Self::Ip6 => Some(Family::V6),
            Self::Bridge | Self::Inet => None,
        }
    }

    /// The word for it in nft.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Bridge => "bridge",
            Self::Inet => "inet",
        }
    }
}

impl From<Family> for TableFamily {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::Ip,
            Family::V6 => Self::Ip6,
        }
    }
}
