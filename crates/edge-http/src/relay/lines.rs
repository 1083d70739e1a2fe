//! Lines of JSON over a connection, bounded in length.

use std::io;

use edge_wire::relay::{MAX_LINE_BYTES, RelayLine};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Reads a line and not an octet more. Lines are short and rare, so that octet by octet is good enough.
pub(super) async fn read_line(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<RelayLine> {
    let mut line = Vec::new();
    loop {
        match stream.read_u8().await? {
            b'\n' => break,
            octet if line.len() < MAX_LINE_BYTES => line.push(octet),
            _ => return Err(malformed("an overlong line")),
        }
    }
    edge_wire::decode(&line).map_err(|error| malformed(error))
}

pub(super) async fn write_line(
    stream: &mut (impl AsyncWriteExt + Unpin),
    line: &RelayLine,
) -> io::Result<()> {
    let mut text = edge_wire::encode(line);
    text.push(b'\n');
    stream.write_all(&text).await
}

fn malformed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
}
