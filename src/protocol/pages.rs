//! Lists that may be longer than a record: entries, the plan, files to retry, results.
//!
//! A page is its kind, a byte that is 1 on the last page and 0 before, and whole items.

use super::codec::{Malformed, Read, Reader};
use crate::crypto::record::Buffer;
use crate::files::manifest::{Entry, Kind};
use crate::files::path::RelPath;

/// Bytes of SHA-256.
pub const HASH_LEN: usize = 32;

/// What the receiver asks for an entry that is not simply to be sent whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: it is there, or not wanted.
    Skip,
    /// The content from `offset` on, if what comes before has this SHA-256.
    Resume {
        /// Bytes that the receiver has.
        offset: u64,
        /// SHA-256 of those.
        hash: [u8; HASH_LEN],
    },
}

/// Why an entry is not on the receiver's disk as it was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// It vanished at the source.
    Vanished = 1,
    /// The sender may not read it.
    Denied = 2,
    /// It changed while it was sent.
    Changed = 3,
    /// The sender could not read it.
    Unreadable = 4,
    /// The receiver could not write it.
    Unwritable = 5,
    /// Its hash differed in every attempt.
    Integrity = 6,
    /// The receiver has something of this name and was told to keep it.
    Kept = 7,
}

impl Fault {
    /// From the wire.
    pub fn decode(code: u8) -> Read<Self> {
        [
            Self::Vanished,
            Self::Denied,
            Self::Changed,
            Self::Unreadable,
            Self::Unwritable,
            Self::Integrity,
            Self::Kept,
        ]
        .into_iter()
        .find(|fault| *fault as u8 == code)
        .ok_or(Malformed("an unknown fault"))
    }

    /// In words, behind the name of the entry.
    pub fn words(self) -> &'static str {
        match self {
            Self::Vanished => "it vanished from the sender's disk",
            Self::Denied => "the sender may not read it",
            Self::Changed => "it changed while it was sent",
            Self::Unreadable => "the sender could not read it",
            Self::Unwritable => "the receiver could not write it",
            Self::Integrity => "its hash still differed after 3 attempts",
            Self::Kept => "the receiver kept what it has under this name",
        }
    }
}

/// Cuts a list into pages.
///
/// `kind` is the message's first byte, `limit` the bytes of a page; `encode` appends one item;
/// `send` takes a full page and leaves an empty buffer.
///
/// # Errors
/// What `send` fails with.
pub fn write<T, E>(
    kind: u8,
    limit: usize,
    buffer: &mut Buffer,
    items: impl IntoIterator<Item = T>,
    mut encode: impl FnMut(&mut Buffer, T),
    mut send: impl FnMut(&mut Buffer) -> Result<(), E>,
) -> Result<(), E> {
    buffer.clear();
    buffer.extend(&[kind, 0]);
    for item in items {
        encode(buffer, item);
        if buffer.len() > limit.saturating_sub(MAX_ITEM) {
            send(buffer)?;
            buffer.clear();
            buffer.extend(&[kind, 0]);
        }
    }
    buffer.patch(1, &[1]);
    send(buffer)
}

/// Bytes of the longest item: an entry with the longest path and link target.
const MAX_ITEM: usize = 64 + 2 * crate::files::path::MAX_PATH;

/// Appends an entry: kind, mode, mtime, then size or link target, then path.
pub fn put_entry(buffer: &mut Buffer, entry: &Entry) {
    let (code, size, target) = match &entry.kind {
        Kind::File(size) => (0u8, Some(*size), None),
        Kind::Folder => (1, None, None),
        Kind::Link(target) => (2, None, Some(target)),
    };
    buffer.extend(&[code]);
    buffer.extend(&entry.mode.to_be_bytes());
    buffer.extend(&entry.mtime.to_be_bytes());
    if let Some(size) = size {
        buffer.extend(&size.to_be_bytes());
    }
    put_text(buffer, entry.path.as_str());
    if let Some(target) = target {
        put_text(buffer, target);
    }
}

/// A two-byte length and the text. Paths are at most 4,096 bytes long.
fn put_text(buffer: &mut Buffer, text: &str) {
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    buffer.extend(&len.to_be_bytes());
    buffer.extend(text.as_bytes().get(..len.into()).unwrap_or_default());
}

/// Appends a step of the plan.
pub fn put_step(buffer: &mut Buffer, (index, step): (u32, Step)) {
    buffer.extend(&index.to_be_bytes());
    match step {
        Step::Skip => buffer.extend(&[0]),
        Step::Resume { offset, hash } => {
            buffer.extend(&[1]);
            buffer.extend(&offset.to_be_bytes());
            buffer.extend(&hash);
        }
    }
}

/// Appends an index.
pub fn put_index(buffer: &mut Buffer, index: u32) {
    buffer.extend(&index.to_be_bytes());
}

