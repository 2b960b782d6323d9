//! A folder with what OpenSSL makes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use transfer::net::tls::provider;
use transfer::trust::credentials::Credentials;
use transfer::trust::pem;
use transfer::trust::store::Trusted;
use transfer::trust::verifier::Rules;

use crate::util::process::{Ended, Pipe, Process, transfer};
use crate::util::skip;

/// Sections for `-extfile` and `-extensions`.
const CONFIG: &str = "[req]
distinguished_name = dn
[dn]
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
[inter]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign
[none]
basicConstraints = CA:FALSE
[san]
subjectAltName = DNS:attic,IP:127.0.0.1
[ip]
subjectAltName = IP:172.20.10.3
[client]
subjectAltName = DNS:attic
extendedKeyUsage = clientAuth
[server]
subjectAltName = DNS:attic,IP:127.0.0.1,IP:::1
extendedKeyUsage = serverAuth
[dated]
database = index
new_certs_dir = .
rand_serial = yes
default_md = sha256
unique_subject = no
policy = any
[any]
commonName = supplied
";

/// The folder.
pub struct Shop(tempfile::TempDir);

impl Shop {
    /// With nothing in it; nothing at all where there is no OpenSSL.
    pub fn open() -> Result<Option<Self>> {
        // LibreSSL has other options.
        let version = Command::new("openssl").arg("version").output();
        if !version.is_ok_and(|it| it.stdout.starts_with(b"OpenSSL ")) {
            skip("no openssl here");
            return Ok(None);
        }
        let shop = Self(tempfile::tempdir()?);
        std::fs::write(shop.path("config"), CONFIG)?;
        std::fs::write(shop.path("index"), "")?;
        Ok(Some(shop))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn run(&self, words: &str) -> Result<()> {
        let words: Vec<&str> = words.split_whitespace().collect();
        let mut command = Command::new("openssl");
        command.args(&words).current_dir(self.0.path()).stdin(Stdio::null());
        let done = command.output().context("openssl")?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "openssl {words:?}: {said}");
        Ok(())
    }

    /// `NAME.pem` and `NAME.key`: a CA that is called `called`.
    pub fn ca(&self, name: &str, called: &str) -> Result<()> {
        self.run(&format!(
            "req -x509 -config config -extensions ca -newkey ec -pkeyopt \
             ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key -out {name}.pem -subj \
             /CN={called} -days 30"
        ))
    }

    /// `NAME.pem` and `NAME.key` of a kind of key, signed by `ca`, with a section of the
    /// configuration; without one it is of version 1.
    pub fn issue(&self, name: &str, ca: &str, kind: &str, section: &str, more: &str) -> Result<()> {
        self.run(&format!(
            "req -new -config config -newkey {kind} -nodes -keyout {name}.key -out {name}.csr \
             -subj /CN=deviceB"
        ))?;
        let section = match section {
            "" => String::new(),
            section => format!("-extfile config -extensions {section}"),
        };
        self.run(&format!(
            "x509 -req -in {name}.csr -CA {ca}.pem -CAkey {ca}.key -set_serial {} -out {name}.pem \
             -days 20 {section} {more}",
            u32::from_str_radix(
                &name.bytes().fold(String::new(), |it, byte| { format!("{it}{byte:x}") }),
                16
            )
            .unwrap_or(77)
        ))
    }

    /// `v1.pem`, of version 1; false where OpenSSL makes no such any more, as since 3.2.
    pub fn issue_v1(&self) -> Result<bool> {
        self.issue("v1", "ca", P256, "", "")?;
        let mut command = Command::new("openssl");
        command.args(["x509", "-noout", "-text", "-in", "v1.pem"]).current_dir(self.0.path());
        let text = command.output().context("openssl")?.stdout;
        let is_one = String::from_utf8_lossy(&text).contains("Version: 1 ");
        if !is_one {
            skip("this OpenSSL makes no certificates of version 1");
        }
        Ok(is_one)
    }

    /// The same with a key of P-256, for so many hours from now and until then.
    pub fn dated(&self, name: &str, ca: &str, from: i64, until: i64, section: &str) -> Result<()> {
        self.issue(name, ca, P256, section, "")?;
        let at = |hours: i64| -> Result<String> {
            let at = Timestamp::now().checked_add(SignedDuration::from_hours(hours))?;
            Ok(at.strftime("%Y%m%d%H%M%SZ").to_string())
        };
        self.run(&format!(
            "ca -batch -notext -config config -name dated -in {name}.csr -out {name}.pem -cert {ca}.pem \
             -keyfile {ca}.key -startdate {} -enddate {} -extfile config -extensions {section}",
            at(from)?,
            at(until)?
        ))
    }

    /// The files as `--cert` and `--key` have them.
    pub fn load(&self, name: &str) -> Result<Credentials, transfer::error::Error> {
        Credentials::load(&self.path(&format!("{name}.pem")), &self.path(&format!("{name}.key")))
    }

    /// Trusting whom these CAs vouch for.
    pub fn rules(&self, cas: &[&str]) -> Result<Arc<Rules>> {
        let mut found = vec![];
        for ca in cas {
            found.extend(pem::certificates(&self.path(&format!("{ca}.pem")))?);
        }
        Ok(Rules::new(Trusted::empty(), found, vec![], provider())?)
    }

    /// Several files in one.
    pub fn join(&self, parts: &[&str], whole: &str) -> Result<()> {
        let mut file = std::fs::File::create(self.path(whole))?;
        for part in parts {
            file.write_all(&std::fs::read(self.path(part))?)?;
        }
        Ok(())
    }
}

/// `-newkey` for keys as people have them.
pub const P256: &str = "ec -pkeyopt ec_paramgen_curve:prime256v1";

/// A path as it is shown.
pub fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// `transfer serve` on this machine.
pub struct Server {
    pub process: Process,
    pub port: u16,
}

impl Server {
    /// Ctrl-C, and its end.
    pub fn stop(self) -> Result<Ended> {
        self.process.interrupt()?;
        self.process.end()?.expect(0)
    }
}

/// Serves `incoming` with a certificate of the shop, for devices of these CAs; on any port if it is 0.
pub fn serve(shop: &Shop, name: &str, cas: &[&str], port: u16) -> Result<Server> {
    let mut process = Process::start(program(
        shop,
        name,
        cas,
        &["serve", "--pod", "--port", &port.to_string(), "incoming"],
    ))?;
    let line = process.wait_for(Pipe::Err, " takes uploads into ")?;
    let port = line.split(" on port ").nth(1).and_then(|rest| rest.split(' ').next());
    Ok(Server { process, port: port.context("a port")?.parse()? })
}

/// The program with a certificate of the shop, as a device that has met nobody yet.
pub fn program(shop: &Shop, name: &str, cas: &[&str], words: &[&str]) -> Command {
    let mut command = transfer();
    command.args(words).args(["--cert", &format!("{name}.pem"), "--key", &format!("{name}.key")]);
    command.args(cas.iter().flat_map(|ca| ["--ca".to_owned(), format!("{ca}.pem")]));
    static DEVICES: AtomicU32 = AtomicU32::new(0);
    let folder = format!("device-{}", DEVICES.fetch_add(1, Ordering::Relaxed));
    command.current_dir(shop.path("")).env("TRANSFER_CONFIG", shop.path(&folder));
    command
}
