//! Which addresses and ports a destination may be reached at (vault-sync-api.md 4.6, decisions 12).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::Config;

/// The networking fields of a destination. Equal policies share connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Policy {
    lifted: bool,
    metadata: bool,
    ipv4: Vec<Ipv4Net>,
    ipv6: Vec<Ipv6Net>,
    ports: Vec<u16>,
}

/// Why a connection is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// Not 80, 443 or an allowed port.
    Port,
    /// A private, loopback or otherwise special address outside the allowed ranges.
    Address,
    /// Where a cloud hands out credentials to whoever asks from inside.
    Metadata,
    /// Unencrypted to a public address.
    PlainText,
}

impl Blocked {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Port => "the port is neither 80 nor 443; allow it with allowed_ports",
            Self::Address => {
                "the address is not public; allow its range with allowed_ipv4_addresses or \
                 allowed_ipv6_addresses, or sync.allow_private_networks on the server"
            }
            Self::Metadata => {
                "the address is one of instance metadata, where a cloud hands out credentials; a range does \
                 not open it, only the address itself in allowed_ipv4_addresses (/32) or \
                 allowed_ipv6_addresses (/128)"
            }
            Self::PlainText => "plain http to a public address would show secrets to the network; use https",
        }
    }
}

impl Policy {
    /// The policy a configuration asks for.
    pub fn of(config: &Config) -> Self {
        let mut policy = Self {
            lifted: config.flag("disable_strict_networking"),
            metadata: false,
            ipv4: config.list("allowed_ipv4_addresses").iter().filter_map(|n| n.parse().ok()).collect(),
            ipv6: config.list("allowed_ipv6_addresses").iter().filter_map(|n| n.parse().ok()).collect(),
            ports: config.int_list("allowed_ports").iter().filter_map(|p| u16::try_from(*p).ok()).collect(),
        };
        policy.ipv4.sort();
        policy.ipv4.dedup();
        policy.ipv6.sort();
        policy.ipv6.dedup();
        policy.ports.sort_unstable();
        policy.ports.dedup();
        policy
    }

    /// Strict, but for these ranges and ports. What does not parse allows nothing.
    pub fn allowing(ipv4: &[String], ipv6: &[String], ports: &[i64]) -> Self {
        let mut policy = Self {
            ipv4: ipv4.iter().filter_map(|range| range.parse().ok()).collect(),
            ipv6: ipv6.iter().filter_map(|range| range.parse().ok()).collect(),
            ports: ports.iter().filter_map(|port| u16::try_from(*port).ok()).collect(),
            ..Self::default()
        };
        policy.ipv4.sort();
        policy.ipv6.sort();
        policy.ports.sort_unstable();
        policy
    }

    /// For addresses that the operator of this server named, in its environment or by running it in a
    /// cloud: credential endpoints. Never for an address that came with a destination.
    pub fn of_operator() -> Self {
        Self { lifted: true, metadata: true, ..Self::default() }
    }

    /// The same without limits on private networks.
    #[must_use]
    pub(crate) fn lift(mut self) -> Self {
        self.lifted = true;
        self
    }

    /// Whether this very address is allowed, and not only a range it is in.
    fn names(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.ipv4.iter().any(|range| range.prefix_len() == 32 && range.addr() == v4),
            IpAddr::V6(v6) => self.ipv6.iter().any(|range| range.prefix_len() == 128 && range.addr() == v6),
        }
    }

    /// Whether a connection may be made.
    pub(crate) fn check(&self, address: IpAddr, port: u16, encrypted: bool) -> Result<(), Blocked> {
        let unmapped = unmap(address);
        let allowed = match unmapped {
            IpAddr::V4(v4) => self.ipv4.iter().any(|range| range.contains(&v4)),
            IpAddr::V6(v6) => self.ipv6.iter().any(|range| range.contains(&v6)),
        };
        if !self.metadata && is_metadata(unmapped) && !self.names(unmapped) {
            return Err(Blocked::Metadata);
        }
        if self.lifted {
            return Ok(());
        }
        if !matches!(port, 80 | 443) && self.ports.binary_search(&port).is_err() {
            return Err(Blocked::Port);
        }
        if allowed {
            return Ok(());
        }
        if is_special(unmapped) {
            return Err(Blocked::Address);
        }
        if encrypted { Ok(()) } else { Err(Blocked::PlainText) }
    }
}

