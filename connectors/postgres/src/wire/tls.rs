//! Encryption as `sslmode` asks for it, and the digest that binds a login to its channel.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::Digest;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use understudy_contract::{Class, Failure};

use super::options::{ConnectOptions, TlsMode};

/// Encrypts a stream whose server has agreed to it.
pub(super) async fn encrypt(
    stream: TcpStream,
    name: &str,
    options: &ConnectOptions,
) -> Result<TlsStream<TcpStream>, Failure> {
    let server = ServerName::try_from(name.to_owned()).map_err(|_| {
        Failure::new(Class::Configuration, format!("`{name}` is not a host name that TLS can use"))
    })?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new(options, provider.clone())?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| refused(&error, options))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config)).connect(server, stream).await.map_err(|error| {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(reason) => refused(reason, options),
            None => {
                Failure::new(Class::Transient, format!("the TLS handshake failed: {error}")).caused_by(error)
            }
        }
    })
}

fn refused(error: &rustls::Error, options: &ConnectOptions) -> Failure {
    let failure = Failure::new(Class::Configuration, format!("the TLS handshake failed: {error}"))
        .caused_by(error.clone());
    match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::NotValidForName)
        | rustls::Error::InvalidCertificate(rustls::CertificateError::NotValidForNameContext { .. }) => failure.remedy(
            "connect under a name that the certificate lists as a subject alternative name, or use sslmode=verify-ca",
        ),
        rustls::Error::InvalidCertificate(_) if options.root_cert.is_some() => {
            failure.remedy("name the certificate of the authority that signed the server's in sslrootcert")
        }
        rustls::Error::InvalidCertificate(_) => failure.remedy(
            "name the certificate of the server's authority with sslrootcert=FILE, or trust it system-wide",
        ),
        _ => failure.remedy("make sure that the server offers TLS 1.2 or later, or use sslmode=disable"),
    }
}

/// Checks as much of a server's certificate as the mode asks for.
#[derive(Debug)]
struct Verifier {
    /// `None`: the connection is encrypted and nothing more.
    roots: Option<RootCertStore>,
    /// Certificates from the root file. A server may present one of them itself, as self-signed servers do.
    named: Vec<CertificateDer<'static>>,
    check_name: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(options: &ConnectOptions, provider: Arc<CryptoProvider>) -> Result<Verifier, Failure> {
        let mut verifier = Verifier {
            roots: None,
            named: Vec::new(),
            check_name: options.tls == TlsMode::VerifyFull,
            provider,
        };
        let verify = match options.tls {
            TlsMode::VerifyCa | TlsMode::VerifyFull => true,
            // As libpq does: who names a root wants it used.
            TlsMode::Require => options.root_cert.is_some(),
            TlsMode::Disable | TlsMode::Prefer => false,
        };
        if verify {
            let mut roots = RootCertStore::empty();
            match &options.root_cert {
                Some(path) => {
                    verifier.named = read_certificates(path)?;
                    roots.add_parsable_certificates(verifier.named.iter().cloned());
                }
                None => {
                    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                }
            }
            if roots.is_empty() {
                return Err(Failure::new(Class::Configuration, "no trusted root certificate was found")
                    .remedy("name the certificate of the server's authority with sslrootcert=FILE"));
            }
            verifier.roots = Some(roots);
        }
        Ok(verifier)
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let unusable = |why: String| {
        Failure::new(
            Class::Configuration,
            format!("the root certificate {} cannot be used: {why}", path.display()),
        )
        .remedy("let sslrootcert name a readable file of certificates in PEM form")
    };
    let pem = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(unusable("it holds no certificate".to_owned())),
        Err(error) => Err(unusable(error.to_string())),
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            if !self.named.contains(end_entity) {
                let algorithms = self.provider.signature_verification_algorithms.all;
                verify_server_cert_signed_by_trust_anchor(
                    &certificate,
                    roots,
                    intermediates,
                    now,
                    algorithms,
                )?;
            }
            if self.check_name {
                verify_server_name(&certificate, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The digest of the server's certificate that SCRAM binds a login to (tls-server-end-point of RFC 5929).
///
/// `None` for signature algorithms that define no digest: such a login is not bound, as with libpq.
pub(super) fn channel_binding(stream: &TlsStream<TcpStream>) -> Option<Vec<u8>> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    Some(match signature_algorithm(certificate)? {
        // MD5, SHA-1 and SHA-256, with RSA or ECDSA. The first two are replaced by SHA-256.
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04"
        | b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05"
        | b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"
        | b"\x2a\x86\x48\xce\x3d\x04\x01"
        | b"\x2a\x86\x48\xce\x3d\x04\x03\x02" => sha2::Sha256::digest(certificate).to_vec(),
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c" | b"\x2a\x86\x48\xce\x3d\x04\x03\x03" => {
            sha2::Sha384::digest(certificate).to_vec()
        }
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d" | b"\x2a\x86\x48\xce\x3d\x04\x03\x04" => {
            sha2::Sha512::digest(certificate).to_vec()
        }
        _ => return None,
    })
}

/// The object identifier of the algorithm that signed a certificate: its second element names it.
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (_, whole, _) = der_element(certificate)?;
    let (_, _, after_body) = der_element(whole)?;
    let (_, algorithm, _) = der_element(after_body)?;
    let (tag, identifier, _) = der_element(algorithm)?;
    (tag == 6).then_some(identifier)
}

/// The first DER element: its tag, its content, and what follows it.
fn der_element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], mut rest) = bytes.split_first_chunk::<2>()?;
    let mut len = usize::from(first);
    if first >= 0x80 {
        let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f).min(4))?;
        len = digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit));
        rest = after;
    }
    let (content, rest) = rest.split_at_checked(len)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificate_shapes_are_read_without_trust() {
        let certificate = b"\x30\x81\x0c\x30\x02\x05\x00\x30\x06\x06\x02\x2a\x03\x05\x00";
        assert_eq!(signature_algorithm(certificate), Some(&b"\x2a\x03"[..]));
        for cut in 0..certificate.len() {
            assert_eq!(signature_algorithm(&certificate[..cut]), None);
        }
        assert_eq!(signature_algorithm(b"\x30\x84\xff\xff\xff\xff\x30"), None);
    }
}
