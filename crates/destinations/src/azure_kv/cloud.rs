//! Azure's clouds: where to sign in, and what their vaults are called (destinations.md 2.3).

/// One cloud.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cloud {
    /// Root of the authority tokens come from.
    pub(super) authority: &'static str,
    /// Every vault's host ends with a dot and this; `https://` and this is the resource tokens are for.
    pub(super) vaults: &'static str,
    /// What people call it, in lower case.
    names: &'static [&'static str],
}

/// The clouds there are. Germany's was closed in 2021.
const CLOUDS: [Cloud; 3] = [
    Cloud {
        authority: "https://login.microsoftonline.com",
        vaults: "vault.azure.net",
        // Vault's documentation gives "cloud" as the default, and Terraform sends it.
        names: &["cloud", "public", "azurepubliccloud", "azurepublic", "azurecloud", "azure"],
    },
    Cloud {
        authority: "https://login.microsoftonline.us",
        vaults: "vault.usgovcloudapi.net",
        names: &[
            "usgovernment",
            "usgov",
            "government",
            "azureusgovernmentcloud",
            "azureusgovernment",
            "azuregovernment",
        ],
    },
    Cloud {
        authority: "https://login.chinacloudapi.cn",
        vaults: "vault.azure.cn",
        names: &["china", "azurechinacloud", "azurechina"],
    },
];

/// The public cloud.
pub(super) const PUBLIC: &Cloud = &CLOUDS[0];

impl Cloud {
    /// By one of its names, in any case.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        let name = name.to_ascii_lowercase();
        CLOUDS.iter().find(|cloud| cloud.names.contains(&name.as_str()))
    }

    /// The cloud a vault of this host name is in.
    pub(super) fn of_vault(host: &str) -> Option<&'static Self> {
        CLOUDS.iter().find(|cloud| is_below(host, cloud.vaults))
    }

    /// What tokens for its vaults are for.
    pub(super) fn resource(&self) -> String {
        format!("https://{}", self.vaults)
    }
}

/// Whether a host is in a domain, and not the domain itself.
pub(super) fn is_below(host: &str, domain: &str) -> bool {
    let (host, domain) = (host.as_bytes(), domain.as_bytes());
    !domain.is_empty()
        && host.len() > domain.len() + 1
        && host[host.len() - domain.len()..].eq_ignore_ascii_case(domain)
        && host[host.len() - domain.len() - 1] == b'.'
}

/// What is wrong with the name of a cloud, if anything.
pub(super) fn name_problem(name: &str) -> Option<&'static str> {
    if name.to_ascii_lowercase().contains("german") {
        return Some("names Azure Germany, which Microsoft closed in 2021; use cloud, usgovernment or china");
    }
    Cloud::named(name).is_none().then_some("must be cloud (Azure's public cloud), usgovernment or china")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clouds_go_by_many_names() {
        for (name, vaults) in [
            ("cloud", "vault.azure.net"),
            ("AzurePublicCloud", "vault.azure.net"),
            ("AzureUSGovernment", "vault.usgovcloudapi.net"),
            ("usgovernment", "vault.usgovcloudapi.net"),
            ("AZURECHINACLOUD", "vault.azure.cn"),
        ] {
            assert_eq!(Cloud::named(name).map(|cloud| cloud.vaults), Some(vaults), "{name}");
            assert_eq!(name_problem(name), None, "{name}");
        }
        for bad in ["", "cloudy", "AzureGermanCloud", "vault.azure.net"] {
            assert!(name_problem(bad).is_some(), "{bad}");
        }
        assert!(name_problem("AzureGermanCloud").unwrap().contains("closed"));
    }

    #[test]
    fn a_vault_is_below_its_domain_and_nothing_else_is() {
        assert_eq!(Cloud::of_vault("a.vault.azure.net"), Some(PUBLIC));
        assert_eq!(Cloud::of_vault("A.Vault.Azure.NET"), Some(PUBLIC));
        assert_eq!(
            Cloud::of_vault("a.vault.azure.cn").map(|c| c.authority),
            Some("https://login.chinacloudapi.cn")
        );
        for stranger in [
            "vault.azure.net",
            ".vault.azure.net",
            "evilvault.azure.net",
            "vault.azure.net.evil.example",
            "",
            "net",
        ] {
            assert_eq!(Cloud::of_vault(stranger), None, "{stranger}");
        }
        assert!(!is_below("a.b", ""));
    }
}
