//! What makes a service of a server: a unit of systemd, or an agent of launchd, with the command line that
//! was typed.

use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::service::{is_plain, plain, quoted};

/// For which service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// Linux.
    Systemd,
    /// macOS.
    Launchd,
}

/// What the service is to run.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Whose file it is.
    pub manager: Manager,
    /// The words behind the program's name.
    pub words: Vec<String>,
    /// The folder that the words are relative to.
    pub from: PathBuf,
    /// What it writes: its folder, a log.
    pub writes: Vec<PathBuf>,
    /// Variables that lead to Tailscale here, if it is needed.
    pub tailscale: Vec<(&'static str, PathBuf)>,
}

/// The file, and what to do with it.
///
/// # Errors
/// A path has characters that such a file cannot have.
pub fn text(wish: &Wish, program: &Path, config: Option<&Path>) -> Result<(String, &'static str)> {
    let from = plain(&wish.from)?;
    let words = std::iter::once(plain(program)).chain(wish.words.iter().map(|it| is_plain(it)));
    let words = words.collect::<Result<Vec<_>>>()?;
    // Always: what else leads to it here, a service may not have.
    let named = config.map(|folder| plain(&wish.from.join(folder))).transpose()?;
    let mut variables = vec![];
    variables.extend(named.iter().map(|folder| (crate::config::FOLDER, folder.clone())));
    for (name, value) in &wish.tailscale {
        variables.push((name, plain(&wish.from.join(value))?));
    }
    match wish.manager {
        Manager::Systemd => {
            let mut writes = vec![];
            for path in wish.writes.iter().map(|path| wish.from.join(path)) {
                writes.push(quoted(&plain(&path)?));
            }
            writes.extend(named.as_deref().map(quoted));
            let environment: String = variables
                .iter()
                .map(|(name, value)| {
                    format!("Environment={}\n", quoted(&format!("{name}={value}")))
                })
                .collect();
            // A socket that lies there is not seen from a folder of its own.
            let is_there = |(_, path): &(_, PathBuf)| {
                ["/tmp", "/var/tmp"].iter().any(|folder| path.starts_with(folder))
            };
            let private = match wish.tailscale.iter().any(is_there) {
                true => "no",
                false => "yes",
            };
            let words: Vec<_> = words.iter().map(|word| quoted(word).replace('$', "$$")).collect();
            let text = format!(
                "[Unit]\n\
                 Description=transfer: takes files of trusted devices\n\
                 StartLimitIntervalSec=0\n\
                 \n\
                 [Service]\n\
                 Type=notify\n\
                 ExecStart={}\n\
                 ExecReload=/bin/kill -HUP $MAINPID\n\
                 WorkingDirectory={}\n\
                 {}\
                 Restart=on-failure\n\
                 RestartSec=10\n\
                 RestartPreventExitStatus=2\n\
                 NoNewPrivileges=yes\n\
                 ProtectSystem=strict\n\
                 ReadWritePaths={}\n\
                 PrivateTmp={private}\n\
                 RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK\n\
                 MemoryMax=1G\n\
                 \n\
                 [Install]\n\
                 WantedBy=default.target\n",
                words.join(" "),
                from.replace('%', "%%"),
                environment,
                writes.join(" ")
            );
            Ok((text, SYSTEMD))
        }
        Manager::Launchd => {
            let words: String = words
                .iter()
                .map(|word| format!("    <string>{}</string>\n", escaped(word)))
                .collect();
            let entries: String = variables
                .iter()
                .map(|(name, value)| {
                    format!("    <key>{name}</key>\n    <string>{}</string>\n", escaped(value))
                })
                .collect();
            let environment = match entries.is_empty() {
                true => String::new(),
                false => {
                    format!("  <key>EnvironmentVariables</key>\n  <dict>\n{entries}  </dict>\n")
                }
            };
            let text = format!(
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
                 <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
                 \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
                 <plist version=\"1.0\">\n<dict>\n  \
                 <key>Label</key>\n  <string>transfer.serve</string>\n  \
                 <key>ProgramArguments</key>\n  <array>\n{words}  </array>\n  \
                 <key>WorkingDirectory</key>\n  <string>{}</string>\n{environment}  \
                 <key>KeepAlive</key>\n  <true/>\n  \
                 <key>RunAtLoad</key>\n  <true/>\n\
                 </dict>\n</plist>\n",
                escaped(&from)
            );
            Ok((text, LAUNCHD))
        }
    }
}

