//! Bytes as the text of PEM (RFC 7468).

/// A section, written as OpenSSL does.
pub fn encode(tag: &str, der: &[u8]) -> String {
    let lines = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(tag, der), lines)
}
