//! A relay on the internet of the laboratory: the real one, with a certificate that the hosts are told to trust.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::stage::Internet;
use super::util::process::{Pipe, Process};
use super::util::tree::Scratch;

/// A relay at one address of `net`, with TCP port 443 and UDP port 7842.
pub struct Relay<'a> {
    internet: &'a Internet,
    address: &'static str,
    scratch: Scratch,
    /// Its certificate.
    pub der: Vec<u8>,
    process: Option<Process>,
}

impl<'a> Relay<'a> {
    /// Starts one.
    pub fn start(internet: &'a Internet, address: &'static str, options: &[&str]) -> Result<Self> {
        let scratch = Scratch::new()?;
        let made = rcgen::generate_simple_self_signed(vec![address.to_owned()])?;
        fs::write(scratch.join("relay.pem"), made.cert.pem())?;
        fs::write(scratch.join("relay.key"), made.signing_key.serialize_pem())?;
        fs::set_permissions(scratch.join("relay.key"), fs::Permissions::from_mode(0o600))?;
        let der = made.cert.der().to_vec();
        let mut relay = Self { internet, address, scratch, der, process: None };
        relay.restart(options)?;
        Ok(relay)
    }

    /// Starts it again, at the same place.
    pub fn restart(&mut self, options: &[&str]) -> Result<()> {
        let [certificate, key] = [self.certificate(), self.scratch.join("relay.key")];
        let [certificate, key] = [certificate.to_string_lossy(), key.to_string_lossy()];
        let words = ["relay", "--cert", &certificate, "--key", &key, "--bind", self.address];
        let command = self.internet.transfer("net", &[&words[..], options].concat());
        let mut process = Process::start(command)?;
        process.wait_for(Pipe::Err, "relay ready: ")?;
        self.process = Some(process);
        Ok(())
    }

    /// Waits until it says something.
    pub fn wait_until_said(&mut self, part: &str) -> Result<()> {
        self.process.as_mut().context("it does not run")?.wait_until_said(part).map(drop)
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("it does not run")?.kill()
    }

    /// What clients are told to use.
    pub fn url(&self) -> String {
        match self.address.contains(':') {
            true => format!("https://[{}]", self.address),
            false => format!("https://{}", self.address),
        }
    }

    /// What they are to trust.
    pub fn certificate(&self) -> PathBuf {
        self.scratch.join("relay.pem")
    }
}
