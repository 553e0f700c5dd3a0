//! The ticket: everything that a client needs to reach one exec-server, as one line of text.
//!
//! The text is `baton1:` and the base64url encoding of the protobuf `Ticket` followed by a 4-byte checksum. The
//! checksum distinguishes a truncated or mistyped ticket from a wrong server. The ticket contains the dial token: its
//! holder may dial, but the exec-server serves only clients whose key is on its allow-list.

use std::fmt;
use std::str::FromStr;

use baton_noise::key::{DialToken, PublicKey};
use baton_proto::channel::Ticket as Wire;
use baton_proto::{ExecServerId, PROTOCOL_VERSION};
use data_encoding::BASE64URL_NOPAD;
use prost::Message;

use crate::limits::TICKET_MAX;

const PREFIX: &str = "baton1:";

/// The address and the key of an exec-server.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// `http://host:port` or `https://host:port`.
    pub relay_url: String,
    /// The exec-server's id at that relay.
    pub exec_server: ExecServerId,
    /// The exec-server's pinned key.
    pub noise_key: PublicKey,
    /// The token that the relay demands with every `Dial`.
    pub dial_token: DialToken,
}

/// Why a text is not a valid ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// The prefix is missing.
    #[error(
        "not a ticket: it starts with `{PREFIX}`; copy the whole `ticket:` line that `baton exec-server` printed"
    )]
    Prefix,
    /// The ticket is truncated or mistyped, or too long.
    #[error(
        "the ticket is damaged (checksum): copy the whole `ticket:` line that `baton exec-server` printed"
    )]
    Damaged,
    /// The ticket has another protocol version.
    #[error(
        "the ticket is of protocol version {0}, this is version {PROTOCOL_VERSION}: use matching releases on both ends"
    )]
    Version(u32),
    /// The checksum is correct, but this field is malformed.
    #[error("the ticket's {0} is malformed")]
    Field(&'static str),
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let hash = baton_proto::registration::dial_token_hash(bytes);
    [hash[0], hash[1], hash[2], hash[3]]
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wire = Wire {
            version: PROTOCOL_VERSION,
            relay_url: self.relay_url.clone(),
            exec_server_id: self.exec_server.0.to_vec().into(),
            noise_key: self.noise_key.to_string(),
            dial_token: self.dial_token.0.to_vec().into(),
        };
        let mut bytes = wire.encode_to_vec();
        bytes.extend_from_slice(&checksum(&bytes));
        write!(f, "{PREFIX}{}", BASE64URL_NOPAD.encode(&bytes))
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("relay_url", &self.relay_url)
            .field("exec_server", &self.exec_server)
            .field("noise_key", &self.noise_key)
            .finish_non_exhaustive()
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let text = text.trim();
        let encoded = text.strip_prefix(PREFIX).ok_or(TicketError::Prefix)?;
        if text.len() > TICKET_MAX {
            return Err(TicketError::Damaged);
        }
        let bytes = BASE64URL_NOPAD
            .decode(encoded.as_bytes())
            .map_err(|_| TicketError::Damaged)?;
        let (body, sum) = bytes.split_last_chunk::<4>().ok_or(TicketError::Damaged)?;
        if checksum(body) != *sum {
            return Err(TicketError::Damaged);
        }
        let wire = Wire::decode(body).map_err(|_| TicketError::Damaged)?;
        if wire.version != PROTOCOL_VERSION {
            return Err(TicketError::Version(wire.version));
        }
        Ok(Self {
            relay_url: wire.relay_url,
            exec_server: ExecServerId::try_from(&wire.exec_server_id[..])
                .map_err(|_| TicketError::Field("exec-server id"))?,
            noise_key: wire.noise_key.parse().map_err(|_| TicketError::Field("key"))?,
            dial_token: wire.dial_token[..]
                .try_into()
                .map(DialToken)
                .map_err(|_| TicketError::Field("dial token"))?,
        })
    }
}

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;

#[cfg(test)]
mod vectors;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            relay_url: "http://127.0.0.1:7000".into(),
            exec_server: ExecServerId([1; 16]),
            noise_key: PublicKey::from_bytes([2; 32]),
            dial_token: DialToken([3; 32]),
        }
    }

    #[test]
    fn a_ticket_round_trips_without_white_space() {
        let text = ticket().to_string();
        assert!(!text.contains(char::is_whitespace));
        assert_eq!(text.parse(), Ok(ticket()));
        assert_eq!(format!(" {text}\n").parse(), Ok(ticket()));
    }

    #[test]
    fn a_truncated_ticket_is_refused_as_damaged() {
        let text = ticket().to_string();
        assert_eq!(text[1..].parse::<Ticket>(), Err(TicketError::Prefix));
        for end in PREFIX.len()..text.len() {
            assert_eq!(
                text[..end].parse::<Ticket>(),
                Err(TicketError::Damaged),
                "cut at {end}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = text.parse::<Ticket>();
            let _ = format!("{PREFIX}{text}").parse::<Ticket>();
        }
    }
}
