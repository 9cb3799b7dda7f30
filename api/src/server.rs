//! Listening, and stopping in order.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;

use crate::config::ConfigError;
use crate::router::router;
use crate::state::ApiState;

/// How long requests may go on after the stop.
const GRACE: Duration = Duration::from_secs(10);

/// Serves until `shutdown` resolves; then streams end at once and requests have ten seconds.
pub async fn serve(
    listener: TcpListener,
    state: ApiState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    if state.auth.is_local() && !address.ip().to_canonical().is_loopback() {
        return Err(io::Error::other(ConfigError::OpenToTheNetwork(address)));
    }
    let mut closing = state.closing.subscribe();
    let close = state.closing.clone();
    // Small events of a stream must not wait for more to send.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
    });
    let server = axum::serve(listener, router(state)).with_graceful_shutdown(async move {
        shutdown.await;
        close.send_replace(true);
    });
    let out_of_patience = async {
        // Fails only when the sender is gone, and then nothing is left to wait for.
        let _ = closing.wait_for(|closing| *closing).await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        result = server => result,
        () = out_of_patience => {
            tracing::warn!("requests were cut off: they went on for more than 10 s after the stop");
            Ok(())
        }
    }
}
