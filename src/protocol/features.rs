//! What a side can do beyond what every program of this version can. Each side names it in its first
//! message; what one of them has not named is not used by either. So what is new can be added without
//! another version, and a program that knows none of it is complete.

use super::reader::Malformed;
use crate::bounds::{MAX_FEATURE, MAX_FEATURES};
use crate::compress::Method;

/// Something that a side can do, and need not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Records that are compressed so.
    Codec(Method),
    /// Names that are bytes and no text.
    RawNames,
    /// Content with holes.
    Sparse,
    /// Files that are resumed and mended block by block.
    Blocks,
    /// In a pairing: one side signs the other's device with its CA.
    Join,
}

impl Feature {
    /// All that have a meaning here.
    pub const ALL: [Self; 6] = [
        Self::Codec(Method::Lz4),
        Self::Codec(Method::Blosc),
        Self::RawNames,
        Self::Sparse,
        Self::Blocks,
        Self::Join,
    ];

    /// What it is called on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Codec(method) => method.name(),
            Self::RawNames => "raw-names",
            Self::Sparse => "sparse",
            Self::Blocks => "blocks",
            Self::Join => "join",
        }
    }

    /// Finds one by its name.
    pub fn parse(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        Self::ALL
            .into_iter()
            .find(|feature| feature.name() == name)
            .ok_or_else(|| format!("the features are {}", names()))
    }

    fn bit(self) -> u32 {
        let at = Self::ALL.iter().position(|feature| *feature == self);
        at.map_or(0, |at| 1 << at)
    }
}

/// A set of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Features(u32);

impl Features {
    /// What this program can do in a transfer.
    pub fn ours() -> Self {
        Feature::ALL.into_iter().filter(|it| *it != Feature::Join).collect()
    }

    /// What it can do in a pairing.
    pub fn of_pairing() -> Self {
        [Feature::Join].into_iter().collect()
    }

    /// What the other side names. Names without a meaning here count for nothing.
    pub fn named(names: &[String]) -> Self {
        let names = names.iter().take(MAX_FEATURES).filter(|name| name.len() <= MAX_FEATURE);
        names.filter_map(|name| Feature::parse(name).ok()).collect()
    }

    /// Their names, for the other side.
    pub fn names(self) -> Vec<String> {
        let named = Feature::ALL.into_iter().filter(|feature| self.has(*feature));
        named.map(|feature| feature.name().to_owned()).collect()
    }

    /// Whether this is one of them.
    pub fn has(self, feature: Feature) -> bool {
        self.0 & feature.bit() != 0
    }

    /// Those that are among `others` too.
    pub fn shared(self, others: Self) -> Self {
        Self(self.0 & others.0)
    }

    /// The rest, without these.
    pub fn without(self, these: &[Feature]) -> Self {
        let these: Self = these.iter().copied().collect();
        Self(self.0 & !these.0)
    }

    /// That the other side may use what it has just used.
    ///
    /// # Errors
    /// When not both sides have named it.
    pub fn check(self, feature: Feature) -> Result<(), Malformed> {
        if self.has(feature) { Ok(()) } else { Err(Malformed("a feature that was not agreed on")) }
    }
}

impl FromIterator<Feature> for Features {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        Self(features.into_iter().fold(0, |bits, feature| bits | feature.bit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Features {
        Features::named(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn every_feature_has_a_name_and_a_place_of_its_own() {
        let mut seen = Features::default();
        for feature in Feature::ALL {
            let name = feature.name();
            assert_eq!(Feature::parse(name), Ok(feature));
            assert!(name.is_ascii() && name.len() <= MAX_FEATURE, "{name}");
            assert!(!seen.has(feature), "{name}");
            seen = Features(seen.0 | feature.bit());
            assert!(seen.has(feature), "{name}");
        }
        assert!(Feature::ALL.len() < MAX_FEATURES && Feature::ALL.len() < 32);
        let error = Feature::parse("telepathy").unwrap_err();
        assert_eq!(error, "the features are lz4, blosc, raw-names, sparse, blocks, join");
    }

    #[test]
    fn only_what_both_name_is_shared() {
        let lz4 = Feature::Codec(Method::Lz4);
        let cases: [(&[&str], &[&str], &[&str]); 5] = [
            (&["lz4", "blosc"], &["blosc", "lz4"], &["lz4", "blosc"]),
            (&["lz4", "sparse"], &["blosc", "lz4"], &["lz4"]),
            (&["lz4", "lz4", "telepathy"], &["telepathy", "lz4"], &["lz4"]),
            (&["LZ4", "lz4 ", ""], &["lz4", ""], &[]),
            (&[], &["lz4"], &[]),
        ];
        for (one, other, both) in cases {
            assert_eq!(named(one).shared(named(other)).names(), both, "{one:?} {other:?}");
        }
        assert_eq!(named(&["lz4"]).check(lz4), Ok(()));
        assert!(named(&["blosc"]).check(lz4).is_err());
        assert_eq!(named(&["lz4", "blosc"]).without(&[lz4]).names(), ["blosc"]);
        assert_eq!(Features::ours().without(&Feature::ALL), Features::default());
        // What is of no use in a transfer is not named there.
        assert_eq!(Features::ours().shared(Features::of_pairing()), Features::default());
    }

    #[test]
    fn no_more_counts_than_has_to() {
        let mut names = vec!["x"; MAX_FEATURES - 1];
        names.push("lz4");
        assert_eq!(named(&names).names(), ["lz4"]);
        names.insert(0, "x");
        assert_eq!(named(&names), Features::default());
        let long = "x".repeat(10_000);
        assert_eq!(named(&[&long, "lz4"]).names(), ["lz4"]);
    }
}
