//! A gateway survives everything that its kernel sends, and keeps count of what it holds.

use std::collections::HashMap;

use super::*;
use crate::fuzz::{Input, encoded};
use crate::gateway::prologue::NOISE;
use crate::gateway::wire::MARKER;
use crate::value::{Writer, Writing};

/// How many channels of the client there are at most: those of the kernel come between them.
const OPENED: usize = 20;

/// Drives the client's end with `bytes`: a kernel that says anything, and a program that uses its channels.
pub fn kernel(bytes: &[u8]) {
    let mut input = Input(bytes);
    let modes = input.byte();
    let window = if modes & 1 == 0 { WINDOW } else { 40 };
    let mut bench = Bench::new(window, modes & 2 != 0, modes & 4 != 0);
    if modes & 8 == 0 {
        let greeting = [MARKER, &hello(&mut input, modes & 2 != 0)].concat();
        if bench.hear(&greeting).is_err() {
            return;
        }
    }
    while !input.is_empty() {
        let said = match input.below(4) {
            0 => {
                bench.act(&mut input);
                Vec::new()
            }
            1 => bench.answer(&mut input),
            _ => said(&mut input),
        };
        bench.heard.extend_from_slice(&said);
        let heard = bench.hear(&said);
        bench.check();
        if heard.is_err() {
            break;
        }
        if input.is_empty() {
            bench.end();
        }
    }
    agree(&bench.heard);
}

struct Bench {
    protocol: Protocol,
    /// The handles that the program has.
    handles: Vec<u32>,
    callbacks: Vec<u32>,
    questions: Vec<u32>,
    /// A value that is received and not settled.
    held: Option<(u32, Bytes, bool)>,
    /// What the kernel has said behind its greeting.
    heard: Vec<u8>,
    spoken: HashMap<u32, Spoken>,
    /// What a kernel that is kept would answer.
    answers: Vec<Vec<u8>>,
}

/// What the client has said on a channel.
#[derive(Default)]
struct Spoken {
    closed: bool,
    last: bool,
    credit: u64,
    took: u64,
}

impl Bench {
    fn new(window: u64, kept: bool, packages: bool) -> Self {
        let mut protocol = Protocol::new(window);
        if kept {
            protocol.keep();
        }
        if packages {
            protocol.prologue.expect_asks();
        }
        Self {
            protocol,
            handles: Vec::new(),
            callbacks: Vec::new(),
            questions: Vec::new(),
            held: None,
            heard: Vec::new(),
            spoken: HashMap::new(),
            answers: Vec::new(),
        }
    }

    /// The kernel answers what it was asked.
    fn answer(&mut self, input: &mut Input<'_>) -> Vec<u8> {
        if self.answers.is_empty() {
            return Vec::new();
        }
        let at = usize::from(input.byte()) % self.answers.len();
        let mut answer = self.answers.swap_remove(at);
        if answer[0] == Kind::Name as u8 {
            let question = u32::from_be_bytes(answer[1..5].try_into().unwrap());
            let number = 2 * u32::from(input.below(6));
            let name = Value::decode(&answer[HEAD..], Reading::default()).unwrap();
            let counts = [question.into(), 0.into(), 0.into(), 40.into(), true.into()];
            let parts = Value::Tuple([name].into_iter().chain(counts).collect());
            answer = frame(Kind::Name, number, &encoded(&parts));
        }
        answer
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), String> {
        let heard = self.protocol.handle(bytes);
        if let Err(why) = &heard {
            assert!(why.len() < 10_000);
        }
        heard
    }

