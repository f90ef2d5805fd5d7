//! What reading and writing have in common: limits, containers, and how text and bytes are converted.

/// The deepest nesting of values, counted from the outermost one: Python's own limit.
pub const MAX_DEPTH: usize = 2_000;

/// The longest encoding of a value, in bytes.
pub const MAX_LENGTH: usize = (1 << 30) - 1;

/// Room for the head of a frame, so that sending a value copies nothing.
pub(crate) const HEAD: usize = 9;

/// A container other than dict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Container {
    /// `list`.
    List,
    /// `tuple`.
    Tuple,
    /// `set`.
    Set,
    /// `frozenset`.
    FrozenSet,
}

/// How text and bytes are converted: Python 2's `str` is both, and programs of its time may want bytes from
/// Python 3, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StrConfig {
    /// A `str` of Python 2 arrives as text, each byte as the character with that number; otherwise as bytes.
    pub py2str_as_py3str: bool,
    /// Text arrives as bytes, in UTF-8: on Python 2 as `str`, otherwise as `unicode`; between this program
    /// and Python 3 as `bytes`, both ways.
    pub py3str_as_py2str: bool,
}

impl StrConfig {
    /// See the fields.
    #[must_use]
    pub fn new(py2str_as_py3str: bool, py3str_as_py2str: bool) -> Self {
        Self { py2str_as_py3str, py3str_as_py2str }
    }
}

impl Default for StrConfig {
    /// Text stays text, both ways.
    fn default() -> Self {
        Self { py2str_as_py3str: true, py3str_as_py2str: false }
    }
}

/// The major version of the Python that encoded a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// Python 2: a `str` is text or bytes, as [`StrConfig`] says.
    Two,
    /// Python 3.
    #[default]
    Three,
}
/// What the reader of a value supports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) dialect: Dialect,
    /// No text with lone surrogates: Jython.
    pub(crate) no_surrogates: bool,
    /// Its marshal reads references to earlier text, as version 3 has them: Python 3.4 and later.
    pub(crate) references: bool,
}
