//! The frames queued for one connection, and whose turn it is.
//!
//! Control frames have a slot per process that holds the last frame of each kind. DATA has a queue per stream
//! that credit bounds. So nothing here grows with what a peer does. Control goes first; processes with DATA
//! take turns of one frame. What is typed at a terminal goes before others, up to a page each turn.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use bytes::Bytes;

use crate::batch::Sink;
use crate::id::ProcessId;
use crate::pace::Open;
use crate::stream::Chunks;
use crate::terminal::TerminalSize;
use crate::wire::{Frame, FrameKind, MAX_DATA, Stream, put_data_head};

/// The most bytes of a terminal that go before other DATA in a turn.
const PAGE: usize = 4_096;

/// The most SKIPs of a stream that wait. Beyond, DATA between the last ones is passed over, too.
const MAX_SKIPS: usize = 1_024;

/// The frames queued for one connection.
#[derive(Debug, Default)]
pub(crate) struct Mux {
    slots: HashMap<ProcessId, Slot>,
    control: VecDeque<ProcessId>,
    data: VecDeque<ProcessId>,
    /// Those with DATA that have a terminal.
    typed: VecDeque<ProcessId>,
    /// Processes with a terminal, as far as this connection was told.
    terminals: HashSet<ProcessId>,
    /// The last DATA was a terminal's.
    was_typed: bool,
    first: VecDeque<Bytes>,
    first_len: usize,
    first_taken: u64,
    last_data: Option<ProcessId>,
}

/// The frames queued for one process.
#[derive(Debug, Default)]
struct Slot {
    control: BTreeMap<u8, Frame>,
    control_turn: bool,
    data: [Pending; 3],
    data_turn: bool,
    last_stream: usize,
}

/// DATA of one stream, in pieces without a gap. Each piece but the first follows a SKIP to its position.
#[derive(Debug, Default)]
struct Pending {
    position: u64,
    chunks: Chunks,
    skipped: VecDeque<(u64, Chunks)>,
}

impl Pending {
    fn push(&mut self, position: u64, bytes: Bytes) {
        if let Some((_, chunks)) = self.skipped.back_mut() {
            return chunks.push(bytes);
        }
        if self.chunks.is_empty() {
            self.position = position;
        }
        self.chunks.push(bytes);
    }

    /// Of several without DATA between them the last one counts.
    fn skip(&mut self, to: u64) {
        let is_crowded = self.skipped.len() >= MAX_SKIPS;
        match self.skipped.back_mut() {
            Some((position, chunks)) if is_crowded || chunks.is_empty() => {
                chunks.clear();
                *position = to;
            }
            _ => self.skipped.push_back((to, Chunks::default())),
        }
    }

    fn len(&self) -> usize {
        self.chunks.len() + self.skipped.iter().map(|(_, chunks)| chunks.len()).sum::<usize>()
    }

    fn clear(&mut self) {
        self.chunks.clear();
        self.skipped.clear();
    }
}

/// Place of a frame among the control frames of its process. One frame is kept for each place: per kind, and
/// per stream if it has one.
fn place(frame: &Frame) -> u8 {
    first_place(frame.kind()) + frame.stream().map_or(0, |stream| stream as u8)
}

/// The first place of a kind.
const fn first_place(kind: FrameKind) -> u8 {
    match kind.rank() {
        Some(rank) => rank * Stream::ALL.len() as u8,
        None => u8::MAX,
    }
}

