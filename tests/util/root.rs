//! Being root for a test: who mounts something or makes a network has to be.

use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::{Context, Result, ensure};
#[cfg(target_os = "linux")]
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

use super::skip;

/// Goes on as root. Who is not root, is it in namespaces of his own: there this test is run by itself, and
/// here nothing is left to do, as where there are no such namespaces (with the reason told). To be called by the
/// thread of the test. Fails with all that was said there.
pub fn as_root() -> Result<Option<()>> {
    static PROBE: LazyLock<Result<()>> = LazyLock::new(|| {
        let output = in_namespaces().arg("true").output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    });
    if rustix::process::geteuid().is_root() {
        return Ok(Some(()));
    }
    if let Err(error) = &*PROBE {
        skip(format_args!("who is not root needs namespaces and `ip` to be it: {error:#}"));
        return Ok(None);
    }
    let thread = std::thread::current();
    let test = thread.name().context("not the thread of a test")?;
    let mut command = in_namespaces();
    command.arg(std::env::current_exe()?).args(["--exact", test, "--include-ignored"]);
    // What is skipped there is seen.
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && said.contains(" 1 passed;"), "as root:\n{said}");
    Ok(None)
}

/// What runs a program as root of its own users, mounts and networks. `ip` keeps networks in `/run`.
fn in_namespaces() -> Command {
    let script = "PATH=$PATH:/usr/sbin:/sbin && mount -t tmpfs tmpfs /run && ip link set lo up && \
                  exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "--net", "sh", "-c", script]);
    command
}

/// Whether there is anybody else where this process runs: in a namespace of one's own there is nobody.
#[cfg(target_os = "linux")]
pub fn has_others() -> Result<bool> {
    let map = std::fs::read_to_string("/proc/self/uid_map")?;
    Ok(map.split_whitespace().nth(2).context("a number of users")? != "1")
}

/// Has the programs that this thread starts obey the modes of files, which root need not. Nothing, with the
/// reason told, where root cannot give that up.
pub fn obeying_modes() -> Result<Option<()>> {
    if rustix::process::geteuid().is_root() {
        #[cfg(not(target_os = "linux"))]
        {
            skip("root may read and write everywhere");
            return Ok(None);
        }
        #[cfg(target_os = "linux")]
        for given_up in [CapabilitySet::DAC_OVERRIDE, CapabilitySet::DAC_READ_SEARCH] {
            remove_capability_from_bounding_set(given_up)?;
        }
    }
    Ok(Some(()))
}

/// What runs a program that mounts, where nobody else sees it.
pub fn mounting() -> Command {
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command
}
