//! A handshake of Baton's Noise suite, both ends.

use baton_bench::Failure;
use baton_noise::key::StaticKey;
use baton_noise::{Initiator, Responder};

use crate::classical::{PAYLOAD, PROLOGUE};

/// The keys of both ends.
pub(crate) struct Own {
    client: StaticKey,
    server: StaticKey,
}

impl Own {
    pub(crate) fn generate() -> Result<Self, Failure> {
        Ok(Self {
            client: StaticKey::generate()?,
            server: StaticKey::generate()?,
        })
    }

    pub(crate) fn handshake(&self) -> Result<(), Failure> {
        let (initiator, message) = Initiator::start(&self.client, self.server.public(), PROLOGUE)?;
        let responder = Responder::read(&self.server, PROLOGUE, &message)?;
        let (_server, message) = responder.finish(PAYLOAD)?;
        let (_client, _payload) = initiator.finish(&message)?;
        Ok(())
    }
}
