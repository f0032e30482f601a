use destinations::{Retry, fakes::Trouble};

use super::*;

fn throttled(outcome: Result<PutOutcome, Fault>) -> u64 {
    let refused = fault(outcome);
    assert_eq!((refused.code, refused.blame), ("throttled", model::Blame::External));
    match refused.retry {
        Retry::After(wait) => wait.as_secs(),
        other => panic!("{other:?}"),
    }
}

/// Hammering during a pause can get an integration banned.
#[tokio::test]
async fn no_call_is_made_during_a_pause_by_any_destination_of_the_token() {
    let bench = Bench::new().await;
    let (one, two) = (bench.open(json!({})), bench.open(json!({"environment_name": "prod/eu 1"})));
    bench.fake.allow_token("ghp_another", true);
    let other = bench.open(json!({"access_token": "ghp_another"}));
    bench.fake.trouble("write", [Trouble::Answer(429, vec![("retry-after", "90".into())], "{}")]);
    assert_eq!(throttled(put(&one, "A", "v", Expect::Ours(None)).await), 90);
    bench.cost();
    bench.advance(Duration::from_secs(30)).await;
    assert!((59..=60).contains(&throttled(put(&one, "A", "v", Expect::Ours(None)).await)));
    assert!((59..=60).contains(&throttled(put(&two, "A", "v", Expect::Absent).await)));
    assert_eq!(fault(look(&two, "A").await).code, "throttled");
    assert_eq!(bench.cost(), "");
    written(put(&other, "A", "v", Expect::Ours(None)).await);
    bench.advance(Duration::from_secs(61)).await;
    written(put(&one, "A", "v", Expect::Ours(None)).await);
    written(put(&two, "A", "v", Expect::Absent).await);
}

/// The last call of the hour goes through; the next is not even tried.
#[tokio::test]
async fn a_limit_that_is_used_up_is_known_without_being_refused() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    written(put(&destination, "A", "1", Expect::Absent).await);
    let reset = (bench.theirs_secs() + 600).to_string();
    let last = vec![("x-ratelimit-remaining", "0".to_owned()), ("x-ratelimit-reset", reset)];
    bench.fake.trouble("write", [Trouble::Answer(204, last, "")]);
    written(put(&destination, "A", "2", Expect::Ours(None)).await);
    bench.cost();
    let wait = throttled(put(&destination, "A", "3", Expect::Ours(None)).await);
    assert!((600..=601).contains(&wait), "{wait}");
    assert_eq!(bench.cost(), "");
    bench.advance(Duration::from_secs(602)).await;
    written(put(&destination, "A", "3", Expect::Ours(None)).await);
}

#[tokio::test]
async fn pauses_grow_when_no_time_is_given() {
    let bench = Bench::new().await;
    let destination = bench.open(json!({}));
    let said = r#"{"message":"You have exceeded a secondary rate limit."}"#;
    let mut waits = Vec::new();
    for _ in 0..4 {
        bench.fake.trouble("write", [Trouble::answer(403, said)]);
        let wait = throttled(put(&destination, "A", "v", Expect::Ours(None)).await);
        waits.push(wait);
        bench.advance(Duration::from_secs(wait)).await;
    }
    // Reading the key went well before the first; nothing has since.
    assert_eq!(waits, [60, 120, 240, 480]);
    written(put(&destination, "A", "v", Expect::Ours(None)).await);
    bench.fake.trouble("write", [Trouble::answer(403, said)]);
    assert_eq!(throttled(put(&destination, "A", "v", Expect::Ours(None)).await), 60);
}
