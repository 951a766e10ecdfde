//! cluster
#![forbid(unsafe_code)]
mod balance;
mod engine;
mod entry;
mod hold;
mod nats;
mod put;
mod scribe;
mod shares;
#[cfg(test)]
mod simulation;
mod state;
mod submit;
fn main() {}
