//! The model's server: a WebSocket on loopback that answers by a script.
//!
//! A request is `{"ordinal": 0, "messages": 1}`. Its answer is a message for each chunk, one with the usage, which ends
//! the answer, and one with what the server measured:
//!
//! ```json
//! {"ordinal": 0, "chunk": {"text": "Let me look."}}
//! {"ordinal": 0, "usage": {"input": 1200, "output": 48, "cache_read": 1024}}
//! {"ordinal": 0, "timing": [["schedule", 0, 1100000], ["prefill", 1100000, 3300000]]}
//! ```

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_tungstenite::accept_async;
use tokio_tungstenite::tungstenite::Message;

use crate::Result;

/// How long a request waits in the server's queue, and how long the model thinks before each chunk.
const QUEUE: Duration = Duration::from_millis(2);
const CHUNK: Duration = Duration::from_millis(4);

/// Starts the server, and returns its URL. It serves one connection, for as long as the runtime lives.
pub(crate) async fn serve() -> Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let url = format!("ws://{}/v1/chat", listener.local_addr()?);
    tokio::spawn(async move {
        let (connection, _) = listener.accept().await?;
        // Otherwise a chunk waits for the acknowledgement of the one before.
        connection.set_nodelay(true)?;
        answer_requests(connection).await
    });
    Ok(url)
}

/// The chunks and the usage of each answer, in the order of the requests.
fn script() -> Vec<(Vec<Value>, Value)> {
    let tool = |id, name, program, arguments: &[&str]| json!({"tool": {"id": id, "name": name, "program": program, "arguments": arguments}});
    vec![
        // Turn 1. An empty chunk first, as servers send to keep a connection open.
        (
            vec![
                json!({"text": ""}),
                json!({"reasoning": "The notes may be in one of the files."}),
                json!({"text": "Let me look. "}),
                tool("call_1", "list_files", "ls", &["crates/parser"]),
                tool("call_2", "read_file", "cat", &["crates/parser/notes.txt"]),
            ],
            json!({"input": 1200, "output": 61, "cache_read": 0, "cache_write": 1024}),
        ),
        // The stream ends before content.
        (vec![json!({"text": ""})], json!({"input": 1290, "output": 0})),
        (
            vec![
                json!({"text": "There are two files, notes.txt and parser.rs. "}),
                json!({"text": "The notes say that time zones are missing."}),
            ],
            json!({"input": 1290, "output": 24, "cache_read": 1024, "cache_write": 256}),
        ),
        // Turn 2.
        (
            vec![
                json!({"reasoning": "The changelog is at the root."}),
                tool("call_3", "count_lines", "wc", &["-l", "CHANGELOG.md"]),
            ],
            json!({"input": 1340, "output": 33, "cache_read": 1280}),
        ),
        (
            vec![json!({"text": "It has "}), json!({"text": "four lines."})],
            json!({"input": 1390, "output": 6, "cache_read": 1280}),
        ),
    ]
}

async fn answer_requests(connection: TcpStream) -> Result<()> {
    let mut socket = accept_async(connection).await?;
    let mut answers = script().into_iter();
    while let Some(message) = socket.next().await {
        let Message::Text(request) = message? else {
            continue;
        };
        let received = Instant::now();
        let request: Value = serde_json::from_str(&request)?;
        let ordinal = &request["ordinal"];
        let Some((chunks, usage)) = answers.next() else {
            break;
        };
        sleep(QUEUE).await;
        let dequeued = received.elapsed();
        let mut first_chunk = None;
        for chunk in chunks {
            sleep(CHUNK).await;
            first_chunk.get_or_insert_with(|| received.elapsed());
            socket
                .send(text(&json!({"ordinal": ordinal, "chunk": chunk})))
                .await?;
        }
        let ended = received.elapsed();
        let first_chunk = first_chunk.unwrap_or(ended);
        let parts = [
            ("schedule", Duration::ZERO, dequeued),
            ("prefill", dequeued, first_chunk),
            ("generate", first_chunk, ended),
        ];
        let parts = parts.map(|(name, start, end)| (name, nanoseconds(start), nanoseconds(end - start)));
        socket
            .feed(text(&json!({"ordinal": ordinal, "usage": usage})))
            .await?;
        socket
            .send(text(&json!({"ordinal": ordinal, "timing": parts})))
            .await?;
    }
    Ok(())
}

fn text(value: &Value) -> Message {
    Message::text(value.to_string())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
