//! `transfer device`, `trust` and `ca`: what is kept, what is refused, and what is said.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::events::Events;
use crate::util::process::{Ended, run, transfer};
use crate::util::terminal::Terminal;
use crate::util::tree::Scratch;

/// A place with several devices.
struct Place(Scratch);

impl Place {
    fn new() -> Result<Self> {
        Ok(Self(Scratch::new()?))
    }

    fn config(&self, device: &str) -> PathBuf {
        self.0.join(format!("{device}-config"))
    }

    fn command(&self, device: &str, words: &[&str]) -> Command {
        let mut command = transfer();
        command.args(words).current_dir(self.0.path());
        command.env("TRANSFER_CONFIG", self.config(device));
        command
    }

    fn run(&self, device: &str, words: &[&str]) -> Result<Ended> {
        run(self.command(device, words))
    }

    /// The cards that a command tells programs of.
    fn cards(&self, device: &str, words: &[&str]) -> Result<Vec<Value>> {
        let ended = self.run(device, &[words, &["--json"]].concat())?.expect(0)?;
        Ok(Events::of(&ended)?.all("device").into_iter().cloned().collect())
    }

    fn id(&self, device: &str) -> Result<String> {
        let cards = self.cards(device, &["device"])?;
        Ok(cards.first().and_then(|it| it["id"].as_str()).context("an id")?.to_owned())
    }
}

#[test]
fn a_device_has_one_key_for_ever() -> Result<()> {
    let place = Place::new()?;
    let first = place.run("laptop", &["device"])?.expect(0)?;
    ensure!(
        first.stdout.contains(": this device\n") && first.stdout.contains("never"),
        "{first:#?}"
    );
    assert_eq!(place.run("laptop", &["device"])?.expect(0)?.stdout, first.stdout);
    let config = place.config("laptop");
    let mode = |name: &str| -> Result<u32> {
        Ok(fs::metadata(config.join(name))?.permissions().mode() & 0o777)
    };
    assert_eq!((mode("")?, mode("device.key")?), (0o700, 0o600));

    // Another user may read it.
    fs::set_permissions(config.join("device.key"), fs::Permissions::from_mode(0o604))?;
    let refused = place.run("laptop", &["device"])?.expect(2)?;
    refused.says("others may read \"")?;
    refused.says("`chmod 600 ")?;
    fs::set_permissions(config.join("device.key"), fs::Permissions::from_mode(0o640))?;
    place.run("laptop", &["device"])?.expect(0)?.says("the group may read \"")?;
    fs::set_permissions(config.join("device.key"), fs::Permissions::from_mode(0o600))?;

    // One that is lost is not made anew in silence.
    fs::remove_file(config.join("device.key"))?;
    place
        .run("laptop", &["device"])?
        .expect(2)?
        .says("is missing, and the certificate beside it")?;
    ensure!(!config.join("device.key").exists());
    Ok(())
}

#[test]
fn devices_are_imported_renamed_and_removed() -> Result<()> {
    let place = Place::new()?;
    let id = place.id("laptop")?;
    let nobody = place.run("attic", &["trust", "list"])?.expect(0)?;
    nobody.says("no device is trusted yet; `transfer pair` introduces one")?;
    assert_eq!(nobody.stdout, "");
    place.run("attic", &["trust", "show", "laptop"])?.expect(2)?.says("is not known here")?;

    place.run("attic", &["trust", "import", "laptop-config/device.pem"])?.expect(0)?;
    let again = place.run("attic", &["trust", "import", "laptop-config/device.pem"])?.expect(0)?;
    again.says("nothing new")?;
    let cards = place.cards("attic", &["trust", "list"])?;
    assert_eq!(cards.len(), 1);
    assert_eq!((&cards[0]["kind"], &cards[0]["via"]), (&"device".into(), &"imported".into()));
    assert_eq!(cards[0]["id"], *id);
    let name = cards[0]["name"].as_str().context("a name")?.to_owned();

    place.run("attic", &["trust", "rename", &name, "note/book"])?.expect(2)?.says("is no name")?;
    place.run("attic", &["trust", "rename", &id[..8], "notebook"])?.expect(0)?;
    let shown = place.run("attic", &["trust", "show", "NOTEBOOK"])?.expect(0)?;
    ensure!(shown.stdout.starts_with("notebook (") && shown.stdout.contains(&id), "{shown:#?}");

    // Nobody is there to be asked.
    let unasked = place.run("attic", &["trust", "remove", "notebook"])?.expect(2)?;
    unasked.says("--yes says so beforehand")?;
    assert_eq!(place.cards("attic", &["trust", "list"])?[0]["kind"], "device");
    place.run("attic", &["trust", "remove", "notebook", "--yes"])?.expect(0)?;
    assert_eq!(place.cards("attic", &["trust", "list"])?[0]["kind"], "removed");
    let gone = place.run("attic", &["trust", "import", "laptop-config/device.pem"])?.expect(4)?;
    gone.says("\"notebook\" was removed from this device on ")?;

    // The list travels, removals too.
    place.run("nas", &["trust", "import", "laptop-config/device.pem"])?.expect(0)?;
    let exported = place.run("attic", &["trust", "export"])?.expect(0)?;
    fs::write(place.0.join("list"), &exported.stdout)?;
    place.run("nas", &["trust", "import", "list"])?.expect(0)?;
    let cards = place.cards("nas", &["trust", "list"])?;
    assert_eq!((cards.len(), &cards[0]["kind"]), (1, &"removed".into()));
    Ok(())
}

