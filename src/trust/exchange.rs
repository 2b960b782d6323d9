//! What is imported: a CA's certificate, a device's, or what another device has exported.

use std::path::Path;

use super::pem;
use super::store::{Merged, Trusted, Via};
use crate::error::{Error, Result, shown};

/// Takes a file over: all of it, or nothing.
///
/// # Errors
/// When it is none of the three, or contradicts what is known here.
pub fn import(trusted: &mut Trusted, path: &Path) -> Result<Merged> {
    let bytes = pem::read(path, false)?;
    import_bytes(trusted, &bytes, &path.to_string_lossy())
}

fn import_bytes(trusted: &mut Trusted, bytes: &[u8], name: &str) -> Result<Merged> {
    if bytes.trim_ascii_start().starts_with(b"{") {
        let wrong = |why: String| {
            Error::usage(format!("\"{}\" cannot be imported: {why}", shown(name)))
                .hint("`transfer trust export` of the same version writes such a file")
        };
        let text = std::str::from_utf8(bytes).map_err(|error| wrong(error.to_string()))?;
        return trusted.merge(&Trusted::parse(text).map_err(wrong)?);
    }
    let mut merged = Merged::default();
    let chain = pem::certificates_in(bytes, name)?;
    let is_all_ca = chain.iter().all(|it| it.is_ca);
    for certificate in &chain {
        if is_all_ca {
            let before = trusted.cas.len();
            let name = trusted.add_ca(certificate)?;
            if trusted.cas.len() > before {
                merged.cas.push(name);
            }
            continue;
        }
        // Of a device and those who signed it, the device is meant.
        if certificate.is_ca {
            continue;
        }
        let is_new = trusted.pinned(&certificate.id).is_none();
        let name = trusted.pin(&certificate.device_name(), certificate, Via::Import)?;
        if is_new {
            merged.devices.push(name);
        }
    }
    Ok(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::authority::{Authority, DEVICE_DAYS, Subject};
    use crate::trust::device::Device;
    use crate::trust::folder::Folder;
    use crate::trust::store::Entry;

    #[test]
    fn what_can_be_imported() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = |name: &str| Folder::new(scratch.path().join(name));
        let ca = Authority::make(&folder("ca"), "home").unwrap();
        let laptop = Device::load_or_make(&folder("laptop")).unwrap();
        let attic = ca.issue("attic", &[], DEVICE_DAYS, Subject::New).unwrap();
        let mut trusted = Trusted::empty();
        let mut import = |text: String| import_bytes(&mut trusted, text.as_bytes(), "file");

        let own = laptop.own.certificate();
        assert_eq!(import(own.to_pem()).unwrap().devices, [&*laptop.name]);
        assert_eq!(import(own.to_pem()).unwrap(), Merged::default(), "known already");
        assert_eq!(import(ca.certificate.to_pem()).unwrap().cas, ["home"]);
        let chain = attic.certificate.to_pem() + &ca.certificate.to_pem();
        assert_eq!(import(chain).unwrap().devices, ["attic"]);
        for wrong in ["", "{}", "{\"v\":2}", "[]", "hello"] {
            import(wrong.into()).unwrap_err();
        }
        let text = trusted.exported().to_json();
        let mut other = Trusted::empty();
        let merged = import_bytes(&mut other, text.as_bytes(), "export").unwrap();
        assert_eq!(merged.devices, [&*laptop.name, "attic"]);
        assert_eq!(merged.cas, ["home"]);

        // What was removed there is removed here too, and does not come back by an import.
        trusted.remove("attic").unwrap();
        let text = trusted.exported().to_json();
        let merged = import_bytes(&mut other, text.as_bytes(), "export").unwrap();
        assert_eq!(merged.removed, ["attic"]);
        assert!(other.pinned(&attic.certificate.id).is_none());
        let error =
            import_bytes(&mut other, attic.certificate.to_pem().as_bytes(), "x").unwrap_err();
        assert!(error.message.starts_with("\"attic\" was removed from this device on "), "{error}");
        assert!(matches!(other.find("attic").unwrap(), Entry::Removed(_)));
        // Two people who pair anew agree to it.
        other.pin("attic", &attic.certificate, Via::Pair).unwrap();
        assert!(other.removed.is_empty() && other.named("attic").is_some());
    }
}
