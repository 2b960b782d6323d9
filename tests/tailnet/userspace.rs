//! Nodes without a network device, as in containers: no namespaces are needed, only proxies that
//! answer as tailscaled's do. Where there is a namespace, it shows that there is no other way.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::Net;
use crate::util::process::{Pipe, Sender, receiving, run, transfer};
use crate::util::skip;
use crate::util::tree::{Scratch, ensure_arrived, write};
use crate::{ALPHA, BETA, fixture, status, tailscale, tree};

/// What `tailscale whois --json` says of a device whose key has expired.
fn whois_expired() -> Result<String> {
    let mut whois: Value = serde_json::from_slice(&fs::read(fixture("whois_user.json"))?)?;
    whois["Node"]["Expired"] = json!(true);
    Ok(whois.to_string())
}

/// Why it is turned away.
const EXPIRED: &str = "the Tailscale key of desk-alice (alice@example.org) has expired";

/// A node without a network device: tailscaled delivers to 127.0.0.1, and says for whom.
#[test]
fn a_userspace_sender_serves_whom_whois_names() -> Result<()> {
    let (scratch, into) = (Scratch::new()?, Scratch::new()?);
    let (tree, folder) = (tree(&scratch)?, scratch.join("alpha"));
    let whois = "if [ \"$1 $2 $3\" = 'whois --json --proto=tcp' ]; then\n\
                 echo \"$4\" >> \"$here/asked\"\n\
                 [ -e \"$here/whois.json\" ] && exec cat \"$here/whois.json\"\n\
                 echo 'peer not found' >&2\nexit 1\nfi";
    let program = tailscale(&folder, &status(ALPHA, &[BETA], false)?, whois)?;
    let mut command = transfer();
    command.args(["send", "-y", "--port", "0"]).arg(&tree);
    command.env("TRANSFER_TAILSCALE", &program);
    let mut sender = Sender::start(command)?;
    ensure!(sender.ticket.starts_with("alpha:"), "{}", sender.ticket);
    let port = sender.port()?;

    // A program of this machine is not a device of the tailnet.
    let mut stranger = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    let mut answer = Vec::new();
    stranger.read_to_end(&mut answer)?;
    ensure!(answer.is_empty(), "{answer:?}");
    let line = sender.process.wait_for(Pipe::Err, "turned away")?;
    assert_eq!(line, "turned away 127.0.0.1: it does not come from the tailnet\n");
    let asked = fs::read_to_string(folder.join("asked"))?;
    let address = stranger.local_addr()?.to_string();
    ensure!(asked.lines().all(|line| line == address), "{address}: {asked}");

    // Neither is a device whose key has expired.
    let ticket = sender.ticket.replacen("alpha", "127.0.0.1", 1);
    write(&folder.join("whois.json"), whois_expired()?)?;
    run(receiving(&ticket, into.path(), &[]))?.expect(5)?;
    let line = sender.process.wait_for(Pipe::Err, "turned away")?;
    assert_eq!(line, format!("turned away 127.0.0.1: {EXPIRED}\n"));

    // Another is, as tailscaled says.
    fs::copy(fixture("whois_user.json"), folder.join("whois.json"))?;
    run(receiving(&ticket, into.path(), &[]))?.expect(0)?;
    sender.end()?.expect(0)?.says("\ndesk-alice (alice@example.org) is connected\n")?;
    ensure_arrived(into.path(), &[&tree])
}

/// `--pod` in such a node: programs of this machine are welcome, devices are called by name, and
/// the ticket for those is shown, too.
#[test]
fn a_pod_names_who_comes_from_the_tailnet() -> Result<()> {
    let scratch = Scratch::new()?;
    let (tree, folder) = (tree(&scratch)?, scratch.join("alpha"));
    let whois = "[ -e \"$here/whois.json\" ] && exec cat \"$here/whois.json\"\n\
                 echo 'peer not found' >&2\nexit 1";
    let program = tailscale(&folder, &status(ALPHA, &[BETA], false)?, whois)?;
    for name in ["a program on this machine", "desk-alice (alice@example.org)"] {
        let into = Scratch::new()?;
        let mut command = transfer();
        command.args(["send", "-y", "--pod", "--port", "0"]).arg(&tree);
        command.env("TRANSFER_TAILSCALE", &program);
        let sender = Sender::start(command)?;
        let ticket = sender.ticket.clone();
        run(receiving(&ticket, into.path(), &[]))?.expect(0)?;
        let sent = sender.end()?.expect(0)?;
        sent.says(&format!("\n{name} is connected\n"))?;
        let elsewhere = ticket.replace("127.0.0.1", "100.64.0.1");
        sent.says(&format!("another machine of the tailnet: transfer receive {elsewhere}\n"))?;
        ensure_arrived(into.path(), &[&tree])?;
        fs::copy(fixture("whois_user.json"), folder.join("whois.json"))?;
    }

    // One whose key has expired is no program of this machine.
    write(&folder.join("whois.json"), whois_expired()?)?;
    let into = Scratch::new()?;
    let mut command = transfer();
    command.args(["send", "-y", "--pod", "--port", "0"]).arg(&tree);
    command.env("TRANSFER_TAILSCALE", &program);
    let mut sender = Sender::start(command)?;
    run(receiving(&sender.ticket, into.path(), &[]))?.expect(5)?;
    let line = sender.process.wait_for(Pipe::Err, "turned away")?;
    assert_eq!(line, format!("turned away 127.0.0.1: {EXPIRED}\n"));
    Ok(())
}

