//! Numbers in text.

/// Appends a number's digits.
#[inline]
pub(super) fn append_number(bytes: &mut Vec<u8>, number: u64) {
    match number {
        // Nearly all numbers in the lines of small submissions.
        0..10 => bytes.push(b'0' + number as u8),
        _ => bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
    }
}
