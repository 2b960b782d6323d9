use proptest::prelude::*;

use super::*;

const BLOSC: u8 = 2;

const LIMIT: usize = 1024 * 1024 + 1024;
const CODECS: [Codec; 4] = [
    Codec::Lz4,
    Codec::Blosc(Element::Two),
    Codec::Blosc(Element::Four),
    Codec::Blosc(Element::Eight),
];

/// The same pseudo-random bytes each time (xorshift64).
fn noise() -> impl Iterator<Item = u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
}

fn text(len: usize) -> Vec<u8> {
    let words = ["let ", "match ", "self.", "output", "(input)", " => ", ";\n", "length "];
    noise().flat_map(|byte| words[usize::from(byte % 8)].bytes()).take(len).collect()
}

/// A slowly rising series of numbers, all digits below the third noise.
fn numbers(len: usize, bytes: impl Fn(f64) -> Vec<u8>) -> Vec<u8> {
    let values = noise().enumerate();
    values
        .flat_map(|(i, byte)| bytes(1e3 + i as f64 / 1e3 + f64::from(byte) / 777.))
        .take(len)
        .collect()
}

fn f32s(len: usize) -> Vec<u8> {
    numbers(len, |x| (x as f32).to_le_bytes().into())
}

fn packed(codec: Codec, raw: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    assert!(compress(codec, raw, &mut output), "{codec:?}");
    output
}

fn unpacked(wire_id: u8, raw_len: usize, input: &[u8]) -> Option<Vec<u8>> {
    let mut output = b"before".to_vec();
    match decompress(wire_id, raw_len, LIMIT, input, &mut output) {
        Ok(()) => Some(output.split_off(6)),
        Err(_) => {
            assert_eq!(output, b"before");
            None
        }
    }
}

