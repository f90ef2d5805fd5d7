//! The terminal that progress is drawn on.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

use indicatif::TermLike;

/// Writes frames to a terminal, each at once. Drops what it cannot write: `indicatif` panics on some
/// failures.
#[derive(Debug)]
pub(super) struct Screen<W> {
    drawing: Mutex<Drawing<W>>,
}

#[derive(Debug)]
struct Drawing<W> {
    frame: String,
    out: W,
}

impl<W: Write> Screen<W> {
    pub(super) fn new(out: W) -> Screen<W> {
        Screen { drawing: Mutex::new(Drawing { frame: String::new(), out }) }
    }

    fn put(&self, part: fmt::Arguments<'_>) -> io::Result<()> {
        let mut drawing = self.drawing.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = drawing.frame.write_fmt(part);
        Ok(())
    }

    fn steer(&self, count: usize, way: char) -> io::Result<()> {
        if count == 0 { Ok(()) } else { self.put(format_args!("\x1b[{count}{way}")) }
    }
}

/// Columns and rows of stderr.
fn size() -> (u16, u16) {
    let size = rustix::termios::tcgetwinsize(io::stderr()).ok();
    let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
    size.map_or((80, 24), |size| (size.ws_col, size.ws_row))
}

impl<W: Write + fmt::Debug + Send> TermLike for Screen<W> {
    fn width(&self) -> u16 {
        size().0
    }

    fn height(&self) -> u16 {
        size().1
    }

    fn move_cursor_up(&self, count: usize) -> io::Result<()> {
        self.steer(count, 'A')
    }

    fn move_cursor_down(&self, count: usize) -> io::Result<()> {
        self.steer(count, 'B')
    }

    fn move_cursor_right(&self, count: usize) -> io::Result<()> {
        self.steer(count, 'C')
    }

    fn move_cursor_left(&self, count: usize) -> io::Result<()> {
        self.steer(count, 'D')
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.put(format_args!("{line}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.put(format_args!("{text}"))
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put(format_args!("\r\x1b[2K"))
    }

    fn flush(&self) -> io::Result<()> {
        let mut drawing = self.drawing.lock().unwrap_or_else(PoisonError::into_inner);
        let frame = std::mem::take(&mut drawing.frame);
        let _ = drawing.out.write_all(frame.as_bytes()).and_then(|()| drawing.out.flush());
        Ok(())
    }
}
