//! How much memory a process ever had, and how much it may have.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// What no attack may exceed: this, and so much for each entry that was accepted.
const BASE: u64 = 64 << 20;
const PER_ENTRY: u64 = 250;

/// Looks at a process until it is gone.
pub struct Watch {
    process: u32,
    peak: Arc<AtomicU64>,
}

impl Watch {
    pub fn start(process: u32) -> Self {
        let watch = Self { process, peak: Arc::default() };
        let (peak, mut there) = (Arc::clone(&watch.peak), watch.look());
        thread::spawn(move || {
            // When nobody waits for the figure any more, the number may be another process's.
            // One that has only begun has no figure yet.
            let mut seen = there;
            while (there || !seen) && Arc::strong_count(&peak) > 1 {
                thread::sleep(Duration::from_millis(1));
                there = look(process, &peak);
                seen |= there;
            }
        });
        watch
    }

    /// Looks now, at a moment when the process is there for certain: the peak only grows, so that
    /// the last look counts.
    pub fn look(&self) -> bool {
        look(self.process, &self.peak)
    }

    /// Ctrl-C.
    pub fn interrupt(&self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.process)?).context("a process")?;
        Ok(kill_process(pid, Signal::INT)?)
    }

    /// Notes the peak, and fails if it is beyond the bound. The process must be gone.
    pub fn check(self, attack: &str, entries: u64) -> Result<()> {
        let peak = self.peak.load(Ordering::Relaxed);
        if !cfg!(target_os = "linux") {
            return Ok(());
        }
        ensure!(peak > 0, "nobody looked at the memory");
        let bound = BASE + PER_ENTRY * entries;
        note(attack, peak, bound);
        ensure!(peak <= bound, "{peak} bytes of memory, and {bound} are allowed");
        Ok(())
    }
}

fn look(process: u32, peak: &AtomicU64) -> bool {
    let now = resident_peak(process);
    peak.fetch_max(now.unwrap_or_default(), Ordering::Relaxed);
    now.is_some()
}

/// The most memory that a running process has had so far, in bytes; nothing when it is gone.
fn resident_peak(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    // Between its birth and its first own instruction it shows the memory of this process.
    if !status.starts_with("Name:\ttransfer\n") {
        return Some(0);
    }
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// Writes the table anew, with one more line.
fn note(attack: &str, peak: u64, bound: u64) {
    static PEAKS: Mutex<BTreeMap<String, (u64, u64)>> = Mutex::new(BTreeMap::new());
    let mut peaks = PEAKS.lock().unwrap_or_else(PoisonError::into_inner);
    peaks.insert(attack.into(), (peak, bound));
    let mut table = String::from("   peak  allowed  attack\n");
    for (attack, (peak, bound)) in &*peaks {
        let (peak, bound) = (peak >> 20, bound >> 20);
        let _ = writeln!(table, "{peak:>3} MiB  {bound:>3} MiB  {attack}");
    }
    // A table that cannot be written fails no test.
    let _ = fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("hostile-peaks.txt"), table);
}