#[test]
fn who_is_removed_is_asked_about() -> Result<()> {
    for (key, code, kind) in [(b"n", 7, "device"), (b"y", 0, "removed")] {
        let place = Place::new()?;
        place.id("laptop")?;
        place.run("attic", &["trust", "import", "laptop-config/device.pem"])?.expect(0)?;
        let name = place.cards("attic", &["trust", "list"])?[0]["name"].clone();
        let name = name.as_str().context("a name")?;
        let mut terminal = Terminal::new()?;
        let process = terminal.start(place.command("attic", &["trust", "remove", name]))?;
        terminal.wait_for("trust it no more? [y/N]")?;
        terminal.answer(key)?;
        process.end()?.expect(code)?;
        assert_eq!(place.cards("attic", &["trust", "list"])?[0]["kind"], kind);
    }
    Ok(())
}

/// A list that is not understood lets nobody in, and is not written over.
#[test]
fn a_damaged_list_is_an_error() -> Result<()> {
    let place = Place::new()?;
    place.id("attic")?;
    let list = place.config("attic").join("trust.json");
    for (text, part) in [
        ("", "EOF while parsing"),
        ("{\"v\": 2}", "its format is 2, and this program knows 1"),
        (
            "{\"v\":1,\"devices\":[],\"cas\":[],\"names\":{},\"removed\":[],\"only\":1}",
            "unknown field `only`",
        ),
    ] {
        fs::write(&list, text)?;
        fs::set_permissions(&list, fs::Permissions::from_mode(0o600))?;
        for words in [
            &["trust", "list"][..],
            &["trust", "export"],
            &["trust", "import", "attic-config/device.pem"],
            &["ca", "init"],
        ] {
            let ended = place.run("attic", words)?.expect(2)?;
            ended.says("cannot be used: ")?;
            ended.says(part)?;
            ended.says("nobody is trusted until it is mended")?;
        }
        assert_eq!(fs::read_to_string(&list)?, text);
        ensure!(!place.config("attic").join("ca/ca.key").exists(), "a CA that nobody trusts");
    }
    Ok(())
}

#[test]
fn a_ca_signs_what_is_asked_for() -> Result<()> {
    let place = Place::new()?;
    place
        .run("one", &["ca", "issue", "attic"])?
        .expect(2)?
        .says("there is no CA on this device")?;
    let made = place.run("one", &["ca", "init", "home"])?.expect(0)?;
    made.says("whoever has it can make devices")?;
    place
        .run("one", &["ca", "init", "other"])?
        .expect(2)?
        .says("there is a CA already, \"home\"")?;
    let renewed = place.cards("one", &["device", "--renew"])?;
    assert_eq!((renewed.len(), &renewed[1]["issuer"]), (2, &"home".into()));

    // With a key made here; never over what is there.
    place.run("one", &["ca", "issue", "nas", "--san", "192.168.1.9"])?.expect(0)?;
    let key = fs::metadata(place.0.join("nas.key"))?.permissions().mode() & 0o777;
    assert_eq!(key, 0o600);
    place.run("one", &["ca", "issue", "nas"])?.expect(2)?.says("nas.pem\" is there already")?;
    place.run("one", &["ca", "issue", "n/a"])?.expect(2)?.says("is no name for a device")?;
    place.run("one", &["ca", "issue", "x", "--san", "a b"])?.expect(2)?;

    // By a request.
    let request = place.run("two", &["device", "--csr"])?.expect(0)?.stdout;
    fs::write(place.0.join("two.csr"), &request)?;
    place.run("one", &["ca", "issue", "two", "--csr", "two.csr"])?.expect(0)?;
    ensure!(!place.0.join("two.key").exists(), "a key that nobody needs");
    let early = place.run("two", &["device", "--install", "two.pem"])?.expect(2)?;
    early.says("is from no CA that this device knows")?;
    place.run("two", &["trust", "import", "one-config/ca/ca.pem"])?.expect(0)?;
    place
        .run("two", &["device", "--install", "nas.pem"])?
        .expect(2)?
        .says("is of another key than")?;
    let cards = place.cards("two", &["device", "--install", "two.pem"])?;
    assert_eq!((&cards[1]["kind"], &cards[1]["name"]), (&"certificate".into(), &"two".into()));
    assert_eq!(cards[1]["id"], cards[0]["id"]);
    // Elsewhere a renewal is a request.
    let request = place.run("two", &["device", "--renew"])?.expect(0)?;
    ensure!(request.stdout.starts_with("-----BEGIN CERTIFICATE REQUEST-----"), "{request:#?}");

    let issued = place.cards("one", &["ca", "list"])?;
    let names: Vec<&str> = issued.iter().filter_map(|it| it["name"].as_str()).collect();
    assert_eq!(names.len(), 4);
    assert_eq!((names[0], names[2], names[3]), ("home", "nas", "two"));
    assert_eq!(issued[2]["hosts"], serde_json::json!(["nas", "nas.local", "192.168.1.9"]));
    Ok(())
}
