//! The HTTP client that the activities share.

use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const MOST_REDIRECTS: usize = 10;

/// The client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// TLS cannot be set up.
    #[error("cannot set up TLS for outgoing calls")]
    Tls(#[from] rustls::Error),
    /// The client refuses its settings.
    #[error("cannot set up the HTTP client")]
    Client(#[from] reqwest::Error),
}

/// Makes the client: a pool of connections, HTTP/1.1 and HTTP/2, at most 10 redirects, 10 seconds to connect.
pub fn http_client() -> Result<reqwest::Client, ClientError> {
    Ok(client_builder()?.build()?)
}

/// The same without redirects, for APIs and webhooks: after one, a POST may become a GET that does nothing and
/// succeeds, and a key in a header may go to somebody else.
pub fn api_client() -> Result<reqwest::Client, ClientError> {
    Ok(client_builder()?
        .redirect(reqwest::redirect::Policy::none())
        .build()?)
}

/// The same client, not yet made.
///
/// It trusts what the system trusts (`SSL_CERT_FILE`, `SSL_CERT_DIR`, `/etc/ssl`), and Mozilla's list, which is part
/// of the binary, on a system that has none, such as an empty container image.
pub(in crate::activities) fn client_builder() -> Result<reqwest::ClientBuilder, ClientError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots())
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!(
            "synthralos-workflow-worker/",
            env!("CARGO_PKG_VERSION")
        ))
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::limited(MOST_REDIRECTS)))
}

fn roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // A store with some unreadable certificates is common; those that can be read count.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}