impl Mux {
    /// Queues a frame. If it opens an attempt, frames that it makes void are dropped.
    pub(crate) fn push(&mut self, frame: Frame) {
        // KEPT goes in the order of what a host tells
        let Some(id) = frame.process().filter(|_| frame.kind() != FrameKind::Kept) else {
            self.push_first(frame.to_bytes());
            return;
        };
        let slot = self.slots.entry(id).or_default();
        if let Frame::Data { stream, .. } | Frame::Skip { stream, .. } = frame {
            let pending = &mut slot.data[stream.index()];
            match frame {
                Frame::Data { position, bytes, .. } => pending.push(position, bytes),
                Frame::Skip { position, .. } => pending.skip(position),
                _ => {}
            }
            if !std::mem::replace(&mut slot.data_turn, true) {
                let is_typed = self.terminals.contains(&id);
                if is_typed { &mut self.typed } else { &mut self.data }.push_back(id);
            }
            return;
        }
        // the first one has the reason
        if matches!(frame, Frame::Lost { .. }) && slot.control.contains_key(&place(&frame)) {
            return;
        }
        match frame {
            Frame::Release(_) | Frame::Leave { .. } | Frame::Lost { .. } => {
                slot.void_from(FrameKind::Select);
            }
            // whoever takes what it had lost goes on
            Frame::Reachable(_) | Frame::Unreachable { .. } | Frame::Taken { .. } => {
                slot.void_from(FrameKind::Lost);
            }
            Frame::Spawn(_) | Frame::Resume { .. } | Frame::Take { .. } | Frame::Resumed { .. } => {
                slot.void_from(FrameKind::Resumed);
            }
            _ => {}
        }
        match &frame {
            Frame::Spawn(spawn) if TerminalSize::asked(&spawn.options).is_none() => {}
            // only a process with a terminal is told a size, at the latest when it resumes
            Frame::Spawn(_) | Frame::Size { .. } => drop(self.terminals.insert(id)),
            Frame::Release(_) | Frame::Leave { .. } => drop(self.terminals.remove(&id)),
            _ => {}
        }
        let releases = matches!(frame, Frame::Release(_) | Frame::Leave { .. });
        slot.control.insert(place(&frame), frame);
        let has_turn = std::mem::replace(&mut slot.control_turn, true);
        if releases {
            // before everything sent later: the credit that it gives back may be granted to another process
            // at once
            self.control.push_front(id);
        } else if !has_turn {
            self.control.push_back(id);
        }
    }

    /// Whether nothing is queued.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty() && self.first.is_empty()
    }

    /// The number of processes with queued frames.
    pub(crate) fn processes(&self) -> usize {
        self.slots.len()
    }

    /// Queues bytes that go before everything else.
    pub(crate) fn push_first(&mut self, bytes: Bytes) {
        self.first_len += bytes.len();
        self.first.push_back(bytes);
    }

    /// The place behind all bytes of [`Mux::push_first`] so far.
    pub(crate) fn first_end(&self) -> u64 {
        self.first_taken + self.first_len as u64
    }

    /// The place of the next one of these bytes.
    pub(crate) fn first_taken(&self) -> u64 {
        self.first_taken
    }

    /// Queued bytes of [`Mux::push_first`].
    pub(crate) fn first_len(&self) -> usize {
        self.first_len
    }

    /// Forgets all frames of a process.
    pub(crate) fn void(&mut self, id: ProcessId) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.void_from(FrameKind::Select);
        }
    }

    /// Bytes of DATA queued for a process.
    pub(crate) fn queued(&self, id: ProcessId) -> usize {
        let Some(slot) = self.slots.get(&id) else { return 0 };
        slot.data.iter().map(Pending::len).sum()
    }

    /// Bytes of DATA queued for all processes.
    pub(crate) fn queued_in_all(&self) -> usize {
        let streams = self.slots.values().flat_map(|slot| &slot.data);
        streams.map(Pending::len).sum()
    }

    /// Whether a process has a terminal.
    pub(crate) fn has_terminal(&self) -> bool {
        !self.terminals.is_empty()
    }

    /// Appends the next frame to `out`, DATA only if it is open for it. Returns false if there is none.
    pub(crate) fn pop(&mut self, out: &mut impl Sink, open: Open) -> bool {
        if let Some(bytes) = self.first.pop_front() {
            self.first_len -= bytes.len();
            self.first_taken += bytes.len() as u64;
            out.share(bytes);
            return true;
        }
        while let Some(id) = self.control.pop_front() {
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            let Some((_, frame)) = slot.control.pop_first() else {
                slot.control_turn = false;
                self.tidy(id);
                continue;
            };
            frame.encode(out.tail());
            self.control.push_back(id);
            return true;
        }
        // in turn, the terminals first
        let order = if self.was_typed { [false, true] } else { [true, false] };
        order.into_iter().any(|typed| self.pop_data(out, typed, open))
    }

    fn pop_data(&mut self, out: &mut impl Sink, typed: bool, open: Open) -> bool {
        let may_exceed = typed && (!self.was_typed || self.data.is_empty());
        let is_open = open.others || may_exceed && open.terminals;
        let most = if typed { PAGE } else { MAX_DATA };
        while is_open && let Some(id) = if typed { &mut self.typed } else { &mut self.data }.pop_front() {
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            if slot.pop_data(id, most, out) {
                if typed { &mut self.typed } else { &mut self.data }.push_back(id);
                self.last_data = Some(id);
                self.was_typed = typed;
                return true;
            }
            slot.data_turn = false;
            self.tidy(id);
        }
        false
    }

    /// DATA of this process was sent that was not queued.
    pub(crate) fn passed(&mut self, id: ProcessId) {
        self.last_data = Some(id);
    }

    /// The process whose DATA was appended last.
    pub(crate) fn last_data(&self) -> Option<ProcessId> {
        self.last_data
    }

    fn tidy(&mut self, id: ProcessId) {
        if self.slots.get(&id).is_some_and(|slot| !slot.control_turn && !slot.data_turn) {
            self.slots.remove(&id);
        }
    }
}