/// The address that is really reached: IPv4 within IPv6 (`::ffff:0:0/96`) and behind the well-known
/// translation prefix (`64:ff9b::/96`, RFC 6052) is judged as IPv4.
fn unmap(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if let Some(v4) = v6.to_ipv4_mapped() {
        return IpAddr::V4(v4);
    }
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        _ => address,
    }
}

/// The addresses at which clouds hand out credentials and start-up scripts to whoever asks from inside: AWS
/// (instances, ECS tasks, EKS pods), Azure and its wire server, Google, Alibaba, Oracle (and its older
/// 192.0.0.192), OpenStack, Tencent, Scaleway. Most others answer at 169.254.169.254 too.
fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => matches!(
            v4.octets(),
            [169, 254, 169, 254]
                | [169, 254, 170, 2 | 23]
                | [168, 63, 129, 16]
                | [100, 100, 100, 200]
                | [192, 0, 0, 192]
                | [169, 254, 0, 23]
                | [169, 254, 42, 42]
        ),
        IpAddr::V6(v6) => {
            let known = matches!(
                v6.segments(),
                [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254 | 0x23]
                    | [0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x254]
                    | [0xfd00, 0x00c1, 0, 0, 0, 0, 0xa9fe, 0xa9fe]
                    | [0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe]
                    | [0xfd00, 0x0042, 0, 0, 0, 0, 0, 0x42]
            );
            known || carried(v6).is_some_and(|v4| is_metadata(IpAddr::V4(v4)))
        }
    }
}

/// The IPv4 address that an IPv6 address of an old or local translation carries: IPv4-compatible, 6to4
/// (RFC 3056), the local prefix (RFC 8215).
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let ([0, 0, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 1, _, _, _, high, low] | [0x2002, high, low, ..]) =
        address.segments()
    else {
        return None;
    };
    Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}

/// Whether an address is in the IANA special-purpose registries, multicast, or not given out as
/// unicast at all. Entries the registries call globally reachable (AS112, AMT) are special too: no
/// secrets service lives there.
fn is_special(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => SPECIAL_V4.iter().any(|(net, len)| in_v4(v4, *net, *len)),
        IpAddr::V6(v6) => {
            // Everything outside 2000::/3 is reserved, private, link-local or multicast.
            v6.segments()[0] & 0xe000 != 0x2000 || SPECIAL_V6.iter().any(|(net, len)| in_v6(v6, *net, *len))
        }
    }
}

/// IANA IPv4 Special-Purpose Address Registry, and multicast (224/4) within 224/3.
const SPECIAL_V4: &[(Ipv4Addr, u32)] = &[
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(192, 175, 48, 0), 24),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 3),
    // Azure's wire server, which the registry does not know.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
];

