//! Certificates as people have made them with OpenSSL, those of DocShare's users among them.

use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use transfer::net::dial::Stream;
use transfer::net::tls;
use transfer::trust::refusal::{Refusal, Who};
use transfer::trust::verifier::{Expect, Verifier};

use crate::openssl::{P256, Shop, shown};

/// Keys and chains that work: the meeting succeeds, by host name and by address.
#[test]
fn usual_certificates_work() -> Result<()> {
    let Some(shop) = Shop::open()? else { return Ok(()) };
    shop.ca("ca", "myCA")?;
    for (name, kind) in [
        ("rsa", "rsa:2048"),
        ("p256", P256),
        ("p384", "ec -pkeyopt ec_paramgen_curve:secp384r1"),
        ("ed", "ed25519"),
    ] {
        shop.issue(name, "ca", kind, "san", "").context(name)?;
    }
    // Signed by a CA in between, which comes with it.
    shop.issue("inter", "ca", P256, "inter", "")?;
    shop.issue("leaf", "inter", P256, "san", "")?;
    shop.join(&["leaf.pem", "inter.pem"], "chain.pem")?;
    std::fs::copy(shop.path("leaf.key"), shop.path("chain.key"))?;
    // Keys in OpenSSL's older forms.
    shop.run("ec -in p256.key -out sec1.key")?;
    // OpenSSL 1.1 has no such option, and knows no other form.
    shop.run("rsa -traditional -in rsa.key -out pkcs1.key")
        .or_else(|_| shop.run("rsa -in rsa.key -out pkcs1.key"))?;
    std::fs::copy(shop.path("p256.pem"), shop.path("sec1.pem"))?;
    std::fs::copy(shop.path("rsa.pem"), shop.path("pkcs1.pem"))?;
    for name in ["rsa", "p256", "p384", "ed", "chain", "sec1", "pkcs1"] {
        for host in ["attic", "127.0.0.1"] {
            let said = meet(&shop, (name, "ca"), (name, "ca"), host).context(name)?;
            assert_eq!(said, ["", ""], "{name} {host}");
        }
    }
    Ok(())
}

/// What cannot work is said when the files are loaded, with the command that mends it.
#[test]
fn unusable_files_are_told_at_start() -> Result<()> {
    let Some(shop) = Shop::open()? else { return Ok(()) };
    shop.ca("ca", "myCA")?;
    shop.issue("good", "ca", P256, "san", "")?;
    shop.issue("p521", "ca", "ec -pkeyopt ec_paramgen_curve:secp521r1", "san", "")?;
    shop.issue("weak", "ca", "rsa:1024", "san", "")?;
    let has_v1 = shop.issue_v1()?;
    shop.run("pkey -aes256 -passout pass:secret -in good.key -out locked.key")?;
    std::fs::copy(shop.path("good.pem"), shop.path("locked.pem"))?;
    shop.issue("other", "ca", P256, "san", "")?;
    std::fs::copy(shop.path("other.key"), shop.path("mixed.key"))?;
    std::fs::copy(shop.path("good.pem"), shop.path("mixed.pem"))?;
    std::fs::copy(shop.path("good.pem"), shop.path("open.pem"))?;
    std::fs::copy(shop.path("good.key"), shop.path("open.key"))?;
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(shop.path("open.key"), std::fs::Permissions::from_mode(0o644))?;
    shop.run("x509 -in good.pem -outform der -out der.pem")?;
    std::fs::copy(shop.path("good.key"), shop.path("der.key"))?;
    for (name, is_key, said, hint) in [
        (
            "p521",
            false,
            " cannot be used: its key is of P-521; P-256, P-384, Ed25519 and RSA are understood",
            "openssl ecparam -name prime256v1",
        ),
        (
            "weak",
            false,
            " cannot be used: its key is RSA with 1024 bits, and 2048 is the least",
            "openssl ecparam -name prime256v1",
        ),
        (
            "v1",
            false,
            " is a certificate of version 1, which nobody can verify the hosts of",
            "openssl x509 -req ... -extfile san.cnf",
        ),
        (
            "locked",
            true,
            " is encrypted with a password, and nobody is there to type it",
            "openssl pkey -in KEY -out NEW",
        ),
        ("ca", false, " is the certificate of a CA, which no machine shows", "transfer ca issue"),
        ("der", false, " is DER or PKCS#12, and no PEM file with a certificate", "-inform der"),
    ] {
        if name == "v1" && !has_v1 {
            continue;
        }
        let error = shop.load(name).err().context(name)?;
        let ending = if is_key { "key" } else { "pem" };
        let file = shown(&shop.path(&format!("{name}.{ending}")));
        assert_eq!(error.message, format!("\"{file}\"{said}"), "{name}");
        assert_eq!(error.exit(), transfer::error::Exit::Usage);
        assert!(error.hint.unwrap_or_default().contains(hint), "{name}");
    }
    let error = shop.load("mixed").err().context("mixed")?;
    assert!(error.message.contains("mixed.pem\" is of another key than \""), "{error}");
    let error = shop.load("open").err().context("open")?;
    assert!(error.message.starts_with("others may read \""), "{error}");

    // A key alone, without the certificate that would tell what it is.
    for (name, said) in [("p521", "it is a key of P-521;"), ("weak", "fewer than 2048")] {
        std::fs::copy(shop.path("good.pem"), shop.path(&format!("k-{name}.pem")))?;
        std::fs::copy(shop.path(&format!("{name}.key")), shop.path(&format!("k-{name}.key")))?;
        let error = shop.load(&format!("k-{name}")).err().context(name)?;
        assert!(error.message.contains(said), "{error}");
    }
    Ok(())
}

