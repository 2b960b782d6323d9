//! What makes a service of a relay: a unit of systemd with the command line that was typed, in which the
//! program has no right but to use its ports. Its files are handed to it as credentials (systemd.exec(5)), so
//! they may stay readable for root alone.

use std::path::Path;

use super::options::{Front, Papers, RelayOptions, Wish};
use crate::error::{Error, Result};
use crate::service::{is_plain, plain, quoted};

/// What the service is called.
const NAME: &str = "transfer-relay";

/// What to do with the file.
pub fn hint(front: &Front) -> String {
    let hint = "save it as /etc/systemd/system/transfer-relay.service, and then: `systemctl enable --now \
                transfer-relay`";
    match front {
        // What it gets from a CA it loads by itself.
        Front::Tls { papers: Papers::Files { .. }, .. } => {
            format!("{hint}; once a certificate was renewed: `systemctl restart transfer-relay`")
        }
        _ => hint.to_owned(),
    }
}

/// The file.
///
/// # Errors
/// A path has characters that such a file cannot have, or a log is asked for.
pub fn text(wish: &Wish, options: &RelayOptions, program: &Path) -> Result<String> {
    if wish.has_log {
        return Err(Error::usage("such a service has no place to write a log to")
            .hint("leave --log-file away: `journalctl -u transfer-relay` has all that it says"));
    }
    let (certificate, key, asked) = match &options.front {
        Front::Tls { papers: Papers::Files { certificate, key }, .. } => {
            (Some(certificate), Some(key), None)
        }
        Front::Tls { papers: Papers::Acme(asked), .. } => (None, None, Some(asked)),
        Front::Plain { .. } => (None, None, None),
    };
    let files = [
        ("--cert", "cert", certificate),
        ("--key", "key", key),
        ("--acme-ca", "ca", asked.and_then(|asked| asked.roots.as_ref())),
        ("--token-file", "tokens", options.tokens.as_ref()),
    ];
    let mut credentials = String::new();
    for (_, name, file) in files {
        let Some(file) = file else { continue };
        let file = plain(&wish.from.join(file))?.replace('%', "%%");
        credentials.push_str(&format!("LoadCredential={name}:{file}\n"));
    }
    let typed = wish.words.iter().map(|word| is_plain(word)).collect::<Result<Vec<_>>>()?;
    let mut words = vec![quoted(&plain(program)?).replace('$', "$$")];
    let mut typed = typed.into_iter();
    while let Some(word) = typed.next() {
        let (option, value) =
            word.split_once('=').map_or((&*word, None), |(it, value)| (it, Some(value)));
        let handed = files.iter().find(|(name, ..)| *name == option);
        match (handed, value) {
            (Some((option, name, _)), value) => {
                if value.is_none() {
                    // The path behind it.
                    typed.next();
                }
                words.push(quoted(option));
                words.push(format!("\"${{CREDENTIALS_DIRECTORY}}/{name}\""));
            }
            (None, _) => words.push(quoted(&word).replace('$', "$$")),
        }
    }
    // What a CA has given is kept.
    let state = match asked {
        Some(_) => {
            format!("StateDirectory={NAME}\nEnvironment={}=%S/{NAME}\n", crate::config::FOLDER)
        }
        None => String::new(),
    };
    // The CA has a name, and who looks names up may be a service of this machine (nss-resolve(8)).
    let families = match asked {
        Some(_) => "AF_INET AF_INET6 AF_UNIX AF_NETLINK",
        None => "AF_INET AF_INET6",
    };
    let capabilities = match takes_low_port(options) {
        true => {
            "AmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n"
        }
        false => "CapabilityBoundingSet=\n",
    };
    Ok(format!(
        "[Unit]\n\
         Description=transfer: a relay\n\
         After=network-online.target\n\
         Wants=network-online.target\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         ExecStart={}\n\
         {credentials}\
         DynamicUser=yes\n\
         {state}\
         {capabilities}\
         Restart=on-failure\n\
         RestartSec=10\n\
         RestartPreventExitStatus=2\n\
         NoNewPrivileges=yes\n\
         ProtectSystem=strict\n\
         ProtectHome=yes\n\
         PrivateDevices=yes\n\
         PrivateTmp=yes\n\
         RestrictAddressFamilies={families}\n\
         SystemCallFilter=@system-service\n\
         MemoryMax=1G\n\
         LimitNOFILE=65536\n\
         \n\
         [Install]\n\
         WantedBy=multi-user.target\n",
        words.join(" ")
    ))
}

/// Whether it needs a right to use its ports.
fn takes_low_port(options: &RelayOptions) -> bool {
    let ports = match &options.front {
        Front::Tls { port, discovery, .. } => vec![*port, *discovery],
        Front::Plain { listen, .. } => vec![listen.port()],
    };
    let metrics = options.metrics.map(|it| it.port());
    ports.into_iter().chain(metrics).any(|port| (1..1024).contains(&port))
}