const SYSTEMD: &str = "save it as ~/.config/systemd/user/transfer.service, and then: `systemctl --user enable \
                       --now transfer`; `loginctl enable-linger` lets it run while nobody is logged in";
const LAUNCHD: &str = "save it as ~/Library/LaunchAgents/transfer.serve.plist, and then: `launchctl load` that \
                       file";

/// A text as XML reads it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn wish(manager: Manager, words: &[&str]) -> Wish {
        Wish {
            manager,
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            from: "/home/a user".into(),
            writes: vec!["incoming 100%".into()],
            tailscale: vec![],
        }
    }

    #[test]
    fn words_arrive_as_they_were_typed() {
        let odd = ["serve", "a b", "100%", "$HOME", "q\"q", "b\\s", "<&>"];
        let (program, config) = (Path::new("/usr/bin/transfer"), Path::new("/home/a user/.config"));
        let (unit, hint) = text(&wish(Manager::Systemd, &odd), program, Some(config)).unwrap();
        let line = "ExecStart=\"/usr/bin/transfer\" \"serve\" \"a b\" \"100%%\" \"$$HOME\" \"q\\\"q\" \
                    \"b\\\\s\" \"<&>\"\n";
        assert!(unit.contains(line), "{unit}");
        assert!(unit.contains("WorkingDirectory=/home/a user\n"), "{unit}");
        let writes = "ReadWritePaths=\"/home/a user/incoming 100%%\" \"/home/a user/.config\"\n";
        assert!(unit.contains(writes), "{unit}");
        let environment = "Environment=\"TRANSFER_CONFIG=/home/a user/.config\"\n";
        assert!(unit.contains(environment), "{unit}");
        let (head, service) = unit.split_once("[Service]\n").unwrap();
        assert!(head.contains("\nStartLimitIntervalSec=0\n"), "{unit}");
        for line in ["RestartSec=10\n", "RestartPreventExitStatus=2\n", "MemoryMax=1G\n"] {
            assert!(service.contains(line), "{unit}");
        }
        assert!(hint.contains("enable-linger"));
        let (agent, _) = text(&wish(Manager::Launchd, &odd), program, None).unwrap();
        assert!(agent.contains("    <string>&lt;&amp;&gt;</string>\n"), "{agent}");
        assert!(agent.contains("    <string>q\"q</string>\n"), "{agent}");
        // What leads to Tailscale here leads there too.
        let tailnet = |manager, socket: &str| {
            let tailscale =
                vec![("TRANSFER_TAILSCALE", "bin/ts".into()), ("TS_SOCKET", socket.into())];
            text(&Wish { tailscale, ..wish(manager, &[]) }, program, Some(config)).unwrap().0
        };
        for (socket, private) in [("/run/ts.sock", "yes"), ("/tmp/ts.sock", "no")] {
            let unit = tailnet(Manager::Systemd, socket);
            let lines = format!(
                "Environment=\"TRANSFER_TAILSCALE=/home/a user/bin/ts\"\n\
                 Environment=\"TS_SOCKET={socket}\"\n"
            );
            assert!(unit.contains(&lines), "{unit}");
            assert!(unit.contains(&format!("PrivateTmp={private}\n")), "{unit}");
        }
        let agent = tailnet(Manager::Launchd, "/var/run/ts.sock");
        let entry = "    <key>TS_SOCKET</key>\n    <string>/var/run/ts.sock</string>\n  </dict>\n";
        assert!(agent.contains(entry), "{agent}");
        for bad in ["two\nlines", "esc\u{1b}", "no text \u{fffd}"] {
            text(&wish(Manager::Systemd, &[bad]), program, None).unwrap_err();
        }
    }
}
