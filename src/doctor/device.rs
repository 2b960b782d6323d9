//! This device, as servers and their visitors see it: its key, its certificates and this clock, whom it
//! trusts.

use crate::error::Result;
use crate::trust::certificate::Moment;
use crate::trust::device::Device;
use crate::trust::folder::Folder;
use crate::trust::store::Trusted;
use crate::ui::Finding;

/// What there is to say of it. Nothing is made that is not there.
pub fn findings() -> Vec<Finding> {
    look().unwrap_or_else(|error| vec![(&error).into()])
}

fn look() -> Result<Vec<Finding>> {
    let folder = Folder::of_user()?;
    let Some(device) = Device::load(&folder)? else {
        return Ok(vec![Finding::skipped(
            "it has no key yet: `transfer pair`, `serve` and `send --to` make one",
        )]);
    };
    let trusted = Trusted::load(&folder)?;
    let counted = |count: usize, one: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    };
    let devices = counted(trusted.devices.len(), "device");
    let cas = counted(trusted.cas.len(), "CA");
    let name = format!("{} ({})", device.name, device.id().words());
    let mut findings = vec![match (trusted.devices.is_empty(), trusted.cas.is_empty()) {
        (true, true) => Finding::fine(format!("{name} trusts nobody yet"))
            .advice("`transfer pair` adds a device"),
        (false, true) => Finding::fine(format!("{name} trusts {devices}")),
        (true, false) => Finding::fine(format!("{name} trusts {cas}")),
        (false, false) => Finding::fine(format!("{name} trusts {devices} and {cas}")),
    }];
    let signed = device.signed.as_ref().map(|signed| signed.certificate());
    if let Some(signed) = signed {
        if signed.from.from_now() > 0 {
            let what = format!(
                "its certificate begins on {}, and this clock says {}",
                signed.from,
                Moment::now()
            );
            findings.push(Finding::problem(what).advice("set the clock, or have it issued anew"));
        } else if let Some(expiry) = signed.expiry() {
            findings.push(
                Finding::warning(expiry)
                    .advice("`transfer device --renew`; if the date is wrong, set the clock"),
            );
        }
    }
    Ok(findings)
}
