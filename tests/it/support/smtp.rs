//! A loopback mail server. It keeps what it takes, and answers commands as it is told to.
//!
//! Unit tests include this file too, so it uses nothing of this crate.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A mail that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// The addresses of `RCPT TO`.
    pub(crate) to: Vec<String>,
    /// Headers and body, lines ended by `\n`, dots unstuffed.
    pub(crate) data: String,
}

impl Received {
    /// The value of a header that is on one line.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.data.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

#[derive(Debug, Default)]
struct Seen {
    commands: Vec<String>,
    mails: Vec<Received>,
    /// The answers that it was started with are over.
    is_usual: bool,
}

/// The server. Dropping it closes the port.
#[derive(Debug)]
pub(crate) struct Smtp {
    port: u16,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// Answers in place of the usual ones, by the beginning of the command; `""` is the greeting, `"."` the end of the data.
pub(crate) type Answers = &'static [(&'static str, &'static str)];

impl Smtp {
    pub(crate) async fn start(answers: Answers) -> Self {
        Self::start_with(answers, None).await
    }

    /// With STARTTLS, if there is a certificate to show.
    pub(crate) async fn start_with(answers: Answers, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Seen>>::default();
        let kept = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // A client that goes away ends its conversation; that is no error here.
                drop(serve(stream, tls.as_ref(), answers, &kept).await);
            }
        });
        Self { port, seen, task }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The mails that were taken, in their order.
    pub(crate) fn mails(&self) -> Vec<Received> {
        self.seen.lock().unwrap().mails.clone()
    }

    /// Ends the answers that it was started with.
    pub(crate) fn answer_as_usual(&self) {
        self.seen.lock().unwrap().is_usual = true;
    }

    /// Every command that came.
    pub(crate) fn commands(&self) -> Vec<String> {
        self.seen.lock().unwrap().commands.clone()
    }
}

impl Drop for Smtp {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    tls: Option<&TlsAcceptor>,
    answers: Answers,
    seen: &Mutex<Seen>,
) -> std::io::Result<()> {
    let greeting = told("", "220 loopback ESMTP", answers, seen);
    stream.write_all(greeting.as_bytes()).await?;
    let rest = converse(stream, tls.is_some(), answers, seen).await?;
    if let (Some(stream), Some(tls)) = (rest, tls) {
        converse(tls.accept(stream).await?, false, answers, seen).await?;
    }
    Ok(())
}

fn told(command: &str, usual: &str, answers: Answers, seen: &Mutex<Seen>) -> String {
    let told = answers.iter().find(|(start, _)| match *start {
        "" => command.is_empty(),
        start => command.to_ascii_uppercase().starts_with(start),
    });
    let told = told.filter(|_| !seen.lock().unwrap().is_usual);
    format!("{}\r\n", told.map_or(usual, |(_, answer)| answer))
}

/// Answers commands; gives the stream back when it is to be encrypted.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    offers_tls: bool,
    answers: Answers,
    seen: &Mutex<Seen>,
) -> std::io::Result<Option<S>> {
    let mut stream = BufReader::new(stream);
    let mut to = Vec::new();
    while let Some(command) = line(&mut stream).await? {
        seen.lock().unwrap().commands.push(command.clone());
        let upper = command.to_ascii_uppercase();
        let usual = match upper.split(' ').next().unwrap_or_default() {
            "EHLO" if offers_tls => "250-loopback\r\n250-8BITMIME\r\n250 STARTTLS",
            "EHLO" => "250-loopback\r\n250-8BITMIME\r\n250 AUTH PLAIN LOGIN",
            "AUTH" => "235 welcome",
            "DATA" => "354 go on",
            "QUIT" => "221 bye",
            "STARTTLS" if offers_tls => "220 go on",
            _ => "250 ok",
        };
        let answer = told(&command, usual, answers, seen);
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
        if upper == "STARTTLS" && offers_tls {
            return Ok(Some(stream.into_inner()));
        }
        if upper.starts_with("RCPT TO:") && answer.starts_with("250") {
            let address = command.split(['<', '>']).nth(1).unwrap_or_default();
            to.push(address.to_owned());
        }
        if upper == "DATA" && answer.starts_with("354") {
            let mut data = String::new();
            while let Some(line) = line(&mut stream).await? {
                if line == "." {
                    break;
                }
                data.push_str(line.strip_prefix('.').unwrap_or(&line));
                data.push('\n');
            }
            let answer = told(".", "250 queued as 4711", answers, seen);
            if answer.starts_with("250") {
                let to = std::mem::take(&mut to);
                seen.lock().unwrap().mails.push(Received { to, data });
            }
            stream.write_all(answer.as_bytes()).await?;
            stream.flush().await?;
        }
    }
    Ok(None)
}

async fn line<S: AsyncRead + Unpin>(stream: &mut BufReader<S>) -> std::io::Result<Option<String>> {
    let mut line = String::new();
    let count = stream.read_line(&mut line).await?;
    Ok((count > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
}