/// Appends a result.
pub fn put_result(buffer: &mut Buffer, (index, fault): (u32, Fault)) {
    buffer.extend(&index.to_be_bytes());
    buffer.extend(&[fault as u8]);
}

/// Whether a page is the last of its list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// More follow.
    More,
    /// That was the last.
    End,
}

fn read_page<'a>(
    mut reader: Reader<'a>,
    mut item: impl FnMut(&mut Reader<'a>) -> Read<()>,
) -> Read<Pages> {
    let pages = match reader.u8()? {
        0 if reader.is_empty() => return Err(Malformed("an empty page that is not the last")),
        0 => Pages::More,
        1 => Pages::End,
        _ => return Err(Malformed("an unknown page flag")),
    };
    while !reader.is_empty() {
        item(&mut reader)?;
    }
    Ok(pages)
}

/// Takes a page of entries apart.
pub fn entries(page: Reader<'_>, mut each: impl FnMut(Entry) -> Read<()>) -> Read<Pages> {
    read_page(page, |reader| {
        let code = reader.u8()?;
        let mode = reader.u16()?;
        if mode > 0o7777 {
            return Err(Malformed("an entry has an impossible mode"));
        }
        let mtime = reader.i64()?;
        let size = if code == 0 { reader.u64()? } else { 0 };
        let path = RelPath::parse(reader.text()?)
            .map_err(|_| Malformed("an entry has a forbidden name"))?;
        let kind = match code {
            0 => Kind::File(size),
            1 => Kind::Folder,
            2 => Kind::Link(reader.text()?.into()),
            _ => return Err(Malformed("an entry of an unknown kind")),
        };
        each(Entry { path, kind, mode, mtime })
    })
}

/// Takes a page of the plan apart. `each` checks the index.
pub fn plan(page: Reader<'_>, mut each: impl FnMut(u32, Step) -> Read<()>) -> Read<Pages> {
    read_page(page, |reader| {
        let index = reader.u32()?;
        let step = match reader.u8()? {
            0 => Step::Skip,
            1 => Step::Resume { offset: reader.u64()?, hash: reader.array()? },
            _ => return Err(Malformed("an unknown step in the plan")),
        };
        each(index, step)
    })
}

/// Takes a page of indices apart. `each` checks the index.
pub fn indices(page: Reader<'_>, mut each: impl FnMut(u32) -> Read<()>) -> Read<Pages> {
    read_page(page, |reader| each(reader.u32()?))
}

