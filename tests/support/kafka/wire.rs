//! The few requests to a broker that tests of the broker itself need, in Kafka's protocol, without a client library.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A frozen broker accepts connections and never answers.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longer answers than any of these requests has are those of something else.
const ANSWER_BYTES_MAX: i32 = 1 << 20;

/// What a right is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On<'a> {
    /// All topics whose names begin so.
    Topics(&'a str),
    /// One topic.
    Topic(&'a str),
    /// A consumer group.
    Group(&'a str),
    /// A transactional id.
    Transactions(&'a str),
}

impl<'a> On<'a> {
    const fn name(self) -> &'a str {
        match self {
            On::Topics(name) | On::Topic(name) | On::Group(name) | On::Transactions(name) => name,
        }
    }

    /// How Kafka writes of what kind it is, and how names are compared.
    const fn codes(self) -> (u8, u8) {
        match self {
            On::Topics(_) => (2, 4),
            On::Topic(_) => (2, 3),
            On::Group(_) => (3, 3),
            On::Transactions(_) => (5, 3),
        }
    }
}

/// What a user may do, as Kafka writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right {
    /// To read, and to take part in a group.
    Read = 3,
    /// To write.
    Write = 4,
    /// To make topics.
    Create = 5,
    /// To see that it is there.
    Describe = 8,
    /// To see its settings.
    DescribeConfigs = 10,
}

/// What a broker knows of its cluster.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    /// The nodes that take part.
    pub(super) brokers: Vec<i32>,
    /// For every partition of the topics asked for, in the order of their numbers: the nodes that have all of it.
    pub(super) in_sync: Vec<Vec<i32>>,
}

/// Asks a broker for its cluster and these topics. `None` when it does not answer, or not with them.
pub(super) async fn metadata(port: u16, topics: &[&str]) -> Option<Metadata> {
    let body = Body::default().array(topics, Body::text);
    let mut answer = ask(port, 3, 1, body).await?;
    let brokers = answer.array(|answer| {
        let id = answer.i32()?;
        answer.text()?;
        answer.i32()?;
        answer.text()?;
        Some(id)
    })?;
    answer.i32()?;
    let partitions = answer.array(|answer| {
        let error = answer.i16()?;
        answer.text()?;
        answer.take(1)?;
        let partitions = answer.array(Answer::partition)?;
        (error == 0).then_some(partitions)
    })?;
    let mut partitions: Vec<(i32, Vec<i32>)> = partitions.into_iter().flatten().collect();
    partitions.sort();
    Some(Metadata { brokers, in_sync: partitions.into_iter().map(|(_, in_sync)| in_sync).collect() })
}

/// Creates a topic and gives back Kafka's error code, 0 for none. `None` when the broker does not answer.
pub(super) async fn create_topic(port: u16, topic: &str, partitions: i32, copies: i16) -> Option<i16> {
    const NONE: [&str; 0] = [];
    let body = Body::default().array(&[topic], |body, topic| {
        let body = body.text(topic).i32(partitions).i16(copies);
        // Neither placed by hand nor with settings of its own.
        body.array(&NONE, Body::text).array(&NONE, Body::text)
    });
    let patience_ms = i32::try_from(PATIENCE.as_millis()).ok()?;
    let mut answer = ask(port, 19, 2, body.i32(patience_ms).bytes(&[0])).await?;
    answer.i32()?;
    let errors = answer.array(|answer| {
        answer.text()?;
        let error = answer.i16()?;
        answer.text()?;
        Some(error)
    })?;
    errors.first().copied()
}

