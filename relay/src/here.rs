//! `Here`: an exec-server asks whether this relay has its registration.
//!
//! A balancer routes by the exec-server's id, and sends `Here` to the relay that also gets the dials. So NOT_FOUND
//! tells an exec-server that dials no longer reach the relay with which it is registered.
//!
//! It needs no proof: `Dial` tells the same to anyone who knows the id, by NOT_FOUND or PERMISSION_DENIED. It changes
//! nothing, and the exec-server that it names is not notified.

use std::time::Duration;

use baton_proto::ExecServerId;
use baton_proto::relay::HereResponse;
use tonic::Code;

use crate::RefusalReason;
use crate::refusal::Refusal;
use crate::state::RelayState;

/// Why a `Here` was not answered by OK.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HereRefusal {
    #[error("exec-server {0} is not registered at this relay; register")]
    NotRegistered(ExecServerId),
    /// NOT_FOUND too: the exec-server registers anew, and a balancer sends that to another relay.
    #[error("the relay is shutting down and has no registrations; register")]
    ShuttingDown,
    #[error("the request was not complete within {0:?}; send its message with it")]
    Slow(Duration),
}

/// Serves one `Here` of the exec-server that the request header names.
pub(crate) fn here(relay: &RelayState, named: ExecServerId) -> Result<HereResponse, HereRefusal> {
    let answer = if relay.is_draining() {
        Err(HereRefusal::ShuttingDown)
    } else {
        let registration = relay.registry.registration(named);
        registration
            .map(|_| HereResponse {})
            .ok_or(HereRefusal::NotRegistered(named))
    };
    relay.metrics.here(answer.is_ok());
    answer
}

impl Refusal for HereRefusal {
    fn code(&self) -> Code {
        match self {
            Self::NotRegistered(_) | Self::ShuttingDown => Code::NotFound,
            Self::Slow(_) => Code::DeadlineExceeded,
        }
    }

    fn counts_as(&self) -> RefusalReason {
        match self {
            Self::NotRegistered(_) | Self::ShuttingDown => RefusalReason::NotRegistered,
            Self::Slow(_) => RefusalReason::Silent,
        }
    }
}
