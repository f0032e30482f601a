use super::*;
use crate::testing::Writing;

async fn put(space: &Space, value: &str, write: u8) -> Result<PutOutcome, Fault> {
    space.put(&Writing::new("n", value, write).put()).await
}

#[tokio::test(start_paused = true)]
async fn the_script_is_followed_in_order() {
    let space = Space::default();
    let fault = Fault::external("down", "down");
    space.script([
        Step::Fail(fault.clone()),
        Step::Wait(Duration::from_secs(5)),
        Step::LoseAnswer(fault.clone().ambiguous()),
        Step::Pass,
    ]);
    assert_eq!(put(&space, "a", 1).await, Err(fault));
    assert!(space.entry("n").is_none());
    let before = tokio::time::Instant::now();
    assert!(put(&space, "a", 1).await.unwrap_err().ambiguous);
    assert_eq!(before.elapsed(), Duration::from_secs(5));
    assert_eq!(space.entry("n").unwrap().value.expose(), b"a");
    assert!(matches!(put(&space, "a", 1).await, Ok(PutOutcome::Written(_))));
    assert_eq!(space.entry("n").unwrap().revision, 1);
    assert_eq!(space.calls(), Calls { put: 3, ..Calls::default() });
}

#[tokio::test]
async fn spaces_of_one_name_are_one() {
    let kind = InMem::new();
    put(&kind.space("a"), "x", 1).await.unwrap();
    assert_eq!(kind.space("a").names(), ["n"]);
    assert!(kind.space("").names().is_empty());
}
