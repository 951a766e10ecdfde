//! The metrics over HTTP. Requests are answered one at a time by one thread. Whoever is slow, or says nothing, is cut
//! off; at once, if he is the oldest of too many: so he keeps nobody waiting.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use common::error::Error;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{AbortHandle, LocalSet};

use crate::snapshot::Onlooker;

/// So long a request's head may take, and all of a connection.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(15);
/// So many connections at once.
const CONNECTIONS_MAX: usize = 32;
/// More than any head that is meant well.
const HEAD_LEN_MAX: usize = 16 << 10;

/// Serves until SIGINT or SIGTERM.
pub(super) fn serve(address: SocketAddr, onlooker: Onlooker) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::system("tokio"))?;
    LocalSet::new().block_on(&runtime, async {
        let name = format!("{address}");
        let failed =
            |error| Error::system("listening")(std::io::Error::other(format!("{name}: {error}")));
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let at = listener.local_addr().map_err(failed)?;
        common::note!("lbctl: serving http://{at}/metrics");
        let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::system("sigaction"))?;
        let mut terminate = signal(SignalKind::terminate()).map_err(Error::system("sigaction"))?;
        tokio::select! {
            () = accept(listener, onlooker) => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(())
    })
}

async fn accept(listener: TcpListener, onlooker: Onlooker) {
    let onlooker = Rc::new(RefCell::new(onlooker));
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // No descriptor is free, for example.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        open.retain(|connection| !connection.is_finished());
        if open.len() >= CONNECTIONS_MAX
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        let connection = converse(stream, Rc::clone(&onlooker));
        open.push_back(tokio::task::spawn_local(connection).abort_handle());
    }
}

async fn converse(stream: TcpStream, onlooker: Rc<RefCell<Onlooker>>) {
    let service = service_fn(|request| {
        let response = respond(&request, &mut onlooker.borrow_mut());
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_LEN_MAX)
        .keep_alive(false) // a scrape is one request; so none comes when its connection has just been cut off
        .serve_connection(TokioIo::new(stream), service);
    // Whatever is wrong with a connection is the other side's affair.
    let _ = tokio::time::timeout(PATIENCE, connection).await;
}

fn respond(request: &Request<Incoming>, onlooker: &mut Onlooker) -> Response<Full<Bytes>> {
    let (status, text) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => {
            match onlooker.look().and_then(|snapshot| super::text(&snapshot)) {
                Ok(text) => (StatusCode::OK, text),
                Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
            }
        }
        (&Method::GET | &Method::HEAD, "/") => (StatusCode::OK, "see /metrics\n".to_owned()),
        (&Method::GET | &Method::HEAD, _) => (StatusCode::NOT_FOUND, "see /metrics\n".to_owned()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "GET /metrics\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
