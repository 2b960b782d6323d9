//! The codecs. LZ4 finds repeated bytes, which is what text and executables have. Arrays of
//! numbers hardly repeat, but their high bytes resemble each other: Blosc2 first sorts the bytes
//! of all elements by their place in the element (byte shuffle), then LZ4 finds plenty.
//!
//! Records are compressed independently and say how, so a receiver needs no setting, and
//! whatever does not shrink travels as it is.
//!
//! Blosc2 is C. It sees bytes of a peer only behind a header that is, byte for byte, one that
//! this module writes itself (`header`), and it writes only into a slice of the size that the
//! header claims; so the chunk formats that are not ours (other codecs and filters, dictionaries,
//! plugins, lazy chunks, special values) stay out of reach.

use std::sync::{Once, OnceLock};

use blosc2::{CLevel, CParams, Context, DParams, Filter};
use lz4_flex::block;

use crate::bounds::MAX_LZ4_STREAM;
use crate::error::{Error, Result};

/// What the user asked for with `--compress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Send everything as it is.
    Off,
    /// For each file whatever [`probe`] finds best.
    Auto,
    /// LZ4 for every file.
    Lz4,
    /// Blosc2 for every file, with the element size that suits it best.
    Blosc,
}

impl Compression {
    /// The word for it on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "none",
            Self::Auto => "auto",
            Self::Lz4 => "lz4",
            Self::Blosc => "blosc",
        }
    }

    /// The codec for a file that begins with `block`, of those the other side `knows`; `None` sends
    /// it as it is.
    pub fn codec(self, block: &[u8], knows: impl Fn(Method) -> bool) -> Option<Codec> {
        match self {
            Self::Off => None,
            Self::Auto => probe(block, knows),
            Self::Lz4 => knows(Method::Lz4).then_some(Codec::Lz4),
            Self::Blosc if !knows(Method::Blosc) => None,
            Self::Blosc => best_element(sample(block)).map(|(element, _)| Codec::Blosc(element)),
        }
    }
}

/// A way of compressing that can be on the wire. Another one is one more here and in `METHODS`,
/// and a [`Codec`] that makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A plain LZ4 block.
    Lz4,
    /// A Blosc2 chunk, and the rest of an incomplete element.
    Blosc,
}

/// What the wire knows of a method.
struct Known {
    method: Method,
    /// The byte that names it in a record.
    wire_id: u8,
    /// The feature by which a side says that it knows it.
    name: &'static str,
    /// Fills the output exactly, or fails; the output holds zeros.
    decode: fn(&[u8], &mut [u8]) -> Option<()>,
}

const METHODS: [Known; 2] = [
    Known { method: Method::Lz4, wire_id: 1, name: "lz4", decode: lz4_decode },
    Known { method: Method::Blosc, wire_id: 2, name: "blosc", decode: blosc_decode },
];

impl Method {
    /// The method that a record names.
    pub fn of(wire_id: u8) -> Option<Self> {
        METHODS.iter().find(|known| known.wire_id == wire_id).map(|known| known.method)
    }

    /// The feature by which a side says that it knows it.
    pub fn name(self) -> &'static str {
        self.known().map_or("", |known| known.name)
    }

    fn known(self) -> Option<&'static Known> {
        METHODS.iter().find(|known| known.method == self)
    }
}

/// How a record is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// A plain LZ4 block.
    Lz4,
    /// A Blosc2 chunk: byte shuffle, then LZ4. What is left over of a last, incomplete element
    /// follows the chunk as it is.
    Blosc(Element),
}

impl Codec {
    /// The byte that names the codec on the wire. A chunk's header holds its element size.
    pub fn wire_id(self) -> u8 {
        self.method().known().map_or(0, |known| known.wire_id)
    }

    fn method(self) -> Method {
        match self {
            Self::Lz4 => Method::Lz4,
            Self::Blosc(_) => Method::Blosc,
        }
    }
}

/// The size of an array's elements, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// 16-bit sound, images, half floats.
    Two = 2,
    /// 32-bit floats and integers.
    Four = 4,
    /// 64-bit floats and integers.
    Eight = 8,
}

/// How much of a block [`probe`] looks at, in bytes.
const SAMPLE: usize = 32 * 1024;

/// The length of a Blosc2 chunk's header.
const HEADER: usize = 32;

/// Chooses the codec for data that begins with `block`, by compressing a sample of it in every way
/// that the other side `knows`; `None` if nothing gains at least 8 %. Blosc2 must save a further 3 %
/// of the data, or LZ4 it is: one sample does not tell small differences.
pub fn probe(block: &[u8], knows: impl Fn(Method) -> bool) -> Option<Codec> {
    let sample = sample(block);
    let lz4 = knows(Method::Lz4).then(|| trial(Codec::Lz4, sample)).flatten();
    let lz4 = lz4.unwrap_or(sample.len());
    let blosc = knows(Method::Blosc).then(|| best_element(sample)).flatten();
    let (codec, size) = match blosc {
        Some((element, size)) if size + sample.len() / 32 < lz4 => (Codec::Blosc(element), size),
        _ => (Codec::Lz4, lz4),
    };
    (size < sample.len() - sample.len() / 12).then_some(codec)
}