type Greet = fn(&mut BufReader<TcpStream>) -> Result<SocketAddr>;

/// Serves one connection of a proxy: `greet` talks until it knows the target. The connection
/// then goes to this machine, where the tests' sender is. Returns the target.
pub fn proxy(
    greet: impl FnOnce(&mut BufReader<TcpStream>) -> Result<SocketAddr> + Send + 'static,
) -> Result<(u16, JoinHandle<Result<SocketAddr>>)> {
    proxy_at(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, greet)
}

fn proxy_at(
    listener: TcpListener,
    greet: impl FnOnce(&mut BufReader<TcpStream>) -> Result<SocketAddr> + Send + 'static,
) -> Result<(u16, JoinHandle<Result<SocketAddr>>)> {
    let port = listener.local_addr()?.port();
    let serving = thread::spawn(move || {
        let mut client = BufReader::new(listener.accept()?.0);
        // Somebody may only have looked whether it is there.
        while client.fill_buf()?.is_empty() {
            client = BufReader::new(listener.accept()?.0);
        }
        let target = greet(&mut client)?;
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, target.port()))?;
        let (mut up, mut down) = (server.try_clone()?, client.get_ref().try_clone()?);
        let upwards = thread::spawn(move || {
            let _ = std::io::copy(&mut client, &mut up);
            let _ = up.shutdown(Shutdown::Write);
        });
        let _ = std::io::copy(&mut &server, &mut down);
        let _ = down.shutdown(Shutdown::Both);
        let _ = upwards.join();
        Ok(target)
    });
    Ok((port, serving))
}

/// RFC 1928, no authentication, IPv4.
pub fn socks5(client: &mut BufReader<TcpStream>) -> Result<SocketAddr> {
    let mut greeting = [0; 2];
    client.read_exact(&mut greeting)?;
    let mut methods = vec![0; greeting[1].into()];
    client.read_exact(&mut methods)?;
    ensure!(greeting[0] == 5 && methods.contains(&0), "{greeting:?} {methods:?}");
    client.get_ref().write_all(&[5, 0])?;
    let mut request = [0; 10];
    client.read_exact(&mut request)?;
    let [5, 1, 0, 1, a, b, c, d, high, low] = request else { bail!("{request:?}") };
    client.get_ref().write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    Ok((Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low])).into())
}

/// `CONNECT host:port HTTP/1.1`.
fn http_connect(client: &mut BufReader<TcpStream>) -> Result<SocketAddr> {
    let mut request = String::new();
    client.read_line(&mut request)?;
    let mut header = String::new();
    while header != "\r\n" {
        header.clear();
        ensure!(client.read_line(&mut header)? > 0, "{request:?}");
    }
    client.get_ref().write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    Ok(request.split(' ').nth(1).context("no target")?.parse()?)
}

/// A receiver in a node without a network device, to which `way` adds its way out.
fn receive_from_userspace(nc: &str, way: impl FnOnce(&mut Command)) -> Result<u16> {
    let (scratch, into) = (Scratch::new()?, Scratch::new()?);
    let tree = tree(&scratch)?;
    let program = tailscale(&scratch.join("beta"), &status(BETA, &[ALPHA], false)?, nc)?;
    let sender = Sender::pod(&[&tree], &[])?;
    let port = sender.port()?;
    let ticket = sender.ticket.replace("127.0.0.1", "100.64.0.1");
    let mut command = receiving(&ticket, into.path(), &[]);
    command.env("TRANSFER_TAILSCALE", program);
    way(&mut command);
    run(command)?.expect(0)?.says("connecting to alpha (alice@example.org)\n")?;
    sender.end()?.expect(0)?;
    ensure_arrived(into.path(), &[&tree])?;
    Ok(port)
}

#[test]
fn a_userspace_receiver_goes_through_a_proxy() -> Result<()> {
    let cases: [(&str, &str, Greet); 3] = [
        ("ALL_PROXY", "socks5", socks5),
        ("all_proxy", "socks5h", socks5),
        ("ALL_PROXY", "http", http_connect),
    ];
    for (variable, scheme, greet) in cases {
        let (at, serving) = proxy(greet)?;
        let port = receive_from_userspace("", |command| {
            command.env(variable, format!("{scheme}://127.0.0.1:{at}"));
        })
        .with_context(|| format!("{variable}={scheme}"))?;
        let target = serving.join().ok().context("the proxy has panicked")??;
        assert_eq!(target, SocketAddr::from(([100, 64, 0, 1], port)));
    }
    Ok(())
}

