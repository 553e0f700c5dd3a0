//! The client of a model behind a WebSocket: requests, streamed answers, and the server's timing reports.

use std::time::Duration;

use baton_turn::Usage;
use baton_turn::requests::{ReportedPart, RequestTiming, Requests, TimingReport};
use futures_util::stream::{self, BoxStream};
use futures_util::{SinkExt, Stream, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

/// How long a timing report is waited for. The script's server sends it with the answer's end.
const REPORT_PATIENCE: Duration = Duration::from_millis(500);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ModelError {
    #[error("the connection to the model failed: {0}")]
    Connection(#[from] tungstenite::Error),
    #[error("the model closed the connection within an answer")]
    Closed,
    #[error("the model sent what is no message of its protocol: {0}")]
    Protocol(#[from] serde_json::Error),
    #[error("the request has no ordinal: {0}")]
    Ordinal(#[from] baton_turn::requests::StartError),
}

/// A connection, which answers one request at a time.
pub(crate) struct Model {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    requests: Requests,
}

/// A piece of a streamed answer.
#[derive(Debug)]
pub(crate) enum Chunk {
    Reasoning(String),
    Text(String),
    Tool(ToolRequest),
    Usage(Usage),
}

/// A tool that the model asks for.
#[derive(Debug, Clone)]
pub(crate) struct ToolRequest {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
}

/// What a streamed answer amounts to.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) tools: Vec<ToolRequest>,
    pub(crate) usage: Usage,
}

impl Chunk {
    /// Whether the user sees something of it.
    pub(crate) fn is_content(&self) -> bool {
        match self {
            Self::Reasoning(text) | Self::Text(text) => !text.is_empty(),
            Self::Tool(_) | Self::Usage(_) => false,
        }
    }

    fn read(message: &Value) -> Option<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let usage = &message["usage"];
        if usage.is_object() {
            let count = |name: &str| usage[name].as_u64();
            let mut read = Usage::default();
            read.input_tokens = count("input");
            read.output_tokens = count("output");
            read.cache_read_input_tokens = count("cache_read");
            read.cache_write_input_tokens = count("cache_write");
            return Some(Self::Usage(read));
        }
        let chunk = &message["chunk"];
        let tool = &chunk["tool"];
        if tool.is_object() {
            let arguments = tool["arguments"].as_array()?;
            return Some(Self::Tool(ToolRequest {
                id: text(&tool["id"])?,
                name: text(&tool["name"])?,
                program: text(&tool["program"])?,
                arguments: arguments.iter().filter_map(text).collect(),
            }));
        }
        text(&chunk["reasoning"])
            .map(Self::Reasoning)
            .or_else(|| text(&chunk["text"]).map(Self::Text))
    }
}

impl Answer {
    /// Reads a stream of chunks to its end.
    pub(crate) async fn read(
        mut chunks: impl Stream<Item = Result<Chunk, ModelError>> + Unpin,
    ) -> Result<Self, ModelError> {
        let mut answer = Self::default();
        while let Some(chunk) = chunks.next().await {
            answer.add(chunk?);
        }
        Ok(answer)
    }

    fn add(&mut self, chunk: Chunk) {
        match chunk {
            Chunk::Reasoning(_) => {}
            Chunk::Text(text) => self.text.push_str(&text),
            Chunk::Tool(tool) => self.tools.push(tool),
            Chunk::Usage(usage) => self.usage = usage,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.tools.is_empty()
    }
}

impl Model {
    pub(crate) async fn connect(url: &str) -> Result<Self, ModelError> {
        let (socket, _) = connect_async_with_config(url, None, true).await?;
        Ok(Self {
            socket,
            requests: Requests::new(),
        })
    }

    /// Sends a request. The ordinal in it is that of the timing report.
    pub(crate) async fn ask(&mut self, messages: &[String]) -> Result<Reply<'_>, ModelError> {
        let ordinal = self.requests.start()?;
        let request = json!({"ordinal": ordinal, "messages": messages});
        self.socket.send(Message::text(request.to_string())).await?;
        Ok(Reply {
            model: self,
            ordinal,
            is_ended: false,
        })
    }

    /// The requests of this connection and their timing reports.
    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
    }

    pub(crate) async fn close(&mut self) {
        // The server ends with this process.
        let _ = self.socket.close(None).await;
    }

    async fn next(&mut self) -> Result<Value, ModelError> {
        loop {
            match self.socket.next().await.ok_or(ModelError::Closed)?? {
                Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                Message::Close(_) => return Err(ModelError::Closed),
                _ => {}
            }
        }
    }
}

/// The answer to one request.
pub(crate) struct Reply<'m> {
    model: &'m mut Model,
    ordinal: u64,
    is_ended: bool,
}

impl Reply<'_> {
    /// The chunks up to the answer's end.
    pub(crate) fn chunks(&mut self) -> BoxStream<'_, Result<Chunk, ModelError>> {
        stream::try_unfold(self, async |reply| {
            loop {
                if reply.is_ended {
                    return Ok(None);
                }
                let message = reply.model.next().await?;
                let Some(chunk) = Chunk::read(&message) else {
                    continue;
                };
                if matches!(chunk, Chunk::Usage(_)) {
                    reply.is_ended = true;
                    // Fails if the request is too old to be matched, which its counters show.
                    let _ = reply.model.requests.end(reply.ordinal);
                }
                return Ok(Some((chunk, reply)));
            }
        })
        .boxed()
    }

    /// The server's parts of this request, once its report is here. `None` if it is late.
    pub(crate) async fn timing(self) -> Result<Option<RequestTiming>, ModelError> {
        let Ok(message) = timeout(REPORT_PATIENCE, self.model.next()).await else {
            return Ok(None);
        };
        let message = message?;
        let parts: Vec<(String, u64, u64)> = serde_json::from_value(message["timing"].clone())?;
        let parts: Vec<_> = parts
            .iter()
            .map(|(name, offset, duration)| ReportedPart::from_ns(name, *offset, *duration))
            .collect();
        let Some(ordinal) = message["ordinal"].as_u64() else {
            self.model.requests.report_unreadable();
            return Ok(None);
        };
        Ok(match self.model.requests.report(ordinal, &parts) {
            TimingReport::Matched(timing) => Some(timing),
            TimingReport::Late | TimingReport::Duplicate | TimingReport::Unknown => None,
        })
    }
}