/// Takes a page of results apart. `each` checks the index.
pub fn results(page: Reader<'_>, mut each: impl FnMut(u32, Fault) -> Read<()>) -> Read<Pages> {
    read_page(page, |reader| each(reader.u32()?, Fault::decode(reader.u8()?)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CUT: Malformed = Malformed("a message is cut off");

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry { path: RelPath::parse(path).unwrap(), kind, mode: 0o644, mtime: -2 }
    }

    /// A page without its first byte, as the readers get it.
    fn page<T>(items: Vec<T>, encode: impl FnMut(&mut Buffer, T)) -> Vec<u8> {
        let (mut page, mut buffer) = (Vec::new(), Buffer::default());
        write(9, 1 << 20, &mut buffer, items, encode, |buffer| -> Result<(), ()> {
            assert!(page.is_empty(), "a second page");
            page = buffer.plaintext().to_vec();
            Ok(())
        })
        .unwrap();
        assert_eq!(page.remove(0), 9);
        page
    }

    fn read_entries(page: &[u8]) -> Read<(Pages, Vec<Entry>)> {
        let mut found = Vec::new();
        let pages = entries(Reader::new(page), |entry| {
            found.push(entry);
            Ok(())
        })?;
        Ok((pages, found))
    }

    fn read_plan(page: &[u8]) -> Read<(Pages, Vec<(u32, Step)>)> {
        let mut found = Vec::new();
        let pages = plan(Reader::new(page), |index, step| {
            found.push((index, step));
            Ok(())
        })?;
        Ok((pages, found))
    }

    fn read_indices(page: &[u8]) -> Read<(Pages, Vec<u32>)> {
        let mut found = Vec::new();
        let pages = indices(Reader::new(page), |index| {
            found.push(index);
            Ok(())
        })?;
        Ok((pages, found))
    }

    fn read_results(page: &[u8]) -> Read<(Pages, Vec<(u32, Fault)>)> {
        let mut found = Vec::new();
        let pages = results(Reader::new(page), |index, fault| {
            found.push((index, fault));
            Ok(())
        })?;
        Ok((pages, found))
    }

    const FAULTS: [Fault; 7] = [
        Fault::Vanished,
        Fault::Denied,
        Fault::Changed,
        Fault::Unreadable,
        Fault::Unwritable,
        Fault::Integrity,
        Fault::Kept,
    ];

    #[test]
    fn entries_byte_by_byte() {
        #[rustfmt::skip]
        let expected: Vec<&[u8]> = vec![
            &[1],                                   // the last page
            &[1],                                   // folder
            &[0x01, 0xa4],                          // mode 0644
            &[0xff; 7], &[0xfe],                    // 2 ns before 1970
            &[0, 1], b"d",                          // path
            &[0],                                   // file
            &[0x01, 0xa4],
            &[0xff; 7], &[0xfe],
            &[0, 0, 0, 0, 0, 1, 0, 2],              // 65,538 bytes
            &[0, 4], "d/é".as_bytes(),
            &[2],                                   // link
            &[0x01, 0xa4],
            &[0xff; 7], &[0xfe],
            &[0, 1], b"l",
            &[0, 2], b"./",                         // target
        ];
        let list = vec![
            entry("d", Kind::Folder),
            entry("d/é", Kind::File(65_538)),
            entry("l", Kind::Link("./".into())),
        ];
        let page = page(list.iter().collect(), put_entry);
        assert_eq!(page, expected.concat());
        assert_eq!(read_entries(&page), Ok((Pages::End, list)));
    }

    #[test]
    fn plan_byte_by_byte() {
        let list =
            vec![(1, Step::Skip), (0x0203, Step::Resume { offset: 0x0405, hash: [6; HASH_LEN] })];
        let page = page(list.clone(), put_step);
        let expected: [&[u8]; 5] = [
            &[1],                      // the last page
            &[0, 0, 0, 1, 0],          // 1: skip
            &[0, 0, 2, 3, 1],          // 515: resume
            &[0, 0, 0, 0, 0, 0, 4, 5], // at 1,029
            &[6; 32],                  // SHA-256 of what is there
        ];
        assert_eq!(page, expected.concat());
        assert_eq!(read_plan(&page), Ok((Pages::End, list)));
    }

    #[test]
    fn retry_and_results_byte_by_byte() {
        let retry = page(vec![1, 0x0203_0405], put_index);
        assert_eq!(retry, [1, 0, 0, 0, 1, 2, 3, 4, 5]);
        assert_eq!(read_indices(&retry), Ok((Pages::End, vec![1, 0x0203_0405])));

        let list: Vec<(u32, Fault)> = (10..).zip(FAULTS).collect();
        let page = page(list.clone(), put_result);
        let expected = (1u8..=7).flat_map(|code| [0, 0, 0, code + 9, code]);
        assert_eq!(page, [1].into_iter().chain(expected).collect::<Vec<u8>>());
        assert_eq!(read_results(&page), Ok((Pages::End, list)));
    }

    #[test]
    fn pages_know_whether_more_follow() {
        for (bytes, expected) in [
            (&b""[..], Err(CUT)),
            (&[1], Ok((Pages::End, vec![]))),
            (&[0], Err(Malformed("an empty page that is not the last"))),
            (&[2], Err(Malformed("an unknown page flag"))),
            (&[0xff, 0, 0, 0, 9], Err(Malformed("an unknown page flag"))),
            (&[0, 0, 0, 0, 9], Ok((Pages::More, vec![9]))),
            (&[1, 0, 0, 0, 9, 0], Err(CUT)),
        ] {
            assert_eq!(read_indices(bytes), expected, "{bytes:x?}");
        }
    }

    #[test]
    fn what_no_honest_peer_sends_is_refused() {
        let good = page(vec![&entry("a/b", Kind::File(1))], put_entry);
        assert!(read_entries(&good).is_ok());
        let with = |at: usize, byte: u8| {
            let mut page = good.clone();
            page[at] = byte;
            page
        };
        const NAME: Malformed = Malformed("an entry has a forbidden name");
        // Flag 0, kind 1, mode 2, mtime 4, size 12, length of the path 20, path 22.
        for (name, page, why) in [
            ("kind", with(1, 3), "an entry has a forbidden name"),
            ("mode", with(2, 0x10), "an entry has an impossible mode"),
            ("long path", with(21, 4), "a message is cut off"),
            ("short path", with(21, 2), NAME.0),
            ("empty path", with(21, 0), NAME.0),
            ("absolute", with(22, b'/'), NAME.0),
            ("two slashes", with(24, b'/'), NAME.0),
            ("control character", with(22, 0x1b), NAME.0),
            ("not UTF-8", with(24, 0xff), "a text is not UTF-8"),
            ("dots", with(24, b'.'), NAME.0),
        ] {
            assert_eq!(read_entries(&page), Err(Malformed(why)), "{name}");
        }
        assert_eq!(
            read_entries(b"\x01\x03\0\0\0\0\0\0\0\0\0\0\0\x01a"),
            Err(Malformed("an entry of an unknown kind"))
        );
        for byte in [2, 0xff] {
            let unknown = Malformed("an unknown step in the plan");
            assert_eq!(read_plan(&[1, 0, 0, 0, 0, byte]), Err(unknown));
        }
        for byte in [0, 8, 0xff] {
            assert_eq!(read_results(&[1, 0, 0, 0, 0, byte]), Err(Malformed("an unknown fault")));
            assert_eq!(Fault::decode(byte), Err(Malformed("an unknown fault")));
        }
    }

    #[test]
    fn paths_have_a_limit() {
        let name = "n".repeat(255);
        let longest = [&*name; 16].join("/");
        assert_eq!(longest.len(), crate::files::path::MAX_PATH - 1);
        let raw = |path: &str| {
            let mut buffer = Buffer::default();
            buffer.extend(&[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            put_text(&mut buffer, path);
            buffer.plaintext().to_vec()
        };
        assert!(read_entries(&raw(&longest)).is_ok());
        for path in [format!("{longest}/n"), format!("{name}n"), "n/".repeat(32_767)] {
            let forbidden = Malformed("an entry has a forbidden name");
            assert_eq!(read_entries(&raw(&path)), Err(forbidden), "{path:.20}");
        }
    }

    #[test]
    fn an_error_of_the_taker_ends_the_reading() {
        let page = page(vec![1, 2, 3], put_index);
        let mut seen = 0;
        let result = indices(Reader::new(&page), |index| {
            seen = index;
            if index == 2 { Err(Malformed("enough")) } else { Ok(()) }
        });
        assert_eq!((result, seen), (Err(Malformed("enough")), 2));
    }

    fn paths() -> impl Strategy<Value = RelPath> {
        "[ -~é日]{1,12}(/[ -~é日]{1,12}){0,3}"
            .prop_filter_map("not a path", |path| RelPath::parse(&path).ok())
    }

    fn any_entry() -> impl Strategy<Value = Entry> {
        let kind = prop_oneof![
            any::<u64>().prop_map(Kind::File),
            Just(Kind::Folder),
            "\\PC{0,20}".prop_map(|target| Kind::Link(target.into())),
        ];
        (paths(), kind, 0..=0o7777u16, any::<i64>()).prop_map(|(path, kind, mode, mtime)| Entry {
            path,
            kind,
            mode,
            mtime,
        })
    }

    fn any_step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Skip),
            (any::<u64>(), any::<[u8; 32]>())
                .prop_map(|(offset, hash)| Step::Resume { offset, hash }),
        ]
    }

    proptest! {
        #[test]
        fn lists_survive_whatever_the_page(
            list in prop::collection::vec(any_entry(), 0..60),
            beyond in 0..400usize,
        ) {
            // From one entry a page to all in one.
            let limit = MAX_ITEM + beyond;
            let (mut pages, mut found) = (Vec::new(), Vec::new());
            let mut buffer = Buffer::default();
            write(2, limit, &mut buffer, &list, put_entry, |page| -> Read<()> {
                assert!(page.len() <= limit.max(MAX_ITEM));
                let (&kind, page) = page.plaintext().split_first().unwrap();
                assert_eq!(kind, 2);
                pages.push(entries(Reader::new(page), |entry| {
                    found.push(entry);
                    Ok(())
                })?);
                Ok(())
            }).unwrap();
            prop_assert_eq!(found, list);
            prop_assert_eq!(pages.pop(), Some(Pages::End));
            prop_assert!(pages.iter().all(|page| *page == Pages::More));
        }

        #[test]
        fn plans_survive(list in prop::collection::vec((any::<u32>(), any_step()), 0..20)) {
            prop_assert_eq!(read_plan(&page(list.clone(), put_step)), Ok((Pages::End, list)));
        }

        #[test]
        fn results_survive(
            list in prop::collection::vec((any::<u32>(), prop::sample::select(&FAULTS[..])), 0..20),
        ) {
            prop_assert_eq!(read_results(&page(list.clone(), put_result)), Ok((Pages::End, list)));
        }

        #[test]
        fn a_cut_page_never_gains(list in prop::collection::vec(any_entry(), 1..5), cut in 0..400usize) {
            let page = page(list.iter().collect(), put_entry);
            let cut = page.get(..cut.min(page.len())).unwrap();
            if let Ok((_, found)) = read_entries(cut) {
                prop_assert_eq!(&found[..], &list[..found.len()]);
            }
        }

        #[test]
        fn no_bytes_can_make_it_panic(page in prop::collection::vec(0..9u8, 0..100)) {
            let _ = read_entries(&page);
            let _ = read_plan(&page);
            let _ = read_indices(&page);
            let _ = read_results(&page);
        }
    }
}
