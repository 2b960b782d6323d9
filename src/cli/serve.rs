//! `transfer serve`, as typed, and the certificates that `send --to` names in the same way.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::{Output, parse};
use crate::bounds::{MAX_SESSIONS, MAX_UPLOADS};
use crate::connect::devices::Papers;
use crate::connect::ways::Way;
use crate::error::Result;
use crate::net::interfaces::Choice;
use crate::net::tailscale::{PROGRAM, SOCKET, TailscaleDetector};
use crate::protocol::features::Features;
use crate::receive::options::Conflict;
use crate::receive::plan::OnConflict;
use crate::serve::options::ServeOptions;
use crate::serve::room::Limits;
use crate::serve::unit::{Manager, Wish};
use crate::size;
use crate::ui::Ui;

/// Certificates, in the place of this device's own.
#[derive(Debug, Args)]
pub struct PapersArgs {
    /// Show this certificate (PEM) instead of this device's own
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// The private key of --cert
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Trust the devices of this CA (PEM) too; may be repeated
    #[arg(long, value_name = "FILE")]
    ca: Vec<PathBuf>,
}

impl PapersArgs {
    /// The same, resolved.
    pub fn resolve(&self) -> Papers {
        let own = self.cert.clone().zip(self.key.clone());
        Papers { own, cas: self.ca.clone(), allow: vec![] }
    }
}

/// `transfer serve`, as typed.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The folder in which each device has one of its own; it is made if it does not exist
    #[arg(value_name = "DIR", required_unless_present = "storage", value_parser = parse::new_path())]
    folder: Option<PathBuf>,
    /// The same as DIR
    #[arg(long, value_name = "DIR", conflicts_with = "folder", hide = true, value_parser = parse::new_path())]
    storage: Option<PathBuf>,
    /// Announce the server by this name; without this by the device's own
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Do not announce it: whoever sends has to know its address
    #[arg(long)]
    hidden: bool,
    /// Listen on this port; 0 takes any that is free; without this the first free one of 15821 to 15830
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Serve this machine only, on 127.0.0.1
    #[arg(long)]
    pod: bool,
    /// Serve the tailnet beside the local network: whoever comes from there has to be a device of it,
    /// and trusted
    #[arg(long, conflicts_with = "pod")]
    tailnet: bool,
    /// Serve the tailnet and nobody else
    #[arg(long, conflicts_with_all = ["pod", "interface"])]
    tailnet_only: bool,
    /// Use these network interfaces alone, by name or address; else all that lead to a local network,
    /// and none of a VPN or of containers
    #[arg(long, value_name = "IF", value_delimiter = ',', conflicts_with = "pod", alias = "host")]
    interface: Vec<String>,
    /// Let in this device alone, by name or id, of those that are trusted; may be repeated
    #[arg(long, value_name = "DEVICE")]
    allow: Vec<String>,
    /// What to do when a name is taken by something else
    #[arg(long, value_name = "HOW", default_value = "rename")]
    on_conflict: HowArg,
    /// Put everything into DIR itself, without a folder for each device; uploads wait for each other
    #[arg(long)]
    flat: bool,
    /// A device may have so much in its folder, such as 50GB
    #[arg(long, value_name = "SIZE", value_parser = size_of, conflicts_with = "flat")]
    quota: Option<u64>,
    /// Take no upload of more than this
    #[arg(long, value_name = "SIZE", value_parser = size_of)]
    max_upload: Option<u64>,
    /// Leave so much of the disk free
    #[arg(long, value_name = "SIZE", value_parser = size_of, default_value = "1GiB")]
    keep_free: u64,
    /// Take so many uploads at the same time, one of a device; others wait
    #[arg(long, value_name = "N", default_value_t = MAX_UPLOADS as u8, conflicts_with = "flat",
        value_parser = clap::value_parser!(u8).range(1..=MAX_SESSIONS as i64))]
    uploads: u8,
    /// Take these permission bits from what comes, such as 027; without this those of the process
    #[arg(long, value_name = "OCTAL", value_parser = mask_of)]
    umask: Option<u16>,
    /// Take offers of so many files, folders and links (250 bytes of memory each); without
    /// this, up to 1,000,000
    #[arg(long, value_name = "N")]
    max_entries: Option<u32>,
    /// Print what makes a service of this command line, for systemd or launchd; only
    /// makes its folders
    #[arg(long, value_name = "WHICH")]
    print_unit: Option<UnitArg>,
    /// What this device shows, and whom it trusts.
    #[command(flatten)]
    papers: PapersArgs,
    /// What it says.
    #[command(flatten)]
    output: Output,
}