    /// The program does something that it may do.
    fn act(&mut self, input: &mut Input<'_>) {
        let opened = self.handles.len();
        let which = usize::from(input.byte());
        let at = (opened > 0).then(|| which % opened);
        let number = at.map_or(0, |at| self.handles[at]);
        let protocol = &mut self.protocol;
        match (input.below(18), at) {
            (0, _) | (_, None) if opened < OPENED => self.handles.push(protocol.open()),
            (1 | 2, Some(_)) => self.receive(number, input),
            (3, Some(at)) if self.held.as_ref().is_none_or(|(held, ..)| *held != number) => {
                self.handles.swap_remove(at);
                protocol.drop_handle(number);
            }
            (4, Some(_)) => {
                let error = encoded(&"wrong".into());
                protocol.close(number, (input.below(2) == 1).then_some(&error[..]));
            }
            (5, Some(_)) => protocol.close_sending(number),
            (6, Some(_)) => {
                let chan = protocol.channels.get(&number);
                if chan.is_some_and(|chan| !chan.is_closed() && chan.can_send()) {
                    let mut writer = Writer::new(Writing::default());
                    writer.bytes(input.bytes(60)).unwrap();
                    protocol.send(number, writer.finish().unwrap());
                }
            }
            (7, _) => {
                let asked = protocol.ask_status();
                if input.below(2) == 1 {
                    // nobody waits for the answer
                    protocol.answers.remove(&asked);
                }
            }
            (8, _) => protocol.say(if input.below(8) == 0 { Kind::Exit } else { Kind::Interrupt }),
            (9, Some(_)) => protocol.reconfigure(number, StrConfig::new(input.below(2) == 1, false)),
            (10, Some(_)) => {
                let chan = protocol.channels.get_mut(&number).filter(|chan| !chan.has_callback);
                if let Some(chan) = chan {
                    chan.has_callback = true;
                    self.callbacks.push(number);
                }
            }
            (11, _) => {
                if let Some(number) = self.callbacks.pop() {
                    if input.below(2) == 1 {
                        protocol.callback_failed(number, ChannelError::CallbackPanicked);
                    }
                    protocol.callback_over(number);
                }
            }
            (12, Some(_)) => drop((protocol.take_failure(number), protocol.take_error(number))),
            (13, Some(_)) => protocol.saw_end(number),
            (14, _) if protocol.is_kept() && protocol.info().is_some() && opened < OPENED => {
                match protocol.open_named(input.pick(&["a", "b", "c"])) {
                    Some(Opened::At(number)) => self.take(number),
                    Some(Opened::Asked(question)) => self.questions.push(question),
                    None => {}
                }
            }
            (15, _) => {
                let answered = self.questions.iter().position(|&question| protocol.is_answered(question));
                if let Some(at) = answered
                    && let Some(Ok(number)) = protocol.take_answer(self.questions.swap_remove(at))
                {
                    self.take(number);
                }
            }
            (16, _) if protocol.is_kept() && protocol.info().is_some() && opened < OPENED => {
                let number = protocol.open_for_code(input.pick(&["a", "b", "c"]));
                self.handles.push(number);
            }
            (17, _) => drop(protocol.prologue.take_ask()),
            _ => {}
        }
    }

    /// A handle for a channel that a value mentions, or that was asked for by its name.
    fn take(&mut self, number: u32) {
        self.protocol.take_handle(number);
        self.handles.push(number);
    }

    fn receive(&mut self, number: u32, input: &mut Input<'_>) {
        self.settle(input.below(2) == 1);
        let protocol = &mut self.protocol;
        let named = protocol.is_named(number);
        if named {
            protocol.want(number);
        }
        let ready = protocol.channels.get(&number).is_some_and(Chan::has_something);
        let next = protocol.receive(number, input.below(2) == 1);
        // whoever waits is woken when there is something
        assert_eq!(matches!(next, Next::Nothing), !ready && protocol.channels.contains_key(&number));
        if named {
            protocol.unwant(number);
        }
        let Next::Value { bytes, escaped } = next else { return };
        let numbers = if escaped { mentioned(&bytes).unwrap() } else { Vec::new() };
        for number in numbers {
            if self.handles.len() < OPENED && input.below(2) == 1 {
                self.take(number);
            }
        }
        self.held = Some((number, bytes, escaped));
    }

    /// The program has used the value that it received, or gives it back.
    fn settle(&mut self, give_back: bool) {
        let Some((number, bytes, escaped)) = self.held.take() else { return };
        self.protocol.took(number, bytes.len());
        if give_back {
            self.protocol.give_back(number, bytes, escaped);
        }
    }

