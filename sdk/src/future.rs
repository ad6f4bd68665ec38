//! Several things at once: all of them, or the first of them.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

/// Waits for two futures at the same time; the first error ends both.
pub async fn try_join<A, B, T, U, E>(a: A, b: B) -> Result<(T, U), E>
where
    A: Future<Output = Result<T, E>>,
    B: Future<Output = Result<U, E>>,
{
    futures_lite::future::try_zip(a, b).await
}

/// Waits for both, at the same time.
pub async fn join<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    futures_lite::future::zip(a, b).await
}

/// Waits for all, at the same time; the outputs come in the order of the futures.
pub async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = waiting.iter().map(|_| None).collect();
    futures_lite::future::poll_fn(|cx| {
        let mut pending = false;
        for (future, output) in waiting.iter_mut().zip(&mut outputs).filter(|(_, output)| output.is_none()) {
            match future.as_mut().poll(cx) {
                Poll::Ready(value) => *output = Some(value),
                Poll::Pending => pending = true,
            }
        }
        if pending { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

/// Waits for the first of two, and drops the other; when both are there, the first named wins.
pub async fn race<T>(a: impl Future<Output = T>, b: impl Future<Output = T>) -> T {
    futures_lite::future::or(a, b).await
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    /// The output of a future that does not wait.
    fn output<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => output,
            Poll::Pending => panic!("the future waits"),
        }
    }

    #[test]
    fn join_all_keeps_the_order() {
        assert_eq!(output(join_all([1, 2, 3].map(ready))), [1, 2, 3]);
        assert_eq!(output(join_all(Vec::<std::future::Ready<()>>::new())), []);
    }

    #[test]
    fn a_race_ends_with_the_first() {
        assert_eq!(output(race(pending(), ready(1))), 1);
        assert_eq!(output(race(ready(1), ready(2))), 1);
    }
}
