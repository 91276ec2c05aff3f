//! One GET request to the sidecar's own interface. Nothing more is needed of HTTP here.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest answer that is read.
const ANSWER_MAX: u64 = 16 << 20;

/// Status code and body, or why there is none.
pub(super) async fn get(address: &str, path: &str) -> Result<(u16, String), String> {
    match tokio::time::timeout(PATIENCE, ask(address, path)).await {
        Ok(Ok(answer)) => parse(&answer).ok_or_else(|| "what answers there does not speak HTTP".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

async fn ask(address: &str, path: &str) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// Answers carry their length and the connection ends after them, so the body is simply the rest.
fn parse(answer: &[u8]) -> Option<(u16, String)> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    Some((status.parse().ok()?, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_apart() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 7\r\n\r\nnot ok\n";
        assert_eq!(parse(answer), Some((503, "not ok\n".to_owned())));
        for bad in [&b""[..], b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-x\r\n\r\n", b"\xff\xff\r\n\r\n"] {
            assert_eq!(parse(bad), None);
        }
    }
}
