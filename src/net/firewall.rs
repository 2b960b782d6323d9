//! Which firewall this machine has, and what would open a port in it. It is never asked what it
//! lets through, which takes root; and nothing is changed.

use std::fs;
use std::path::Path;

/// A firewall that is in use here, as far as a user can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firewall {
    /// `ufw`, of Ubuntu.
    Ufw,
    /// `firewalld`, of Fedora.
    Firewalld,
    /// That of Windows.
    Windows,
    /// That of macOS, which asks for each program.
    Mac,
}

impl Firewall {
    /// The one that is in use here.
    pub fn here() -> Option<Self> {
        match std::env::consts::OS {
            "windows" => Some(Self::Windows),
            "macos" => Some(Self::Mac),
            "linux" => Self::of_linux(Path::new("/")),
            _ => None,
        }
    }

    fn of_linux(root: &Path) -> Option<Self> {
        let ufw = fs::read_to_string(root.join("etc/ufw/ufw.conf")).unwrap_or_default();
        if ufw.lines().any(|line| line.trim().eq_ignore_ascii_case("ENABLED=yes")) {
            return Some(Self::Ufw);
        }
        root.join("run/firewalld.pid").exists().then_some(Self::Firewalld)
    }

    /// What opens ports, such as `15820` or `15821-15830`, for a protocol, `tcp` or `udp`.
    pub fn allow(self, ports: &str, protocol: &str) -> String {
        match self {
            Self::Ufw => format!("`sudo ufw allow {}/{protocol}`", ports.replace('-', ":")),
            Self::Firewalld => format!("`sudo firewall-cmd --add-port={ports}/{protocol}`"),
            Self::Windows => format!(
                "`netsh advfirewall firewall add rule name=transfer dir=in action=allow \
                 protocol={protocol} localport={ports}` as administrator; if Windows has asked about \
                 transfer and was told no, remove its blocked rules in wf.msc"
            ),
            Self::Mac => "System Settings, Network, Firewall: allow `transfer` to listen".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        assert_eq!(Firewall::of_linux(root.path()), None);
        put("etc/ufw/ufw.conf", "# is it on?\nENABLED=no\n");
        assert_eq!(Firewall::of_linux(root.path()), None);
        put("run/firewalld.pid", "1");
        assert_eq!(Firewall::of_linux(root.path()), Some(Firewall::Firewalld));
        put("etc/ufw/ufw.conf", "LOGLEVEL=low\nENABLED=yes\n");
        assert_eq!(Firewall::of_linux(root.path()), Some(Firewall::Ufw));
    }

    #[test]
    fn what_opens_it() {
        let ports = "15821-15830";
        assert_eq!(Firewall::Ufw.allow(ports, "tcp"), "`sudo ufw allow 15821:15830/tcp`");
        let firewalld = "`sudo firewall-cmd --add-port=5353/udp`";
        assert_eq!(Firewall::Firewalld.allow("5353", "udp"), firewalld);
    }
}