/// IANA IPv6 Special-Purpose Address Registry, as far as it lies within 2000::/3.
const SPECIAL_V6: &[(Ipv6Addr, u32)] = &[
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

fn in_v4(address: Ipv4Addr, net: Ipv4Addr, len: u32) -> bool {
    (address.to_bits() ^ net.to_bits()) >> (32 - len) == 0
}

fn in_v6(address: Ipv6Addr, net: Ipv6Addr, len: u32) -> bool {
    (address.to_bits() ^ net.to_bits()) >> (128 - len) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::FieldValue;

    fn verdict(policy: &Policy, address: &str, port: u16) -> Result<(), Blocked> {
        policy.check(address.parse().unwrap(), port, true)
    }

    fn policy(v4: &[&str], v6: &[&str], ports: &[i64]) -> Policy {
        let mut config = Config::default();
        let texts = |list: &[&str]| FieldValue::List(list.iter().map(ToString::to_string).collect());
        config.set("allowed_ipv4_addresses", texts(v4));
        config.set("allowed_ipv6_addresses", texts(v6));
        config.set("allowed_ports", FieldValue::IntList(ports.to_vec()));
        Policy::of(&config)
    }

    #[test]
    fn only_public_addresses_by_default() {
        let strict = Policy::default();
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.1.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.0.9",
            "192.0.2.1",
            "192.31.196.1",
            "192.52.193.1",
            "192.88.99.1",
            "192.168.1.1",
            "192.175.48.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.5",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:1::1",
            "2001:1ff:ffff::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2620:4f:8000::1",
            "3fff::1",
            "3fff:fff::1",
            "5f00::1",
            "fc00::1",
            "fd00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ] {
            assert_eq!(verdict(&strict, address, 443), Err(Blocked::Address), "{address}");
        }
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:1.1.1.1",
            "64:ff9b::101:101",
            "2001:200::1",
            "2001:db7::1",
            "2003::1",
            "2606:4700::1",
            "3fff:1000::1",
        ] {
            assert_eq!(verdict(&strict, address, 443), Ok(()), "{address}");
        }
    }

    /// The address itself, as each form of it is judged.
    const METADATA: &[(&str, &str)] = &[
        ("169.254.169.254", "169.254.169.254/32"),
        ("169.254.170.2", "169.254.170.2/32"),
        ("169.254.170.23", "169.254.170.23/32"),
        ("168.63.129.16", "168.63.129.16/32"),
        ("100.100.100.200", "100.100.100.200/32"),
        ("192.0.0.192", "192.0.0.192/32"),
        ("169.254.0.23", "169.254.0.23/32"),
        ("169.254.42.42", "169.254.42.42/32"),
        ("::ffff:169.254.169.254", "169.254.169.254/32"),
        ("64:ff9b::a9fe:a9fe", "169.254.169.254/32"),
        ("fd00:ec2::254", "fd00:ec2::254/128"),
        ("fd00:ec2::23", "fd00:ec2::23/128"),
        ("fd20:ce::254", "fd20:ce::254/128"),
        ("fd00:c1::a9fe:a9fe", "fd00:c1::a9fe:a9fe/128"),
        ("fe80::a9fe:a9fe", "fe80::a9fe:a9fe/128"),
        ("fd00:42::42", "fd00:42::42/128"),
        ("::a9fe:a9fe", "::a9fe:a9fe/128"),
        ("64:ff9b:1::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe/128"),
        ("2002:a9fe:a9fe::1", "2002:a9fe:a9fe::1/128"),
    ];

    #[test]
    fn a_metadata_address_is_opened_by_its_own_name_and_by_no_range() {
        let wide = policy(
            &["0.0.0.0/0", "169.254.0.0/16", "169.254.169.254/31", "100.64.0.0/10", "168.63.129.0/24"],
            &["::/0", "fd00::/8", "fd00:ec2::254/127", "fe80::/10"],
            &[],
        );
        for (address, itself) in METADATA {
            let named =
                if itself.contains(':') { policy(&[], &[itself], &[]) } else { policy(&[itself], &[], &[]) };
            for closed in [Policy::default(), Policy::default().lift(), wide.clone(), wide.clone().lift()] {
                assert_eq!(verdict(&closed, address, 80), Err(Blocked::Metadata), "{address}");
                assert_eq!(verdict(&closed, address, 443), Err(Blocked::Metadata), "{address}");
            }
            assert_eq!(verdict(&named, address, 80), Ok(()), "{address}");
            assert_eq!(verdict(&named, address, 8080), Err(Blocked::Port), "{address}");
            assert_eq!(verdict(&Policy::of_operator(), address, 80), Ok(()), "{address}");
        }
        // Their neighbours are opened by the range.
        for neighbour in ["169.254.169.253", "100.100.100.201", "fd00:ec2::255", "168.63.129.17"] {
            assert_eq!(verdict(&wide, neighbour, 443), Ok(()), "{neighbour}");
        }
    }

    #[test]
    fn ports_and_ranges_open_what_they_name() {
        let policy = policy(&["10.1.0.0/16"], &["fd00::/8"], &[8443]);
        for port in [80, 443, 8443] {
            assert_eq!(verdict(&policy, "1.1.1.1", port), Ok(()), "{port}");
            assert_eq!(verdict(&policy, "10.1.2.3", port), Ok(()), "{port}");
            assert_eq!(verdict(&policy, "::ffff:10.1.2.3", port), Ok(()), "{port}");
            assert_eq!(verdict(&policy, "fd12::1", port), Ok(()), "{port}");
        }
        assert_eq!(verdict(&policy, "10.2.0.0", 443), Err(Blocked::Address));
        assert_eq!(verdict(&policy, "10.1.2.3", 22), Err(Blocked::Port));
        assert_eq!(verdict(&policy.lift(), "192.168.0.1", 22), Ok(()));
    }

    #[test]
    fn plain_http_stays_inside() {
        let policy = policy(&["10.0.0.0/8"], &[], &[]);
        assert_eq!(policy.check("10.0.0.1".parse().unwrap(), 80, false), Ok(()));
        assert_eq!(policy.check("1.1.1.1".parse().unwrap(), 80, false), Err(Blocked::PlainText));
    }

    /// Address by address, read off the registries: first and last of each block, as decimal texts.
    const NAIVE: &[(&str, &str)] = &[
        ("0.0.0.0", "0.255.255.255"),
        ("10.0.0.0", "10.255.255.255"),
        ("100.64.0.0", "100.127.255.255"),
        ("127.0.0.0", "127.255.255.255"),
        ("168.63.129.16", "168.63.129.16"),
        ("169.254.0.0", "169.254.255.255"),
        ("172.16.0.0", "172.31.255.255"),
        ("192.0.0.0", "192.0.0.255"),
        ("192.0.2.0", "192.0.2.255"),
        ("192.31.196.0", "192.31.196.255"),
        ("192.52.193.0", "192.52.193.255"),
        ("192.88.99.0", "192.88.99.255"),
        ("192.168.0.0", "192.168.255.255"),
        ("192.175.48.0", "192.175.48.255"),
        ("198.18.0.0", "198.19.255.255"),
        ("198.51.100.0", "198.51.100.255"),
        ("203.0.113.0", "203.0.113.255"),
        ("224.0.0.0", "239.255.255.255"),
        ("240.0.0.0", "255.255.255.255"),
    ];

    fn naive_special(address: Ipv4Addr) -> bool {
        NAIVE.iter().any(|(first, last)| {
            first.parse::<Ipv4Addr>().unwrap() <= address && address <= last.parse::<Ipv4Addr>().unwrap()
        })
    }

    /// Random addresses, and those around every edge of the table.
    fn v4() -> impl Strategy<Value = Ipv4Addr> {
        let edges: Vec<u32> = NAIVE
            .iter()
            .flat_map(|(first, last)| [first, last])
            .map(|a| a.parse::<Ipv4Addr>().unwrap().to_bits())
            .collect();
        prop_oneof![
            any::<u32>().prop_map(Ipv4Addr::from_bits),
            (proptest::sample::select(edges), 0u32..3)
                .prop_map(|(edge, by)| Ipv4Addr::from_bits(edge.wrapping_add(by).wrapping_sub(1))),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_table(address in v4()) {
            let open = Policy::default().check(address.into(), 443, true).is_ok();
            prop_assert_eq!(open, !naive_special(address));
            let mapped = Policy::default().check(address.to_ipv6_mapped().into(), 443, true).is_ok();
            prop_assert_eq!(mapped, open);
        }

        #[test]
        fn a_range_opens_itself_and_nothing_else(address in v4(), bits in any::<u32>(), len in 1u8..=32) {
            let range = Ipv4Net::new(Ipv4Addr::from_bits(bits), len).unwrap().trunc();
            let policy = policy(&[&range.to_string()], &[], &[]);
            let inside = address >= range.network() && address <= range.broadcast();
            let metadata = METADATA.iter().any(|(known, _)| *known == address.to_string());
            let expected = if metadata { inside && len == 32 } else { inside || !naive_special(address) };
            prop_assert_eq!(policy.check(address.into(), 443, true).is_ok(), expected);
        }
    }
}