/// Whether a program is where the service cannot see it (`ProtectHome=`).
pub fn is_at_home(program: &Path) -> bool {
    ["/home", "/root", "/run/user"].iter().any(|home| program.starts_with(home))
}

#[cfg(all(test, unix))]
mod tests {
    use std::net::SocketAddr;
    use std::num::NonZeroU32;
    use std::time::Duration;

    use super::super::options::{Acme, Limits};
    use super::*;

    fn options(front: Front) -> RelayOptions {
        let any = NonZeroU32::MIN;
        RelayOptions {
            unit: None,
            front,
            limits: Limits { clients: 1, per_address: 1, rate: any, burst: any, daily: None },
            tokens: Some("tokens".into()),
            metrics: None,
            every: Duration::from_secs(1),
        }
    }

    fn wish(words: &[&str]) -> Wish {
        let words = words.iter().map(|word| (*word).to_owned()).collect();
        Wish { words, from: "/etc/a relay 100%".into(), has_log: false }
    }

    #[test]
    fn files_are_handed_over_and_other_words_stay() {
        let tls = |papers| Front::Tls { papers, bind: None, port: 443, discovery: 7842 };
        let files = Papers::Files { certificate: "c.pem".into(), key: "/k".into() };
        let typed = [
            "relay",
            "--cert=c.pem",
            "--key",
            "/k",
            "--token-file",
            "tokens",
            "--rate",
            "$5M",
            "-v",
        ];
        let of_files = options(tls(files));
        let unit = text(&wish(&typed), &of_files, Path::new("/usr/bin/transfer")).unwrap();
        for line in [
            "ExecStart=\"/usr/bin/transfer\" \"relay\" \"--cert\" \"${CREDENTIALS_DIRECTORY}/cert\" \"--key\" \
             \"${CREDENTIALS_DIRECTORY}/key\" \"--token-file\" \"${CREDENTIALS_DIRECTORY}/tokens\" \"--rate\" \
             \"$$5M\" \"-v\"\n",
            "LoadCredential=cert:/etc/a relay 100%%/c.pem\n",
            "LoadCredential=key:/k\n",
            "LoadCredential=tokens:/etc/a relay 100%%/tokens\n",
            "AmbientCapabilities=CAP_NET_BIND_SERVICE\n",
            "\nRestrictAddressFamilies=AF_INET AF_INET6\n",
        ] {
            assert!(unit.contains(line), "{line}: {unit}");
        }
        assert!(!unit.contains("StateDirectory"), "{unit}");
        let asked = Papers::Acme(Acme {
            domain: "relay.example.org".into(),
            contact: None,
            directory: "https://ca.example.org/".parse().unwrap(),
            roots: Some("ca.pem".into()),
        });
        let typed = ["relay", "--domain", "relay.example.org", "--acme-ca=ca.pem"];
        let of_ca = options(tls(asked));
        let unit = text(&wish(&typed), &of_ca, Path::new("/t")).unwrap();
        for line in [
            "\"--domain\" \"relay.example.org\" \"--acme-ca\" \"${CREDENTIALS_DIRECTORY}/ca\"\n",
            "LoadCredential=ca:/etc/a relay 100%%/ca.pem\n",
            "\nRestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK\n",
            "StateDirectory=transfer-relay\nEnvironment=TRANSFER_CONFIG=%S/transfer-relay\n",
        ] {
            assert!(unit.contains(line), "{line}: {unit}");
        }
        let listen = SocketAddr::from(([127, 0, 0, 1], 3340));
        let plain = options(Front::Plain { listen, proxies: vec![] });
        let unit = text(&wish(&["relay", "--http", "3340"]), &plain, Path::new("/t")).unwrap();
        assert!(unit.contains("\nCapabilityBoundingSet=\n"), "{unit}");
        // Only of files systemd makes copies, at the start.
        for (options, is_restarted) in [(&of_files, true), (&of_ca, false), (&plain, false)] {
            let hint = hint(&options.front);
            assert!(hint.contains("systemctl enable --now transfer-relay`"), "{hint}");
            assert_eq!(hint.contains("systemctl restart"), is_restarted, "{hint}");
        }
        let logs = Wish { has_log: true, ..wish(&["relay"]) };
        text(&logs, &plain, Path::new("/t")).unwrap_err();
        assert!(is_at_home(Path::new("/home/you/.cargo/bin/transfer")));
        assert!(is_at_home(&Path::new("/root").join("transfer")));
        assert!(!is_at_home(Path::new("/usr/local/bin/transfer")));
    }
}
