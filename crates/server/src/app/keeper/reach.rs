//! Where Keeper may be connected to: who may enable mounts names the host, so the server's guard of addresses
//! decides, as it does for destinations.

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;
use destinations::{Net, net::Policy};
use keeper::{Guard, NoAddress};
use store::records::Mount;

use super::AppError;

/// The mount options with ranges, separated by commas, and with ports besides 443.
const IPV4: &str = "allowed_ipv4_addresses";
const IPV6: &str = "allowed_ipv6_addresses";
const PORTS: &str = "allowed_ports";

fn listed<'m>(options: &'m std::collections::BTreeMap<String, String>, name: &str) -> Vec<&'m str> {
    let text = options.get(name).map(String::as_str).unwrap_or_default();
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect()
}

/// Checks what a mount's options say about addresses.
pub(super) fn check(options: &std::collections::BTreeMap<String, String>) -> Result<(), AppError> {
    let wrong = |name: &str, what: &str| Err(AppError::invalid(format!("options.{name} must be {what}")));
    if !listed(options, IPV4).iter().all(|range| range.parse::<ipnet::Ipv4Net>().is_ok()) {
        return wrong(IPV4, "IPv4 ranges in CIDR notation such as 10.0.0.0/8, separated by commas");
    }
    if !listed(options, IPV6).iter().all(|range| range.parse::<ipnet::Ipv6Net>().is_ok()) {
        return wrong(IPV6, "IPv6 ranges in CIDR notation such as fd00::/8, separated by commas");
    }
    if !listed(options, PORTS).iter().all(|port| port.parse::<u16>().is_ok_and(|port| port > 0)) {
        return wrong(PORTS, "ports from 1 to 65535, separated by commas");
    }
    Ok(())
}

/// The policy a mount asks for.
pub(super) fn policy(mount: &Mount) -> Policy {
    let texts = |name| listed(&mount.options, name).into_iter().map(str::to_owned).collect::<Vec<_>>();
    let ports: Vec<i64> = listed(&mount.options, PORTS).iter().filter_map(|port| port.parse().ok()).collect();
    Policy::allowing(&texts(IPV4), &texts(IPV6), &ports)
}

/// The server's way out, to Keeper.
pub(super) struct WayOut {
    pub(super) net: Arc<Net>,
    pub(super) policy: Policy,
}

#[async_trait]
impl Guard for WayOut {
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<IpAddr>, NoAddress> {
        let found = self.net.addresses(&self.policy, host, port).await;
        found.map_err(|fault| match fault.code {
            "network_blocked" => NoAddress::Blocked(fault.message.into_owned()),
            _ => NoAddress::NotFound,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_cannot_be_ranges_and_ports_is_refused_by_name() {
        for (name, text, good) in [
            (IPV4, "10.0.0.0/8, 192.168.1.1/32", true),
            (IPV4, "", true),
            (IPV4, "10.0.0.1", false),
            (IPV4, "fd00::/8", false),
            (IPV6, "fd00::/8", true),
            (IPV6, "10.0.0.0/8", false),
            (PORTS, "8443,9443", true),
            (PORTS, "0", false),
            (PORTS, "70000", false),
            (PORTS, "https", false),
        ] {
            let said = check(&BTreeMap::from([(name.to_owned(), text.to_owned())]));
            let named = said.as_ref().err().is_some_and(|error| error.to_string().contains(name));
            assert_eq!((said.is_ok(), named), (good, !good), "{name} {text}");
        }
    }
}
