//! The code that a gateway executes.

use super::channel::Channel;
use crate::value::{Container, DumpError, Encoded, Reader, Reading, Value, Writer, Writing, copy};

/// Code for [`Gateway::remote_exec`](crate::Gateway::remote_exec). Source text converts with `into()`.
///
/// ```
/// use execnet::Code;
///
/// let code = Code::source("channel.send(__file__)").argv(["prog", "-v"]);
/// let source = "def twice(channel, number):\n    channel.send(2 * number)\n";
/// let twice = Code::function(source, "twice", [("number", 21)]);
/// ```
#[derive(Clone, Debug)]
#[must_use = "it is executed by `Gateway::remote_exec`"]
pub struct Code {
    kind: &'static str,
    source: String,
    filename: Option<String>,
    name: Option<String>,
    kwargs: Kwargs,
    argv: Option<Vec<String>>,
    stdin: Option<Channel>,
    /// The name of its channel.
    pub(super) channel: Option<String>,
}

#[derive(Clone, Debug)]
enum Kwargs {
    Values(Vec<(String, Value)>),
    /// An encoded dict.
    Written(Encoded),
}

impl Code {
    /// Source text, executed with `channel` and `__name__ == "__channelexec__"` as globals. It may be
    /// indented as a whole.
    pub fn source(source: impl Into<String>) -> Self {
        Self {
            kind: "source",
            source: source.into(),
            filename: None,
            name: None,
            kwargs: Kwargs::Values(Vec::new()),
            argv: None,
            stdin: None,
            channel: None,
        }
    }

    /// The source text of a function, called as `name(channel, **kwargs)`.
    pub fn function<K: Into<String>, V: Into<Value>>(
        source: impl Into<String>,
        name: impl Into<String>,
        kwargs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let kwargs = kwargs.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        Self::call(source, name, Kwargs::Values(kwargs))
    }

    /// As [`Code::function`], with arguments from a dict that a [`Writer`] wrote. It cannot contain channels.
    pub(crate) fn written_function(
        source: impl Into<String>,
        name: impl Into<String>,
        kwargs: Encoded,
    ) -> Self {
        Self::call(source, name, Kwargs::Written(kwargs))
    }

    fn call(source: impl Into<String>, name: impl Into<String>, kwargs: Kwargs) -> Self {
        Self { kind: "function", name: Some(name.into()), kwargs, ..Self::source(source) }
    }

    /// The source text of a module, executed like [`Code::source`] with `filename` as its `__file__`.
    pub fn module(source: impl Into<String>, filename: impl Into<String>) -> Self {
        Self { kind: "module", filename: Some(filename.into()), ..Self::source(source) }
    }

    /// The file name that tracebacks show.
    pub fn filename(mut self, filename: impl Into<String>) -> Self {
        self.filename = Some(filename.into());
        self
    }

    /// `sys.argv` of the code. With it, the code ends like a program: SystemExit with a status of 0 or None
    /// is not an error.
    pub fn argv<T: Into<String>>(mut self, argv: impl IntoIterator<Item = T>) -> Self {
        self.argv = Some(argv.into_iter().map(Into::into).collect());
        self
    }

    /// `sys.stdin` of the code: the bytes sent on this new channel of the same gateway, until it is closed.
    /// The other end closes it when the code has ended.
    ///
    /// ```no_run
    /// use execnet::{Code, value::Value};
    ///
    /// # let gateway = execnet::Gateway::popen().start()?;
    /// let stdin = gateway.new_channel()?;
    /// let code = Code::source("import sys; channel.send(sys.stdin.read())").stdin(&stdin);
    /// let channel = gateway.remote_exec(code)?;
    /// stdin.send(Value::Bytes(b"some text".to_vec()))?;
    /// stdin.close()?;
    /// assert_eq!(channel.receive::<String>()?, "some text");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stdin(mut self, channel: &Channel) -> Self {
        self.stdin = Some(channel.clone());
        self
    }

    /// Gives the channel of this code a name, by which later programs find it:
    /// [`Gateway::channel`](super::Gateway::channel). Only in a gateway that is kept.
    pub fn channel(mut self, name: impl Into<String>) -> Self {
        self.channel = Some(name.into());
        self
    }

    /// The payload of EXEC, for the gateway with this key.
    pub(super) fn encode(&self, writing: Writing, gateway: u64) -> Result<Encoded, DumpError> {
        let mut writer = Writer::new(writing);
        writer.begin(Container::Tuple)?;
        writer.str(self.kind)?;
        writer.str(&self.source)?;
        for text in [&self.filename, &self.name] {
            match text {
                Some(text) => writer.str(text)?,
                None => writer.none()?,
            }
        }
        match &self.kwargs {
            Kwargs::Values(pairs) => {
                writer.begin_dict()?;
                for (key, value) in pairs {
                    writer.str(key)?;
                    value.write(&mut writer)?;
                }
                writer.end();
            }
            Kwargs::Written(dict) => {
                let mut reader = Reader::new(dict.as_bytes(), Reading::default());
                copy(&mut reader, &mut writer, 0)?;
            }
        }
        match &self.argv {
            None => writer.none()?,
            Some(argv) => {
                writer.begin(Container::List)?;
                argv.iter().try_for_each(|arg| writer.str(arg))?;
                writer.end();
            }
        }
        match &self.stdin {
            None => writer.none()?,
            Some(channel) if channel.gateway_key() == gateway => writer.int(channel.number().into())?,
            Some(_) => return Err(DumpError::new("stdin is a channel of another gateway")),
        }
        if let Some(name) = &self.channel {
            writer.str(name)?;
        }
        writer.end();
        writer.finish()
    }
}

impl From<&str> for Code {
    fn from(source: &str) -> Self {
        Self::source(source)
    }
}

impl From<String> for Code {
    fn from(source: String) -> Self {
        Self::source(source)
    }
}
