use super::*;

#[test]
fn unacknowledged_bytes_are_sent_again() {
    let mut send = SendStream::new(8);
    send.write(Bytes::from_static(b"hello world"));
    assert_eq!(send.next_data(), Some((0, Bytes::from_static(b"hello wo"))));
    assert_eq!(send.next_data(), None);
    send.credit(Span { received: 3, limit: 100 }).unwrap();
    send.resume(Span { received: 5, limit: 100 }).unwrap();
    assert_eq!(send.next_data(), Some((5, Bytes::from_static(b" world"))));
    assert!(send.resume(Span { received: 4, limit: 100 }).is_err());
    assert!(send.credit(Span { received: 12, limit: 100 }).is_err());
}

#[test]
fn duplicates_are_dropped_and_gaps_are_errors() {
    let mut recv = RecvStream::new(OUTPUT_WINDOW);
    recv.data(0, Bytes::from_static(b"abc")).unwrap();
    recv.data(1, Bytes::from_static(b"bcde")).unwrap();
    assert_eq!(recv.read(100), "abcde");
    assert!(recv.data(6, Bytes::from_static(b"x")).is_err());
    let far = Bytes::from(vec![0; OUTPUT_WINDOW as usize]);
    assert!(recv.data(5, far).is_err());
}

#[test]
fn a_gap_is_told_where_it_is_and_nothing_is_read_across_it() {
    let mut recv = RecvStream::at(100, 16_384);
    assert_eq!((recv.position(), recv.missing()), (100, 0));
    recv.skip(150).unwrap();
    recv.skip(120).unwrap();
    recv.skip(160).unwrap();
    recv.data(155, Bytes::from_static(b"xxxxxab")).unwrap();
    recv.skip(1_000_000).unwrap();
    let span = recv.credit(&mut CreditPool::default()).expect("it is due");
    assert_eq!((span.received, span.limit), (1_000_000, 1_000_000 - 2 + 2 * OUTPUT_WINDOW));
    recv.data(1_000_000, Bytes::from_static(b"c")).unwrap();
    assert_eq!((recv.available(), recv.waiting(), recv.position()), (0, 3, 100));
    assert_eq!(recv.read(10), "");
    assert_eq!((recv.missing(), recv.take_gap(), recv.take_gap()), (60, 60, 0));
    assert_eq!((recv.available(), recv.position()), (2, 160));
    assert_eq!((recv.read(10), recv.read(10)), ("ab".into(), "".into()));
    assert_eq!((recv.take_gap(), recv.read(10)), (1_000_000 - 162, "c".into()));
    recv.fin(1_000_005).unwrap();
    assert!(recv.skip(1_000_006).is_err());
    recv.skip(1_000_005).unwrap();
    assert!(recv.is_complete() && !recv.is_finished());
    assert_eq!(recv.take_gap(), 4);
    assert!(recv.is_finished());
}

#[test]
fn gaps_that_nobody_reads_are_put_together() {
    let mut recv = RecvStream::at(0, MAX_WINDOW);
    for n in 0..10_000 {
        recv.skip(3 * n + 1).unwrap();
        recv.data(3 * n + 1, Bytes::from_static(b"ab")).unwrap();
    }
    assert!(recv.gaps.len() <= MAX_GAPS);
    let (mut read, mut missing) = (0, 0);
    while recv.position() < 30_000 {
        missing += recv.take_gap();
        read += recv.read(100).len() as u64;
    }
    assert_eq!((read + missing, recv.waiting()), (30_000, 0));
    assert!(read >= 2 * (MAX_GAPS as u64 - 1));
}

#[test]
fn what_is_discarded_gets_credit_as_if_it_were_read() {
    let (mut pool, mut recv) = (CreditPool::default(), RecvStream::new(OUTPUT_WINDOW));
    recv.data(0, Bytes::from_static(b"abc")).unwrap();
    recv.discard();
    assert!(recv.is_finished() && !recv.is_complete() && recv.available() == 0);
    for _ in 0..1_000 {
        let most = (recv.limit() - recv.received()).min(MAX_DATA as u64) as usize;
        assert!(most > 0);
        recv.data(recv.received(), Bytes::from(vec![0; most])).unwrap();
        recv.credit(&mut pool);
    }
    assert_eq!((recv.window, recv.waiting()), (MAX_WINDOW, 0));
    recv.fin(recv.received()).unwrap();
    assert!(recv.is_complete());
}

#[test]
fn the_window_of_a_stream_in_full_flow_grows_to_the_largest() {
    let (mut pool, mut recv) = (CreditPool::default(), RecvStream::new(OUTPUT_WINDOW));
    for _ in 0..1_000 {
        let most = (recv.limit - recv.received).min(MAX_DATA as u64) as usize;
        recv.data(recv.received, Bytes::from(vec![0; most])).unwrap();
        while !recv.read(usize::MAX).is_empty() {}
        recv.credit(&mut pool);
    }
    assert_eq!(recv.window, MAX_WINDOW);
}

#[test]
fn windows_grow_only_as_far_as_the_pool_goes_and_are_always_granted_again() {
    let mut pool = CreditPool::default();
    let mut streams: Vec<_> = (0..100).map(|_| RecvStream::new(OUTPUT_WINDOW)).collect();
    let mut granted = 0;
    for _ in 0..20 {
        granted = 0;
        for recv in &mut streams {
            let most = (recv.limit - recv.received) as usize;
            recv.data(recv.received, Bytes::from(vec![0; most])).unwrap();
            while !recv.read(usize::MAX).is_empty() {}
            let span = recv.credit(&mut pool).expect("everything was used");
            assert!(span.limit - span.received >= OUTPUT_WINDOW);
            granted += span.limit - span.received;
        }
        assert!(granted <= POOL);
    }
    assert!(granted > POOL / 2);
}

#[test]
fn a_pool_can_be_smaller() {
    let mut pool = CreditPool::default();
    pool.limit(4 * OUTPUT_WINDOW);
    assert!(pool.grow(3 * OUTPUT_WINDOW) && !pool.grow(2 * OUTPUT_WINDOW) && pool.grow(OUTPUT_WINDOW));
    pool.limit(u64::MAX);
    assert!(!pool.grow(POOL / 2) && pool.grow(POOL / 2 - 4 * OUTPUT_WINDOW));
}

#[test]
fn a_skip_to_the_end_of_all_positions_leaves_nothing_to_grant() {
    let (mut recv, mut pool) = (RecvStream::new(16_384), CreditPool::default());
    recv.skip(u64::MAX).unwrap();
    assert_eq!(recv.take_gap(), u64::MAX);
    assert_eq!(recv.credit(&mut pool), Some(Span { received: u64::MAX, limit: u64::MAX }));
    assert_eq!(recv.credit(&mut pool), None);
}
