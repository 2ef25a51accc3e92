//! Asking the log again.

use std::time::{Duration, Instant};

use hgfleet_log::LogError;

/// For how long something is asked.
const FOR: Duration = Duration::from_secs(10);
/// The pause between.
const PAUSE: Duration = Duration::from_millis(300);

/// Asks the log, again where its servers don't answer: they may be choosing a leader just now, and whoever has taken an epoch would lose more
/// time by giving it up. For what changes nothing.
pub(crate) async fn again<T, F>(ask: impl FnMut() -> F) -> Result<T, LogError>
where
    F: Future<Output = Result<T, LogError>>,
{
    again_for(FOR, ask).await
}

async fn again_for<T, F>(time: Duration, mut ask: impl FnMut() -> F) -> Result<T, LogError>
where
    F: Future<Output = Result<T, LogError>>,
{
    let begun = Instant::now();
    loop {
        match ask().await {
            Err(error @ LogError::Server { .. }) if begun.elapsed() < time => {
                tracing::warn!(%error, "the log is asked again");
                tokio::time::sleep(PAUSE).await;
            }
            answer => return answer,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_asked_for_again_and_not_for_ever() {
        let silent = || LogError::Server { what: "reading", why: "request timed out".to_owned() };
        let mut asked = 0;
        let answer = again(|| {
            asked += 1;
            ready(if asked < 3 { Err(silent()) } else { Ok(asked) })
        });
        assert_eq!(answer.await.ok(), Some(3));
        let mut asked = 0;
        let answer = again_for(Duration::from_millis(400), || {
            asked += 1;
            ready(Err::<(), _>(silent()))
        });
        assert!(answer.await.is_err());
        assert!((2..=3).contains(&asked), "{asked}");
        let mut asked = 0;
        let answer = again(|| {
            asked += 1;
            ready(Err::<(), _>(LogError::Closed("a failed fsync".to_owned())))
        });
        assert!(answer.await.is_err());
        assert_eq!(asked, 1, "what is certain is not asked again");
    }
}