/// The middle of `block`: the beginning of a file is often a header unlike the rest.
fn sample(block: &[u8]) -> &[u8] {
    let start = block.len().saturating_sub(SAMPLE) / 2;
    block.get(start..).map_or(block, |rest| rest.get(..SAMPLE).unwrap_or(rest))
}

/// The element size that compresses `sample` best, and the compressed size.
fn best_element(sample: &[u8]) -> Option<(Element, usize)> {
    [Element::Two, Element::Four, Element::Eight]
        .into_iter()
        .filter_map(|element| Some((element, trial(Codec::Blosc(element), sample)?)))
        .min_by_key(|&(_, size)| size)
}

/// The compressed size of `sample`, if it shrinks.
fn trial(codec: Codec, sample: &[u8]) -> Option<usize> {
    let mut output = Vec::new();
    compress(codec, sample, &mut output).then_some(output.len())
}

/// Appends `input`, compressed, to `output`. False, with `output` as it was, if that would not save
/// at least 5 %: then decompressing costs more than it is worth.
pub fn compress(codec: Codec, input: &[u8], output: &mut Vec<u8>) -> bool {
    let start = output.len();
    // Strictly less in any case: a receiver refuses a packed record that is not smaller.
    let most = input.len().saturating_sub((input.len() / 20).max(1));
    let done = match codec {
        Codec::Lz4 => lz4_encode(input, output),
        Codec::Blosc(Element::Two) => blosc_encode::<2>(input, most, output),
        Codec::Blosc(Element::Four) => blosc_encode::<4>(input, most, output),
        Codec::Blosc(Element::Eight) => blosc_encode::<8>(input, most, output),
    };
    let worth = done.is_some() && output.len() - start <= most && !input.is_empty();
    if !worth {
        output.truncate(start);
    }
    worth
}

fn lz4_encode(input: &[u8], output: &mut Vec<u8>) -> Option<()> {
    let start = output.len();
    output.resize(start + block::get_maximum_output_size(input.len()), 0);
    let size = block::compress_into(input, output.get_mut(start..)?).ok()?;
    output.truncate(start + size);
    Some(())
}

/// Appends `input` as a chunk of at most `most` bytes and the left-over of an incomplete element.
fn blosc_encode<const N: usize>(input: &[u8], most: usize, output: &mut Vec<u8>) -> Option<()> {
    if overridden() {
        return None;
    }
    prepare();
    let start = output.len();
    let (elements, rest) = input.as_chunks::<N>();
    output.resize(start + most.saturating_sub(rest.len()), 0);
    let size = blosc_chunk(elements, output.get_mut(start..)?)?;
    output.truncate(start + size);
    output.extend_from_slice(rest);
    Some(())
}

/// Writes `elements` as a Blosc2 chunk to `output` and returns its size.
fn blosc_chunk<const N: usize>(elements: &[[u8; N]], output: &mut [u8]) -> Option<usize> {
    let len = elements.as_flattened().len();
    // C-Blosc2 2.15 writes the offsets of the blocks without looking whether they fit, and
    // blosc2-rs panics on its error for an output shorter than the header.
    let blocks = len.div_ceil(MAX_LZ4_STREAM * N);
    if output.len() < HEADER + 4 * blocks || i32::try_from(len).is_err() {
        return None;
    }
    let parameters = CParams::from_typesize(N)
        .set_codec(blosc2::Codec::LZ4)
        .set_filter(Filter::Shuffle)
        .set_clevel(CLevel::Five)
        .set_nthreads(1);
    // A context keeps the block size of its first chunk, so each chunk has its own.
    let mut context = Context::from(parameters);
    blosc2::compress_into_ctx(elements, output, &mut context).ok()
}

/// Decompresses `input`, which the codec `wire_id` made from exactly `raw_len` bytes, and appends
/// them to `output`. Takes no more memory than `raw_len` and 2 MiB, and nothing if `raw_len` is
/// beyond `limit`. In case of an error `output` is as it was.
pub fn decompress(
    wire_id: u8,
    raw_len: usize,
    limit: usize,
    input: &[u8],
    output: &mut Vec<u8>,
) -> Result<()> {
    let start = output.len();
    let Some(known) = METHODS.iter().find(|known| known.wire_id == wire_id) else {
        return Err(Error::failure(format!(
            "the peer uses compression method {wire_id}, which this version does not know"
        ))
        .hint("update transfer on this side"));
    };
    if raw_len > limit {
        return Err(damaged());
    }
    output.resize(start + raw_len, 0);
    // What does not shrink is never sent compressed.
    let fits = input.len() < raw_len;
    if fits && output.get_mut(start..).and_then(|output| (known.decode)(input, output)).is_some() {
        return Ok(());
    }
    output.truncate(start);
    Err(damaged())
}