/// The chain to `--ca`, looked at by whoever shows it, before anybody else does.
#[test]
fn a_chain_that_leads_nowhere_is_told_at_start() -> Result<()> {
    let Some(shop) = Shop::open()? else { return Ok(()) };
    shop.ca("ca", "myCA")?;
    shop.ca("other", "otherCA")?;
    shop.ca("namesake", "myCA")?;
    shop.issue("good", "ca", P256, "san", "")?;
    shop.issue("bare", "ca", P256, "none", "")?;
    shop.issue("client", "ca", P256, "client", "")?;
    shop.issue("sha1", "ca", P256, "san", "-sha1")?;
    for (name, ca, as_server, expected) in [
        ("good", "ca", true, ""),
        ("bare", "ca", false, ""),
        ("client", "ca", false, ""),
        ("bare", "ca", true, "x's certificate has no SAN, so nothing says that it is for deviceB"),
        ("client", "ca", true, "x's certificate may not be used as a server"),
        (
            "good",
            "other",
            false,
            "x's certificate (deviceB, signed by \"myCA\") is from no CA that this device knows",
        ),
        (
            "good",
            "namesake",
            true,
            "x's certificate was signed by another CA that is also called \"myCA\"",
        ),
        ("sha1", "ca", true, "x's certificate is signed in a way that is not safe, such as SHA-1"),
    ] {
        let own = shop.load(name)?;
        let checked = shop.rules(&[ca])?.check_own(own.chain(), as_server);
        let said = checked.err().map(|it| it.error(&Who::Server("x".into())).message);
        assert_eq!(said.unwrap_or_default(), expected, "{name} {ca} {as_server}");
    }
    // Both fingerprints, where the other one came with it.
    shop.join(&["good.pem", "ca.pem"], "both.pem")?;
    std::fs::copy(shop.path("good.key"), shop.path("both.key"))?;
    let refusal = shop.rules(&["namesake"])?.check_own(shop.load("both")?.chain(), true);
    let Err(Refusal::NamesakeIssuer { ours, theirs, .. }) = refusal else {
        anyhow::bail!("{refusal:?}")
    };
    let print = |name: &str| -> Result<String> {
        let certificate = transfer::trust::pem::certificates(&shop.path(name))?;
        Ok(transfer::trust::refusal::fingerprint(&certificate[0].fingerprint))
    };
    assert_eq!((ours, theirs), (print("namesake.pem")?, Some(print("ca.pem")?)));
    Ok(())
}

/// How two of this program meet with these certificates: what each says.
fn meet(
    shop: &Shop,
    server: (&str, &str),
    client: (&str, &str),
    host: &str,
) -> Result<[String; 2]> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let dialled = Stream::tcp(TcpStream::connect(listener.local_addr()?)?);
    let accepted = Stream::tcp(listener.accept()?.0);
    let deadline = Instant::now() + Duration::from_secs(20);
    let own = shop.load(server.0)?;
    let verifier = Verifier::new(shop.rules(&[server.1])?, Expect::Anybody);
    let accepting = thread::spawn(move || tls::accept(accepted, &own, &verifier, deadline));
    let verifier = Verifier::new(shop.rules(&[client.1])?, Expect::Host(vec![host.to_owned()]));
    let connected = tls::connect(dialled, &shop.load(client.0)?, &verifier, deadline);
    let accepted = accepting.join().expect("no panic");
    Ok([connected.err(), accepted.err()]
        .map(|failure| failure.map(|it| it.error(&Who::Server(host.into()), "own").message))
        .map(Option::unwrap_or_default))
}
