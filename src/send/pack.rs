//! Whether and how the records of one content are compressed. Done in the lanes, several at a time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use crate::compress::{self, Codec, Compression};
use crate::crypto::record::Buffer;
use crate::protocol::features::{Feature, Features};
use crate::protocol::message::PACKED;
use crate::protocol::outbox::Work;
use crate::protocol::spared::spared;

/// Records that go as they are once a probe has found nothing to gain.
const REST: u8 = 3;

/// What was found out about a content so far. A file can be anything in its beginning, and a tar of
/// many kinds of files all along; so what no longer helps is thought over.
pub struct Packer {
    compression: Compression,
    /// What both sides can do.
    agreed: Features,
    /// What helped last, and how many records are left alone until the next probe.
    found: Mutex<(Option<Codec>, u8)>,
    /// Bytes of content that it has spared the line, together with others.
    saved: Arc<AtomicU64>,
}

impl Packer {
    /// Nothing is known of the content yet.
    pub fn new(compression: Compression, agreed: Features, saved: &Arc<AtomicU64>) -> Arc<Self> {
        let (found, saved) = (Mutex::default(), Arc::clone(saved));
        Arc::new(Self { compression, agreed, found, saved })
    }

    /// What a lane does with a record of the content; nothing where nothing is compressed.
    pub fn work(self: &Arc<Self>) -> Option<Work> {
        let packer = Arc::clone(self);
        let is_off = self.compression == Compression::Off;
        (!is_off).then(|| -> Work { Box::new(move |buffer, spare| packer.pack(buffer, spare)) })
    }

    /// Compresses a record, if that makes it smaller; `spare` is working memory.
    pub fn pack(&self, buffer: &mut Buffer, spare: &mut Buffer) {
        let found = || self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, rest) = *found();
        if rest > 0 {
            found().1 = rest - 1;
            return;
        }
        let codec = last.or_else(|| {
            let knows = |method| self.agreed.has(Feature::Codec(method));
            self.compression.codec(buffer.plaintext(), knows)
        });
        let saved = codec.and_then(|codec| pack(buffer, spare, codec));
        self.saved.fetch_add(saved.unwrap_or(0), Relaxed);
        // To try LZ4 costs less than a probe, and whoever asked for a codec gets it tried.
        let is_hopeless = codec.is_none() && self.compression == Compression::Auto;
        *found() = (codec.filter(|_| saved.is_some()), if is_hopeless { REST } else { 0 });
    }
}

/// Puts the compressed items in the place of the plain ones, if they are smaller. Returns the bytes
/// of content that it saves, or nothing if the record is as it was.
pub fn pack(buffer: &mut Buffer, spare: &mut Buffer, codec: Codec) -> Option<u64> {
    let items = buffer.plaintext().get(1..).unwrap_or_default();
    let len = u32::try_from(items.len()).ok()?;
    spare.clear();
    spare.extend(&[PACKED, codec.wire_id()]);
    spare.extend(&len.to_be_bytes());
    let packed = spare.append(|packed| {
        let shrinks = compress::compress(codec, items, packed);
        shrinks.then_some(()).ok_or(())
    });
    packed.ok()?;
    std::mem::swap(buffer, spare);
    let items = spare.plaintext().get(1..).unwrap_or_default();
    Some(spared(items, spare.len(), buffer.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::data::put_bytes;
    use crate::protocol::message::{DATA, Message};

    /// A record of one kind of content, and what is done with it.
    fn packed(packer: &Packer, kind: char) -> &'static str {
        let mut buffer = Buffer::default();
        buffer.extend(&[DATA]);
        let mut state = 1u32;
        let fill = |content: &mut [u8]| -> Result<(), ()> {
            for (place, bytes) in content.as_chunks_mut().0.iter_mut().enumerate() {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                *bytes = match kind {
                    't' => [b'a' + (state % 3) as u8; 4],
                    'n' => (1000.0 + place as f32 + (state % 64) as f32 / 100.0).to_le_bytes(),
                    _ => state.to_le_bytes(),
                };
            }
            Ok(())
        };
        put_bytes(&mut buffer, 200_000, fill).unwrap();
        packer.pack(&mut buffer, &mut Buffer::default());
        match Message::decode(buffer.plaintext()).unwrap() {
            Message::Packed { codec: 1, .. } => "lz4",
            Message::Packed { codec: 2, .. } => "blosc",
            Message::Data(_) => "plain",
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_no_longer_helps_is_thought_over() {
        // `t`ext, `n`umbers, `r`andom.
        let cases: [(Compression, &str, &[&str]); 5] = [
            (Compression::Auto, "tttt", &["lz4"; 4]),
            (Compression::Auto, "nntn", &["blosc", "blosc", "blosc", "blosc"]),
            // The record that shows it goes plain, as do those that are left alone.
            (
                Compression::Auto,
                "trrnnnnn",
                &["lz4", "plain", "plain", "plain", "plain", "plain", "blosc", "blosc"],
            ),
            (Compression::Lz4, "trtnt", &["lz4", "plain", "lz4", "plain", "lz4"]),
            (Compression::Blosc, "rn", &["plain", "blosc"]),
        ];
        for (compression, kinds, expected) in cases {
            let saved = Arc::default();
            let packer = Packer::new(compression, Features::ours(), &saved);
            let done: Vec<_> = kinds.chars().map(|kind| packed(&packer, kind)).collect();
            assert_eq!(done, expected, "{compression:?} {kinds}");
            assert!(saved.load(Relaxed) > 0);
        }
        assert!(Packer::new(Compression::Off, Features::ours(), &Arc::default()).work().is_none());
    }
}