#[test]
fn round_trips_at_every_length() {
    let edges = [64 * 1024 * 8 - 1, 64 * 1024 * 8 + 9, 1 << 20, LIMIT];
    for len in (0..200).chain(edges) {
        for raw in [text(len), f32s(len), vec![0; len], vec![7; len]] {
            for codec in CODECS {
                let mut output = b"before".to_vec();
                if compress(codec, &raw, &mut output) {
                    let input = &output[6..];
                    assert!(input.len() < raw.len());
                    let back = unpacked(codec.wire_id(), len, input);
                    assert!(back.unwrap() == raw, "{codec:?} {len}");
                } else {
                    assert_eq!(output, b"before");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn round_trips(
        seed in prop::collection::vec(0..9_u8, 1..300),
        times in 1..60_usize,
        codec in prop::sample::select(CODECS.to_vec()),
    ) {
        let raw = seed.repeat(times);
        let mut output = Vec::new();
        if compress(codec, &raw, &mut output) {
            prop_assert_eq!(unpacked(codec.wire_id(), raw.len(), &output), Some(raw));
        }
    }

    #[test]
    fn hostile_bytes_are_survived(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        raw_len in 0..2000_usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        codec in prop::sample::select(CODECS.to_vec()),
    ) {
        unpacked(codec.wire_id(), raw_len, &bytes);
        let raw = f32s(4000);
        let mut input = Vec::new();
        if compress(codec, &raw, &mut input) {
            for (place, value) in flips {
                *place.get_mut(&mut input) ^= value;
            }
            unpacked(codec.wire_id(), raw.len(), &input);
        }
    }
}

#[test]
fn incompressible_data_is_left_alone() {
    let raw: Vec<u8> = noise().take(100_000).collect();
    for codec in CODECS {
        let mut output = b"before".to_vec();
        assert!(!compress(codec, &raw, &mut output));
        assert_eq!(output, b"before");
    }
}

#[test]
fn a_wrong_length_is_an_error() {
    let raw = f32s(10_001);
    for codec in [Codec::Lz4, Codec::Blosc(Element::Four)] {
        let raw = if codec == Codec::Lz4 { text(10_001) } else { raw.clone() };
        let input = packed(codec, &raw);
        for wrong in [0, 1, 9_997, 10_000, 10_002, 10_005, LIMIT, LIMIT + 1, usize::MAX] {
            assert!(unpacked(codec.wire_id(), wrong, &input).is_none(), "{codec:?} {wrong}");
        }
        for cut in [0, 1, 15, 16, 31, 32, 33, 100, input.len() - 2, input.len() - 1] {
            assert!(unpacked(codec.wire_id(), raw.len(), &input[..cut]).is_none());
        }
        let longer = [input.as_slice(), &[0]].concat();
        assert!(unpacked(codec.wire_id(), raw.len(), &longer).is_none(), "{codec:?}");
    }
}

#[test]
fn a_bomb_is_held_to_the_announced_length() {
    let zeros = vec![0; 1 << 20];
    for codec in CODECS {
        let input = packed(codec, &zeros);
        assert!(input.len() < 5000);
        assert!(unpacked(codec.wire_id(), 5000, &input).is_none());
        let mut output = Vec::new();
        assert!(decompress(codec.wire_id(), 1 << 20, 1000, &input, &mut output).is_err());
        assert_eq!(output.capacity(), 0);
    }
}

#[test]
fn an_unknown_codec_is_named() {
    for wire_id in [0, 3, 255] {
        let error = decompress(wire_id, 10, LIMIT, b"x", &mut Vec::new()).unwrap_err();
        assert!(error.message.contains(&wire_id.to_string()));
    }
}

/// Every header but our own is refused before C sees it.
#[test]
fn a_header_that_lies_is_refused() {
    let raw = f32s(8000);
    let chunk = packed(Codec::Blosc(Element::Four), &raw);
    assert!(unpacked(BLOSC, 8000, &chunk).is_some());
    let lies: &[(usize, &[u8], &str)] = &[
        (0, &[2], "Blosc 1"),
        (0, &[6], "a later version"),
        (1, &[2], "LZ4 format"),
        (2, &[0b0000_0101], "BloscLZ"),
        (2, &[0b0100_0101], "LZ4HC"),
        (2, &[0b0110_0101], "zlib"),
        (2, &[0b1000_0101], "Zstandard"),
        (2, &[0b1100_0101], "a plugin"),
        (2, &[0b0010_0111], "stored"),
        (2, &[0b0010_0001], "a 16-byte header"),
        (2, &[0b0010_1101], "delta"),
        (3, &[0], "no element"),
        (3, &[1], "bytes"),
        (3, &[3], "an odd element"),
        (3, &[255], "a huge element"),
        (4, &8001_u32.to_le_bytes(), "longer"),
        (4, &7996_u32.to_le_bytes(), "shorter"),
        (4, &u32::MAX.to_le_bytes(), "negative length"),
        (8, &[0; 4], "no block"),
        (8, &2_u32.to_le_bytes(), "half an element"),
        (8, &7998_u32.to_le_bytes(), "a block of broken elements"),
        (8, &8004_u32.to_le_bytes(), "a block beyond the chunk"),
        (8, &u32::MAX.to_le_bytes(), "a negative block"),
        (12, &32_u32.to_le_bytes(), "header only"),
        (12, &u32::MAX.to_le_bytes(), "negative size"),
        (16, &[1], "a second shuffle"),
        (21, &[0], "no filter"),
        (21, &[2], "bit shuffle"),
        (21, &[160], "a plugin filter"),
        (22, &[0], "another codec"),
        (23, &[1], "codec settings"),
        (29, &[1], "filter settings"),
        (30, &[1], "reserved"),
        (31, &[0x01], "a dictionary"),
        (31, &[0x08], "lazy"),
        (31, &[0x10], "zeros and more"),
        (31, &[0x20], "NaN"),
        (31, &[0x30], "a repeated value"),
        (31, &[0x40], "uninitialized"),
        (31, &[0x80], "instrumented"),
    ];
    for (place, bytes, lie) in lies {
        let mut chunk = chunk.clone();
        chunk[*place..place + bytes.len()].copy_from_slice(bytes);
        assert!(unpacked(BLOSC, 8000, &chunk).is_none(), "{lie}");
    }
}

#[test]
fn other_blosc_chunks_are_refused() {
    let raw = text(8000);
    for codec in [blosc2::Codec::BloscLz, blosc2::Codec::LZ4HC] {
        for filter in [Filter::NoFilter, Filter::Shuffle, Filter::BitShuffle] {
            let parameters = CParams::from_typesize(4).set_codec(codec).set_filter(filter);
            let mut context = Context::from(parameters);
            let chunk = blosc2::compress_ctx(raw.as_chunks::<4>().0, &mut context).unwrap();
            // blosc2-rs can read it, so it is the header that is refused here.
            let mut context = Context::from(DParams::default());
            assert!(blosc2::decompress_ctx::<u8>(&chunk, &mut context).unwrap() == raw);
            assert!(unpacked(BLOSC, raw.len(), &chunk).is_none(), "{codec:?}");
        }
    }
}

#[test]
fn probe_knows_its_data() {
    let i16s = |len| numbers(len, |x| ((x * 3.) as i16).to_le_bytes().into());
    let f64s = |len| numbers(len, |x| x.to_le_bytes().into());
    // A file's data starts anywhere in a record: here after 13 bytes.
    let shifted = |data: Vec<u8>| [&[1; 13], data.as_slice()].concat();
    for len in [20_000, 1 << 20] {
        let cases = [
            ("text", text(len), Some(Codec::Lz4)),
            ("zeros", vec![0; len], Some(Codec::Lz4)),
            ("noise", noise().take(len).collect(), None),
            ("f32", f32s(len), Some(Codec::Blosc(Element::Four))),
            ("shifted f32", shifted(f32s(len)), Some(Codec::Blosc(Element::Four))),
            ("f64", f64s(len), Some(Codec::Blosc(Element::Eight))),
            ("i16", i16s(len), Some(Codec::Blosc(Element::Two))),
        ];
        for (name, block, codec) in cases {
            assert_eq!(probe(&block, |_| true), codec, "{name} {len}");
            let only_lz4 = probe(&block, |method| method == Method::Lz4);
            assert!(matches!(only_lz4, None | Some(Codec::Lz4)), "{name} {len}");
            let only_blosc = probe(&block, |method| method == Method::Blosc);
            assert_ne!(only_blosc, Some(Codec::Lz4), "{name} {len}");
            assert_eq!(probe(&block, |_| false), None, "{name} {len}");
        }
    }
    for len in [0, 1, 15, 16] {
        assert_eq!(probe(&noise().take(len).collect::<Vec<_>>(), |_| true), None);
    }
}

#[test]
fn shuffle_survives_framing() {
    let aligned = packed(Codec::Blosc(Element::Four), &f32s(400_000)).len();
    let shifted = [&[1; 13], f32s(400_000).as_slice()].concat();
    let shifted = packed(Codec::Blosc(Element::Four), &shifted).len();
    assert!(shifted < aligned + aligned / 50, "{shifted} for {aligned}");
}

#[test]
fn the_user_decides() {
    let block = f32s(50_000);
    for (compression, name, codec) in [
        (Compression::Off, "none", None),
        (Compression::Auto, "auto", Some(Codec::Blosc(Element::Four))),
        (Compression::Lz4, "lz4", Some(Codec::Lz4)),
        (Compression::Blosc, "blosc", Some(Codec::Blosc(Element::Four))),
    ] {
        assert_eq!(compression.name(), name);
        assert_eq!(compression.codec(&block, |_| true), codec);
        assert_eq!(compression.codec(&block, |_| false), None);
    }
}

#[test]
fn threads_start_together() {
    let raw = f32s(20_000);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let input = packed(Codec::Blosc(Element::Four), &raw);
                assert!(unpacked(BLOSC, raw.len(), &input).unwrap() == raw);
            });
        }
    });
}

/// What the sender takes for smaller, the receiver must too.
#[test]
fn tiny_inputs_are_packed_only_if_they_shrink() {
    for len in 0..64 {
        for codec in [Codec::Lz4, Codec::Blosc(Element::Four)] {
            let raw = vec![0; len];
            let mut input = Vec::new();
            if compress(codec, &raw, &mut input) {
                assert!(input.len() < len, "{codec:?} of {len} bytes");
                assert_eq!(unpacked(codec.wire_id(), len, &input).unwrap(), raw);
            }
        }
    }
}
