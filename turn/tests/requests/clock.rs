//! [`Requests`] on tokio's paused clock.

use std::time::Duration;

use baton_turn::limits::REPORT_TIMEOUT;
use baton_turn::requests::{ReportedPart, Requests, TimingReport};
use tokio::time::advance;

#[tokio::test(start_paused = true)]
async fn the_interval_ends_with_the_stamped_end_and_not_with_the_report() {
    let requests = Requests::new();
    let ordinal = requests.start().unwrap();
    advance(Duration::from_millis(20)).await;
    requests.end(ordinal).unwrap();
    advance(Duration::from_millis(500)).await;
    let part = ReportedPart::from_ns("decode", 5_000_000, 10_000_000);
    let TimingReport::Matched(timing) = requests.report(ordinal, &[part]) else {
        panic!("in time");
    };
    assert_eq!(timing.total, Duration::from_millis(20));
    assert_eq!(timing.rest, Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn a_report_at_the_timeout_is_late_and_its_request_lost() {
    let requests = Requests::new();
    let [first, second] = [(); 2].map(|()| requests.start().unwrap());
    advance(REPORT_TIMEOUT - Duration::from_nanos(1)).await;
    assert!(matches!(requests.report(first, &[]), TimingReport::Matched(_)));
    advance(Duration::from_nanos(1)).await;
    assert_eq!(requests.counters().lost, 1);
    assert_eq!(requests.report(second, &[]), TimingReport::Late);
    assert_eq!(requests.report(second, &[]), TimingReport::Duplicate);
    assert_eq!(requests.report(7, &[]), TimingReport::Unknown);
    let counters = requests.close();
    assert_eq!(
        (
            counters.started,
            counters.matched,
            counters.lost,
            counters.late,
            counters.duplicate,
            counters.unknown
        ),
        (2, 1, 1, 1, 1, 1)
    );
}

#[tokio::test]
async fn clones_share_the_requests() {
    let requests = Requests::new();
    let receiver = requests.clone();
    let ordinal = requests.start().unwrap();
    let received = tokio::spawn(async move { receiver.report(ordinal, &[]) })
        .await
        .unwrap();
    assert!(matches!(received, TimingReport::Matched(_)));
    assert_eq!(requests.counters().matched, 1);
}
