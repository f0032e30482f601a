//! The soak in small: what is left in the store after every kind of work was done, some of it by many at once.

use std::time::Duration;

use crate::soak::{Plan, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_in_the_store_of_what_came_and_went() {
    let home = tempfile::tempdir().unwrap();
    let plan = Plan { operations: 4_000, connections: 16, limit: Duration::from_mins(5) };
    let report = run(home.path(), plan).await;
    assert!(report.operations >= plan.operations, "{}", report.operations);
    assert_eq!(report.before, report.after, "records by tag");
}
