//! Keeps a session warm: a round trip shows that it is alive, and establishes it again where it is not.

use super::state::HitPercent;
use super::warmer::Warm;
use crate::client::{Client, PingedSession};

impl Warm for Client {
    /// 100 % if the session was alive and answered, 0 % if it had to be established again.
    async fn warm(&self) -> Result<HitPercent, String> {
        match self.ping().await {
            Ok(PingedSession::Kept) => Ok(HitPercent::ALL),
            Ok(PingedSession::Established) => Ok(HitPercent::NONE),
            Err(error) => Err(error.to_string()),
        }
    }
}
