//! The addresses that the proxy listens on: one or several.

use std::{fmt, net::SocketAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The addresses with ports of a setting: one or more, without duplicates. In TOML a string or a list of strings, in environment
/// variables separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses(Vec<SocketAddr>);

/// Why a setting is not a valid list of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAddresses {
    /// An item is not an address with a port.
    #[error(
        "invalid socket address syntax: give an address and a port, like \"0.0.0.0:10080\", not `{0}`"
    )]
    Word(String),
    /// The list is empty.
    #[error("no address: give an address and a port, like \"0.0.0.0:10080\"")]
    Empty,
    /// An address is listed twice.
    #[error("{0} is named twice")]
    Twice(SocketAddr),
}

impl Addresses {
    fn of<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, NotAddresses> {
        let mut addresses = Vec::new();
        let words = words.into_iter().map(str::trim);
        for word in words.filter(|word| !word.is_empty()) {
            let address: SocketAddr = word
                .parse()
                .map_err(|_| NotAddresses::Word(word.to_owned()))?;
            if addresses.contains(&address) && address.port() != 0 {
                return Err(NotAddresses::Twice(address));
            }
            addresses.push(address);
        }
        if addresses.is_empty() {
            return Err(NotAddresses::Empty);
        }
        Ok(Addresses(addresses))
    }

    /// The addresses, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().copied()
    }

    /// Whether `address` is `[::]` with an IPv4 address of the same port listed beside it: the IPv6 socket must then be IPv6 only.
    pub fn splits_families(&self, address: SocketAddr) -> bool {
        self.iter()
            .any(|other| other.is_ipv4() && other.port() == address.port() && other.port() != 0)
    }
}

impl From<SocketAddr> for Addresses {
    fn from(address: SocketAddr) -> Self {
        Addresses(vec![address])
    }
}

impl FromStr for Addresses {
    type Err = NotAddresses;

    fn from_str(text: &str) -> Result<Self, NotAddresses> {
        Self::of(text.split(','))
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, address) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{address}")?;
        }
        Ok(())
    }
}

impl Serialize for Addresses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0[..] {
            [one] => one.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Addresses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum List {
            Words(Vec<String>),
            Text(String),
        }
        let addresses = match List::deserialize(deserializer)? {
            List::Words(words) => Self::of(words.iter().map(String::as_str)),
            List::Text(text) => text.parse(),
        };
        addresses.map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_or_several_are_read_as_text_or_as_a_list() {
        for (json, shown) in [
            (r#""0.0.0.0:10080""#, "0.0.0.0:10080"),
            (r#""0.0.0.0:10080,[::]:8080""#, "0.0.0.0:10080,[::]:8080"),
            (
                r#"" 127.0.0.1:1 , 127.0.0.1:2,""#,
                "127.0.0.1:1,127.0.0.1:2",
            ),
            (r#"["127.0.0.1:1", "[::1]:1"]"#, "127.0.0.1:1,[::1]:1"),
            (r#""127.0.0.1:0,127.0.0.1:0""#, "127.0.0.1:0,127.0.0.1:0"),
        ] {
            let addresses: Addresses = serde_json::from_str(json).unwrap();
            assert_eq!(addresses.to_string(), shown);
            let again = serde_json::to_string(&addresses).unwrap();
            assert_eq!(
                serde_json::from_str::<Addresses>(&again).unwrap(),
                addresses
            );
        }
    }

    #[test]
    fn what_is_no_address_is_refused_with_what_it_must_be() {
        for text in [
            "",
            ",",
            "10080",
            "localhost:1",
            "127.0.0.1",
            "127.0.0.1:1;127.0.0.1:2",
        ] {
            let error = text.parse::<Addresses>().unwrap_err().to_string();
            assert!(
                error.contains("give an address and a port"),
                "{text}: {error}"
            );
        }
        let twice = "[::1]:1,127.0.0.1:1,[::1]:1".parse::<Addresses>();
        assert!(matches!(twice, Err(NotAddresses::Twice(_))), "{twice:?}");
    }
}