fn damaged() -> Error {
    Error::failure("the peer sent a compressed record that cannot be decompressed")
        .hint("check that both sides run the same version of transfer, then start both again")
}

/// Fills `output` exactly, or fails.
fn lz4_decode(input: &[u8], output: &mut [u8]) -> Option<()> {
    let size = block::decompress_into(input, output).ok()?;
    (size == output.len()).then_some(())
}

/// The same for a chunk and its left-over; `output` holds zeros.
fn blosc_decode(input: &[u8], output: &mut [u8]) -> Option<()> {
    prepare();
    let element = usize::from(*input.get(3)?);
    let rest = output.len().checked_rem(element)?;
    let (chunk, input_rest) = input.split_at_checked(input.len().checked_sub(rest)?)?;
    let (elements, output_rest) = output.split_at_mut_checked(output.len().checked_sub(rest)?)?;
    let header = header(chunk, elements.len())?;
    output_rest.copy_from_slice(input_rest);
    if header[31] == ZEROS {
        return (chunk.len() == HEADER).then_some(());
    }
    blosc_elements(chunk, elements)
}

/// Fills `elements` from a chunk whose header has been checked against it.
fn blosc_elements(chunk: &[u8], elements: &mut [u8]) -> Option<()> {
    let mut context = Context::from(DParams::default().set_nthreads(1));
    context.get_dparams().ok()?; // not with a context for which there was no memory
    let size = blosc2::decompress_into_ctx(chunk, elements, &mut context).ok()?;
    (size == elements.len()).then_some(())
}

/// In a header's last byte: all elements are zero, and there is nothing after the header.
const ZEROS: u8 = 0x10;

/// The header of `chunk`, if it is one that [`blosc_chunk`] writes for `raw_len` bytes of elements.
/// Layout: README_CHUNK_FORMAT.rst of c-blosc2.
fn header(chunk: &[u8], raw_len: usize) -> Option<&[u8; HEADER]> {
    let header: &[u8; HEADER] = chunk.first_chunk()?;
    let element = usize::from(header[3]);
    let block = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
    let block_len = usize::try_from(block).ok()?;
    // A block that is no multiple of its element would leave its end unwritten.
    let sound = matches!(element, 2 | 4 | 8)
        && raw_len.is_multiple_of(element)
        && (1..=raw_len.min(MAX_LZ4_STREAM * element)).contains(&block_len)
        && block_len.is_multiple_of(element);

    let mut ours = [0; HEADER];
    ours[0] = 5; // format version
    ours[1] = 1; // LZ4 format version
    ours[2] = 1 << 5 | 0b101 | header[2] & 0x10; // LZ4, 32-byte header; whether streams are split
    ours[3] = header[3];
    ours[4..8].copy_from_slice(&u32::try_from(raw_len).ok()?.to_le_bytes());
    ours[8..12].copy_from_slice(&block.to_le_bytes());
    ours[12..16].copy_from_slice(&u32::try_from(chunk.len()).ok()?.to_le_bytes());
    ours[21] = 1; // the last of six filters: byte shuffle
    ours[22] = 1; // LZ4 again
    ours[31] = header[31] & ZEROS;
    (sound && ours == *header).then_some(header)
}

/// Lets Blosc2 choose its shuffle routine for this processor, which it does at first use and
/// without a lock: a second thread could call a routine that is not there yet.
fn prepare() {
    /// 64 zeros, in a block that is not marked as such.
    const CHUNK: [u8; 40] = [
        5, 1, 0x35, 2, 64, 0, 0, 0, 64, 0, 0, 0, 40, 0, 0, 0, // format, lengths
        0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, // filters
        36, 0, 0, 0, 0, 0, 0, 0, // the block's offset; a run of zeros
    ];
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| {
        let done = blosc_elements(&CHUNK, &mut [0; 64]);
        debug_assert!(done.is_some());
    });
}

/// Whether environment variables override the parameters of a Blosc2 context. The lengths given to
/// it rest upon those parameters, so that `BLOSC_TYPESIZE` or `BLOSC_BLOCKSIZE` would have it read
/// and write out of bounds: it does not compress then. Decompressing, it asks only for threads.
fn overridden() -> bool {
    static OVERRIDDEN: OnceLock<bool> = OnceLock::new();
    *OVERRIDDEN.get_or_init(|| {
        std::env::vars_os().any(|(name, _)| name.as_encoded_bytes().starts_with(b"BLOSC_"))
    })
}

#[cfg(test)]
mod tests;
