//! The one TLS stack: rustls with aws-lc-rs, giving libpq's `sslmode` its libpq meaning.
//!
//! | `sslmode` | encrypted | certificate |
//! |---|---|---|
//! | `disable` | never | – |
//! | `allow`, `prefer` | when needed, when offered | not checked |
//! | `require` | always | checked against the root file when there is one, else not |
//! | `verify-ca` | always | checked against the root file |
//! | `verify-full` | always | checked against the root file, and for the host's name |
//!
//! Two habits of libpq go beyond the Web's rules and are kept, because servers in the field rely on them: the common
//! name counts when a certificate has no alternative names, and a root file may hold the server's own certificate.

mod der;
mod stream;
#[cfg(test)]
mod tests;
mod verify;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use rustls::client::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::conninfo::{RootCert, SslMode, SslNegotiation, SslSettings, TlsVersion};

pub(crate) use stream::{Handed, Wire, open};
use verify::ServerCheck;

/// Longest certificate or key file that is read, in bytes.
const PEM_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// TLS cannot be set up with the given files or settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsSetupError {
    /// A file cannot be read.
    #[error("file `{path}` given as {keyword} cannot be read: {problem}")]
    Unreadable {
        /// What names the file.
        keyword: &'static str,
        /// The file.
        path: String,
        /// What the operating system said.
        problem: String,
    },
    /// A file has no usable content.
    #[error("file `{path}` given as {keyword} holds no PEM {what}")]
    Empty {
        /// What names the file.
        keyword: &'static str,
        /// The file.
        path: String,
        /// What is missing in it.
        what: &'static str,
    },
    /// Others may read the private key.
    #[error("private key file `{path}` may be read by others; its mode must be 0600, or 0640 when root owns it")]
    KeyExposed {
        /// The file.
        path: String,
    },
    /// A certificate must be checked and there is nothing to check it against.
    #[error("sslmode `{mode}` needs a root certificate: give sslrootcert, or sslrootcert=system")]
    NoRoot {
        /// The mode that asks for the check.
        mode: &'static str,
    },
    /// The system has no store of authorities.
    #[error("the operating system's store of certificate authorities is empty or cannot be read")]
    NoSystemRoots,
    /// The allowed versions are none that are spoken.
    #[error(
        "no TLS version is left between ssl_min_protocol_version and ssl_max_protocol_version; 1.2 and 1.3 are spoken"
    )]
    NoVersion,
    /// Certificate and key do not fit, or are of an unknown kind.
    #[error("the client certificate and key cannot be used: {problem}")]
    BadClientCertificate {
        /// What is wrong.
        problem: String,
    },
}

/// The client side of TLS for one target; `None` when TLS is never wanted. Reads files.
pub(crate) fn client_config(ssl: &SslSettings) -> Result<Option<Arc<ClientConfig>>, TlsSetupError> {
    if ssl.mode == SslMode::Disable {
        return Ok(None);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let check = server_check(ssl, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions(ssl)?)
        .map_err(|_| TlsSetupError::NoVersion)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(check));
    let mut config = match &ssl.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => builder
            .with_client_auth_cert(certificates("sslcert", certificate)?, private_key(key, ssl.uid)?)
            .map_err(|error| TlsSetupError::BadClientCertificate { problem: error.to_string() })?,
    };
    config.enable_sni = ssl.sni;
    if ssl.negotiation == SslNegotiation::Direct {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(Some(Arc::new(config)))
}

fn versions(ssl: &SslSettings) -> Result<Vec<&'static rustls::SupportedProtocolVersion>, TlsSetupError> {
    let at_least = |version| {
        matches!((ssl.min_version, version), (TlsVersion::V1_3, TlsVersion::V1_3))
            || ssl.min_version != TlsVersion::V1_3
    };
    let at_most = |version| match ssl.max_version {
        None | Some(TlsVersion::V1_3) => true,
        Some(TlsVersion::V1_2) => version == TlsVersion::V1_2,
        Some(TlsVersion::V1_0 | TlsVersion::V1_1) => false,
    };
    let spoken = [(TlsVersion::V1_3, &rustls::version::TLS13), (TlsVersion::V1_2, &rustls::version::TLS12)];
    let versions: Vec<_> =
        spoken.into_iter().filter(|(v, _)| at_least(*v) && at_most(*v)).map(|(_, supported)| supported).collect();
    if versions.is_empty() { Err(TlsSetupError::NoVersion) } else { Ok(versions) }
}

/// Whom to trust, by mode and root file.
fn server_check(ssl: &SslSettings, provider: &CryptoProvider) -> Result<ServerCheck, TlsSetupError> {
    let algorithms = provider.signature_verification_algorithms;
    let check_name = ssl.mode == SslMode::VerifyFull;
    let verifies = matches!(ssl.mode, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull);
    let trusted = match &ssl.root {
        _ if !verifies => return Ok(ServerCheck::trusting_anybody(algorithms)),
        RootCert::None if ssl.mode == SslMode::Require => return Ok(ServerCheck::trusting_anybody(algorithms)),
        RootCert::None => return Err(TlsSetupError::NoRoot { mode: ssl.mode.as_str() }),
        RootCert::File(path) => certificates("sslrootcert", path)?,
        RootCert::System => rustls_native_certs::load_native_certs().certs,
    };
    ServerCheck::against(trusted, check_name, algorithms).ok_or_else(|| match &ssl.root {
        RootCert::File(path) => {
            TlsSetupError::Empty { keyword: "sslrootcert", path: path.display().to_string(), what: "certificate" }
        }
        RootCert::System | RootCert::None => TlsSetupError::NoSystemRoots,
    })
}

fn certificates(keyword: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let pem = read(keyword, path)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
    if found.is_empty() {
        return Err(TlsSetupError::Empty { keyword, path: path.display().to_string(), what: "certificate" });
    }
    Ok(found)
}

/// libpq's rule: the key is ours alone, or root's and at most readable by its group.
fn private_key(path: &Path, uid: u32) -> Result<PrivateKeyDer<'static>, TlsSetupError> {
    let pem = read("sslkey", path)?;
    if let Ok(about) = std::fs::metadata(path) {
        let forbidden = if about.uid() == 0 && uid != 0 { 0o037 } else { 0o077 };
        if about.permissions().mode() & forbidden != 0 {
            return Err(TlsSetupError::KeyExposed { path: path.display().to_string() });
        }
    }
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| TlsSetupError::Empty {
        keyword: "sslkey",
        path: path.display().to_string(),
        what: "unencrypted private key",
    })
}

fn read(keyword: &'static str, path: &Path) -> Result<Vec<u8>, TlsSetupError> {
    let unreadable = |problem: String| TlsSetupError::Unreadable { keyword, path: path.display().to_string(), problem };
    let about = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?;
    if about.len() > PEM_BYTES_MAX {
        return Err(unreadable("it is longer than 4 MiB".to_owned()));
    }
    std::fs::read(path).map_err(|e| unreadable(e.to_string()))
}
