//! What compression spares the line, so that both sides say the same.

use super::data::{self, Item};
use super::features::Features;
use super::reader::Reader;

/// How many bytes of content a compressed record has spared the line. Around the content are items
/// as well, which compression shrinks too, and in a record of tiny files they are the greater part:
/// counted is the content's share, which can never be more than the content.
///
/// `items` are the record's items, and `plain` and `packed` what it takes before and after.
pub fn spared(items: &[u8], plain: usize, packed: usize) -> u64 {
    let mut reader = Reader::new(items);
    let mut content = 0;
    // What comes from a peer and is no item counts for nothing, and is the engine's to refuse.
    while let Ok(Some(item)) = data::next(&mut reader, Features::ours()) {
        if let Item::Bytes(bytes) = item {
            content += bytes.len() as u128;
        }
    }
    let saved = plain.saturating_sub(packed) as u128;
    u64::try_from(saved * content / plain.max(1) as u128).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::record::Buffer;
    use crate::protocol::pages::HASH_LEN;

    fn items(files: &[usize]) -> Vec<u8> {
        let mut buffer = Buffer::default();
        for (index, len) in (0..).zip(files) {
            data::put_start(&mut buffer, index, 0);
            let len = u32::try_from(*len).unwrap();
            data::put_bytes(&mut buffer, len, |_| Ok::<_, ()>(())).unwrap();
            data::put_end(&mut buffer, len.into(), &[0; HASH_LEN]);
        }
        buffer.plaintext().to_vec()
    }

    #[test]
    fn never_more_than_the_content() {
        // Contents; what the record takes packed, of 1000; at least and at most this is spared.
        let cases: [(&[usize], usize, (u64, u64)); 6] = [
            (&[1_000_000], 0, (999_900, 1_000_000)),
            (&[1_000_000], 500, (499_900, 500_000)),
            (&[1_000_000], 1000, (0, 0)),
            (&[3; 100], 100, (100, 300)),
            (&[0; 100], 100, (0, 0)),
            (&[], 100, (0, 0)),
        ];
        for (files, packed, (least, most)) in cases {
            let items = items(files);
            let spared = spared(&items, items.len(), items.len() * packed / 1000);
            assert!((least..=most).contains(&spared), "{files:?} {packed}: {spared}");
        }
        assert_eq!(spared(b"no items", 8, 1), 0);
        assert_eq!(spared(&items(&[100]), 100, 200), 0);
    }
}
