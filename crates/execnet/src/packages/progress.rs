//! Tells the program how far packages have come.

use std::time::{Duration, Instant};

use super::{OnProgress, Step, Transfer};
use crate::node::Node;

/// How much time passes at least between two calls for the same step.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Progress {
    on_progress: Option<OnProgress>,
    now: Transfer,
    told: Option<Instant>,
}

impl Progress {
    pub(crate) fn new(gateway: &str, node: Option<&Node>, on_progress: Option<OnProgress>) -> Self {
        let now = Transfer {
            gateway: gateway.to_owned(),
            node: node.cloned(),
            step: Step::Reading,
            files: 0,
            of_files: 0,
            bytes: 0,
            of_bytes: 0,
            notes: Vec::new(),
        };
        Self { on_progress, now, told: None }
    }

    /// Another step begins, or the same still takes.
    pub(super) fn step(&mut self, step: Step) {
        let is_new = self.told.is_none() || step != self.now.step;
        self.now.step = step;
        if is_new {
            self.tell();
        }
    }

    pub(super) fn notes(&mut self, notes: Vec<String>) {
        if self.now.notes != notes {
            self.now.notes = notes;
            self.tell();
        }
    }

    /// So much will be sent, from the beginning.
    pub(super) fn begin(&mut self, files: u64, bytes: u64) {
        (self.now.files, self.now.bytes) = (0, 0);
        (self.now.of_files, self.now.of_bytes) = (files, bytes);
        self.now.step = Step::Sending;
        self.tell();
    }

    pub(super) fn sent_file(&mut self) {
        self.now.files += 1;
        self.tell_sometimes();
    }

    pub(super) fn sent_bytes(&mut self, bytes: u64) {
        self.now.bytes += bytes;
        self.tell_sometimes();
    }

    fn tell_sometimes(&mut self) {
        let is_end = self.now.files == self.now.of_files && self.now.bytes == self.now.of_bytes;
        if is_end || self.told.is_none_or(|told| told.elapsed() >= PAUSE) {
            self.tell();
        }
    }

    fn tell(&mut self) {
        self.told = Some(Instant::now());
        if let Some(on_progress) = &self.on_progress {
            on_progress(&self.now);
        }
    }
}