    fn check(&mut self) {
        let protocol = &mut self.protocol;
        let all = || protocol.channels.values();
        let held: usize =
            all().map(|chan| chan.inbox.held() + chan.error.as_ref().map_or(0, String::len)).sum();
        assert_eq!(protocol.held, held);
        assert!(held <= MAX_HELD);
        let untaken = all().filter(|chan| chan.untaken).count();
        assert_eq!(protocol.untaken, untaken);
        assert!(untaken <= MAX_UNTAKEN);
        assert!(protocol.prologue.noise().len() <= NOISE + MARKER.len());
        if let Some(names) = &protocol.names {
            names.check();
        }
        let queue = std::mem::take(&mut protocol.out.queue);
        assert_eq!(protocol.out.bytes, queue.iter().map(Bytes::len).sum::<usize>());
        protocol.out.clear();
        let kept = protocol.is_kept();
        for frame in queue {
            self.said(&frame, kept);
        }
    }

    /// Checks a frame of ours.
    fn said(&mut self, frame: &[u8], kept: bool) {
        let (head, payload) = frame.split_at(HEAD);
        let kind = Kind::ALL.iter().copied().find(|&kind| kind as u8 == head[0]).unwrap();
        let number = u32::from_be_bytes(head[1..5].try_into().unwrap());
        assert_eq!(u32::from_be_bytes(head[5..].try_into().unwrap()) as usize, payload.len());
        if kept && matches!(kind, Kind::Took | Kind::Name) {
            self.answers.push(frame.to_vec());
        }
        // the kernel opens its own channels anew, and names are given again
        if is_theirs(number) || number == 0 || kept {
            return;
        }
        let spoken = self.spoken.entry(number).or_default();
        assert!(!spoken.closed || kind == Kind::StrConfig, "{kind:?} behind CLOSE");
        let count = || u64::from_be_bytes(payload.try_into().unwrap());
        match kind {
            Kind::Close => spoken.closed = true,
            Kind::Last => assert!(!std::mem::replace(&mut spoken.last, true)),
            Kind::Data | Kind::Escaped => assert!(!spoken.last),
            Kind::Credit => {
                assert!(count() > spoken.credit);
                spoken.credit = count();
            }
            Kind::Took => {
                assert!(count() >= spoken.took);
                spoken.took = count();
            }
            Kind::StrConfig => {}
            kind => panic!("{kind:?} on a channel"),
        }
    }

    /// The kernel closes everything, and the program drops everything: nothing is left.
    fn end(&mut self) {
        self.settle(false);
        while let Some(number) = self.callbacks.pop() {
            self.protocol.callback_over(number);
        }
        let untaken: Vec<u32> = self.protocol.channels.keys().copied().collect();
        for number in untaken {
            if self.protocol.channels.get(&number).is_some_and(|chan| chan.untaken) {
                self.take(number);
            }
        }
        if self.protocol.info().is_some() {
            // in the middle of a frame, the kernel cannot close
            self.protocol.decoder = Decoder::default();
            let numbers: Vec<u32> = self.protocol.channels.keys().copied().collect();
            for number in numbers {
                self.protocol.handle(&frame(Kind::Close, number, b"")).unwrap();
            }
        }
        for number in std::mem::take(&mut self.handles) {
            self.protocol.saw_end(number);
            self.protocol.drop_handle(number);
        }
        self.check();
        if self.protocol.info().is_some() && !self.protocol.is_kept() {
            assert!(self.protocol.channels.is_empty(), "{:?}", self.protocol.channels);
            assert_eq!((self.protocol.held, self.protocol.untaken), (0, 0));
        }
    }
}

/// However the bytes are cut, they are the same frames.
fn agree(bytes: &[u8]) {
    let frames = |size: usize| {
        let (mut decoder, mut frames) = (Decoder::default(), Vec::new());
        for mut part in bytes.chunks(size.max(1)) {
            loop {
                match decoder.next(&mut part, MAX_LENGTH) {
                    Ok(Some(frame)) => {
                        frames.push((frame.kind, frame.channel, frame.payload.into_owned(), frame.length));
                    }
                    Ok(None) => break,
                    Err(why) => return (frames, Some(why)),
                }
            }
            assert!(part.is_empty());
        }
        (frames, None)
    };
    let whole = frames(bytes.len());
    for size in [1, 7] {
        assert_eq!(frames(size), whole);
    }
}