/// `--print-unit`.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum UnitArg {
    /// A unit of systemd, for this user
    Systemd,
    /// An agent of launchd
    Launchd,
}

/// `--on-conflict`, where nobody is asked.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum HowArg {
    /// Keep both, the new one under another name
    Rename,
    /// Keep the old one
    Skip,
    /// Keep the new one; folders are never replaced
    Overwrite,
    /// Keep the one that was changed last
    Newer,
    /// Refuse the upload before anything is changed
    Fail,
}

/// What a service is to run: the words as they were typed, but for the one that asks for it.
pub(super) fn words_of_unit() -> Vec<String> {
    let mut words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    if let Some(at) = words.iter().position(|word| word == "--print-unit") {
        words.drain(at..(at + 2).min(words.len()));
    }
    words.retain(|word| !word.starts_with("--print-unit="));
    words
}

fn size_of(text: &str) -> Result<u64, String> {
    size::parse(text).ok_or_else(|| "a size is like 500M, 50GB or 1.5GiB".into())
}

fn mask_of(text: &str) -> Result<u16, String> {
    let mask = u16::from_str_radix(text, 8).ok().filter(|mask| *mask <= 0o777);
    let mask = mask.ok_or("a umask is three octal digits, such as 027")?;
    match mask & 0o700 {
        0 => Ok(mask),
        // The list, the key and each folder are made through it.
        _ => {
            Err("this would take its own files from the server; begin it with 0, such as 027"
                .into())
        }
    }
}

/// The variables that lead to Tailscale here: a service has neither these nor this `$PATH`.
fn leads_to_tailscale() -> Vec<(&'static str, PathBuf)> {
    let named = |name| Some(PathBuf::from(std::env::var_os(name).filter(|it| !it.is_empty())?));
    let found = || Some(TailscaleDetector::find().ok()?.cli().program().to_owned());
    let program = named(PROGRAM).or_else(found).map(|program| (PROGRAM, program));
    program.into_iter().chain(named(SOCKET).map(|socket| (SOCKET, socket))).collect()
}

impl ServeArgs {
    /// The terminal as the options want it, and whether the log could be opened.
    pub fn ui(&self) -> (Ui, Result<()>) {
        let (ui, log) = self.output.ui();
        let left = "whoever was sending notices that by itself, and goes on when it is back";
        (ui.as_service(left), log)
    }

    /// What a service is to run, and what it needs for that.
    fn unit(&self, which: UnitArg, folder: &Path) -> Wish {
        let words = words_of_unit();
        let log = self.output.log_file.iter().map(|file| {
            let folder = file.parent().filter(|it| !it.as_os_str().is_empty());
            folder.unwrap_or(Path::new(".")).to_owned()
        });
        Wish {
            manager: match which {
                UnitArg::Systemd => Manager::Systemd,
                UnitArg::Launchd => Manager::Launchd,
            },
            words,
            from: std::env::current_dir().unwrap_or_default(),
            writes: std::iter::once(folder.to_owned()).chain(log).collect(),
            tailscale: match self.tailnet || self.tailnet_only {
                true => leads_to_tailscale(),
                false => vec![],
            },
        }
    }

    /// Everything decided that can be decided without looking.
    pub fn resolve(&self) -> ServeOptions {
        let folder = self.folder.clone().or(self.storage.clone()).unwrap_or_default();
        ServeOptions {
            unit: self.print_unit.map(|which| self.unit(which, &folder)),
            folder,
            name: self.name.clone(),
            hidden: self.hidden,
            way: match (self.pod, self.tailnet_only, self.tailnet) {
                (true, ..) => Way::Pod,
                (_, true, _) => Way::Tailnet,
                (.., true) => Way::LanAndTailnet(Choice::new(&self.interface)),
                _ => Way::Lan(Choice::new(&self.interface)),
            },
            port: self.port,
            papers: Papers { allow: self.allow.clone(), ..self.papers.resolve() },
            on_conflict: match self.on_conflict {
                HowArg::Rename => Conflict::Go(OnConflict::Rename),
                HowArg::Skip => Conflict::Go(OnConflict::Skip),
                HowArg::Overwrite => Conflict::Go(OnConflict::Overwrite),
                HowArg::Newer => Conflict::Go(OnConflict::Newer),
                HowArg::Fail => Conflict::Fail,
            },
            flat: self.flat,
            limits: Limits {
                quota: self.quota,
                max_upload: self.max_upload,
                keep_free: self.keep_free,
            },
            uploads: self.uploads.into(),
            umask: self.umask,
            max_entries: self.max_entries,
            features: Features::ours(),
        }
    }
}
