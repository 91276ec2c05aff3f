//! The few lines of HTTP that reading the sidecar's status takes.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Status code and body of a GET on the loopback interface. `None` when nobody answers.
pub(crate) async fn get(port: u16, path: &str) -> Option<(u16, String)> {
    ask(port, "GET", path).await
}

/// The same of a request of any method without a body.
pub(crate) async fn ask(port: u16, method: &str, path: &str) -> Option<(u16, String)> {
    send(port, (method, path), "").await
}

/// The same with a body of JSON.
pub(crate) async fn send(port: u16, (method, path): (&str, &str), body: &str) -> Option<(u16, String)> {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = timeout(Duration::from_secs(5), exchange).await.ok()??;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let code = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((code, body.to_owned()))
}
