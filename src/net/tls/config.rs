//! What is spoken: TLS 1.3 and nothing beside it.

use std::sync::{Arc, LazyLock};

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{cipher_suite, default_provider, kx_group};
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ServerConfig};

use crate::trust::credentials::Credentials;
use crate::trust::verifier::Verifier;

/// The name of what is spoken inside (RFC 7301).
pub const ALPN: &[u8] = b"transfer/2";

/// The cryptography: ring's. Without instructions for AES, ChaCha20 is the faster one by far.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = default_provider();
        let [aes_128, aes_256, chacha] = [
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ];
        provider.cipher_suites =
            if has_aes() { vec![aes_128, aes_256, chacha] } else { vec![chacha, aes_128, aes_256] };
        provider.kx_groups = vec![kx_group::X25519, kx_group::SECP256R1];
        Arc::new(provider)
    });
    Arc::clone(&PROVIDER)
}

/// Whether the processor has instructions for AES.
fn has_aes() -> bool {
    #[cfg(any(target_arch = "x86_64", target_arch = "x86"))]
    return std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "x86", target_arch = "aarch64")))]
    return false;
}

pub(super) fn client(
    own: &Credentials,
    verifier: Arc<Verifier>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(shown(own));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    // It would tell everybody on the way whom this device looks for.
    config.enable_sni = false;
    Ok(Arc::new(config))
}

pub(super) fn server(
    own: &Credentials,
    verifier: Arc<Verifier>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(shown(own));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // A client puts first what it is fast at; whoever has no AES decides.
    config.ignore_client_order = !has_aes();
    Ok(Arc::new(config))
}

fn shown(own: &Credentials) -> Arc<SingleCertAndKey> {
    Arc::new(SingleCertAndKey::from(own.certified()))
}
