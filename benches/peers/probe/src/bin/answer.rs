//! An HTTP server for nodes that call out: it answers each request without a body on 127.0.0.1 at once. Prints its port, and
//! ends with its standard input.

use std::io::Read;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
/// A request ends with its head.
const END: &[u8] = b"\r\n\r\n";

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("{}", listener.local_addr()?.port());
    std::thread::spawn(|| {
        std::io::stdin().lock().read_to_end(&mut Vec::new()).ok();
        std::process::exit(0)
    });
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve(stream));
    }
}

async fn serve(mut stream: TcpStream) -> std::io::Result<()> {
    let mut received = Vec::new();
    while stream.read_buf(&mut received).await? > 0 {
        while let Some(at) = received.windows(END.len()).position(|bytes| bytes == END) {
            received.drain(..at + END.len());
            stream.write_all(ANSWER).await?;
        }
    }
    Ok(())
}
