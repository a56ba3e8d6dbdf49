//! Whether a checksum fits what it was made of.

/// CRC-32C. A fuzzer would never get past it, so that for it, and only there, every checksum fits.
pub(crate) fn fits(content: &[u8], crc: u32) -> bool {
    cfg!(feature = "fuzzing") || crc32c::crc32c(content) == crc
}
