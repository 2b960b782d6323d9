//! What there is to say of a Tailscale status. Nothing here asks anybody.

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::error::{Cause, Error, shown, shown_os};
use crate::net::tailscale::{Link, Peer, Status, Way};
use crate::ui::Finding;

/// A key that expires sooner is worth a word.
const SOON: Duration = Duration::from_secs(14 * 86_400);
/// The first version whose `tailscale whois` tells a userspace node who connects.
const WHOIS: (u32, u32) = (1, 70);
/// Complaints of Tailscale's own that are shown.
const SHOWN: usize = 3;

/// This machine as Tailscale knows it.
pub fn node(status: &Status, program: &Path, now: SystemTime) -> Vec<Finding> {
    let version = match status.version() {
        "" => String::new(),
        version => format!(", version {}", shown(version)),
    };
    let program = shown_os(program);
    let mut found = vec![Finding::fine(format!("it runs{version} ({})", program))];
    found.push(match status.own_addresses() {
        Ok(own) => {
            let own: Vec<String> = own.iter().map(ToString::to_string).collect();
            Finding::fine(format!("this machine is {}: {}", status.own(), own.join(", ")))
        }
        Err(error) => (&error).into(),
    });
    if status.is_userspace() {
        found.push(Finding::fine(
            "no network device (userspace networking): `transfer send` listens on 127.0.0.1 and \
             asks `tailscale whois` who comes",
        ));
        if version_of(status.version()).is_some_and(|version| version < WHOIS) {
            found.push(
                Finding::problem("before version 1.70 `tailscale whois` does not tell who comes")
                    .advice("update Tailscale"),
            );
        }
    }
    found.extend(status.key_expiry().and_then(|at| key(at, now)));
    found.extend(status.health().iter().take(SHOWN).map(|complaint| {
        Finding::warning(format!("Tailscale says: {}", shown(complaint)))
            .advice("`tailscale status` tells more")
    }));
    found
}

/// `1.102.3` as 1 and 102.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

/// What there is to say of a key that expires; nothing if the time cannot be read.
fn key(at: &str, now: SystemTime) -> Option<Finding> {
    let at = humantime::parse_rfc3339(at).ok()?;
    let date = humantime::format_rfc3339_seconds(at).to_string();
    let date = date.split('T').next().unwrap_or_default().to_owned();
    let left = at.duration_since(now).unwrap_or_default();
    let renew = "renew it before: `tailscale up --force-reauth`";
    Some(if left.is_zero() {
        Finding::problem(format!("the key of this machine expired on {date}"))
            .advice("renew it: `tailscale up --force-reauth`")
    } else if left < SOON {
        Finding::warning(format!("the key of this machine expires on {date}")).advice(renew)
    } else {
        Finding::fine(format!("the key of this machine is good until {date}"))
    })
}

/// A device that has been found in the tailnet; one without a link is this machine.
pub fn device(link: Option<&Link>, ip: IpAddr, peer: &Peer) -> Finding {
    match link {
        None => Finding::fine(format!("{ip} is {peer}, this machine")),
        Some(Link { online: true, .. }) => {
            Finding::fine(format!("{ip} is {peer}, a device of the tailnet, online"))
        }
        // What is known lags, so a device that is there may count as offline.
        Some(_) => Finding::warning(format!(
            "{ip} is {peer}, a device of the tailnet; it was offline when last heard of"
        ))
        .advice("is it on, and Tailscale running there?"),
    }
}

/// The way to a device, after there was traffic.
pub fn way(link: &Link) -> Finding {
    match &link.way {
        Way::Direct(address) => Finding::fine(format!("the way is direct, to {}", shown(address))),
        Way::PeerRelay(address) => {
            Finding::fine(format!("the way leads through a relay of yours, {}", shown(address)))
        }
        Way::Relay(region) => {
            let region = match region.as_str() {
                "" => String::new(),
                region => format!(" ({})", shown(region)),
            };
            Finding::warning(format!(
                "the way leads through a relay of Tailscale's{region}, which is slow"
            ))
            .advice("a firewall on one side may block UDP: `tailscale netcheck` tells on which")
        }
        Way::Unknown => Finding::skipped("direct or through a relay: there was no traffic"),
    }
}

