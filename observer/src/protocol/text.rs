//! Text from the wire, on its way into a record.

/// Octets as text of at most `most` characters: what is not UTF-8 and what controls a terminal is replaced.
pub fn clean(octets: &[u8], most: usize) -> String {
    let octets = octets.get(..most.saturating_mul(4)).unwrap_or(octets);
    let letters = octets.utf8_chunks().flat_map(|chunk| {
        let replaced = (!chunk.invalid().is_empty()).then_some('\u{fffd}');
        chunk.valid().chars().chain(replaced)
    });
    letters.map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).take(most).collect()
}

/// Octets as lower-case hexadecimal digits.
pub fn hex(octets: &[u8]) -> String {
    octets
        .iter()
        .flat_map(|octet| [octet >> 4, octet & 0xf])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}
