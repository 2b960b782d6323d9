//! The kinds of message, and those that control a session.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reader::{Malformed, Read, Reader};
use super::reason::Reason;
use crate::bounds::{MAX_CONTROL, MAX_NOTE};
use crate::crypto::record::Buffer;

/// First byte of a control message; JSON follows.
pub const CONTROL: u8 = 1;
/// First byte of a page of entries.
pub const ENTRIES: u8 = 2;
/// First byte of a page of the plan.
pub const PLAN: u8 = 3;
/// First byte of data items.
pub const DATA: u8 = 4;
/// First byte of data items that are compressed.
pub const PACKED: u8 = 5;
/// First byte of a page of files to send again.
pub const RETRY: u8 = 6;
/// First byte of a page of files that did not arrive.
pub const RESULTS: u8 = 7;
/// First byte of a page of blocks to send again.
pub const REPAIR: u8 = 8;
/// Kinds from here on are notes: who does not know one skips it.
pub const NOTES: u8 = 0x80;
/// And so are control messages of a type that begins with this.
const NOTE: &str = "note-";

/// A control message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Control {
    /// Receiver, before it says that it is ready, if its side listens: what there is to know of it.
    Welcome(Welcome),
    /// Receiver, before anything is offered: what it can do.
    Ready(Ready),
    /// Either, once and before all else, where two devices are paired: who it is.
    Pair(Pair),
    /// Either, where both can join CAs (feature `join`): which CA the other may join.
    Join(Join),
    /// Whoever may join a CA: its request for a certificate, or that it wants none.
    Request(Request),
    /// Whoever has the CA, to such a request: the certificate.
    Issued(Issued),
    /// Either, and the end of its direction: it trusts the other from now on.
    Paired,
    /// Sender: what is about to be listed.
    Offer(Offer),
    /// Either, in practice the receiver: it does not take the offer, or no more of it, as things are.
    Refuse(Reason),
    /// Either: still at work on what the other side waits for.
    Wait(Wait),
    /// Sender: every file that was asked for has been sent, or said to be unsendable.
    Done,
    /// Receiver: the end of its direction; the per-file results came before.
    Complete(Complete),
    /// Sender: the end of its direction. Only now has the transfer succeeded.
    Bye,
    /// Either: it stops, and this is why.
    Cancel(Reason),
}

/// What a receiver that serves others says of itself. A sender checks its form, and passes it over.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// What it is called; to be escaped when shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Bytes that are free on its disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<u64>,
    /// Bytes that this sender may still send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
    /// How many senders are served before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<u64>,
}

/// Who a device is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// What it is called; to be checked like any name.
    pub name: String,
    /// Its certificate, PEM.
    pub certificate: String,
    /// What it can do beyond that, by name; see [`super::features`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<String>,
}

/// An invitation, or none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// The certificate of the CA that the other side may join, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
}

/// What becomes of an invitation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// A request for a certificate (PKCS#10, PEM), where it is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
}

/// What a CA has signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// The device's certificate and those of CAs in between, PEM.
    pub certificate: String,
}

/// What a receiver can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// By name; see [`super::features`].
    #[serde(default)]
    pub features: Vec<String>,
}

/// What lies behind a wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// Nothing while there is work to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
}

/// Why a side stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The person there has paused it.
    Paused,
    /// Something that this version does not know.
    #[serde(other)]
    Other,
}

/// What a text or stream is called where a name is needed.
pub const STREAM_NAME: &str = "stdin";

/// What kind of thing is offered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OfferKind {
    /// The entries of a list.
    #[default]
    Files,
    /// A text, to be shown.
    Text,
    /// One content of unknown length.
    Stream,
}

impl OfferKind {
    fn is_files(&self) -> bool {
        *self == Self::Files
    }
}

/// What the sender offers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// What kind of thing. Of what is not files the list is empty.
    #[serde(default, skip_serializing_if = "OfferKind::is_files")]
    pub kind: OfferKind,
    /// Regular files in the list.
    pub files: u64,
    /// Folders in the list.
    pub folders: u64,
    /// Symbolic links in the list.
    pub links: u64,
    /// Bytes of all files together.
    pub bytes: u64,
    /// What the sender found and cannot send: the receiver's tree will lack it.
    pub unsent: u64,
    /// The first of those, with reasons, to be shown.
    #[serde(default)]
    pub unsent_names: Vec<UnsentName>,
    /// What to call a stream; one component of a path, to be checked like any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the sender can do, by name; see [`super::features`].
    #[serde(default)]
    pub features: Vec<String>,
    /// The sender's run of its program, where it is the side that dials: 32 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// Something the sender cannot send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnsentName {
    /// Its name; to be escaped when shown.
    pub name: String,
    /// Why, in words.
    pub why: String,
}

