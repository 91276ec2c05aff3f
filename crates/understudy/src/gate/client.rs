//! One GET request over HTTP or HTTPS. Redirects are not followed.

use std::sync::Arc;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

/// The longest answer that is read.
const ANSWER_MAX: usize = 1 << 20;

/// Status code and body, or why there is none.
pub(super) async fn get(url: &str) -> Result<(u16, Vec<u8>), String> {
    let uri = url.parse::<Uri>().map_err(|error| format!("`{url}` is not a URL: {error}"))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let encrypted = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if encrypted { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port));
    let stream = stream.await.map_err(|error| format!("cannot connect to {host}:{port}: {error}"))?;
    if !encrypted {
        return ask(stream, &uri).await;
    }
    let name = ServerName::try_from(host.clone()).map_err(|_| format!("`{host}` is no name for TLS"))?;
    let stream = tls()?.connect(name, stream);
    let stream = stream.await.map_err(|error| format!("the TLS handshake with {host} failed: {error}"))?;
    ask(stream, &uri).await
}

/// Encryption that trusts whom the system trusts.
fn tls() -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot set up TLS: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn ask<S>(stream: S, uri: &Uri) -> Result<(u16, Vec<u8>), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let failed = |error: hyper::Error| format!("no answer: {error}");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    // The connection lives as long as this call.
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        // What goes wrong here is told by the request too.
        let _ = connection.await;
    });
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| format!("cannot ask: {error}"))?;
    let answer = sender.send_request(request).await.map_err(failed)?;
    let code = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
    let body = body.map_err(|error| format!("the answer cannot be read: {error}"))?;
    Ok((code, body.to_bytes().to_vec()))
}
