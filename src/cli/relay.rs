//! `transfer relay`, as typed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};
use hyper::Uri;
use rustls::pki_types::DnsName;

use super::serve::words_of_unit;
use super::{Output, duration};
use crate::error::Result;
use crate::net::pace::Rate;
use crate::relay::options::{
    Acme, DIRECTORY, DISCOVERY_PORT, Front, Limits, Papers, RelayOptions, Wish,
};
use crate::ui::Ui;

/// `transfer relay`, as typed.
#[derive(Debug, Args)]
#[command(mut_arg("verbose", |it| it.help("Say who comes and goes, with addresses")))]
#[command(group = ArgGroup::new("front").required(true).args(["http", "cert", "domain"]))]
pub struct RelayArgs {
    /// Listen here without TLS, behind a proxy that has it: PORT of 127.0.0.1, or IP:PORT
    #[arg(long, value_name = "ADDR", value_parser = local, conflicts_with_all = ["cert", "key", "domain", "port", "bind", "discovery"])]
    http: Option<SocketAddr>,
    /// Believe this proxy's X-Forwarded-For; may be repeated; one on this machine is always believed
    #[arg(long, value_name = "IP", requires = "http")]
    proxy: Vec<IpAddr>,
    /// Serve HTTPS with this certificate (PEM), its own first; loaded anew when it changes
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The private key of --cert
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Serve HTTPS with a certificate for this name, got from Let's Encrypt and renewed; TCP port 443
    /// of the name must lead here
    #[arg(long, value_name = "NAME", value_parser = domain, conflicts_with = "cert")]
    domain: Option<String>,
    /// An e-mail address for the CA to write to
    #[arg(long, value_name = "MAIL", requires = "domain", conflicts_with_all = ["http", "cert"], value_parser = mail)]
    contact: Option<String>,
    /// Get it from another CA, by the URL of its directory (ACME)
    #[arg(long, value_name = "URL", requires = "domain", default_value = DIRECTORY, value_parser = directory)]
    acme: Uri,
    /// What the CA of --acme is itself verified with (PEM), where it is not a public one
    #[arg(long, value_name = "FILE", requires = "acme")]
    acme_ca: Option<PathBuf>,
    /// TCP port of HTTPS
    #[arg(long, value_name = "N", default_value_t = 443)]
    port: u16,
    /// UDP port of address discovery; clients expect the default
    #[arg(long, value_name = "N", default_value_t = DISCOVERY_PORT)]
    discovery: u16,
    /// Listen at this address alone, not at all of this machine
    #[arg(long, value_name = "IP")]
    bind: Option<IpAddr>,
    /// Let in only who has a token of this file, one a line; nobody else may read it
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Bytes a second that each client may send
    #[arg(long, value_name = "SIZE", default_value = "8M", value_parser = rate)]
    rate: NonZeroU32,
    /// Bytes that each may send at once before --rate holds
    #[arg(long, value_name = "SIZE", default_value = "32M", value_parser = rate)]
    burst: NonZeroU32,
    /// Bytes that all may send in a day (UTC); then nobody is served until the next
    #[arg(long, value_name = "SIZE", value_parser = size)]
    daily: Option<u64>,
    /// Clients at a time
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    clients: u32,
    /// Clients at a time of one address; of IPv6, of one /64, and four times as many of one /48
    #[arg(long, value_name = "N", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    per_address: u32,
    /// Show numbers to Prometheus at /metrics here: PORT of 127.0.0.1, or IP:PORT
    #[arg(long, value_name = "ADDR", value_parser = local)]
    metrics: Option<SocketAddr>,
    /// How often a line says how much it was used
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = duration)]
    every: Duration,
    /// Print what makes a service of this command line, for systemd, and do no more
    #[arg(long, value_name = "WHICH")]
    print_unit: Option<UnitArg>,
    /// What it says.
    #[command(flatten)]
    output: Output,
}

/// `--print-unit`.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum UnitArg {
    /// A unit of systemd, for the whole machine
    Systemd,
}

impl RelayArgs {
    /// The terminal as the options want it, and whether the log could be opened.
    pub fn ui(&self) -> (Ui, Result<()>) {
        let (ui, log) = self.output.ui();
        (ui.as_service("its clients notice that by themselves"), log)
    }

