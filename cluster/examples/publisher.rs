//! A bare publisher, to measure beside the client: each entry is appended on the condition that the one before it is the
//! last of its subject, and nothing else is done.
//!
//! ```sh
//! cargo run --release -p cluster --example publisher -- URL[,URL…] STREAM SUBJECT COUNT TEXT
//! ```
//!
//! Prints how many it has appended, and in how many seconds. The stream must be there.
#![forbid(unsafe_code)]

use std::env;
use std::time::Instant;

use async_nats::{HeaderMap, Request, ServerAddr};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [urls, stream, subject, count, text] = &args[..] else {
        return Err("usage: publisher URL[,URL…] STREAM SUBJECT COUNT TEXT".into());
    };
    let servers = urls.split(',').map(str::parse).collect::<Result<Vec<ServerAddr>, _>>()?;
    let client = async_nats::connect(&servers[..]).await?;
    let count: u64 = count.parse()?;
    let mut last = 0;
    let begun = Instant::now();
    for _ in 0..count {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Expected-Stream", stream.as_str());
        headers.insert("Nats-Expected-Last-Subject-Sequence", last.to_string().as_str());
        let request = Request::new().headers(headers).payload(text.clone().into());
        let answer = client.send_request(subject.clone(), request).await?;
        let answer: serde_json::Value = serde_json::from_slice(&answer.payload)?;
        last = answer["seq"].as_u64().ok_or_else(|| answer.to_string())?;
    }
    println!("{count} {:.6}", begun.elapsed().as_secs_f64());
    Ok(())
}
