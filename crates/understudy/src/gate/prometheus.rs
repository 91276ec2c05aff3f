//! Asks Prometheus servers again and again, and keeps the last answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use understudy_cutover::Dated;

use super::time::GateClock;
use super::{answer, client};
use crate::settings::PrometheusCheck;

/// How often each query is asked.
pub(super) const EVERY: Duration = Duration::from_secs(15);

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The last answers, by the check's name, each with its moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers(Arc<Mutex<BTreeMap<String, (Instant, Answered)>>>);

/// A figure, or why there is none.
type Answered = Result<f64, String>;

impl Answers {
    fn keep(&self, name: &str, answer: Answered) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.insert(name.to_owned(), (Instant::now(), answer));
    }

    /// The same as evidence.
    pub(super) fn dated(&self, clock: &GateClock) -> BTreeMap<String, Dated<Answered>> {
        // A panic elsewhere leaves answers that go out of date.
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let dated = |(name, (at, answer)): (&String, &(Instant, Answered))| {
            (name.clone(), Dated::new(clock.at(*at), answer.clone()))
        };
        answers.iter().map(dated).collect()
    }
}

/// Starts to ask, each query by a task of its own, so that a server that hangs holds up no other.
pub(super) fn start(checks: &[PrometheusCheck], every: Duration, tasks: &mut JoinSet<()>) -> Answers {
    let answers = Answers::default();
    for check in checks.iter().cloned() {
        let answers = answers.clone();
        tasks.spawn(async move {
            let url = format!("{}/api/v1/query?query={}", check.url, encoded(&check.query));
            let mut tick = tokio::time::interval(every);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                answers.keep(&check.name, ask(&url).await);
            }
        });
    }
    answers
}

async fn ask(url: &str) -> Answered {
    match tokio::time::timeout(PATIENCE, client::get(url)).await {
        Ok(Ok((code, body))) => answer::read(code, &body),
        Ok(Err(why)) => Err(why),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// A text as it stands in a query string.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use understudy_cutover::Limit;

    use super::*;

    /// PromQL is full of characters that mean something else in a URL.
    #[test]
    fn queries_are_encoded() {
        assert_eq!(
            encoded("sum(rate(e{a=\"b\"}[5m])) > 0 ü"),
            "sum%28rate%28e%7Ba%3D%22b%22%7D%5B5m%5D%29%29%20%3E%200%20%C3%BC"
        );
    }

    /// A server that answers as Prometheus does, in chunks, and tells what it was asked.
    async fn server(listener: TcpListener) -> String {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(stream.read_u8().await.unwrap());
        }
        let body = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"0.5"]}]}}"#;
        let (one, two) = body.split_at(40);
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n{}{}0\r\n\r\n",
            chunk(one),
            chunk(two)
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(asked).unwrap()
    }

    /// The whole way from a query to evidence, and what becomes of it when the server is gone.
    #[tokio::test]
    async fn a_query_becomes_evidence() {
        let clock = GateClock::start(Instant::now(), SystemTime::now());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/base", listener.local_addr().unwrap());
        let check = PrometheusCheck {
            name: "errors".to_owned(),
            url,
            query: "up == 1".to_owned(),
            limit: Limit::Below(1.0),
        };
        let mut tasks = JoinSet::new();
        let answers = start(&[check], Duration::from_millis(10), &mut tasks);
        let asked = server(listener).await;
        assert!(asked.starts_with("GET /base/api/v1/query?query=up%20%3D%3D%201 HTTP/1.1\r\n"), "{asked}");
        let mut seen = Vec::new();
        while !seen.iter().any(Result::is_err) {
            if let Some(answer) = answers.dated(&clock).remove("errors") {
                seen.push(answer.value);
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(seen.first(), Some(&Ok(0.5)));
        let gone = seen.last().unwrap().clone().unwrap_err();
        assert!(gone.starts_with("cannot connect to 127.0.0.1:"), "{gone}");
    }
}
