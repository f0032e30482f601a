//! What the disk itself does: without this figure beside them, durable writes mean nothing.

use std::{io::Write as _, time::Instant};

use crate::{
    Scale,
    load::{micros, percentile},
};

/// Appends 240 bytes and waits until they are on the disk, again and again.
pub(crate) async fn probe(scale: Scale) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("probe");
    let latencies = tokio::task::spawn_blocking(move || {
        let mut file = std::fs::File::create(path).unwrap();
        let (begun, mut latencies) = (Instant::now(), Vec::new());
        while begun.elapsed() < scale.round {
            let one = Instant::now();
            file.write_all(&[7; 240]).unwrap();
            file.sync_data().unwrap();
            latencies.push(micros(one.elapsed()));
        }
        latencies.sort_unstable();
        latencies
    })
    .await
    .unwrap();
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let per_second = latencies.len() as f64 / scale.round.as_secs_f64();
    println!(
        "disk: append of 240 bytes + fdatasync, alone: {per_second:.0}/s, p50 {:.3} ms, p99 {:.3} ms\n",
        percentile(&latencies, 50),
        percentile(&latencies, 99)
    );
}
