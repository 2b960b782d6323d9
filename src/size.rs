//! Amounts of bytes, as people type them.

/// `500`, `500k`, `10M`, `1.5MB`, `2 GiB`: bytes, decimal unless there is an `i`. Nothing where it is none.
pub fn parse(text: &str) -> Option<u64> {
    const UNITS: [char; 4] = ['k', 'm', 'g', 't'];
    /// Far below where a float no longer counts single bytes.
    const MOST: f64 = 1e15;
    let number = text.trim();
    let number = number.strip_suffix(['b', 'B']).unwrap_or(number);
    let (number, base) = match number.strip_suffix('i') {
        Some(number) => (number, 1024.0),
        None => (number, 1000.0),
    };
    let last = number.chars().next_back().map(|last| last.to_ascii_lowercase());
    let power = (1..).zip(UNITS).find_map(|(power, unit)| (Some(unit) == last).then_some(power));
    let (number, unit) = match power {
        Some(power) => (number.get(..number.len() - 1)?, f64::powi(base, power)),
        None => (number, 1.0),
    };
    let amount = number.trim().parse::<f64>().ok()? * unit;
    (0.0..=MOST).contains(&amount).then_some(amount as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_understood() {
        let rows = [
            ("0", Some(0)),
            ("500", Some(500)),
            ("500B", Some(500)),
            ("10k", Some(10_000)),
            ("10K", Some(10_000)),
            ("1.5MB", Some(1_500_000)),
            ("2MiB", Some(2 << 20)),
            (" 1 GiB ", Some(1 << 30)),
            ("2T", Some(2_000_000_000_000)),
            ("1000000000000001", None),
            ("-1", None),
            ("inf", None),
            ("NaN", None),
            ("k", None),
            ("", None),
            ("much", None),
            ("1é", None),
            ("é", None),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
