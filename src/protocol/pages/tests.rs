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

/// What takes names of bytes, and files with holes.
fn agreed_on_all() -> Features {
    [Feature::Sparse, Feature::RawNames].into_iter().collect()
}

fn read_entries(page: &[u8]) -> Read<(Pages, Vec<Entry>)> {
    let mut found = Vec::new();
    let pages = entries(Reader::new(page), agreed_on_all(), |entry| {
        found.push(entry);
        Ok(())
    })?;
    Ok((pages, found))
}

fn read_plan(page: &[u8]) -> Read<(Pages, Vec<(u32, Step)>)> {
    let mut found = Vec::new();
    let pages = plan(Reader::new(page), Features::ours(), |index, step| {
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

fn read_repairs(page: &[u8]) -> Read<(Pages, Vec<(u32, Range)>)> {
    let mut found = Vec::new();
    let pages = repairs(Reader::new(page), |index, range| {
        found.push((index, range));
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
        &[3],                                   // file with holes
        &[0x01, 0xa4],
        &[0xff; 7], &[0xfe],
        &[0, 0, 0, 0, 0x80, 0, 0, 0],           // 2 GiB
        &[0, 0, 0, 0, 0, 0, 0x10, 0],           // of which 4,096 bytes take room
        &[0, 1], b"s",
        &[0x81],                                // folder, of bytes
        &[0x01, 0xa4],
        &[0xff; 7], &[0xfe],
        &[0, 2], b"x\xe9",
    ];
    let list = vec![
        entry("d", Kind::Folder),
        entry("d/é", Kind::File(65_538)),
        entry("l", Kind::Link("./".into())),
        entry("s", Kind::Sparse { size: 2 << 30, stored: 4096 }),
        Entry { path: RelPath::from_bytes(b"x\xe9").unwrap(), ..entry("x", Kind::Folder) },
    ];
    let page = page(list.iter().collect(), put_entry);
    assert_eq!(page, expected.concat());
    assert_eq!(read_entries(&page), Ok((Pages::End, list)));
}

#[test]
fn plan_byte_by_byte() {
    let list = vec![
        (1, Step::Skip),
        (0x0203, Step::Resume { offset: 0x0405, hash: [6; HASH_LEN] }),
        (0x0204, Step::GoOn { blocks: 0x0708, state: [9; 32] }),
    ];
    let page = page(list.clone(), put_step);
    let expected: [&[u8]; 8] = [
        &[1],                      // the last page
        &[0, 0, 0, 1, 0],          // 1: skip
        &[0, 0, 2, 3, 1],          // 515: resume
        &[0, 0, 0, 0, 0, 0, 4, 5], // at 1,029
        &[6; 32],                  // SHA-256 of what is there
        &[0, 0, 2, 4, 2],          // 516: go on
        &[0, 0, 7, 8],             // behind 1,800 blocks
        &[9; 32],                  // the state there
    ];
    assert_eq!(page, expected.concat());
    assert_eq!(read_plan(&page), Ok((Pages::End, list)));
}

#[test]
fn repairs_byte_by_byte() {
    let range = |first, count| Range { first, count };
    let list = vec![(1, range(2, 3)), (1, range(0x0405, u32::MAX))];
    let page = page(list.clone(), put_repair);
    let expected: [&[u8]; 3] = [
        &[1],                                              // the last page
        &[0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3],             // 1: from block 2 three of them
        &[0, 0, 0, 1, 0, 0, 4, 5, 0xff, 0xff, 0xff, 0xff], // 1: from block 1,029 too many
    ];
    assert_eq!(page, expected.concat());
    assert_eq!(read_repairs(&page), Ok((Pages::End, list)));
    assert_eq!(range(0x0405, u32::MAX).bytes(64, 70_000), 70_000 - 0x0405 * 64);
    assert_eq!(range(u32::MAX, u32::MAX).bytes(u64::MAX, 70_000), 0);
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
    const UNAGREED: &str = "a feature that was not agreed on";
    const UNKNOWN: &str = "an unknown step in the plan";
    const NAME: Malformed = Malformed("an entry has a forbidden name");
    // Flag 0, kind 1, mode 2, mtime 4, size 12, length of the path 20, path 22.
    for (name, page, why) in [
        ("kind", with(1, 6), "an entry has a forbidden name"),
        ("bytes without need", with(1, 0x80), "a name of bytes that is text"),
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
    for (code, agreed) in [
        (3, vec![Feature::RawNames]),
        (0x80, vec![Feature::Sparse]),
        (0x83, vec![Feature::Sparse]),
        (0x83, vec![Feature::RawNames]),
    ] {
        let agreed = agreed.into_iter().collect();
        let one_of_them = entries(Reader::new(&with(1, code)), agreed, |_| Ok(()));
        assert_eq!(one_of_them, Err(Malformed(UNAGREED)), "{code:x}");
    }
    let liar = entry("a", Kind::Sparse { size: 1, stored: 2 });
    let more = Malformed("a file takes more than its size");
    assert_eq!(read_entries(&page(vec![&liar], put_entry)), Err(more));
    assert_eq!(
        read_entries(b"\x01\x04\0\0\0\0\0\0\0\0\0\0\0\x01a"),
        Err(Malformed("an entry of an unknown kind"))
    );
    for (byte, why) in [(2, "a message is cut off"), (3, UNKNOWN), (0xff, UNKNOWN)] {
        assert_eq!(read_plan(&[1, 0, 0, 0, 0, byte]), Err(Malformed(why)));
    }
    let go_on = page(vec![(0, Step::GoOn { blocks: 1, state: [9; 32] })], put_step);
    let unagreed = plan(Reader::new(&go_on), Features::default(), |_, _| Ok(()));
    assert_eq!(unagreed, Err(Malformed(UNAGREED)));
    assert_eq!(read_results(&[1, 0, 0, 0, 0, 0]), Err(Malformed("an unknown fault")));
}

/// Each number means something, and stays the same on the way.
#[test]
fn faults_of_a_later_version_are_faults() {
    for by in [Role::Sender, Role::Receiver] {
        assert_eq!(Fault::decode(0, by), Err(Malformed("an unknown fault")));
        for code in 1..=255 {
            let fault = Fault::decode(code, by).unwrap();
            assert_eq!(fault.code(), code);
            let words = fault.words();
            let is_of_source = code <= 4 || code > 12 && by == Role::Sender;
            assert_eq!(fault.is_of_source(), is_of_source, "{code} {words}");
            assert_eq!(words.contains(&format!("fault {code}")), code > 12, "{words}");
        }
    }
    assert_eq!(
        Fault::decode(13, Role::Sender).unwrap().words(),
        "the sender could not read it: its fault 13"
    );
    let theirs = Fault::decode(0xff, Role::Receiver).unwrap();
    assert_eq!(theirs.words(), "the receiver could not write it: its fault 255");
    assert!(!theirs.is_of_content(), "a folder can have it");
    assert_eq!(read_results(&[1, 0, 0, 0, 7, 0xff]), Ok((Pages::End, vec![(7, theirs)])));
}

/// A kind, a path and, of a link, a target, and what comes of them where bytes are taken.
#[test]
fn names_of_bytes_have_a_flag() {
    const NAME: &str = "an entry has a forbidden name";
    const TEXT: &str = "a text is not UTF-8";
    const IDLE: &str = "a name of bytes that is text";
    let item = |code: u8, path: &[u8], target: Option<&[u8]>| {
        let mut buffer = Buffer::default();
        buffer.extend(&[1, code, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        if code & 0x7f == 0 {
            buffer.extend(&[0; 8]);
        }
        put_path(&mut buffer, path);
        target.iter().for_each(|target| put_path(&mut buffer, target));
        buffer.plaintext().to_vec()
    };
    let long = [b"n\xff", &[b'n'; 254][..]].concat();
    let cases: &[(u8, &[u8], Option<&[u8]>, Result<(), &str>)] = &[
        (0x80, b"latin-\xe9", None, Ok(())),
        (0x81, b"Icon\r", None, Ok(())),
        (0x80, "c1\u{9b}".as_bytes(), None, Ok(())),
        (0x82, b"l", Some(b"\xe9"), Ok(())),
        (0x82, b"l\n", Some(b"a"), Ok(())),
        (0x82, b"l\n", Some(b"\xe9"), Ok(())),
        // Set without need, and needed without being set.
        (0x80, b"a", None, Err(IDLE)),
        (0x81, "gr\u{fc}\u{df}e".as_bytes(), None, Err(IDLE)),
        (0x82, b"l", Some(b"a"), Err(IDLE)),
        (0, b"Icon\r", None, Err(NAME)),
        (1, b"\xe9", None, Err(TEXT)),
        (2, b"l", Some(b"\xe9"), Err(TEXT)),
        (2, b"l", Some(b"a\nb"), Err(NAME)),
        // What is refused of text is refused of bytes.
        (0x80, b"\xff\0", None, Err(NAME)),
        (0x80, b"\xff/../x", None, Err(NAME)),
        (0x80, b"../\xff", None, Err(NAME)),
        (0x80, b"\xff/./x", None, Err(NAME)),
        (0x80, b"\xff//x", None, Err(NAME)),
        (0x80, b"/\xff", None, Err(NAME)),
        (0x80, b"C:\\\xff", None, Err(NAME)),
        (0x80, b"", None, Err(NAME)),
        (0x80, &long, None, Err(NAME)),
        (0x80, &[0xff; 4097], None, Err(NAME)),
        (0x84, b"\xff", None, Err("an entry of an unknown kind")),
        (0xff, b"\xff", None, Err("an entry of an unknown kind")),
    ];
    for (code, path, target, expected) in cases {
        let page = item(*code, path, *target);
        let read = read_entries(&page).map(drop);
        assert_eq!(read, expected.map_err(Malformed), "{code:x} {}", path.escape_ascii());
        let unasked = entries(Reader::new(&page), Features::default(), |_| Ok(())).map(drop);
        let refused = Err(Malformed("a feature that was not agreed on"));
        assert_eq!(unasked == refused, code & 0x80 != 0);
    }
}

#[test]
fn paths_have_a_limit() {
    let name = "n".repeat(255);
    let longest = [&*name; 16].join("/");
    assert_eq!(longest.len(), crate::bounds::MAX_PATH - 1);
    let raw = |path: &str| {
        let mut buffer = Buffer::default();
        buffer.extend(&[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        put_path(&mut buffer, path.as_bytes());
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
    let text = "[ -~é日]{1,12}(/[ -~é日]{1,12}){0,3}".prop_map(String::into_bytes);
    let bytes = prop::collection::vec(any::<u8>(), 1..40);
    prop_oneof![3 => text, 1 => bytes]
        .prop_filter_map("not a path", |path| RelPath::from_bytes(&path).ok())
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let kind = prop_oneof![
        any::<u64>().prop_map(Kind::File),
        any::<(u64, u64)>()
            .prop_map(|(one, other)| Kind::Sparse { size: one.max(other), stored: one.min(other) }),
        Just(Kind::Folder),
        "\\PC{0,20}".prop_map(|target| Kind::Link(target.as_str().into())),
        prop::collection::vec(any::<u8>(), 0..20)
            .prop_map(|target| Kind::Link(target.as_slice().into())),
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
        (any::<u64>(), any::<[u8; 32]>()).prop_map(|(offset, hash)| Step::Resume { offset, hash }),
        (any::<u32>(), any::<[u8; 32]>()).prop_map(|(blocks, state)| Step::GoOn { blocks, state }),
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
            pages.push(entries(Reader::new(page), agreed_on_all(), |entry| {
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
        let _ = read_repairs(&page);
        let _ = read_results(&page);
    }
}