/// How the receiver fared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complete {
    /// Files that are at their place and verified, those that were there before among them.
    pub files: u64,
    /// Entries that are not, one for each result that was listed as a failure.
    pub failed: u64,
}

impl Control {
    /// Appends the message to an empty buffer.
    pub fn encode(&self, buffer: &mut Buffer) -> Result<(), Malformed> {
        let json =
            serde_json::to_vec(self).map_err(|_| Malformed("a message cannot be encoded"))?;
        if json.len() > MAX_CONTROL {
            return Err(Malformed("a control message is too long"));
        }
        buffer.clear();
        buffer.extend(&[CONTROL]);
        buffer.extend(&json);
        Ok(())
    }

    /// Reads the JSON. serde alone would also take arrays in the place of objects, and numbers in
    /// that of names.
    fn decode(json: &[u8]) -> serde_json::Result<Option<Self>> {
        let control = serde_json::from_slice(json)?;
        let value: Value = serde_json::from_slice(json)?;
        let is_text = |field: &str| value.get(field).is_some_and(Value::is_string);
        let is_not_null = |field: &str| !value.get(field).is_some_and(Value::is_null);
        let is_plain = match control {
            Self::Refuse(_) | Self::Cancel(_) => is_text("reason"),
            Self::Offer(_) => {
                let names = value.get("unsent_names").and_then(Value::as_array);
                value.get("kind").is_none_or(Value::is_string)
                    && is_not_null("name")
                    && is_not_null("run")
                    && names.into_iter().flatten().all(Value::is_object)
            }
            Self::Wait(_) => value.get("why").is_none_or(|why| why.is_string() || why.is_null()),
            Self::Welcome(_) => ["name", "free", "left", "queue"].into_iter().all(is_not_null),
            Self::Ready(_) => true,
            Self::Join(_) => is_not_null("ca"),
            Self::Request(_) => is_not_null("request"),
            Self::Pair(_) | Self::Issued(_) | Self::Paired => true,
            Self::Done | Self::Complete(_) | Self::Bye => true,
        };
        Ok((is_plain && is_text("type")).then_some(control))
    }
}

