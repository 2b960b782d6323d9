//! How a lock is signed: which user and which folder it is of stands at its beginning, and at its end a MAC over all
//! before, by a key that this user alone has.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::format::{hex, unhex};
use crate::files::own::Own;
use crate::protocol::pages::HASH_LEN;

/// The version of the format.
const VERSION: &str = "1.0";

/// Where the signature of a lock begins, and how it ends.
const MAC: (&str, &str) = (",\"mac\":\"", "\"}");
/// Bytes of all that.
const TAIL: usize = MAC.0.len() + 2 * HASH_LEN + MAC.1.len();

/// Writes a lock, without waiting for the disk: `head`, and the object that `rest` writes, whose fields go behind those of the head.
pub fn sign(
    file: File,
    own: &Own,
    head: &str,
    rest: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<File> {
    let signed = Signed { file, mac: own.lock(), last: None };
    let mut writer = BufWriter::with_capacity(1 << 16, signed);
    writer.write_all(head.as_bytes())?;
    rest(&mut Headless { writer: &mut writer, begun: false })?;
    writer.into_inner().map_err(io::IntoInnerError::into_error)?.finish()
}

/// Whether a file begins as a lock of this user does.
pub fn begins_with(file: File, own: &str) -> io::Result<bool> {
    let mut head = Vec::new();
    file.take(own.len() as u64).read_to_end(&mut head)?;
    // One that a power cut has emptied says nothing to anybody.
    Ok(head.is_empty() || head == own.as_bytes())
}

/// How a lock of this user begins.
pub fn owner_of(own: &Own) -> String {
    format!("{{\"version\":\"{VERSION}\",\"owner\":\"{}\",", own.lock_mark())
}

/// How a lock of this user begins that was written into the folder of this number. One that was
/// moved here from another is not believed.
pub fn head_of(own: &Own, folder: u64) -> String {
    format!("{}\"folder\":{folder},", owner_of(own))
}

/// Whether a lock begins as it should and was signed with this user's key; the file is then at its
/// beginning again.
pub fn is_signed(file: &mut File, own: &Own, head: &str) -> io::Result<bool> {
    let len = file.metadata()?.len();
    let Some(signed) = len.checked_sub(TAIL as u64) else { return Ok(false) };
    let mut begun = vec![0; head.len()];
    file.read_exact(&mut begun)?;
    if begun != head.as_bytes() {
        return Ok(false);
    }
    file.rewind()?;
    let mut mac = own.lock();
    io::copy(&mut (&*file).take(signed), &mut Macs(&mut mac))?;
    let mut tail = String::new();
    file.take(TAIL as u64).read_to_string(&mut tail)?;
    file.rewind()?;
    let found = tail.strip_prefix(MAC.0).and_then(|tail| tail.strip_suffix(MAC.1));
    Ok(found.and_then(unhex).is_some_and(|found| mac.verify_slice(&found).is_ok()))
}

/// What is written goes into the signature.
struct Macs<'a>(&'a mut Hmac<Sha256>);

impl Write for Macs<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A lock on its way to the disk. The brace that ends it is held back: the signature comes first.
struct Signed {
    file: File,
    mac: Hmac<Sha256>,
    last: Option<u8>,
}

impl Signed {
    fn finish(mut self) -> io::Result<File> {
        let mac: [u8; HASH_LEN] = self.mac.finalize().into_bytes().into();
        self.file.write_all(format!("{}{}{}", MAC.0, hex(&mac), MAC.1).as_bytes())?;
        Ok(self.file)
    }
}

impl Write for Signed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some((last, bytes)) = bytes.split_last() else { return Ok(0) };
        for part in [self.last.as_slice(), bytes] {
            self.mac.update(part);
            self.file.write_all(part)?;
        }
        self.last = Some(*last);
        Ok(bytes.len() + 1)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Leaves out the brace that begins an object: its head is written already.
struct Headless<'a, W> {
    writer: &'a mut W,
    begun: bool,
}

impl<W: Write> Write for Headless<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let rest = match (self.begun, bytes) {
            (false, [_, rest @ ..]) => rest,
            _ => bytes,
        };
        self.begun |= !bytes.is_empty();
        self.writer.write_all(rest)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