/// HELLO of a kernel, perhaps with something odd.
fn hello(input: &mut Input<'_>, kept: bool) -> Vec<u8> {
    let mut pairs = vec![
        ("version", Value::Int(1)),
        ("pid", Value::Int(7)),
        ("executable", "/python".into()),
        ("version_info", Value::Tuple(vec![Value::Int(3), Value::Int(11)])),
        ("platform", "linux".into()),
        ("implementation", input.pick(&["cpython", "jython"]).into()),
        ("cwd", Value::None),
        ("dialect", Value::Int(input.pick(&[3, 2]))),
        ("maxsize", Value::Int(i64::MAX)),
    ];
    let count = |input: &mut Input<'_>| Value::Int(i64::from(input.byte()));
    if kept != (input.below(16) == 0) {
        pairs.push(("window", Value::Int(input.pick(&[1 << 20, 40, 0]))));
        let channel = |input: &mut Input<'_>| {
            let name = input.pick(&["a", "b", "c", "\n"]).into();
            let number = Value::Int(input.pick(&[2, 4, 6, 8, 3]));
            let (took, received, credit) = (count(input), count(input), count(input));
            Value::Tuple(vec![name, number, took, received, credit, Value::Bool(false)])
        };
        pairs.push(("channels", Value::List((0..input.below(4)).map(|_| channel(input)).collect())));
    }
    if input.below(4) == 0 {
        let at = usize::from(input.byte()) % pairs.len();
        pairs[at].1 = input.value(2);
    }
    if input.below(8) == 0 {
        pairs.push(("packages", input.value(3)));
    }
    let pairs = pairs.into_iter().map(|(key, value)| (Value::from(key), value)).collect();
    frame(Kind::Hello, 0, &encoded(&Value::Dict(pairs)))
}

/// A frame of the kernel, or something else.
fn said(input: &mut Input<'_>) -> Vec<u8> {
    let channel = match input.below(12) {
        0 => u32::from(input.byte()) << input.below(25),
        number => u32::from(number),
    };
    let number = |input: &mut Input<'_>| (input.number() as u64).to_be_bytes();
    match input.below(20) {
        0 => input.bytes(60).to_vec(),
        // only the head of a long one
        1 => head(input.pick(Kind::ALL), channel, input.number() as usize).to_vec(),
        2 => frame(input.pick(Kind::ALL), channel, input.bytes(60)),
        3 => frame(Kind::Escaped, channel, input.bytes(60)),
        4 | 5 => {
            let (one, two) = (input.pick(&[2, 4, 6, 8, 10, 1, 3]), input.pick(&[2, 4, 12, 0]));
            let value = [b"[\x02\0\0\0".as_slice(), &mention(one), &mention(two)].concat();
            frame(Kind::Escaped, channel, &value)
        }
        6 => frame(Kind::Close, channel, b""),
        7 => frame(Kind::Close, channel, &encoded(&input.text().as_str().into())),
        8 => frame(Kind::Close, channel, &encoded(&input.value(1))),
        9 => frame(Kind::Last, channel, b""),
        10 => frame(Kind::Credit, channel, &number(input)),
        11 => frame(Kind::Status, 0, &encoded(&input.value(2))),
        12 => frame(Kind::StrConfig, channel, &[input.below(2), input.below(2)]),
        13 => frame(Kind::Took, channel, &number(input)),
        14 => {
            let name = input.pick(&["a", "b", "c", ""]).into();
            let question = Value::Int(i64::from(input.below(12)));
            let counts = (0..3).map(|_| Value::Int(input.byte().into()));
            let mut parts: Vec<Value> = [name, question].into_iter().chain(counts).collect();
            parts.push(Value::Bool(true));
            frame(Kind::Name, channel, &encoded(&Value::Tuple(parts)))
        }
        15 => {
            let verb = input.pick(&["facts", "waits", "lacks", "wants", "sets"]);
            frame(Kind::Packages, 0, &encoded(&Value::Tuple(vec![verb.into(), input.value(3)])))
        }
        16 => hello(input, true),
        _ => frame(Kind::Data, channel, &encoded(&input.value(1))),
    }
}

/// A channel in a value with escapes.
fn mention(number: u8) -> Vec<u8> {
    [&b"(\x03\0\0\0.i\0\0\0\0i"[..], &[number, 0, 0, 0]].concat()
}