/// Whether Tailscale is not needed, where it is not on this machine: a local network will do, unless the device that
/// was asked for is elsewhere.
pub fn is_spared(error: &Error, is_in_network: bool, needs_tailnet: bool) -> bool {
    error.cause == Cause::NotInstalled && is_in_network && !needs_tailnet
}

/// What there is to say where Tailscale does not answer.
pub fn missing(error: &Error, is_in_network: bool, needs_tailnet: bool) -> Finding {
    if !is_spared(error, is_in_network, needs_tailnet) {
        return error.into();
    }
    let finding = Finding::skipped(format!("{error}; the local network needs none"));
    match &error.hint {
        Some(hint) => finding.advice(format!("for devices elsewhere: {hint}")),
        None => finding,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::Mark;

    fn status(name: &str) -> Status {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tailscale");
        Status::parse(&std::fs::read(folder.join(name)).unwrap()).unwrap()
    }

    fn lines(status: &Status, now: &str) -> Vec<String> {
        let now = humantime::parse_rfc3339(now).unwrap();
        let found = node(status, Path::new("/bin/tailscale"), now);
        let line = |finding: &Finding| format!("{:?}: {}", finding.mark, finding.what);
        found.iter().map(line).collect()
    }

    #[test]
    fn this_machine_as_each_fixture_has_it() {
        let runs = |version: &str| format!("Fine: it runs, version {version} (/bin/tailscale)");
        let desk = "Fine: this machine is desk-alice (alice@example.org): ";
        let good = "Fine: the key of this machine is good until 2026-11-30";
        let device = "Fine: no network device (userspace networking): `transfer send` listens on \
                      127.0.0.1 and asks `tailscale whois` who comes";
        let both = format!("{desk}100.101.7.12, fd7a:115c:a1e0::3c01:70c");
        let job = "Fine: this machine is job-7c9f4d (tag:job): 100.92.44.7, \
                   fd7a:115c:a1e0::5501:2c07";
        let cases: [(&str, Vec<&str>); 4] = [
            ("status_tun_4peers.json", vec![&both, good]),
            ("status_no_peers.json", vec![&both, good]),
            ("status_userspace_container.json", vec![job, device]),
            ("status_old_1_36.json", vec![&both, good]),
        ];
        for (name, expected) in cases {
            let found = lines(&status(name), "2026-08-22T00:00:00Z");
            let version = if name.contains("1_36") { "1.36.2" } else { "1.102.3" };
            assert_eq!(found[0], runs(version), "{name}");
            assert_eq!(found[1..], expected, "{name}");
        }
    }

    #[test]
    fn what_is_wrong_with_this_machine() {
        let address = r#""Self":{"HostName":"h","TailscaleIPs":["100.64.0.1"]}"#;
        for (json, line) in [
            (
                r#""Self":{"HostName":"h"}"#,
                "Problem: tailscale runs, but gave this machine no address",
            ),
            (r#""TUN":false,"Version":"1.68.2-t1""#, "Problem: before version 1.70 "),
            (r#""Health":["no\u001b[2Jdns","b","c"]"#, r"Warning: Tailscale says: no\u{1b}[2Jdns"),
        ] {
            let json = format!(r#"{{"BackendState":"Running",{json}}}"#);
            let found = lines(&Status::parse(json.as_bytes()).unwrap(), "2026-08-22T00:00:00Z");
            assert!(found.iter().any(|found| found.starts_with(line)), "{found:#?}");
        }
        for (version, told) in [("1.69.9", true), ("1.70.0", false), ("2.0", false), ("x", false)] {
            let json = format!(r#"{{"Version":"{version}-t1","TUN":false,{address}}}"#);
            let found = lines(&Status::parse(json.as_bytes()).unwrap(), "2026-08-22T00:00:00Z");
            assert_eq!(
                found.iter().any(|line| line.contains("whois` does not")),
                told,
                "{version}"
            );
        }
        // Fields of another shape than expected are nothing to fail for.
        let odd = r#"{"BackendState":"Running","Version":7,"Health":{"a":1},
            "Self":{"TailscaleIPs":["100.64.0.1"],"KeyExpiry":3},
            "Peer":{"k":{"TailscaleIPs":["100.64.0.2"],"Online":"yes","Relay":[]}}}"#;
        let odd = Status::parse(odd.as_bytes()).unwrap();
        assert_eq!(lines(&odd, "2026-08-22T00:00:00Z").len(), 2);
        assert!(!odd.link("100.64.0.2".parse().unwrap()).unwrap().online);
    }

    /// A machine without Tailscale is well where a local network is all that is wanted.
    #[test]
    fn where_none_is_needed_a_missing_one_is_no_problem() {
        for (cause, is_in_network, needs_tailnet, mark) in [
            (Cause::NotInstalled, true, false, Mark::Skipped),
            (Cause::NotInstalled, false, false, Mark::Problem),
            (Cause::NotInstalled, true, true, Mark::Problem),
            (Cause::NotInstalled, false, true, Mark::Problem),
            (Cause::Network, true, false, Mark::Problem),
            (Cause::Network, false, true, Mark::Problem),
        ] {
            let error = Error::new(cause, "it is not here").hint("install it");
            let found = missing(&error, is_in_network, needs_tailnet);
            assert_eq!(found.mark, mark, "{cause:?} {is_in_network} {needs_tailnet}");
            assert_eq!(is_spared(&error, is_in_network, needs_tailnet), mark == Mark::Skipped);
            assert!(found.what.starts_with("it is not here"), "{found:?}");
            assert!(found.advice.unwrap().ends_with("install it"));
        }
    }

    #[test]
    fn keys_expire() {
        let expiry = "2026-11-30T08:15:42Z";
        for (now, expected) in [
            ("2026-08-22T00:00:00Z", Some(Mark::Fine)),
            ("2026-11-16T08:15:41Z", Some(Mark::Fine)),
            ("2026-11-16T08:15:43Z", Some(Mark::Warning)),
            ("2026-11-30T08:15:41Z", Some(Mark::Warning)),
            ("2026-11-30T08:15:42Z", Some(Mark::Problem)),
            ("2027-01-01T00:00:00Z", Some(Mark::Problem)),
        ] {
            let found = key(expiry, humantime::parse_rfc3339(now).unwrap());
            assert_eq!(found.map(|finding| finding.mark), expected, "{now}");
        }
        assert_eq!(key("soon\u{1b}", SystemTime::now()), None);
    }

    #[test]
    fn devices_and_the_way_to_them() {
        let tun = status("status_tun_4peers.json");
        let pod = status("status_userspace_container.json");
        for (status, address, found, leads) in [
            (
                &tun,
                "100.70.15.9",
                "100.70.15.9 is ci-runner-03 (tag:ci, tag:router), a device of the tailnet, online",
                Some("Fine: the way is direct, to 203.0.113.77:41641"),
            ),
            (
                &tun,
                "100.88.201.44",
                "100.88.201.44 is alices-laptop (alice@example.org), a device of the tailnet; it \
                 was offline when last heard of",
                Some("Skipped: direct or through a relay: there was no traffic"),
            ),
            (
                &pod,
                "100.101.7.12",
                "100.101.7.12 is desk-alice (alice@example.org), a device of the tailnet, online",
                Some("Fine: the way leads through a relay of yours, 198.51.100.9:7777:vni:31"),
            ),
            (&pod, "100.92.44.7", "100.92.44.7 is job-7c9f4d (tag:job), this machine", None),
        ] {
            let address = address.parse().unwrap();
            let link = status.link(address);
            assert_eq!(device(link, address, status.peer(address).unwrap()).what, found);
            let way = link.map(way).map(|finding| format!("{:?}: {}", finding.mark, finding.what));
            assert_eq!(way.as_deref(), leads);
        }
        let relayed =
            r#"{"Peer":{"k":{"TailscaleIPs":["100.64.0.2"],"Active":true,"Relay":"fra"}}}"#;
        let relayed = Status::parse(relayed.as_bytes()).unwrap();
        let finding = way(relayed.link("100.64.0.2".parse().unwrap()).unwrap());
        assert_eq!(finding.mark, Mark::Warning);
        assert!(
            finding.what.contains("a relay of Tailscale's (fra), which is slow"),
            "{finding:?}"
        );
    }
}