/// A message, its lists not yet taken apart.
#[derive(Debug)]
pub enum Message<'a> {
    /// One of the control messages.
    Control(Control),
    /// For [`super::pages::entries`].
    Entries(Reader<'a>),
    /// For [`super::pages::plan`].
    Plan(Reader<'a>),
    /// For [`super::data::next`].
    Data(Reader<'a>),
    /// Compressed data items.
    Packed {
        /// Which codec; see [`crate::compress`].
        codec: u8,
        /// Bytes of the items once they are decompressed.
        len: u32,
        /// The compressed bytes.
        packed: &'a [u8],
    },
    /// For [`super::pages::indices`].
    Retry(Reader<'a>),
    /// For [`super::pages::results`].
    Results(Reader<'a>),
    /// For [`super::pages::repairs`].
    Repair(Reader<'a>),
    /// Something of a later version that may be skipped.
    Note,
}

/// Whether a control message is of a type that may be skipped. No other field of it means anything
/// here.
fn is_note(json: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Typed {
        r#type: String,
    }
    // serde would take an array in the place of the object.
    let is_object = json.trim_ascii_start().starts_with(b"{");
    is_object
        && serde_json::from_slice(json).is_ok_and(|typed: Typed| typed.r#type.starts_with(NOTE))
}

impl<'a> Message<'a> {
    /// Tells the kind of a record's plaintext.
    pub fn decode(plaintext: &'a [u8]) -> Read<Self> {
        let mut reader = Reader::new(plaintext);
        match reader.u8()? {
            CONTROL => {
                if reader.rest().len() > MAX_CONTROL {
                    return Err(Malformed("a control message is too long"));
                }
                if is_note(reader.rest()) {
                    return Self::note(plaintext);
                }
                let control = Control::decode(reader.rest()).ok().flatten();
                let control = control.ok_or(Malformed("a control message is not understood"))?;
                Ok(Message::Control(control))
            }
            ENTRIES => Ok(Message::Entries(reader)),
            PLAN => Ok(Message::Plan(reader)),
            DATA => Ok(Message::Data(reader)),
            PACKED => {
                let (codec, len) = (reader.u8()?, reader.u32()?);
                Ok(Message::Packed { codec, len, packed: reader.rest() })
            }
            RETRY => Ok(Message::Retry(reader)),
            RESULTS => Ok(Message::Results(reader)),
            NOTES.. => Self::note(plaintext),
            REPAIR => Ok(Message::Repair(reader)),
            _ => Err(Malformed("a message of an unknown kind")),
        }
    }

    fn note(plaintext: &[u8]) -> Read<Self> {
        if plaintext.len() > MAX_NOTE {
            return Err(Malformed("a note is too long"));
        }
        Ok(Self::Note)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WAIT: Control = Control::Wait(Wait { why: None });

    fn decoded(json: &str) -> Read<Control> {
        let mut plaintext = vec![CONTROL];
        plaintext.extend(json.as_bytes());
        match Message::decode(&plaintext)? {
            Message::Control(control) => Ok(control),
            other => panic!("{other:?}"),
        }
    }

    fn offer() -> Offer {
        Offer { files: 1, folders: 2, links: 3, bytes: 4, ..Offer::default() }
    }

    /// What travels, byte for byte.
    #[test]
    fn controls_are_json() {
        let unsent = UnsentName { name: "a\nb".into(), why: "it is odd".into() };
        let features = vec!["lz4".to_owned()];
        let told = Offer { unsent: 1, unsent_names: vec![unsent], features, ..offer() };
        let ready = Ready { features: vec!["lz4".into(), "of another day".into()] };
        let welcome =
            Welcome { name: Some("attic".into()), free: Some(1), left: Some(2), queue: Some(3) };
        #[rustfmt::skip]
        let cases = [
            (Control::Offer(offer()),
                r#"{"type":"offer","files":1,"folders":2,"links":3,"bytes":4,"unsent":0,"unsent_names":[],"features":[]}"#),
            (Control::Offer(told),
                r#"{"type":"offer","files":1,"folders":2,"links":3,"bytes":4,"unsent":1,"unsent_names":[{"name":"a\nb","why":"it is odd"}],"features":["lz4"]}"#),
            (Control::Offer(Offer { kind: OfferKind::Stream, ..Offer::default() }),
                r#"{"type":"offer","kind":"stream","files":0,"folders":0,"links":0,"bytes":0,"unsent":0,"unsent_names":[],"features":[]}"#),
            (Control::Ready(ready), r#"{"type":"ready","features":["lz4","of another day"]}"#),
            (Control::Ready(Ready::default()), r#"{"type":"ready","features":[]}"#),
            (Control::Welcome(welcome),
                r#"{"type":"welcome","name":"attic","free":1,"left":2,"queue":3}"#),
            (Control::Welcome(Welcome::default()), r#"{"type":"welcome"}"#),
            (Control::Pair(Pair { name: "attic".into(), certificate: "c".into(), features: vec![] }),
                r#"{"type":"pair","name":"attic","certificate":"c"}"#),
            (Control::Pair(Pair { name: "attic".into(), certificate: "c".into(), features: vec!["join".into()] }),
                r#"{"type":"pair","name":"attic","certificate":"c","features":["join"]}"#),
            (Control::Join(Join { ca: Some("c".into()) }), r#"{"type":"join","ca":"c"}"#),
            (Control::Join(Join::default()), r#"{"type":"join"}"#),
            (Control::Request(Request { request: Some("r".into()) }), r#"{"type":"request","request":"r"}"#),
            (Control::Request(Request::default()), r#"{"type":"request"}"#),
            (Control::Issued(Issued { certificate: "c".into() }), r#"{"type":"issued","certificate":"c"}"#),
            (Control::Wait(Wait::default()), r#"{"type":"wait"}"#),
            (Control::Wait(Wait { why: Some(Why::Paused) }), r#"{"type":"wait","why":"paused"}"#),
            (Control::Done, r#"{"type":"done"}"#),
            (Control::Bye, r#"{"type":"bye"}"#),
            (Control::Complete(Complete { files: 5, failed: 6 }),
                r#"{"type":"complete","files":5,"failed":6}"#),
            (Control::Refuse(Reason::Declined), r#"{"type":"refuse","reason":"declined"}"#),
            (Control::Refuse(Reason::Conflict { count: 7 }),
                r#"{"type":"refuse","reason":"conflict","count":7}"#),
            (Control::Refuse(Reason::NoSpace { needed: 8, free: 9 }),
                r#"{"type":"refuse","reason":"no-space","needed":8,"free":9}"#),
            (Control::Refuse(Reason::TooMany { entries: 8, limit: 9 }),
                r#"{"type":"refuse","reason":"too-many","entries":8,"limit":9}"#),
            (Control::Refuse(Reason::Quota { needed: 8, left: 9 }),
                r#"{"type":"refuse","reason":"quota","needed":8,"left":9}"#),
            (Control::Cancel(Reason::Unwritable), r#"{"type":"cancel","reason":"unwritable"}"#),
            (Control::Cancel(Reason::Interrupted), r#"{"type":"cancel","reason":"interrupted"}"#),
            (Control::Cancel(Reason::Protocol), r#"{"type":"cancel","reason":"protocol"}"#),
            (Control::Cancel(Reason::Failed), r#"{"type":"cancel","reason":"failed"}"#),
            (Control::Cancel(Reason::Other), r#"{"type":"cancel","reason":"other"}"#),
        ];
        for (control, json) in cases {
            let mut buffer = Buffer::default();
            buffer.extend(b"what was there before");
            control.encode(&mut buffer).unwrap();
            assert_eq!(buffer.plaintext().split_first(), Some((&CONTROL, json.as_bytes())));
            assert_eq!(decoded(json), Ok(control));
        }
    }

    #[test]
    fn what_a_later_version_adds_is_ignored() {
        for (json, control) in [
            (r#"{"mood":[{}],"type":"wait"}"#, WAIT),
            (r#"{"type":"wait","why":"tea"}"#, Control::Wait(Wait { why: Some(Why::Other) })),
            (r#" { "type" : "bye", "x": null } "#, Control::Bye),
            (r#"{"type":"complete","files":1,"failed":0,"x":1}"#, {
                Control::Complete(Complete { files: 1, failed: 0 })
            }),
            (r#"{"reason":"tired","type":"cancel"}"#, Control::Cancel(Reason::Other)),
            (r#"{"type":"cancel","reason":"tired","of":1}"#, Control::Cancel(Reason::Other)),
            (r#"{"type":"refuse","reason":"declined","x":1}"#, Control::Refuse(Reason::Declined)),
            (r#"{"type":"wait","reason":0,"unsent_names":[["n","w"]]}"#, WAIT),
            (r#"{"type":"wait","files":"x","kind":7}"#, WAIT),
            (r#"{"type":"ready","connections":"many"}"#, Control::Ready(Ready::default())),
            (r#"{"x":1,"x":2,"type":"wait","x":"\u00e9"}"#, WAIT),
            (r#"{"type":"cancel","reason":"declined","count":"many"}"#, {
                Control::Cancel(Reason::Declined)
            }),
            (
                r#"{"type":"offer","kind":"text","files":0,"folders":0,"links":0,"bytes":0,"unsent":0}"#,
                { Control::Offer(Offer { kind: OfferKind::Text, ..Offer::default() }) },
            ),
            (r#"{"type":"offer","files":1,"folders":2,"links":3,"bytes":4,"unsent":0}"#, {
                Control::Offer(offer())
            }),
        ] {
            assert_eq!(decoded(json), Ok(control), "{json}");
        }
    }

    #[test]
    fn hostile_json_is_refused() {
        let deep = format!(r#"{{"x":{}{},"type":"wait"}}"#, "[".repeat(9999), "]".repeat(9999));
        let open = "[".repeat(MAX_CONTROL);
        let numbers =
            |number: &str| format!(r#"{{"type":"complete","files":{number},"failed":0}}"#);
        for json in [
            "",
            "null",
            "{}",
            "\"wait\"",
            r#"{"type":"wait""#,
            r#"{"type":"wait"}}"#,
            r#"{"type":"wait"}{"type":"bye"}"#,
            "\u{feff}{\"type\":\"wait\"}",
            r#"{"type":"shrug"}"#,
            r#"{"type":"Wait"}"#,
            r#"{"type":"wait","why":0}"#,
            r#"{"type":"wait","why":["paused"]}"#,
            r#"{"type":1}"#,
            r#"{"type":2}"#,
            r#"{"type":null}"#,
            r#"["wait"]"#,
            r#"["offer",1,2,3,4,0,[]]"#,
            r#"["offer",{"files":1,"folders":2,"links":3,"bytes":4,"unsent":0}]"#,
            r#"["refuse","declined"]"#,
            r#"{"offer":[1,2,3,4,0,[]]}"#,
            r#"{"type":"offer","files":1,"folders":2,"links":3,"bytes":4,"unsent":1,"unsent_names":[["n","w"]]}"#,
            r#"{"type":"offer","files":1,"folders":2,"links":3,"bytes":4,"unsent":1,"unsent_names":{}}"#,
            r#"{"type":"offer","files":1,"folders":2,"links":3,"bytes":4,"unsent":0,"unsent_names":null}"#,
            r#"{"type":"offer","kind":1,"files":0,"folders":0,"links":0,"bytes":0,"unsent":0}"#,
            r#"{"type":"offer","kind":null,"files":0,"folders":0,"links":0,"bytes":0,"unsent":0}"#,
            r#"{"type":"offer","kind":{"text":null},"files":0,"folders":0,"links":0,"bytes":0,"unsent":0}"#,
            r#"{"type":"offer","kind":"film","files":0,"folders":0,"links":0,"bytes":0,"unsent":0}"#,
            r#"{"type":"offer","kind":"text","kind":"text","files":0,"folders":0,"links":0,"bytes":0,"unsent":0}"#,
            r#"{"type":"refuse","reason":"conflict","count":"7"}"#,
            r#"{"type":"refuse","reason":"conflict","count":null}"#,
            r#"{"type":"ready","features":null}"#,
            r#"{"type":"ready","features":"lz4"}"#,
            r#"{"type":"ready","features":{"lz4":1}}"#,
            r#"{"type":"ready","features":["lz4",4]}"#,
            r#"{"type":"ready","features":["lz4",null]}"#,
            r#"{"type":"ready","features":[["lz4"]]}"#,
            r#"{"type":"ready","features":[],"features":[]}"#,
            r#"["ready",["lz4"]]"#,
            r#"{"type":"offer","files":0,"folders":0,"links":0,"bytes":0,"unsent":0,"features":"lz4"}"#,
            r#"{"type":"welcome","free":"much"}"#,
            r#"{"type":"welcome","free":-1}"#,
            r#"{"type":"welcome","name":7}"#,
            r#"{"type":"welcome","name":null}"#,
            r#"{"type":"welcome","queue":null}"#,
            r#"{"type":"pair","name":"x","certificate":"x","features":null}"#,
            r#"{"type":"pair","name":"x","certificate":"x","features":"join"}"#,
            r#"{"type":"join","ca":null}"#,
            r#"{"type":"join","ca":["x"]}"#,
            r#"{"type":"join","ca":"x","ca":"x"}"#,
            r#"["join",{"ca":"x"}]"#,
            r#"{"type":"request","request":null}"#,
            r#"{"type":"request","request":{}}"#,
            r#"{"type":"issued"}"#,
            r#"{"type":"issued","certificate":null}"#,
            r#"{"type":"issued","certificate":["x"]}"#,
            r#"{"type":"offer","kind":"stream","name":null,"files":0,"folders":0,"links":0,"bytes":0,"unsent":0}"#,
            r#"["note-x"]"#,
            r#"{"type":"note-x"}{}"#,
            r#"{"type":"note-x","type":"note-x"}"#,
            r#"{"type":"note-x","type":"wait"}"#,
            r#"{"type":"note"}"#,
            r#"{"type":"Note-x"}"#,
            r#"{"type":["note-x"]}"#,
            r#"{"type":{"note-x":1}}"#,
            // Which the page lets a side refuse wherever they stand.
            r#"{"type":"wait","x":1e999}"#,
            r#"{"type":"wait","x":"\ud800"}"#,
            r#"{"type":"refuse","reason":0}"#,
            r#"{"type":"refuse","reason":77}"#,
            r#"{"type":"cancel","reason":["declined"]}"#,
            r#"{"type":"cancel","reason":{"declined":null}}"#,
            r#"{"type":"cancel","reason":true}"#,
            r#"{"type":"cancel","reason":"failed","reason":"declined"}"#,
            r#"{"type":"cancel"}"#,
            r#"{"type":"cancel","reason":null}"#,
            r#"{"type":"refuse","reason":"conflict"}"#,
            r#"{"type":"complete","files":1}"#,
            r#"{"type":"wait","type":"bye"}"#,
            r#"{"type":"complete","files":1,"files":2,"failed":0}"#,
            "{'type':'wait'}",
            "{\"type\":\"wa\nit\"}",
            &numbers("-1"),
            &numbers("1.0"),
            &numbers("1e3"),
            &numbers("18446744073709551616"),
            &numbers("1e999"),
            &numbers(&"9".repeat(5000)),
            &numbers("\"1\""),
            &numbers("null"),
            &deep,
            &open,
        ] {
            let refused = Err(Malformed("a control message is not understood"));
            assert_eq!(decoded(json), refused, "{json:.80}");
        }
        assert!(Message::decode(b"\x01{\"type\":\"wait\xff\"}").is_err(), "not UTF-8");
        assert_eq!(
            decoded(&numbers("18446744073709551615")),
            Ok(Control::Complete(Complete { files: u64::MAX, failed: 0 }))
        );
    }

    #[test]
    fn controls_have_a_limit() {
        let padded = |len: usize| r#"{"type":"wait"}"#.to_owned() + &" ".repeat(len - 15);
        assert_eq!(decoded(&padded(MAX_CONTROL)), Ok(WAIT));
        let too_long = Malformed("a control message is too long");
        assert_eq!(decoded(&padded(MAX_CONTROL + 1)), Err(too_long));

        let name = UnsentName { name: "n".repeat(MAX_CONTROL), why: String::new() };
        let offer = Control::Offer(Offer { unsent_names: vec![name], ..offer() });
        let mut buffer = Buffer::default();
        buffer.extend(b"kept");
        assert_eq!(offer.encode(&mut buffer), Err(too_long));
        assert_eq!(buffer.plaintext(), b"kept");
    }

    #[test]
    fn kinds_are_told_apart() {
        for (plaintext, expected) in [
            (&b""[..], Err(Malformed("a message is cut off"))),
            (b"\x00", Err(Malformed("a message of an unknown kind"))),
            (b"\x02xyz", Ok("Entries")),
            (b"\x03xyz", Ok("Plan")),
            (b"\x04xyz", Ok("Data")),
            (b"\x04", Ok("Data")),
            (b"\x05\x01\0\0\0\x09xyz", Ok("Packed")),
            (b"\x05\x01\0\0\0", Err(Malformed("a message is cut off"))),
            (b"\x06xyz", Ok("Retry")),
            (b"\x07xyz", Ok("Results")),
            (b"\x08xyz", Ok("Repair")),
            (b"\x09", Err(Malformed("a message of an unknown kind"))),
            (b"\x7f", Err(Malformed("a message of an unknown kind"))),
            (b"\x80", Ok("Note")),
            (b"\xffxyz", Ok("Note")),
            (b"\x01{\"type\":\"note-\"}", Ok("Note")),
        ] {
            let kind = Message::decode(plaintext).map(|message| match message {
                Message::Control(_) => "Control",
                Message::Note => "Note",
                Message::Entries(rest) if rest.rest() == b"xyz" => "Entries",
                Message::Plan(rest) if rest.rest() == b"xyz" => "Plan",
                Message::Data(rest) if matches!(rest.rest(), b"xyz" | b"") => "Data",
                Message::Packed { codec: 1, len: 9, packed: b"xyz" } => "Packed",
                Message::Retry(rest) if rest.rest() == b"xyz" => "Retry",
                Message::Results(rest) if rest.rest() == b"xyz" => "Results",
                Message::Repair(rest) if rest.rest() == b"xyz" => "Repair",
                other => panic!("{other:?}"),
            });
            assert_eq!(kind, expected, "{plaintext:x?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_can_make_it_panic(plaintext in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::decode(&plaintext);
        }

        #[test]
        fn offers_survive(
            numbers in any::<[u64; 5]>(),
            name in prop::option::of(".{0,9}"),
            features in prop::collection::vec(".{0,9}", 0..5),
            names in prop::collection::vec(("\\PC{0,9}", ".{0,9}"), 0..5),
        ) {
            let [files, folders, links, bytes, unsent] = numbers;
            let names = names.into_iter().map(|(name, why)| UnsentName { name, why });
            let unsent_names = names.collect();
            let kind = OfferKind::Files;
            let offer =
                Control::Offer(Offer {
                    kind, files, folders, links, bytes, unsent, unsent_names, name, features,
                    run: None,
                });
            let mut buffer = Buffer::default();
            offer.encode(&mut buffer).unwrap();
            match Message::decode(buffer.plaintext()) {
                Ok(Message::Control(decoded)) => prop_assert_eq!(decoded, offer),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
