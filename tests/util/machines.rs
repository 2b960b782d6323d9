//! Machines of a network that the tests make: network namespaces, gone when dropped.

use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use anyhow::{Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::process::clean;
use super::root::as_root;
use super::skip;

/// Machines without a cable yet.
pub struct Machines {
    prefix: String,
    names: Vec<String>,
}

impl Machines {
    /// The first of them. Nothing where this test has been run elsewhere, or cannot be (with the reason told).
    pub fn begin(network: &str, first: &str) -> Result<Option<Self>> {
        let Some(()) = as_root()? else { return Ok(None) };
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("transfer-{network}-{}-{count}", std::process::id());
        let mut machines = Self { prefix, names: Vec::new() };
        if let Err(error) = machines.add(first) {
            skip(format_args!("no network namespace can be made: {error:#}"));
            return Ok(None);
        }
        Ok(Some(machines))
    }

    /// One more.
    pub fn add(&mut self, machine: &str) -> Result<()> {
        let name = self.name(machine);
        ip(&["netns", "add", &name])?;
        self.names.push(name);
        Ok(())
    }

    /// What its namespace is called.
    pub fn name(&self, machine: &str) -> String {
        format!("{}-{machine}", self.prefix)
    }

    /// `ip`, at a machine.
    pub fn ip(&self, machine: &str, args: &str) -> Result<()> {
        let name = self.name(machine);
        let args: Vec<&str> = ["-n", &*name].into_iter().chain(args.split(' ')).collect();
        ip(&args)
    }

    /// A program, to run at a machine.
    pub fn on(&self, machine: &str, program: &str) -> Command {
        let mut command = clean(Command::new("ip"));
        command.args(["netns", "exec", &self.name(machine), program]);
        command
    }

    /// `transfer`, to run at a machine.
    pub fn transfer(&self, machine: &str, args: &[&str]) -> Command {
        let mut command = self.on(machine, env!("CARGO_BIN_EXE_transfer"));
        command.args(args);
        command
    }

    /// Does something at a machine, in a thread of this process: all sockets that `work` opens, and those
    /// of the threads that it starts, are there.
    pub fn at<T: Send + 'static>(
        &self,
        machine: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> JoinHandle<Result<T>> {
        let namespace = Path::new("/run/netns").join(self.name(machine));
        // The thread that goes there ends there.
        thread::spawn(move || {
            let namespace = fs::File::open(namespace)?;
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(work())
        })
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for name in &self.names {
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

fn ip(args: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(args).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {said}", args.join(" "));
    Ok(())
}
