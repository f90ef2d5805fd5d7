//! Reads the text of a set.

use super::error::{SetError, Wrong};
use super::pattern::{Part, Pattern, Range};
use super::{MAX_LENGTH, MAX_NAMES, MAX_TEXT, NodeSet, OPERATORS, Operand, Operator};
use crate::spec::is_name;

/// Most digits of a number in a bracket.
const MAX_DIGITS: usize = 18;

pub(super) fn parse(text: &str) -> Result<NodeSet, SetError> {
    if text.len() > MAX_TEXT {
        return Err(SetError::new(text, 0, Wrong::TooLong));
    }
    let mut reader = Reader { text, at: 0 };
    reader.set().map_err(|(at, wrong)| SetError::new(text, at, wrong))
}

/// Whether a name in a set, such as a host's id or a node's name, may have this character.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._+-:".contains(c)
}

/// What is wrong, and the byte where.
type Stop = (usize, Wrong);

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    /// Skips this character and the space behind it. False if another one is next.
    fn skip(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
            self.space();
        }
        found
    }

    fn take_while(&mut self, takes: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let taken = &rest[..rest.find(|c| !takes(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    fn set(&mut self) -> Result<NodeSet, Stop> {
        self.space();
        if self.rest().is_empty() {
            return Err((0, Wrong::Nothing));
        }
        let but = self.skip('!');
        let mut before = if but { Some('!') } else { None };
        let mut operator = if but { Operator::Without } else { Operator::Add };
        let (mut terms, mut count) = (Vec::new(), 0_u64);
        loop {
            let began = self.at;
            let operand = self.operand(before)?;
            if let Operand::Names(pattern) = &operand {
                if pattern.length() > MAX_LENGTH {
                    return Err((began, Wrong::LongName));
                }
                count = count.saturating_add(pattern.count());
                if count > MAX_NAMES as u64 {
                    return Err((began, Wrong::TooMany(count)));
                }
            }
            terms.push((operator, operand));
            let ended = self.at;
            self.space();
            let Some(sign) = self.peek() else { break };
            operator = match sign {
                ',' => Operator::Add,
                '!' => Operator::Without,
                '&' => Operator::Both,
                '^' => Operator::Either,
                _ if self.at > ended => return Err((self.at, Wrong::NoComma)),
                other => return Err((self.at, Wrong::Character(other))),
            };
            self.skip(sign);
            before = Some(sign);
            if sign == ',' && self.skip('!') {
                (operator, before) = (Operator::Without, Some('!'));
            }
        }
        Ok(NodeSet { text: self.text.trim().to_owned(), but, terms })
    }

    /// The operand behind this operator.
    fn operand(&mut self, before: Option<char>) -> Result<Operand, Stop> {
        match self.peek() {
            None => Err((self.text.len(), Wrong::Missing(before, None))),
            Some(sign) if OPERATORS.contains(&sign) => Err((self.at, Wrong::Missing(before, Some(sign)))),
            Some('@') => self.group().map(Operand::Group),
            Some(_) => self.pattern().map(Operand::Names),
        }
    }

    fn group(&mut self) -> Result<String, Stop> {
        let began = self.at;
        self.at += 1;
        let name = self.take_while(|c| !OPERATORS.contains(&c) && !c.is_whitespace());
        match name {
            name if is_name(name) => Ok(name.to_owned()),
            name if name.contains(':') => Err((began, Wrong::Source)),
            "*" => Err((began, Wrong::Wildcard)),
            _ => Err((began, Wrong::Group)),
        }
    }

    fn pattern(&mut self) -> Result<Pattern, Stop> {
        let mut parts = Vec::new();
        loop {
            let text = self.take_while(is_plain);
            if !text.is_empty() {
                parts.push(Part::Text(text.to_owned()));
            }
            match self.peek() {
                Some('[') => parts.push(Part::Bracket(self.bracket()?)),
                Some(']') => return Err((self.at, Wrong::NotOpen)),
                Some('*' | '?') => return Err((self.at, Wrong::Wildcard)),
                Some(c) if !OPERATORS.contains(&c) && !c.is_whitespace() => {
                    return Err((self.at, Wrong::Character(c)));
                }
                _ => return Ok(Pattern(parts)),
            }
        }
    }

    fn bracket(&mut self) -> Result<Vec<Range>, Stop> {
        let open = self.at;
        self.at += 1;
        let inside = self.take_while(|c| c != ']' && c != '[');
        let close = self.at;
        if self.peek() != Some(']') {
            return Err((open, Wrong::NotClosed));
        }
        self.at += 1;
        let mut at = open + 1;
        let mut ranges = Vec::new();
        for part in self.text[open + 1..close].split(',') {
            ranges.push(range(part.trim()).map_err(|wrong| (at, wrong))?);
            at += part.len() + 1;
        }
        debug_assert_eq!(inside.len(), close - open - 1);
        Ok(ranges)
    }
}

/// `7`, `1-20`, `01-10/3`.
fn range(text: &str) -> Result<Range, Wrong> {
    if text.is_empty() {
        return Err(Wrong::EmptyRange);
    }
    let (bounds, step) = text.split_once('/').map_or((text, None), |(bounds, step)| (bounds, Some(step)));
    let (first, last) = match bounds.split_once('-') {
        Some(bounds) => bounds,
        None if step.is_some_and(|step| step.trim() != "1") => return Err(Wrong::StepOfOne(text.to_owned())),
        None => (bounds, bounds),
    };
    let number = |digits: &str| match digits {
        _ if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) => {
            Err(Wrong::NotARange(text.to_owned()))
        }
        _ if digits.len() > MAX_DIGITS => Err(Wrong::LongNumber),
        _ => digits.parse::<u64>().map_err(|_| Wrong::LongNumber),
    };
    let padded = |digits: &str| digits.len() > 1 && digits.starts_with('0');
    let (first, last) = (first.trim(), last.trim());
    let (from, to) = (number(first)?, number(last)?);
    let step = step.map_or(Ok(1), |step| number(step.trim()))?;
    let is_padded = padded(first) || padded(last);
    if is_padded && first.len() != last.len() {
        return Err(Wrong::Padding(text.to_owned()));
    }
    if from > to {
        return Err(Wrong::Backwards(text.to_owned()));
    }
    if step == 0 {
        return Err(Wrong::NoStep(text.to_owned()));
    }
    Ok(Range { first: from, last: to, step, width: if is_padded { first.len() } else { 0 } })
}
