//! Bounded retries inside the daemon: about three tries within a few seconds, then the errno speaks.
//!
//! The engine retries outages for ever by its own policy, so the daemon only bridges short troubles and never holds a
//! worker for long.

use std::future::Future;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder, Retryable};

use crate::errno::SourceError;

/// Tries after the first one.
pub(crate) const RETRIES_MAX: usize = 2;

/// The pauses between tries: 100 ms, then 400 ms, with jitter.
pub(crate) fn pauses() -> ExponentialBackoff {
    policy().build()
}

fn policy() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_factor(4.0)
        .with_max_delay(Duration::from_secs(1))
        .with_max_times(RETRIES_MAX)
        .with_jitter()
}

/// Runs `operation` until it succeeds, fails for good, or the tries are used up.
///
/// # Errors
/// The last error of `operation`.
pub(crate) async fn retrying<T, F, Fut>(operation: F) -> Result<T, SourceError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, SourceError>>,
{
    operation
        .retry(policy())
        .when(SourceError::is_transient)
        .notify(|error, pause| tracing::debug!(%error, ?pause, "will try again"))
        .await
}