impl Slot {
    /// Drops control frames of `kind` and of kinds behind it, and all DATA.
    fn void_from(&mut self, kind: FrameKind) {
        self.control.split_off(&first_place(kind));
        for pending in &mut self.data {
            pending.clear();
        }
    }

    fn pop_data(&mut self, id: ProcessId, most: usize, out: &mut impl Sink) -> bool {
        for turn in 1..=3 {
            let index = (self.last_stream + turn) % 3;
            let pending = &mut self.data[index];
            if pending.chunks.is_empty() {
                let Some((position, chunks)) = pending.skipped.pop_front() else { continue };
                (pending.position, pending.chunks) = (position, chunks);
                self.last_stream = index;
                Frame::Skip { id, stream: Stream::ALL[index], position }.encode(out.tail());
                return true;
            }
            self.last_stream = index;
            let length = pending.chunks.len().min(most);
            put_data_head(out.tail(), id, Stream::ALL[index], pending.position, length);
            let mut missing = length;
            while missing > 0 {
                let bytes = pending.chunks.pop(missing);
                missing -= bytes.len();
                out.share(bytes);
            }
            pending.position += length as u64;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::id::{ClientId, Incarnation};
    use crate::wire::{Decoder, Span, Standing};

    fn frames(mux: &mut Mux) -> Vec<Frame> {
        let mut out = BytesMut::new();
        while mux.pop(&mut out, Open::ALL) {}
        let mut decoder = Decoder::default();
        decoder.push(&out);
        std::iter::from_fn(|| decoder.next().unwrap().map(|(frame, _)| frame)).collect()
    }

    fn data(id: u8, position: u64, length: usize) -> Frame {
        let bytes = Bytes::from(vec![id; length]);
        Frame::Data { id: ProcessId([id; 16]), stream: Stream::Stdout, position, bytes }
    }

    #[test]
    fn control_goes_first_and_processes_take_turns() {
        let mut mux = Mux::default();
        mux.push(data(1, 0, MAX_DATA * 2));
        mux.push(data(2, 0, 1));
        mux.push(data(2, 1, 1));
        mux.push(Frame::Stop { id: ProcessId([3; 16]), stream: Stream::Stdin });
        let order: Vec<_> = frames(&mut mux).iter().map(|f| (f.process().unwrap().0[0], f.kind())).collect();
        assert_eq!(
            order,
            [(3, FrameKind::Stop), (1, FrameKind::Data), (2, FrameKind::Data), (1, FrameKind::Data)]
        );
        assert!(mux.slots.is_empty());
    }

    #[test]
    fn what_is_typed_goes_first_a_page_at_a_time() {
        let mut mux = Mux::default();
        let [bulk, terminal] = [1, 2].map(|id| ProcessId([id; 16]));
        mux.push(data(1, 0, MAX_DATA * 2));
        mux.push(Frame::Size { id: terminal, sequence: 0, rows: 24, columns: 80 });
        mux.push(data(2, 0, PAGE + 1));
        assert!(mux.has_terminal());
        let order: Vec<_> = frames(&mut mux)
            .into_iter()
            .filter_map(|frame| match frame {
                Frame::Data { id, bytes, .. } => Some((id, bytes.len())),
                _ => None,
            })
            .collect();
        assert_eq!(order, [(terminal, PAGE), (bulk, MAX_DATA), (terminal, 1), (bulk, MAX_DATA)]);
        // behind a full window it is still heard, and bulk is not
        mux.push(data(1, 0, 10));
        mux.push(data(2, 0, 10));
        let mut out = BytesMut::new();
        let open = Open { terminals: true, others: false };
        assert!(mux.pop(&mut out, open) && !mux.pop(&mut out, open));
        assert_eq!(mux.last_data(), Some(terminal));
        // once: then it is the turn of the others
        mux.push(data(2, 10, 10));
        assert!(!mux.pop(&mut out, open) && mux.pop(&mut out, Open::ALL));
        assert_eq!(mux.last_data(), Some(bulk));
        assert!(mux.pop(&mut out, open) && !mux.pop(&mut out, Open::ALL));
        mux.push(Frame::Release(terminal));
        assert!(!mux.has_terminal());
    }

    #[test]
    fn a_flood_of_control_keeps_one_frame_of_a_kind() {
        let mut mux = Mux::default();
        let id = ProcessId([1; 16]);
        for received in 0..10_000 {
            let span = Span { received, limit: received };
            mux.push(Frame::Credit { id, stream: Stream::Stdout, span });
        }
        let span = Span { received: 9_999, limit: 9_999 };
        assert_eq!(frames(&mut mux), [Frame::Credit { id, stream: Stream::Stdout, span }]);
    }

    #[test]
    fn a_skip_goes_in_the_order_of_the_data() {
        let (mut mux, id) = (Mux::default(), ProcessId([1; 16]));
        let skip = |position| Frame::Skip { id, stream: Stream::Stdout, position };
        for frame in [data(1, 0, 2), data(1, 2, 3), skip(9), skip(10), data(1, 10, 1), skip(20), skip(30)] {
            mux.push(frame);
        }
        assert_eq!((mux.queued(id), mux.queued_in_all()), (6, 6));
        assert_eq!(frames(&mut mux), [data(1, 0, 5), skip(10), data(1, 10, 1), skip(30)]);
        mux.push(data(1, 30, 1));
        assert_eq!(frames(&mut mux), [data(1, 30, 1)]);
        mux.push(skip(50));
        assert_eq!(frames(&mut mux), [skip(50)]);
        assert!(mux.slots.is_empty());
    }

    #[test]
    fn taking_over_makes_void_what_was_queued_for_the_one_before() {
        let (mut mux, id) = (Mux::default(), ProcessId([1; 16]));
        let owner = ClientId([1; 16]);
        let take = Frame::Take {
            id,
            attempt: 1,
            incarnation: Incarnation([2; 16]),
            owner,
            tenure: 0,
            pid: 7,
            program: "p".into(),
            host: "h".into(),
        };
        let leave = Frame::Leave { id, owner, end: false };
        let void = [data(1, 0, 2), Frame::Skip { id, stream: Stream::Stdout, position: 9 }, leave.clone()];
        void.into_iter().for_each(|frame| mux.push(frame));
        mux.push(take.clone());
        assert_eq!(frames(&mut mux), std::slice::from_ref(&take));
        mux.push(data(2, 0, 1));
        mux.push(Frame::Stop { id: ProcessId([2; 16]), stream: Stream::Stdin });
        mux.push(take);
        mux.push(leave.clone());
        assert_eq!(frames(&mut mux)[0], leave, "before everything that was sent later");
        mux.push(Frame::Lost { id, message: "taken over".into() });
        let taken = Frame::Taken { id, attempt: 1, tenure: 2, standing: Standing::default() };
        mux.push(taken.clone());
        assert_eq!(frames(&mut mux), [taken]);
    }

    #[test]
    fn a_new_attempt_drops_what_the_old_one_queued() {
        let mut mux = Mux::default();
        let id = ProcessId([1; 16]);
        mux.push(data(1, 0, 10));
        mux.push(Frame::Stop { id, stream: Stream::Stdout });
        let resume = Frame::Resume { id, attempt: 2, stdout: Span::default(), stderr: Span::default() };
        mux.push(resume.clone());
        assert_eq!(frames(&mut mux), [resume]);
    }

    #[test]
    fn many_skips_take_no_more_memory_than_some() {
        let id = ProcessId([1; 16]);
        let mut mux = Mux::default();
        for number in 0..10_000 {
            mux.push(data(1, 10 * number, 1));
            mux.push(Frame::Skip { id, stream: Stream::Stdout, position: 10 * (number + 1) });
        }
        mux.push(data(1, 100_000, 3));
        assert!(mux.queued(id) <= MAX_SKIPS + 3);
        let frames = frames(&mut mux);
        assert!(frames.len() <= 2 * MAX_SKIPS + 2);
        assert_eq!(frames.last(), Some(&data(1, 100_000, 3)));
        let mut at = 0;
        for frame in frames {
            match frame {
                Frame::Data { position, bytes, .. } => {
                    assert_eq!(position, at);
                    at += bytes.len() as u64;
                }
                Frame::Skip { position, .. } => at = position,
                frame => panic!("{frame:?}"),
            }
        }
    }
}
