//! Names of request headers. Those of `Register`, `Dial` and `Accept` have values in lowercase hex, except for the
//! version.

/// The exec-server's id, on all four methods: a load balancer that hashes it routes both peers to the same relay.
pub const EXEC_SERVER_ID: &str = "baton-exec-server-id";
/// The session's id, chosen by the client.
pub const SESSION_ID: &str = "baton-session-id";
/// The ticket's dial token, 32 bytes.
pub const DIAL_TOKEN: &str = "baton-dial-token";
/// The client's protocol version, decimal, on `Dial`. The relay forwards it in `Incoming`; nothing authenticates it.
pub const PROTOCOL_VERSION: &str = "baton-protocol-version";
/// The token of the `Incoming` being answered, 32 bytes.
pub const ACCEPT_TOKEN: &str = "baton-accept-token";
/// How long to wait before another try, in milliseconds, on a refusal that may pass (gRPC A6).
pub const RETRY_PUSHBACK: &str = "grpc-retry-pushback-ms";
/// The user that the command of a `Run` has to run as, else it is refused. Only to an exec-server with the feature 12.
pub const USER: &str = "baton-user";
