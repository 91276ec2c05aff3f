//! Network addresses.

use std::cmp::Ordering;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An `inet` or `cidr`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Inet {
    /// The address.
    pub address: IpAddr,
    /// Leading bits that name the network.
    pub bits: u8,
}

impl Inet {
    /// The same with all bits behind the network zero.
    pub fn network(self) -> Inet {
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(address) & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(address) & mask))
            }
        };
        Inet { address, bits: self.bits }
    }
}

/// As Postgres sorts them: version 4 first, then by the bits of the network that both have, then the wider network, then the
/// whole address.
impl Ord for Inet {
    fn cmp(&self, other: &Inet) -> Ordering {
        let common = |inet: &Inet| Inet { address: inet.address, bits: self.bits.min(other.bits) }.network();
        match (self.address, other.address) {
            (IpAddr::V4(_), IpAddr::V6(_)) => Ordering::Less,
            (IpAddr::V6(_), IpAddr::V4(_)) => Ordering::Greater,
            _ => (common(self).address.cmp(&common(other).address))
                .then(self.bits.cmp(&other.bits))
                .then(self.address.cmp(&other.address)),
        }
    }
}

impl PartialOrd for Inet {
    fn partial_cmp(&self, other: &Inet) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The order decides comparisons of rows; the texts are in the order of Postgres 15 and 18.
    #[test]
    fn addresses_sort_as_in_postgres() {
        let inet = |address: &str, bits| Inet { address: address.parse().unwrap(), bits };
        let sorted = [
            inet("10.0.0.0", 8),
            inet("10.0.0.5", 8),
            inet("10.0.0.0", 16),
            inet("10.0.0.0", 32),
            inet("10.0.0.5", 32),
            inet("11.0.0.0", 8),
            inet("::", 0),
        ];
        assert!(sorted.is_sorted(), "{sorted:?}");
    }
}
