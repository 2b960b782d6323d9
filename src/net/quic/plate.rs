//! Whether a plate is somebody's already: two honest senders may draw the same one, and the relay would hand
//! everything to the newer.

use super::Meeting;
use super::endpoint::{self, ALPN, Discovery};

/// Comes back when somebody answers under the plate at one of its relays, and only then: it is to be left
/// alone when this side has its own place there. It takes no place under the plate, and tells nobody an
/// address.
///
/// It runs beside the taking of that place, which costs the engine 200 ms before it so much as begins: the
/// answer comes first, unless the way to the relay is slow or no way at all. Then nobody has waited for it.
pub async fn answers(meeting: &Meeting) {
    if !is_somebodys(meeting).await {
        std::future::pending::<()>().await;
    }
}

async fn is_somebodys(meeting: &Meeting) -> bool {
    let visitor = endpoint::visitor(&meeting.relays, meeting.relay_token.clone());
    let Ok(builder) = endpoint::builder(&visitor, Discovery::Never) else { return false };
    let Ok(endpoint) = endpoint::bind(builder, None, true).await else { return false };
    let _closing = Closing(endpoint.clone());
    // Whoever answers has shown the key of the plate.
    endpoint.connect(endpoint::place_of(meeting), ALPN).await.is_ok()
}

/// Closes an endpoint when it goes, and nobody waits for that.
struct Closing(iroh::Endpoint);

impl Drop for Closing {
    fn drop(&mut self) {
        let endpoint = self.0.clone();
        if let Ok(runtime) = endpoint::runtime() {
            runtime.spawn(async move { endpoint.close().await });
        }
    }
}
