//! How a service tells systemd what it does: one datagram (sd_notify(3)), where somebody listens.

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It serves.
    Ready,
    /// It reads its files again.
    Reloading,
    /// It ends.
    Stopping,
}

/// Tells it. A service manager that cannot be told changes nothing here.
#[cfg(unix)]
pub fn tell(told: Told) {
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET") {
        let _ = send(&socket, told);
    }
}

/// Other systems have none.
#[cfg(not(unix))]
pub fn tell(_: Told) {}

#[cfg(unix)]
fn send(socket: &std::ffi::OsStr, told: Told) -> std::io::Result<()> {
    use std::os::unix::net::UnixDatagram;

    let text = match told {
        Told::Ready => "READY=1",
        Told::Reloading => "RELOADING=1",
        Told::Stopping => "STOPPING=1",
    };
    let out = UnixDatagram::unbound()?;
    // A manager that does not read must not hold this up.
    out.set_nonblocking(true)?;
    #[cfg(target_os = "linux")]
    if let Some(name) = socket.as_encoded_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        return out.send_to_addr(text.as_bytes(), &address).map(drop);
    }
    out.send_to(text.as_bytes(), socket).map(drop)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn each_is_one_datagram() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        let heard = |told| {
            send(path.as_os_str(), told).unwrap();
            let mut text = [0; 100];
            let len = manager.recv(&mut text).unwrap();
            String::from_utf8_lossy(&text[..len]).into_owned()
        };
        assert_eq!(heard(Told::Ready), "READY=1");
        assert_eq!(heard(Told::Reloading), "RELOADING=1");
        assert_eq!(heard(Told::Stopping), "STOPPING=1");
        send("/nonexistent/notify".as_ref(), Told::Ready).unwrap_err();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_name_without_a_file_is_found() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("transfer-test-{}", std::process::id());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        send(format!("@{name}").as_ref(), Told::Ready).unwrap();
        let mut text = [0; 100];
        assert_eq!(manager.recv(&mut text).unwrap(), 7);
    }
}
