//! A Redis client of a page, so that these tests decide what is sent in which piece.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// One connection.
pub(crate) struct Client(BufReader<TcpStream>);

/// The bytes of a command.
pub(crate) fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    bytes
}

impl Client {
    pub(crate) async fn connect(address: impl Into<SocketAddr>) -> Self {
        let stream = TcpStream::connect(address.into()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) async fn local(port: u16) -> Self {
        Self::connect(([127, 0, 0, 1], port)).await
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes).await
    }

    /// The next reply or push, in a flat form: `OK`, `(nil)`, `[a b]`.
    pub(crate) async fn receive(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line).await? == 0 {
            return Err(Error::from(ErrorKind::UnexpectedEof));
        }
        let (kind, rest) = line.trim_end().split_at(1);
        let count = || rest.parse::<i64>().unwrap();
        match kind {
            "$" | "=" if count() >= 0 => {
                let mut bytes = vec![0; usize::try_from(count()).unwrap() + 2];
                self.0.read_exact(&mut bytes).await?;
                Ok(String::from_utf8(bytes).unwrap().trim_end().to_owned())
            }
            "$" | "_" => Ok("(nil)".into()),
            "*" | ">" | "%" => {
                let values = if kind == "%" { 2 * count() } else { count() };
                let mut items = Vec::new();
                for _ in 0..values {
                    items.push(Box::pin(self.receive()).await?);
                }
                Ok(format!("[{}]", items.join(" ")))
            }
            _ => Ok(rest.to_owned()),
        }
    }

    pub(crate) async fn call(&mut self, words: &[&str]) -> Result<String> {
        self.send(&command(words)).await?;
        self.receive().await
    }
}
