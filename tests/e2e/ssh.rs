//! `--pod` through a real ssh: its port brought to another machine, and a port brought there.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::util::process::{Pipe, Process, Sender, receiving, run};
use crate::util::skip;
use crate::util::tree::{Scratch, chmod, ensure_arrived, noise, write};

const SSHD: &str = "/usr/sbin/sshd";

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A server of this user's, for this test alone. It ends with the value.
struct Server {
    home: Scratch,
    port: u16,
    _process: Process,
}

impl Server {
    /// Nothing, and a line that says so, where no ssh can be tried.
    fn start() -> Result<Option<Self>> {
        let there = |program: &str| Command::new(program).arg("-V").output().is_ok();
        if !Path::new(SSHD).exists() || !there("ssh") || !there("ssh-keygen") {
            skip(format_args!("there is no {SSHD}, ssh or ssh-keygen"));
            return Ok(None);
        }
        if rustix::process::geteuid().is_root() && !Path::new("/run/sshd").exists() {
            skip("sshd of root needs /run/sshd");
            return Ok(None);
        }
        let home = Scratch::new()?;
        for name in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(home.join(name));
            run(keygen)?.expect(0)?;
        }
        chmod(home.path(), 0o700)?;
        fs::copy(home.join("user.pub"), home.join("authorized"))?;
        let port = free_port()?;
        let at = home.path().display();
        write(
            &home.join("config"),
            format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nPidFile none\n\
                 AuthorizedKeysFile {at}/authorized\nStrictModes no\nUsePAM no\n\
                 PasswordAuthentication no\nPermitRootLogin yes\nAllowTcpForwarding yes\n"
            ),
        )?;
        let mut command = Command::new(SSHD);
        command.args(["-D", "-e", "-f"]).arg(home.join("config"));
        let mut process = Process::start(command)?;
        process.wait_for(Pipe::Err, "Server listening on 127.0.0.1")?;
        Ok(Some(Self { home, port, _process: process }))
    }

    /// An ssh that brings a port from one side to the other, once it does.
    fn bring(&self, how: &str, from: u16, to: u16) -> Result<Process> {
        let mut command = Command::new("ssh");
        command.args(["-v", "-N", "-F", "none", "-o", "BatchMode=yes"]);
        command.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
        command.args(["-o", "ExitOnForwardFailure=yes", "-p", &self.port.to_string(), "-i"]);
        command.arg(self.home.join("user")).args([
            how,
            &format!("{from}:127.0.0.1:{to}"),
            "127.0.0.1",
        ]);
        let mut process = Process::start(command)?;
        let done =
            if how == "-L" { "Local forwarding listening" } else { "remote forward success" };
        process.wait_for(Pipe::Err, done).context("no tunnel")?;
        if how == "-L" {
            process.wait_until_said("Entering interactive session")?;
        }
        Ok(process)
    }
}

#[test]
fn a_pod_is_reached_through_ssh() -> Result<()> {
    let Some(server) = Server::start()? else { return Ok(()) };
    let from = Scratch::new()?;
    write(&from.join("tree/large"), noise(3_000_000, 1))?;
    write(&from.join("tree/empty"), "")?;
    for how in ["-L", "-R"] {
        let into = Scratch::new()?;
        let sender = Sender::pod(&[&from.join("tree")], &[])?;
        let here = free_port()?;
        let tunnel = server.bring(how, here, sender.port()?)?;
        let token = sender.ticket.rsplit(':').next().context("a token")?;
        run(receiving(&format!("127.0.0.1:{here}:{token}"), into.path(), &[]))?.expect(0)?;
        sender.end()?.expect(0)?;
        tunnel.kill()?;
        ensure_arrived(into.path(), &[&from.join("tree")])?;
    }
    Ok(())
}
