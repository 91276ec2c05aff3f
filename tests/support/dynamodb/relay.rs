//! The proxy's connections: takes calls in, gives them to the server, and lets go wrong with them what is to.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::proxy::{Fault, Shared};
use super::{answers, batches};
use crate::wait::delay;

type Call = Request<Full<Bytes>>;
type Answer = Response<Full<Bytes>>;

/// There is no answer: the connection is reset.
#[derive(Debug)]
struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection is reset")
    }
}

impl std::error::Error for Broken {}

/// Takes connections for as long as it is polled.
pub(super) async fn serve(listener: TcpListener, state: Shared) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(Box::pin(connection(stream, state.clone())));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, state: Shared) {
    // What is closed in the middle of a call is reset: nothing says goodbye.
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).ok();
    stream.set_nodelay(true).ok();
    let server = Mutex::new(Server::new(state.server));
    let service = service_fn(|call| {
        let (state, server) = (&state, &server);
        async move { answer(call, state, &mut *server.lock().await).await }
    });
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
}

async fn answer(call: Request<Incoming>, state: &Shared, server: &mut Server) -> Result<Answer, Broken> {
    let target = call.headers().get("x-amz-target").and_then(|target| target.to_str().ok());
    let operation = target.and_then(|target| target.split_once('.')).map_or("", |(_, name)| name).to_owned();
    let (head, body) = call.into_parts();
    let body = body.collect().await.map_err(|_| Broken)?.to_bytes();
    let fault = state.meet(&operation);
    if let Some(refused) = fault.and_then(answers::refusal) {
        return Ok(refused);
    }
    match fault {
        Some(Fault::Reset) => return Err(Broken),
        Some(Fault::Unprocessed) => {
            let (rest, withheld) = batches::withhold(&body, || state.toss()).ok_or(Broken)?;
            let answered = match rest {
                Some(rest) => Some(server.ask(state, &operation, (head, rest)).await?),
                None => None,
            };
            return batches::with_unprocessed(&operation, answered, withheld).await.ok_or(Broken);
        }
        Some(Fault::Late(after)) => {
            let (state, mut apart) = (state.clone(), Server::new(state.server));
            state.clone().later(async move {
                delay(after).await;
                apart.ask(&state, &operation, (head, body)).await.ok();
            });
            return never().await;
        }
        _ => {}
    }
    let answer = server.ask(state, &operation, (head, body)).await?;
    match fault {
        Some(Fault::ResetAfter) => Err(Broken),
        Some(Fault::Swallowed) => never().await,
        Some(Fault::Slow(after)) => {
            delay(after).await;
            Ok(answer)
        }
        _ => Ok(answer),
    }
}

/// Until the client gives up, which drops this.
async fn never() -> Result<Answer, Broken> {
    std::future::pending::<Infallible>().await;
    Err(Broken)
}

/// The server, over one connection that is made when it is needed.
struct Server {
    port: u16,
    sender: Option<SendRequest<Full<Bytes>>>,
    driver: JoinSet<()>,
}

impl Server {
    fn new(port: u16) -> Server {
        Server { port, sender: None, driver: JoinSet::new() }
    }

    /// Asks, and counts the answer.
    async fn ask(
        &mut self,
        state: &Shared,
        operation: &str,
        (head, body): (hyper::http::request::Parts, Bytes),
    ) -> Result<Answer, Broken> {
        let body = answers::counted(operation, body);
        let mut call: Call = Request::from_parts(head, Full::new(body));
        call.headers_mut().remove(CONTENT_LENGTH);
        let sender = self.sender().await.ok_or(Broken)?;
        let answered = async {
            let answer = sender.send_request(call).await.ok()?;
            let (mut head, body) = answer.into_parts();
            let body = body.collect().await.ok()?.to_bytes();
            head.headers.remove(TRANSFER_ENCODING);
            head.headers.remove(CONTENT_LENGTH);
            Some((head, body))
        };
        let Some((head, body)) = answered.await else {
            self.sender = None;
            return Err(Broken);
        };
        state.answered(operation, answers::units(&body));
        Ok(Response::from_parts(head, Full::new(body)))
    }

    async fn sender(&mut self) -> Option<&mut SendRequest<Full<Bytes>>> {
        let is_open = match &mut self.sender {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !is_open {
            let stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
            stream.set_nodelay(true).ok();
            let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
            self.driver.spawn(async move {
                connection.await.ok();
            });
            self.sender = Some(sender);
        }
        self.sender.as_mut()
    }
}
