//! `transfer trust`, `transfer ca` and `transfer device`, as typed.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::parse;
use crate::devices::{AuthorityOptions, DeviceOptions, Issue, TrustOptions};
use crate::error::{Error, Result, reason, shown};
use crate::trust::authority::DEVICE_DAYS;
use crate::trust::certificate::San;
use crate::ui::Ui;

/// Bytes of a request for a certificate; what is longer is none.
const MAX_REQUEST: u64 = 64 << 10;

/// Options of what lists and shows.
#[derive(Debug, Args)]
struct Shows {
    /// Tell programs on stdout: one JSON object a line
    #[arg(long)]
    json: bool,
    /// Say only what went wrong
    #[arg(short, long)]
    quiet: bool,
}

impl Shows {
    fn ui(&self, yes: bool) -> Ui {
        Ui::new(self.quiet, 0, yes, self.json)
    }
}

/// `transfer trust`, as typed.
#[derive(Debug, Args)]
pub struct TrustArgs {
    #[command(subcommand)]
    command: TrustCommand,
}

/// Its subcommands.
#[derive(Debug, Subcommand)]
enum TrustCommand {
    /// List devices, CAs, and who was removed
    List {
        #[command(flatten)]
        shows: Shows,
    },
    /// Show all that is known of one
    Show {
        /// Its name, or at least 8 digits of its id
        #[arg(value_name = "DEVICE")]
        device: String,
        #[command(flatten)]
        shows: Shows,
    },
    /// Give one another name here
    Rename {
        /// Its name, or at least 8 digits of its id
        #[arg(value_name = "DEVICE")]
        device: String,
        /// The new name
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Trust one no more, whoever vouches for it
    Remove {
        /// Its name, or at least 8 digits of its id
        #[arg(value_name = "DEVICE")]
        device: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        #[command(flatten)]
        shows: Shows,
    },
    /// Print the list, for `trust import` on another device; it holds no secret
    Export,
    /// Take a CA's certificate, a device's, or another device's list
    Import {
        /// PEM, or what `trust export` printed
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        shows: Shows,
    },
}

impl TrustArgs {
    /// The terminal as the options want it.
    pub fn ui(&self) -> Ui {
        match &self.command {
            TrustCommand::List { shows }
            | TrustCommand::Show { shows, .. }
            | TrustCommand::Import { shows, .. } => shows.ui(true),
            TrustCommand::Remove { shows, yes, .. } => shows.ui(*yes),
            TrustCommand::Rename { .. } | TrustCommand::Export => Ui::new(false, 0, true, false),
        }
    }

    /// Everything decided that can be decided without looking.
    pub fn resolve(self) -> TrustOptions {
        match self.command {
            TrustCommand::List { .. } => TrustOptions::List,
            TrustCommand::Show { device, .. } => TrustOptions::Show(device),
            TrustCommand::Rename { device, name } => TrustOptions::Rename(device, name),
            TrustCommand::Remove { device, .. } => TrustOptions::Remove(device),
            TrustCommand::Export => TrustOptions::Export,
            TrustCommand::Import { file, .. } => TrustOptions::Import(file),
        }
    }
}

/// `transfer ca`, as typed.
#[derive(Debug, Args)]
pub struct CaArgs {
    #[command(subcommand)]
    command: CaCommand,
}

/// Its subcommands.
#[derive(Debug, Subcommand)]
enum CaCommand {
    /// Make a CA on this device
    Init {
        /// What it is called
        #[arg(value_name = "NAME", default_value = "home")]
        name: String,
        #[command(flatten)]
        shows: Shows,
    },
    /// Issue the certificate of a device
    Issue {
        /// The device's name; it may be dialled by it, and by NAME.local
        #[arg(value_name = "NAME")]
        name: String,
        /// Another host name or address by which it may be dialled; may be repeated
        #[arg(long, value_name = "HOST", value_parser = san)]
        san: Vec<San>,
        /// Sign the request in this file, which `transfer device --csr` wrote there: its key never
        /// travels; - takes it from standard input
        #[arg(long, value_name = "FILE")]
        csr: Option<PathBuf>,
        /// How many days it holds
        #[arg(long, value_name = "N", default_value_t = DEVICE_DAYS,
              value_parser = clap::value_parser!(u32).range(1..=3652))]
        days: u32,
        /// The folder to write NAME.pem into, and NAME.key unless there was a request
        #[arg(long, value_name = "DIR", default_value = ".", value_parser = parse::new_path())]
        out: PathBuf,
        #[command(flatten)]
        shows: Shows,
    },
    /// List the CA and what it has issued
    List {
        #[command(flatten)]
        shows: Shows,
    },
}

impl CaArgs {
    /// The terminal as the options want it.
    pub fn ui(&self) -> Ui {
        let (CaCommand::Init { shows, .. }
        | CaCommand::Issue { shows, .. }
        | CaCommand::List { shows }) = &self.command;
        shows.ui(true)
    }

    /// Everything decided that can be decided without looking.
    ///
    /// # Errors
    /// When the request cannot be read.
    pub fn resolve(self) -> Result<AuthorityOptions> {
        Ok(match self.command {
            CaCommand::Init { name, .. } => AuthorityOptions::Init(name),
            CaCommand::List { .. } => AuthorityOptions::List,
            CaCommand::Issue { name, san, csr, days, out, .. } => {
                let request = csr.as_deref().map(read_request).transpose()?;
                AuthorityOptions::Issue(Issue { name, hosts: san, request, days, out })
            }
        })
    }
}

fn read_request(path: &Path) -> Result<String> {
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().take(MAX_REQUEST).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_REQUEST).read_to_string(&mut text))
    };
    read.map_err(|error| {
        let name = path.to_string_lossy();
        Error::usage(format!("cannot read \"{}\": {}", shown(&name), reason(&error)))
            .hint("--csr names a file that `transfer device --csr` wrote")
    })?;
    Ok(text)
}

fn san(text: &str) -> Result<San, String> {
    San::parse(text).ok_or_else(|| "a host is like attic.local or 192.168.1.9".into())
}

/// `transfer device`, as typed.
#[derive(Debug, Args)]
pub struct DeviceArgs {
    /// Print a request for a certificate, for `transfer ca issue --csr` where the CA is
    #[arg(long, conflicts_with_all = ["renew", "install", "json"])]
    csr: bool,
    /// A new certificate for the same key: at once where the CA is on this device, else as --csr
    #[arg(long, conflicts_with = "install")]
    renew: bool,
    /// Take the certificate that a CA has signed
    #[arg(long, value_name = "FILE")]
    install: Option<PathBuf>,
    #[command(flatten)]
    shows: Shows,
}

impl DeviceArgs {
    /// The terminal as the options want it.
    pub fn ui(&self) -> Ui {
        self.shows.ui(true)
    }

    /// Everything decided that can be decided without looking.
    pub fn resolve(self) -> DeviceOptions {
        match self.install {
            Some(file) => DeviceOptions::Install(file),
            None if self.csr => DeviceOptions::Request,
            None if self.renew => DeviceOptions::Renew,
            None => DeviceOptions::Show,
        }
    }
}