/// Both ends in nodes without a network device, each run by its own program: a pod that shows a
/// ticket for the tailnet, and a receiver that has no way out but the proxy of its own tailscaled.
#[test]
fn a_pod_and_a_receiver_behind_a_proxy_meet() -> Result<()> {
    let cases: [(&str, Greet); 2] = [("socks5", socks5), ("http", http_connect)];
    for (scheme, greet) in cases {
        let Some(net) = Net::alone(BETA)? else { return Ok(()) };
        let (scratch, into) = (Scratch::new()?, Scratch::new()?);
        let tree = tree(&scratch)?;
        // Their tailscaleds: one names who comes, the other has the proxy.
        let whois = "echo \"$*\" >> \"$here/asked\"\nexec cat \"$here/whois.json\"";
        let here = tailscale(&scratch.join("alpha"), &status(ALPHA, &[BETA], false)?, whois)?;
        fs::copy(fixture("whois_user.json"), scratch.join("alpha/whois.json"))?;
        let there = tailscale(&scratch.join("beta"), &status(BETA, &[ALPHA], false)?, "")?;

        let mut command = transfer();
        command.args(["send", "-y", "--pod", "--port", "0"]).arg(&tree);
        command.env("TRANSFER_TAILSCALE", here);
        let mut sender = Sender::start(command)?;
        let line = sender.process.wait_until_said("another machine of the tailnet: ")?;
        let ticket = line.trim_end().rsplit(' ').next().context("no ticket")?.to_owned();
        ensure!(ticket.starts_with("100.64.0.1:"), "{line}");

        let receive = |ticket: &str| {
            let mut command = net.transfer(BETA, &there);
            command.args(["receive", "-y", ticket, "-o"]).arg(into.path());
            command
        };
        // There is no other way: not the tailnet, and not the sender's own loopback.
        run(receive(&ticket))?.expect(5)?.says("100.64.0.1")?;
        run(receive(&sender.ticket))?.expect(5)?.says("nothing listens at 127.0.0.1")?;

        // It stays there, whoever accepts.
        let there = net.0.at(BETA.name, || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
        let listener = there.join().ok().context("the thread has panicked")???;
        let (at, serving) = proxy_at(listener, greet)?;
        let mut command = receive(&ticket);
        command.env("ALL_PROXY", format!("{scheme}://127.0.0.1:{at}"));
        run(command)?.expect(0)?.says("connecting to alpha (alice@example.org)\n")?;
        let target = serving.join().ok().context("the proxy has panicked")??;
        assert_eq!(target, SocketAddr::from(([100, 64, 0, 1], sender.port()?)));
        sender.end()?.expect(0)?.says("\ndesk-alice (alice@example.org) is connected\n")?;
        let asked = fs::read_to_string(scratch.join("alpha/asked"))?;
        ensure!(asked.starts_with("whois --json --proto=tcp 127.0.0.1:"), "{asked}");
        ensure_arrived(into.path(), &[&tree])?;
    }
    Ok(())
}

/// The doctor looks through the same proxy, and says so.
#[test]
fn a_userspace_doctor_goes_through_a_proxy() -> Result<()> {
    let scratch = Scratch::new()?;
    let program = tailscale(&scratch.join("beta"), &status(BETA, &[ALPHA], false)?, "")?;
    let sender = Sender::pod(&[&tree(&scratch)?], &[])?;
    let place = format!("alpha:{}", sender.port()?);
    let (at, serving) = proxy(socks5)?;
    let mut command = transfer();
    command.args(["doctor", &place, "--port", "1"]).current_dir(scratch.path());
    command.env("TRANSFER_TAILSCALE", program);
    command.env("ALL_PROXY", format!("socks5://127.0.0.1:{at}"));
    let ended = run(command)?;
    let target = serving.join().ok().context("the proxy has panicked")??;
    assert_eq!(target, SocketAddr::from(([100, 64, 0, 1], sender.port()?)));
    for line in [
        format!("  ok       socks5://127.0.0.1:{at} answers: `transfer receive` goes through it"),
        format!("  ok       a `transfer send` waits there on port {}\n", sender.port()?),
    ] {
        ensure!(ended.stdout.contains(&line), "{line}: {ended:#?}");
    }
    Ok(())
}

/// Without a proxy it is `tailscale nc HOST PORT`.
#[test]
fn a_userspace_receiver_goes_through_tailscale_nc() -> Result<()> {
    if Command::new("bash").args(["-c", "true"]).output().is_err() {
        skip("there is no bash to stand for tailscale");
        return Ok(());
    }
    let nc = "if [ \"$1 $2\" = 'nc 100.64.0.1' ]; then\n\
              exec bash -c 'exec 3<>\"/dev/tcp/127.0.0.1/$0\"; cat <&3 & cat >&3' \"$3\"\nfi";
    // What is in the environment is for `transfer` alone: `nc` may live for hours.
    receive_from_userspace(nc, |command| {
        command.env("TRANSFER_TICKET", "100.64.0.1:ocean-tiger");
    })?;
    Ok(())
}
