//! A model of an agent: follows docs/protocol.md, and runs programs that are a few lines each.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use execnet_proto::conn::Conn;
use execnet_proto::control::NodeState;
use execnet_proto::id::{Epoch, Incarnation, ProcessId};
use execnet_proto::opening::OPENING;
use execnet_proto::stream::{CreditPool, RecvStream, STDIN_WINDOW, SendStream};
use execnet_proto::wire::{Ending, Exit, Frame, Spawn, Stream};

/// Byte `at` of the pattern that programs write and tests expect.
fn pattern(at: u64) -> u8 {
    (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

/// The bytes of the pattern from `at`.
pub fn patterned(at: u64, length: usize) -> Vec<u8> {
    (at..at + length as u64).map(pattern).collect()
}

pub struct Agent {
    incarnation: Incarnation,
    conn: Option<Conn>,
    opening: BytesMut,
    programs: HashMap<ProcessId, Program>,
    pool: CreditPool,
}

struct Program {
    spawn: Spawn,
    stdin: RecvStream,
    output: [SendStream; 2],
    muted: bool,
    signaled: u32,
    caught: Vec<u32>,
    ending: Option<Ending>,
    said_exit: bool,
    stopped_stdin: bool,
    /// Bytes consumed or produced so far.
    count: u64,
    wrong: bool,
}

impl Agent {
    pub fn new(incarnation: u8) -> Self {
        let incarnation = Incarnation([incarnation; 16]);
        Self {
            incarnation,
            conn: None,
            opening: BytesMut::new(),
            programs: HashMap::new(),
            pool: CreditPool::default(),
        }
    }

    /// The ids of the running programs.
    pub fn running(&self) -> Vec<ProcessId> {
        self.programs.keys().copied().collect()
    }

    pub fn attach(&mut self, epoch: Epoch, facts: Vec<(String, Bytes)>, now: Duration) {
        let mut conn = Conn::link(now);
        self.opening = BytesMut::from(&OPENING[..]);
        let hello =
            Frame::Hello { incarnation: self.incarnation, epoch, resume: true, pid: 1, facts: Vec::new() };
        conn.send(hello);
        conn.send(Frame::Node { name: "alpha".into(), state: NodeState::Ready, facts });
        conn.send(Frame::Nodes(1));
        self.conn = Some(conn);
        self.programs.values_mut().for_each(|program| program.muted = true);
    }

    pub fn detach(&mut self) {
        self.conn = None;
    }

    pub fn bytes(&mut self, bytes: &[u8], now: Duration) {
        let Some(conn) = &mut self.conn else { return };
        conn.push(bytes, now);
        while let Some(frame) = self.conn.as_mut().and_then(|conn| conn.next(now).unwrap()) {
            self.frame(frame);
        }
    }

    pub fn transmit(&mut self, out: &mut BytesMut, now: Duration) {
        let Some(conn) = &mut self.conn else { return };
        out.extend_from_slice(&self.opening.split());
        for (&id, program) in self.programs.iter_mut().filter(|(_, program)| !program.muted) {
            program.run();
            program.speak(id, conn, &mut self.pool);
        }
        conn.transmit(out, 1 << 20, now);
    }

    fn frame(&mut self, frame: Frame) {
        let id = frame.process().expect("only frames of processes come here");
        let conn = self.conn.as_mut().unwrap();
        if let Frame::Release(_) = frame {
            self.programs.remove(&id);
            conn.void(id);
            conn.send(Frame::Forget(id));
            return;
        }
        if let Frame::Spawn(spawn) = &frame {
            self.programs.entry(id).or_insert_with(|| Program::new(spawn));
        }
        let Some(program) = self.programs.get_mut(&id) else {
            conn.send(Frame::Forget(id));
            return;
        };
        program.frame(frame, conn);
    }
}

impl Program {
    fn new(spawn: &Spawn) -> Self {
        Self {
            spawn: spawn.clone(),
            stdin: RecvStream::new(STDIN_WINDOW),
            output: [SendStream::new(spawn.stdout_limit), SendStream::new(spawn.stderr_limit)],
            muted: true,
            signaled: 0,
            caught: Vec::new(),
            ending: None,
            said_exit: false,
            stopped_stdin: false,
            count: 0,
            wrong: false,
        }
    }

    fn frame(&mut self, frame: Frame, conn: &mut Conn) {
        match frame {
            Frame::Spawn(spawn) => {
                assert_eq!((&spawn.args, spawn.owner), (&self.spawn.args, self.spawn.owner));
                self.resume(
                    spawn.id,
                    spawn.attempt,
                    [(0, spawn.stdout_limit), (0, spawn.stderr_limit)],
                    conn,
                );
            }
            Frame::Resume { id, attempt, stdout, stderr } => {
                let spans = [(stdout.received, stdout.limit), (stderr.received, stderr.limit)];
                self.resume(id, attempt, spans, conn);
            }
            _ if self.muted => {}
            Frame::Data { position, bytes, .. } => self.stdin.data(position, bytes).unwrap(),
            Frame::Fin { length, .. } => self.stdin.fin(length).unwrap(),
            Frame::Credit { stream, span, .. } => self.output[stream.index() - 1].credit(span).unwrap(),
            Frame::Stop { stream, .. } => self.output[stream.index() - 1].stop(),
            Frame::Signal { id, sequence, mask } => {
                if sequence > self.signaled {
                    self.signaled = sequence;
                    self.caught.extend((0..64).filter(|number| mask >> number & 1 == 1));
                }
                conn.send(Frame::Signaled { id, sequence });
            }
            other => panic!("an agent gets no {other:?}"),
        }
    }

    fn resume(&mut self, id: ProcessId, attempt: u32, spans: [(u64, u64); 2], conn: &mut Conn) {
        for (stream, (received, limit)) in self.output.iter_mut().zip(spans) {
            stream.resume(execnet_proto::wire::Span { received, limit }).unwrap();
        }
        self.muted = false;
        self.said_exit = false;
        self.run();
        conn.send(Frame::Resumed { id, attempt, stdin: self.stdin.span() });
        if !matches!(self.ending, Some(Ending::NotStarted(..))) {
            conn.send(Frame::Started { id, pid: 4711 });
        }
        if self.stopped_stdin {
            conn.send(Frame::Stop { id, stream: Stream::Stdin });
        }
    }

    /// Chooses the program by the first argument.
    fn run(&mut self) {
        if self.ending.is_some() {
            return;
        }
        let args = self.spawn.args.clone();
        let arg = |at: usize| args.get(at).map_or("", |arg| std::str::from_utf8(arg).unwrap());
        let number = || arg(1).parse::<u64>().unwrap();
        match arg(0) {
            // stdin to stdout
            "echo" => {
                while self.output[0].capacity() > 0 && self.stdin.available() > 0 {
                    let bytes = self.stdin.read(self.output[0].capacity());
                    self.output[0].write(bytes);
                }
                if self.stdin.is_finished() {
                    self.end(Ending::Exited(0));
                }
            }
            // compares stdin with the pattern, and reports its length
            "compare" => {
                while self.stdin.available() > 0 {
                    for byte in self.stdin.read(usize::MAX) {
                        self.wrong |= byte != pattern(self.count);
                        self.count += 1;
                    }
                }
                if self.stdin.is_finished() {
                    self.output[0].write(format!("{} {}", self.count, self.wrong).into());
                    self.end(Ending::Exited(0));
                }
            }
            // writes this many bytes of the pattern
            "source" => {
                let left = number() - self.count;
                let length = left.min(self.output[0].capacity() as u64) as usize;
                self.output[0].write(patterned(self.count, length).into());
                self.count += length as u64;
                if self.count == number() || self.output[0].is_stopped() {
                    self.end(Ending::Exited(u32::from(self.output[0].is_stopped())));
                }
            }
            "exit" => {
                self.output[1].write(Bytes::from_static(b"bye"));
                self.end(Ending::Exited(number() as u32));
            }
            "missing" => self.end(Ending::NotStarted(2, "no such file".into())),
            // reports the signals it gets
            "trap" => {
                for signal in std::mem::take(&mut self.caught) {
                    self.output[0].write(format!("{signal} ").into());
                }
                if self.stdin.is_finished() {
                    self.end(Ending::Exited(0));
                }
            }
            // closes stdin and continues
            "shut" => self.stopped_stdin = true,
            // reads nothing, writes nothing
            "deaf" => {}
            other => panic!("no program {other}"),
        }
        if let Some(signal) = self.caught.pop() {
            self.end(Ending::Signaled(signal));
        }
    }

    fn end(&mut self, ending: Ending) {
        self.ending = Some(ending);
        self.output.iter_mut().for_each(SendStream::finish);
    }

    fn speak(&mut self, id: ProcessId, conn: &mut Conn, pool: &mut CreditPool) {
        if let Some(span) = self.stdin.credit(pool) {
            conn.send(Frame::Credit { id, stream: Stream::Stdin, span });
        }
        if self.stopped_stdin && !self.stdin.is_stopped() {
            self.stdin.stop();
            conn.send(Frame::Stop { id, stream: Stream::Stdin });
        }
        for (output, stream) in self.output.iter_mut().zip([Stream::Stdout, Stream::Stderr]) {
            while conn.queued(id) < 256 * 1024
                && let Some((position, bytes)) = output.next_data()
            {
                conn.send(Frame::Data { id, stream, position, bytes });
            }
        }
        if let Some(ending) = &self.ending
            && self.output.iter().all(|output| output.unsent() == 0)
            && !self.said_exit
        {
            self.said_exit = true;
            let [stdout, stderr] = [0, 1].map(|at| self.output[at].end());
            conn.send(Frame::Exit { id, exit: Exit { ending: ending.clone(), stdout, stderr } });
        }
    }
}