    /// Everything decided that can be decided without looking.
    pub fn resolve(self) -> RelayOptions {
        let here = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let acme = |domain| Acme {
            domain,
            contact: self.contact,
            directory: self.acme,
            roots: self.acme_ca,
        };
        let files = self.cert.zip(self.key);
        let files = files.map(|(certificate, key)| Papers::Files { certificate, key });
        let papers = files.or_else(|| self.domain.map(|domain| Papers::Acme(acme(domain))));
        let front = match papers {
            Some(papers) => {
                Front::Tls { papers, bind: self.bind, port: self.port, discovery: self.discovery }
            }
            None => Front::Plain {
                // Clap has seen to it that it is there.
                listen: self.http.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
                proxies: here.into_iter().chain(self.proxy).collect(),
            },
        };
        let unit = self.print_unit.map(|UnitArg::Systemd| Wish {
            words: words_of_unit(),
            from: std::env::current_dir().unwrap_or_default(),
            has_log: self.output.log_file.is_some(),
        });
        RelayOptions {
            unit,
            front,
            limits: Limits {
                clients: usize::try_from(self.clients).unwrap_or(usize::MAX),
                per_address: usize::try_from(self.per_address).unwrap_or(usize::MAX),
                rate: self.rate,
                burst: self.burst,
                daily: self.daily,
            },
            tokens: self.token_file,
            metrics: self.metrics,
            every: self.every,
        }
    }
}

/// `PORT`, on this machine alone, or `IP:PORT`.
fn local(text: &str) -> Result<SocketAddr, String> {
    let port = || text.parse().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let address = text.parse().or_else(|_| port());
    address.map_err(|_| "an address is like 3340, 127.0.0.1:3340 or [::1]:3340".into())
}

/// A host name, as a certificate has it.
fn domain(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    // The dot that ends a name where name servers are spoken to is in no certificate.
    let name = lower.strip_suffix('.').unwrap_or(&lower);
    let is_whole = name.contains('.') && !name.ends_with('.');
    match DnsName::try_from(name) {
        Ok(_) if is_whole && name.parse::<IpAddr>().is_err() => Ok(name.to_owned()),
        _ => Err("a name is like relay.example.org".into()),
    }
}

/// As it stands in a `mailto:` (RFC 6068), which a CA refuses with other parts.
fn mail(text: &str) -> Result<String, String> {
    let is_one = |(user, host): (&str, &str)| {
        let is_user = |c: char| c.is_ascii_alphanumeric() || ".!#$'*+-_~".contains(c);
        !user.is_empty() && user.chars().all(is_user) && domain(host).is_ok()
    };
    match text.rsplit_once('@').is_some_and(is_one) {
        true => Ok(text.to_owned()),
        false => Err("an address is like anna@example.org".into()),
    }
}

fn directory(text: &str) -> Result<Uri, String> {
    let url = text.parse::<Uri>().ok();
    let url = url.filter(|url| url.scheme_str() == Some("https") && url.host().is_some());
    url.ok_or_else(|| "a directory of ACME is like https://ca.example.org/directory".into())
}

/// As `--limit` takes it.
fn size(text: &str) -> Result<u64, String> {
    let size = Rate::parse(text).map(Rate::per_second);
    size.map_err(|_| "a size is like 500k, 8M or 1.5G, at least 1k".into())
}

fn rate(text: &str) -> Result<NonZeroU32, String> {
    let rate = u32::try_from(size(text)?).ok().and_then(NonZeroU32::new);
    rate.ok_or_else(|| "it is at most 4G".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_a_ca_can_write_to() {
        for (text, expected) in [
            ("anna@example.org", true),
            ("anna.b+relay@mail.example.org", true),
            ("mailto:anna@example.org", false),
            ("anna@example.org?cc=eve@example.org", false),
            ("anna@example.org,eve@example.org", false),
            ("anna b@example.org", false),
            ("anna@host", false),
            ("@example.org", false),
            ("anna", false),
            ("", false),
        ] {
            assert_eq!(mail(text).is_ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_port_alone_is_on_this_machine() {
        for (text, expected) in [
            ("3340", Some("127.0.0.1:3340")),
            ("0.0.0.0:80", Some("0.0.0.0:80")),
            ("[::1]:3340", Some("[::1]:3340")),
            ("127.0.0.1", None),
            ("localhost:3340", None),
            ("70000", None),
            ("", None),
        ] {
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(local(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn names_for_certificates() {
        for (text, expected) in [
            ("relay.example.org", Some("relay.example.org")),
            ("Relay.Example.org", Some("relay.example.org")),
            ("relay.example.org.", Some("relay.example.org")),
            ("relay.example.org..", None),
            ("relay.", None),
            (".", None),
            ("192.0.2.7.", None),
            ("relay", None),
            ("192.0.2.7", None),
            ("2001:db8::1", None),
            ("*.example.org", None),
            ("https://relay.example.org", None),
            ("relay.example.org/..", None),
            ("", None),
        ] {
            assert_eq!(domain(text).ok().as_deref(), expected, "{text}");
        }
        for (text, expected) in [
            (DIRECTORY, true),
            ("https://127.0.0.1:14000/dir", true),
            ("http://ca.example.org/directory", false),
            ("ca.example.org", false),
            ("", false),
        ] {
            assert_eq!(directory(text).is_ok(), expected, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in
            [("8M", Some(8_000_000)), ("1k", Some(1000)), ("5G", None), ("0", None), ("x", None)]
        {
            assert_eq!(rate(text).ok().map(NonZeroU32::get), expected, "{text}");
        }
        assert_eq!(size("100G"), Ok(100_000_000_000));
    }
}