/// Lets a user do this, from everywhere, and gives back Kafka's error code, 0 for none. `None` when the broker does not answer.
pub(super) async fn allow(port: u16, user: &str, (on, right): (On<'_>, Right)) -> Option<i16> {
    let (kind, pattern) = on.codes();
    let body = Body::default().array(&[on.name()], |body, name| {
        let body = body.bytes(&[kind]).text(name).bytes(&[pattern]).text(&format!("User:{user}")).text("*");
        body.bytes(&[right as u8, ALLOW])
    });
    let mut answer = ask(port, 30, 1, body).await?;
    answer.i32()?;
    let errors = answer.array(|answer| {
        let error = answer.i16()?;
        answer.text()?;
        Some(error)
    })?;
    errors.first().copied()
}

/// How Kafka writes that something is allowed.
const ALLOW: u8 = 3;

/// Whether a user is let in with this password, by SASL's PLAIN. `None` when the broker does not answer.
pub(super) async fn lets_in(port: u16, user: &str, password: &str) -> Option<bool> {
    let signing_in = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        exchange(&mut stream, 17, 1, Body::default().text("PLAIN")).await?;
        let token = format!("\0{user}\0{password}");
        let body = Body::default().i32(i32::try_from(token.len()).ok()?).bytes(token.as_bytes());
        Some(exchange(&mut stream, 36, 0, body).await?.i16()? == 0)
    };
    timeout(PATIENCE, signing_in).await.ok().flatten()
}

/// One request on a connection of its own.
async fn ask(port: u16, api: i16, version: i16, body: Body) -> Option<Answer> {
    let asking = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
        exchange(&mut stream, api, version, body).await
    };
    timeout(PATIENCE, asking).await.ok().flatten()
}

async fn exchange(stream: &mut TcpStream, api: i16, version: i16, body: Body) -> Option<Answer> {
    // The request's kind and version, its number on the connection, and a client without a name.
    let head = Body::default().i16(api).i16(version).i32(0).i16(-1);
    let request = head.bytes(&body.0).0;
    let length = i32::try_from(request.len()).ok()?;
    stream.write_all(&Body::default().i32(length).bytes(&request).0).await.ok()?;
    let length = stream.read_i32().await.ok().filter(|length| (4..ANSWER_BYTES_MAX).contains(length))?;
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    stream.read_exact(&mut bytes).await.ok()?;
    let mut answer = Answer { bytes, at: 0 };
    answer.i32()?;
    Some(answer)
}

/// A request as it is written.
#[derive(Debug, Default)]
struct Body(Vec<u8>);

impl Body {
    fn bytes(mut self, bytes: &[u8]) -> Body {
        self.0.extend_from_slice(bytes);
        self
    }

    fn i16(self, number: i16) -> Body {
        self.bytes(&number.to_be_bytes())
    }

    fn i32(self, number: i32) -> Body {
        self.bytes(&number.to_be_bytes())
    }

    fn text(self, text: &str) -> Body {
        self.i16(i16::try_from(text.len()).expect("a short text")).bytes(text.as_bytes())
    }

    fn array(self, items: &[&str], each: impl Fn(Body, &str) -> Body) -> Body {
        let body = self.i32(i32::try_from(items.len()).expect("a short list"));
        items.iter().fold(body, |body, item| each(body, item))
    }
}

/// An answer as it is read; `None` where it is too short.
#[derive(Debug)]
struct Answer {
    bytes: Vec<u8>,
    at: usize,
}

impl Answer {
    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let taken = self.bytes.get(self.at..self.at + count)?;
        self.at += count;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        Some(i16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// A text that may be absent; nobody here reads it.
    fn text(&mut self) -> Option<()> {
        let length = self.i16()?;
        self.take(usize::try_from(length).unwrap_or(0))?;
        Some(())
    }

    fn array<T>(&mut self, mut each: impl FnMut(&mut Answer) -> Option<T>) -> Option<Vec<T>> {
        let count = self.i32()?;
        (0..count).map(|_| each(self)).collect()
    }

    /// Number and in-sync nodes. What is wrong with a partition, as a node that is away, is seen by these.
    fn partition(&mut self) -> Option<(i32, Vec<i32>)> {
        self.i16()?;
        let number = self.i32()?;
        self.i32()?;
        self.array(Answer::i32)?;
        Some((number, self.array(Answer::i32)?))
    }
}
