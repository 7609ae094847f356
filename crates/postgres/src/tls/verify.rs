//! Whether a server's certificate is acceptable.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::der::Certificate;

/// The check of one target's servers.
#[derive(Debug)]
pub(crate) struct ServerCheck {
    trust: Option<Trust>,
    check_name: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
struct Trust {
    anchors: Arc<RootCertStore>,
    /// The root file's certificates as they are: a server may present one of them itself.
    exact: Vec<CertificateDer<'static>>,
}

impl ServerCheck {
    /// For the modes that encrypt without knowing with whom.
    pub(crate) fn trusting_anybody(algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { trust: None, check_name: false, algorithms }
    }

    /// Against these certificates; `None` when not one of them can be used.
    pub(crate) fn against(
        trusted: Vec<CertificateDer<'static>>,
        check_name: bool,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Option<Self> {
        let mut anchors = RootCertStore::empty();
        let (usable, _) = anchors.add_parsable_certificates(trusted.iter().cloned());
        let trust = Trust { anchors: Arc::new(anchors), exact: trusted };
        (usable > 0).then_some(Self { trust: Some(trust), check_name, algorithms })
    }
}

impl ServerCertVerifier for ServerCheck {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trust) = &self.trust else { return Ok(ServerCertVerified::assertion()) };
        let parsed = ParsedCertificate::try_from(end_entity)?;
        if trust.exact.iter().any(|known| known.as_ref() == end_entity.as_ref()) {
            check_dates(end_entity, now)?;
        } else {
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &trust.anchors,
                intermediates,
                now,
                self.algorithms.all,
            )?;
        }
        if self.check_name {
            check_name(end_entity, &parsed, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (not_before, not_after) = Certificate::read(certificate)
        .and_then(|c| c.validity())
        .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < not_before {
        return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    if now > not_after {
        return Err(Error::InvalidCertificate(CertificateError::Expired));
    }
    Ok(())
}

/// Alternative names decide; only a certificate without any is judged by its common name.
fn check_name(der: &CertificateDer<'_>, parsed: &ParsedCertificate<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    let Err(refusal) = verify_server_name(parsed, name) else { return Ok(()) };
    let Some(certificate) = Certificate::read(der) else { return Err(refusal) };
    if certificate.has_alternative_names() {
        return Err(refusal);
    }
    match certificate.common_name() {
        Some(common) if name_fits(&common, &name.to_str()) => Ok(()),
        _ => Err(refusal),
    }
}

/// Case-blind; `*.` stands for exactly one label (RFC 6125 §6.4.3), and never for addresses.
pub(crate) fn name_fits(pattern: &str, name: &str) -> bool {
    if pattern.eq_ignore_ascii_case(name) {
        return true;
    }
    let (Some(suffix), Some((label, rest))) = (pattern.strip_prefix("*."), name.split_once('.')) else { return false };
    !label.is_empty()
        && suffix.contains('.')
        && name.parse::<std::net::IpAddr>().is_err()
        && suffix.eq_ignore_ascii_case(rest)
}
