//! A relay whose refusals hold status details that are not base64, on which tonic's own parser panics.

use std::time::Duration;

use baton_channel::allow::AllowList;
use baton_channel::key::Seed;
use baton_channel::{Channel, ConnectError, Notice, RegisterError, Server};
use baton_support::frames;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::support::service::{Caller, Mounted};
use crate::support::{Stack, source, within};

const PREFACE: usize = 24;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_STREAM_AND_HEADERS: u8 = 5;

/// A literal header field without indexing (RFC 7541 section 6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    [&[0][..], &text(name), &text(value)].concat()
}

/// Refuses the first request of a connection.
async fn refuse(mut socket: TcpStream) -> std::io::Result<()> {
    socket.read_exact(&mut [0; PREFACE]).await?;
    socket.write_all(&frames::http2(SETTINGS, 0, 0, b"")).await?;
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        socket.read_exact(&mut vec![0; len as usize]).await?;
        if head[3] == HEADERS {
            // The index of `:status: 200`.
            let mut block = vec![0x88];
            block.extend(field("content-type", "application/grpc"));
            block.extend(field("grpc-status", "13"));
            block.extend(field("grpc-message", "said"));
            block.extend(field("grpc-status-details-bin", "!"));
            let answer = frames::http2(HEADERS, END_STREAM_AND_HEADERS, 1, &block);
            socket.write_all(&answer).await?;
        }
    }
}

async fn relay() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(refuse(socket));
        }
    });
    url
}

#[tokio::test]
async fn a_relay_s_malformed_details_end_neither_a_client_nor_an_exec_server() {
    let url = relay().await;
    let stack = Stack::start(Mounted::echo()).await;
    let mut ticket = stack.server.ticket.clone();
    ticket.relay_url.clone_from(&url);
    let caller = Caller::new(Channel::new(ticket, stack.key()));
    // The second call checks that the first one left the channel usable.
    for _ in 0..2 {
        let refused = within(caller.echo("x")).await.unwrap_err();
        let error = source::<ConnectError>(&refused);
        assert!(
            matches!(error, ConnectError::Refused(said) if said == "said"),
            "{error:?}"
        );
    }

    let (notify, mut notices) = mpsc::unbounded_channel();
    let allow = AllowList::default();
    let server = Server::new(&url, &Seed::generate().unwrap(), allow).unwrap();
    let server = server.on_notice(move |notice| drop(notify.send(notice)));
    let serving = tokio::spawn(server.serve(Mounted::echo(), std::future::pending()));
    for _ in 0..2 {
        let notice = within(notices.recv()).await.expect("it tries again");
        let Notice::Retrying(RegisterError::Ended(said), pause) = notice else {
            panic!("{notice:?}");
        };
        assert_eq!(said, "said");
        assert!(pause < Duration::from_secs(5));
    }
    assert!(!serving.is_finished());
    serving.abort();
}
