//! What a NATS server says of itself on its monitoring port: an HTTP request, and JSON.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::header::HOST;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

const ANSWER: Duration = Duration::from_secs(3);

/// `/jsz?config=1`, as far as it matters.
#[derive(Deserialize)]
struct Jsz {
    #[serde(default)]
    config: Config,
}

#[derive(Default, Deserialize)]
struct Config {
    #[serde(default)]
    sync_always: bool,
}

/// Whether the server with that monitoring port writes each entry through to the disk.
pub(crate) async fn sync_always(url: &str) -> Result<bool, String> {
    let text = timeout(ANSWER, get(url)).await.map_err(|_| "no answer".to_owned())??;
    let jsz: Jsz = serde_json::from_slice(&text).map_err(|why| why.to_string())?;
    Ok(jsz.config.sync_always)
}

async fn get(url: &str) -> Result<Bytes, String> {
    let authority = url.trim_start_matches("http://").trim_end_matches('/');
    let authority =
        if authority.contains(':') { authority.to_owned() } else { format!("{authority}:8222") };
    let stream = TcpStream::connect(&authority).await.map_err(|why| why.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|why| why.to_string())?;
    let connection = tokio::spawn(connection);
    let request = Request::get("/jsz?config=1").header(HOST, authority);
    let request = request.body(Empty::<Bytes>::new()).map_err(|why| why.to_string())?;
    let response = sender.send_request(request).await.map_err(|why| why.to_string())?;
    if !response.status().is_success() {
        return Err(response.status().to_string());
    }
    let body = response.into_body().collect().await.map_err(|why| why.to_string());
    connection.abort();
    Ok(body?.to_bytes())
}
