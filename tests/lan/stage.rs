//! Machines on a local network: network namespaces on a bridge in one of its own, with what
//! machines have beside a cable, such as Docker's bridge and a tunnel.

use std::net::IpAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::util::machines::Machines;
use super::util::process::{LIMIT, Process};
use super::util::skip;
use super::util::tree::{Scratch, write};

/// A network of the machines `a`, `b` and `c`, gone when dropped: 192.168.77.1 to .3, fd77::1 to ::3
/// and fe80::1 to ::3 at their `eth0`. `a` has a `docker0` and, where the kernel has tunnels, a `wg0` as well.
pub struct Lan(Machines);

impl Deref for Lan {
    type Target = Machines;

    fn deref(&self) -> &Machines {
        &self.0
    }
}

impl Lan {
    /// The network, or nothing (with the reason told) where that is not allowed.
    pub fn new() -> Result<Option<Self>> {
        let Some(mut lan) = Machines::begin("lan", "switch")? else { return Ok(None) };
        let switch = lan.name("switch");
        // With snooping a bridge drops multicast that nobody has asked it for.
        lan.ip("switch", "link add br0 type bridge mcast_snooping 0")?;
        lan.ip("switch", "link set br0 up")?;
        for (number, name) in (1..).zip(["a", "b", "c"]) {
            lan.add(name)?;
            lan.ip(name, &format!("link add eth0 type veth peer name to-{name} netns {switch}"))?;
            lan.ip("switch", &format!("link set to-{name} master br0 up"))?;
            lan.ip(name, &format!("address add 192.168.77.{number}/24 brd + dev eth0"))?;
            // Without duplicate detection an IPv6 address can be bound at once.
            lan.ip(name, &format!("address add fd77::{number}/64 dev eth0 nodad"))?;
            lan.ip(name, "link set eth0 addrgenmode none")?;
            lan.ip(name, &format!("address add fe80::{number}/64 dev eth0 nodad"))?;
            lan.ip(name, "link set lo up")?;
            lan.ip(name, "link set eth0 up")?;
        }
        lan.ip("a", "link add docker0 type bridge")?;
        lan.ip("a", "address add 172.17.0.1/16 dev docker0")?;
        lan.ip("a", "link set docker0 up")?;
        if lan.ip("a", "tuntap add wg0 mode tun").is_ok() {
            lan.ip("a", "address add 10.9.0.2/32 dev wg0")?;
            lan.ip("a", "link set wg0 up")?;
        }
        Ok(Some(Self(lan)))
    }

    /// A second network, of two machines alone: an interface `cable` at each.
    pub fn cable(&self, one: (&str, &str), other: (&str, &str)) -> Result<()> {
        let far = self.name(other.0);
        self.ip(one.0, &format!("link add cable type veth peer name cable netns {far}"))?;
        for (machine, address) in [one, other] {
            self.ip(machine, &format!("address add {address}/24 brd + dev cable"))?;
            self.ip(machine, "link set cable up")?;
        }
        Ok(())
    }

    /// Does something at a machine, within this process.
    pub fn at<T: Send + 'static>(
        &self,
        machine: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        self.0.at(machine, work).join().ok().context("the thread has panicked")?
    }
}

/// Asks again and again until `done` gives something.
pub fn until<T>(what: &str, mut done: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(found) = done()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("it never comes: {what}");
        }
        thread::sleep(Duration::from_millis(100));
    }
}

/// An avahi-daemon at a machine, with a message bus of its own.
pub struct Avahi<'a> {
    lan: &'a Lan,
    machine: &'static str,
    scratch: Scratch,
    _bus: Process,
    _daemon: Process,
}

impl<'a> Avahi<'a> {
    /// Starts both, or nothing (with the reason told) where they are not installed.
    pub fn start(lan: &'a Lan, machine: &'static str) -> Result<Option<Self>> {
        let programs = ["avahi-daemon", "avahi-browse", "avahi-publish", "dbus-daemon", "unshare"];
        for program in programs {
            let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output();
            if !found?.status.success() {
                skip(format_args!("there is no {program}; scripts/setup --test installs it"));
                return Ok(None);
            }
        }
        let scratch = Scratch::new()?;
        let bus = scratch.join("bus");
        write(
            &scratch.join("bus.conf"),
            format!(
                "<busconfig><type>system</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
                 <policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/>\
                 <allow send_destination=\"*\" eavesdrop=\"true\"/><allow receive_sender=\"*\"/>\
                 </policy></busconfig>",
                bus.display()
            ),
        )?;
        write(
            &scratch.join("avahi.conf"),
            "[server]\nhost-name=stranger\nallow-interfaces=eth0\nenable-dbus=yes\n\
             ratelimit-burst=100000\n[rlimits]\n",
        )?;
        let mut command = lan.on(machine, "dbus-daemon");
        command
            .arg("--nofork")
            .arg(format!("--config-file={}", scratch.join("bus.conf").display()));
        let bus_runs = Process::start(command)?;
        until("the message bus", || Ok(bus.exists().then_some(())))?;
        // Its process file has a fixed place, which has to be its user's. Where there is root alone, root is.
        write(&scratch.join("passwd"), "avahi:x:0:0::/:/bin/false\n")?;
        write(&scratch.join("group"), "avahi:x:0:\n")?;
        let mut command = lan.on(machine, "unshare");
        let daemon = format!(
            "mkdir -p /run/avahi-daemon && mount -t tmpfs tmpfs /run/avahi-daemon && cd '{}' && \
             mount --bind passwd /etc/passwd && mount --bind group /etc/group && \
             exec avahi-daemon --no-drop-root --no-chroot --no-rlimits -f \"$PWD/avahi.conf\"",
            scratch.path().display()
        );
        command.args(["--mount", "sh", "-c", &daemon]);
        command.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", bus.display()));
        let mut daemon = Process::start(command)?;
        daemon.wait_until_said("Server startup complete")?;
        Ok(Some(Self { lan, machine, scratch, _bus: bus_runs, _daemon: daemon }))
    }

    /// One of Avahi's programs.
    pub fn program(&self, program: &str, args: &[&str]) -> Command {
        let mut command = self.lan.on(self.machine, program);
        let bus: PathBuf = self.scratch.join("bus");
        command.env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", bus.display()));
        command.args(args);
        command
    }
}

/// An address.
pub fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}
