//! Channels for Python: the base of `execnet.Channel`, and the delivery of values to callbacks.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use execnet::raw::{self, Held, Ready};
use execnet::value::{StrConfig, Writer};
use execnet::{ChannelError, Raw};
use pyo3::exceptions::{PyEOFError, PyOSError, PyValueError};
use pyo3::prelude::*;

use crate::decode::decode;
use crate::encode::encode;
use crate::error::{Failure, RemoteError, Result, TimeoutError, receiving, sending};
use crate::wait::{deadline, released, this_thread, wait};

/// A channel that has no Python channel yet.
#[pyclass(frozen, module = "execnet._native")]
pub(crate) struct RawChannel {
    channel: execnet::Channel,
}

impl RawChannel {
    pub(crate) fn new(channel: execnet::Channel) -> Self {
        Self { channel }
    }
}

#[pymethods]
impl RawChannel {
    /// Its number in its gateway.
    #[getter]
    fn id(&self) -> u32 {
        self.channel.number()
    }
}

/// The base of `execnet.Channel`.
#[pyclass(subclass, frozen, module = "execnet._native")]
pub(crate) struct Channel {
    shared: Arc<Shared>,
}

struct Shared {
    channel: execnet::Channel,
    delivery: Mutex<Deliveries>,
    /// Notified when everything was delivered.
    delivered: Condvar,
}

/// The progress of a callback.
#[derive(Default)]
struct Deliveries {
    /// None after the endmarker was passed.
    callback: Option<Arc<Callback>>,
    /// There is or was a callback.
    begun: bool,
    /// It is being called.
    running: bool,
    /// The channel was closed here, or the callback failed: no more items are delivered.
    stopped: bool,
    /// Everything was delivered.
    over: bool,
    /// Python's number of the thread.
    thread: Option<u64>,
    /// Why the callback failed.
    error: Option<String>,
}

/// The callback of a channel.
struct Callback {
    function: Py<PyAny>,
    endmarker: Option<Py<PyAny>>,
    /// The Python gateway, which makes the channels in values.
    gateway: Py<PyAny>,
}

impl Channel {
    pub(crate) fn native(&self) -> &execnet::Channel {
        &self.shared.channel
    }

    /// Writes it as a part of a value.
    pub(crate) fn write(&self, writer: &mut Writer) -> Result<()> {
        Ok(writer.channel(&self.shared.channel)?)
    }
}

#[pymethods]
impl Channel {
    #[new]
    #[pyo3(signature = (raw, *_args))]
    fn new(raw: &Bound<'_, RawChannel>, _args: &Bound<'_, pyo3::types::PyTuple>) -> Self {
        let channel = raw.get().channel.clone();
        Self { shared: Arc::new(Shared { channel, delivery: Mutex::default(), delivered: Condvar::new() }) }
    }

    /// Its number in its gateway.
    #[getter]
    fn id(&self) -> u32 {
        self.shared.channel.number()
    }

    /// How many values the other side had received before this program entered, on a channel with a name:
    /// see `Gateway.channel`.
    #[getter]
    fn received_before(&self) -> PyResult<u64> {
        Ok(self.shared.channel.received_before().map_err(sending(&self.shared.channel))?)
    }

    /// Sends a copy of an item: None, bool, int, float, complex, str, bytes, list, tuple, dict, set,
    /// frozenset, channels, and any nesting of them.
    ///
    /// Blocks once 8 MiB are unreceived on the other side. Raises `DumpError` if the item cannot be sent, and
    /// `OSError` if the channel is closed or the other side is gone.
    fn send(&self, py: Python<'_>, item: &Bound<'_, PyAny>) -> PyResult<()> {
        let channel = &self.shared.channel;
        let mut encoded = Some(encode(item, channel.writing().map_err(sending(channel))?)?);
        let offer =
            |slice| in_time(raw::offer(channel, &mut encoded, until(slice))).map_err(sending(channel));
        wait(py, None, || ready(channel, Ready::ToSend), offer)?;
        Ok(())
    }

    /// Waits for an item, at most `timeout` seconds.
    ///
    /// Raises `TimeoutError` if none came in time, `EOFError` at the end of the channel, `GatewayDied` (an
    /// `EOFError`) if the other side is gone, and `RemoteError`, once, if the code there failed.
    #[pyo3(signature = (timeout = None))]
    fn receive<'py>(slf: &Bound<'py, Self>, timeout: Option<f64>) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        if timeout.is_some_and(|timeout| timeout < 0.0) {
            return Err(PyValueError::new_err("timeout must not be negative"));
        }
        this.shared.check_no_callback()?;
        let channel = &this.shared.channel;
        let receive = |slice| in_time(raw::receive(channel, until(slice))).map_err(receiving(channel));
        let raw = wait(py, deadline(timeout), || ready(channel, Ready::ToReceive), receive)?;
        let raw = raw.ok_or_else(|| {
            TimeoutError::new_err(format!("no item after {} seconds", timeout.unwrap_or(0.0)))
        })?;
        // if a signal handler raises now or after this call, the item is lost
        if let Err(raised) = py.check_signals() {
            raw::give_back(channel, raw);
            return Err(raised);
        }
        let item = match this.shared.read(py, &raw, || slf.getattr("gateway")) {
            Err(failure) if failure.is_raised() && !raw.is_escaped() => {
                raw::give_back(channel, raw);
                return Err(failure.into());
            }
            item => item?,
        };
        // large ones take long; but channels in them are open by now, and would close with the item
        if !raw.is_escaped()
            && let Err(raised) = py.check_signals()
        {
            raw::give_back(channel, raw);
            return Err(raised);
        }
        Ok(item)
    }

    /// Waits until no more items can arrive, at most `timeout` seconds: the code on the other side has ended,
    /// or the channel was closed. Items that have arrived can still be received; a callback has had all of
    /// them.
    ///
    /// Raises `RemoteError`, once, if the code on the other side failed, `GatewayDied` if that side is gone,
    /// and `TimeoutError`.
    #[pyo3(signature = (timeout = None))]
    fn waitclose(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<()> {
        let late = || {
            TimeoutError::new_err(format!(
                "the channel is still open after {} seconds",
                timeout.unwrap_or(0.0)
            ))
        };
        let deadline = deadline(timeout);
        if self.shared.has_callback_elsewhere(py)? {
            let ready = || {
                let shared = self.shared.clone();
                move |slice| shared.wait_delivered(slice).is_some()
            };
            let delivered =
                wait(py, deadline, ready, |slice| Ok::<_, Failure>(self.shared.wait_delivered(slice)))?;
            delivered.ok_or_else(late)?;
        }
        if let Some(error) = self.shared.deliveries().error.take() {
            return Err(RemoteError::new_err(error));
        }
        let channel = &self.shared.channel;
        let wait_close = |slice| match raw::wait_close(channel, until(slice)) {
            // the gateway was told to end, and has
            Err(ChannelError::Closed) => Ok(Some(())),
            closed => in_time(closed).map_err(receiving(channel)),
        };
        let closed = wait(py, deadline, || ready(channel, Ready::Closed), wait_close)?;
        closed.ok_or_else(late)
    }

    /// Closes the channel, with an error text if one is given: the other side gets `EOFError`, or that error
    /// as a `RemoteError`. Calling it again does nothing.
    #[pyo3(signature = (error = None))]
    fn close(&self, py: Python<'_>, error: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
        let error =
            error.map(|error| error.str().map(|text| text.to_string_lossy().into_owned())).transpose()?;
        let shared = &self.shared;
        let closed = released(py, || match &error {
            Some(error) => shared.channel.close_with_error(error),
            None => shared.channel.close(),
        });
        closed.map_err(sending(&shared.channel))?;
        let mut deliveries = shared.deliveries();
        deliveries.stopped = true;
        let idle = deliveries.begun && !deliveries.running;
        drop(deliveries);
        if idle { shared.finish(py) } else { Ok(()) }
    }

    /// Returns whether nothing can be sent any more. Items that have arrived can still be received; a
    /// callback has had all of them.
    fn isclosed(&self, py: Python<'_>) -> PyResult<bool> {
        let shared = &self.shared;
        if !shared.channel.is_closed() || raw::is_forked(&shared.channel) {
            return Ok(shared.channel.is_closed());
        }
        let stopped = shared.deliveries().stopped;
        Ok(stopped || !shared.has_callback_elsewhere(py)?)
    }

    /// Sets how `str` of Python 2 maps to text and bytes on this channel: see `Gateway.reconfigure`.
    fn reconfigure(&self, py2str_as_py3str: bool, py3str_as_py2str: bool) -> PyResult<()> {
        let strconfig = StrConfig::new(py2str_as_py3str, py3str_as_py2str);
        let channel = &self.shared.channel;
        Ok(channel.reconfigure(strconfig).map_err(sending(channel))?)
    }

    /// The error that nobody has asked for yet: a `RemoteError`, or a `GatewayDied` if the other side is
    /// gone.
    fn _getremoteerror(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        if let Some(error) = self.shared.deliveries().error.take() {
            return Some(RemoteError::new_err(error).into_value(py).into_any());
        }
        let channel = &self.shared.channel;
        match channel.wait_close_timeout(Duration::ZERO) {
            Err(error @ (ChannelError::Remote(_) | ChannelError::GatewayDied(_))) => {
                Some(PyErr::from(receiving(channel)(error)).into_value(py).into_any())
            }
            _ => None,
        }
    }

    /// The text of a remote error that nobody has asked for, when the channel is dropped.
    fn _unread_error(&self) -> Option<String> {
        // the end of a channel with a name is for whoever asks for it
        if !self.shared.channel.is_closed() || self.shared.channel.is_named() {
            return None;
        }
        match self.shared.channel.wait_close_timeout(Duration::ZERO) {
            Err(ChannelError::Remote(error)) => Some(error),
            _ => None,
        }
    }

    /// Passes items to a callback from now on, through the returned object.
    fn _deliver_to(
        &self,
        gateway: Py<PyAny>,
        callback: Py<PyAny>,
        endmarker: Py<PyAny>,
        wants_end: bool,
    ) -> PyResult<Delivery> {
        let endmarker = wants_end.then_some(endmarker);
        let callback = Arc::new(Callback { function: callback, endmarker, gateway });
        {
            self.shared.check_no_callback()?;
            let mut deliveries = self.shared.deliveries();
            deliveries.begun = true;
            deliveries.callback = Some(callback.clone());
        }
        Ok(Delivery { shared: self.shared.clone(), callback, held: Mutex::default() })
    }
}

impl Drop for Channel {
    /// A channel with a callback continues to receive.
    fn drop(&mut self) {
        let deliveries = self.shared.deliveries();
        let receives = deliveries.begun && !deliveries.over;
        drop(deliveries);
        if receives {
            // if that fails, there is nobody to tell
            let _ = self.shared.channel.close_sending();
        }
    }
}

impl Shared {
    fn deliveries(&self) -> MutexGuard<'_, Deliveries> {
        self.delivery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_no_callback(&self) -> PyResult<()> {
        if self.deliveries().begun {
            let number = self.channel.number();
            return Err(PyOSError::new_err(format!("the items of channel {number} go to its callback")));
        }
        Ok(())
    }

    /// Whether there is a callback, and this is not its thread.
    fn has_callback_elsewhere(&self, py: Python<'_>) -> PyResult<bool> {
        let deliveries = self.deliveries();
        let (open, thread) = (deliveries.begun && !deliveries.over, deliveries.thread);
        drop(deliveries);
        Ok(open && thread != Some(this_thread(py)?))
    }

    fn wait_delivered(&self, timeout: Option<Duration>) -> Option<()> {
        let deliveries = self.deliveries();
        let pending = |deliveries: &mut Deliveries| !deliveries.over;
        match timeout {
            None => drop(self.delivered.wait_while(deliveries, pending)),
            Some(timeout) => {
                let waited = self.delivered.wait_timeout_while(deliveries, timeout, pending);
                if waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
                    return None;
                }
            }
        }
        Some(())
    }

    /// Makes an object of a received value.
    fn read<'py>(
        &self,
        py: Python<'py>,
        raw: &Raw,
        gateway: impl Fn() -> PyResult<Bound<'py, PyAny>>,
    ) -> Result<Bound<'py, PyAny>> {
        let adopt = |number| {
            let sibling =
                RawChannel::new(raw::sibling(&self.channel, number).map_err(receiving(&self.channel))?);
            gateway()?.getattr("_channelfactory")?.call_method1("adopt", (Bound::new(py, sibling)?,))
        };
        decode(py, raw.reader(), adopt, |error| receiving(&self.channel)(self.channel.malformed(error)))
    }

    /// Passes the endmarker, once.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        let callback = self.deliveries().callback.take();
        let result = match callback.as_ref().map(|callback| (&callback.function, &callback.endmarker)) {
            Some((function, Some(endmarker))) => function.call1(py, (endmarker,)).map(drop),
            _ => Ok(()),
        };
        self.all_delivered();
        result
    }

    fn all_delivered(&self) {
        self.deliveries().over = true;
        self.delivered.notify_all();
    }
}

/// Decides what a channel's callback is called with. Python makes the call: when the interpreter ends, a
/// thread in a call is torn out of it, which frames of Rust would not survive.
#[pyclass(frozen, module = "execnet._native")]
pub(crate) struct Delivery {
    shared: Arc<Shared>,
    callback: Arc<Callback>,
    /// The item of the current call.
    held: Mutex<Option<Held>>,
}

/// The callback, and an item or the endmarker.
type Call = (Py<PyAny>, Py<PyAny>);

#[pymethods]
impl Delivery {
    /// The next call, after which [`Delivery::done`] must be called. None when everything was delivered or,
    /// if `at_once`, when nothing more is there.
    fn next(&self, py: Python<'_>, at_once: bool) -> PyResult<Option<Call>> {
        let shared = &self.shared;
        let deadline = at_once.then(Instant::now);
        let thread = this_thread(py)?;
        shared.deliveries().thread = Some(thread);
        while !shared.deliveries().stopped {
            let channel = &shared.channel;
            let receive =
                |slice| in_time(raw::receive_held(channel, until(slice))).map_err(receiving(channel));
            let held = wait(py, deadline, || ready(channel, Ready::ToReceive), receive);
            match held {
                Ok(Some(held)) => match shared.read(py, &held, || Ok(self.callback.gateway.bind(py).clone()))
                {
                    Ok(item) => {
                        let mut deliveries = shared.deliveries();
                        if deliveries.stopped {
                            break;
                        }
                        deliveries.running = true;
                        drop(deliveries);
                        *self.held() = Some(held);
                        return Ok(Some((self.callback.function.clone_ref(py), item.unbind())));
                    }
                    Err(failure) if failure.is_raised() => {
                        if !held.is_escaped() {
                            held.give_back();
                        }
                        return Err(failure.into());
                    }
                    Err(error) => self.fail(py, &PyErr::from(error))?,
                },
                Ok(None) => {
                    // a thread of its own continues
                    shared.deliveries().thread = None;
                    return Ok(None);
                }
                Err(error) => {
                    // it is at its end; but a signal handler may have raised
                    let error = PyErr::from(error);
                    if !error.is_instance_of::<PyEOFError>(py) && !error.is_instance_of::<RemoteError>(py) {
                        return Err(error);
                    }
                    break;
                }
            }
        }
        let callback = shared.deliveries().callback.take();
        let endmarker = callback.as_ref().and_then(|callback| callback.endmarker.as_ref());
        if let Some(endmarker) = endmarker {
            return Ok(Some((self.callback.function.clone_ref(py), endmarker.clone_ref(py))));
        }
        shared.all_delivered();
        Ok(None)
    }

    /// A call has ended, perhaps with an exception. Returns whether both ends of the channel were told.
    fn done(&self, py: Python<'_>, error: Option<Bound<'_, PyAny>>) -> PyResult<bool> {
        let held = self.held().take();
        let Some(held) = held else {
            self.shared.all_delivered();
            return Ok(false);
        };
        self.shared.deliveries().running = false;
        // now it counts as received
        released(py, || drop(held));
        if let Some(error) = error {
            self.fail(py, &PyErr::from_value(error))?;
        }
        Ok(true)
    }

    /// Nobody continues the delivery: items can be received again.
    fn give_back(&self) {
        *self.shared.deliveries() = Deliveries::default();
    }

    /// Whether everything was delivered.
    fn is_over(&self) -> bool {
        self.shared.deliveries().over
    }
}

impl Delivery {
    fn held(&self) -> MutexGuard<'_, Option<Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The callback failed: tells both ends of the channel.
    fn fail(&self, py: Python<'_>, error: &PyErr) -> PyResult<()> {
        let text = match py
            .import("traceback")?
            .call_method1("format_exception", (error.get_type(py), error.value(py), error.traceback(py)))
        {
            Ok(lines) => lines.extract::<Vec<String>>()?.concat(),
            Err(_) => error.to_string(),
        };
        {
            let mut deliveries = self.shared.deliveries();
            deliveries.error = Some(text.clone());
            deliveries.stopped = true;
        }
        // if that fails, the other end is gone
        let _ = released(py, || self.shared.channel.close_with_error(&text));
        Ok(())
    }
}

/// Waits until `channel` is ready: see [`wait`].
fn ready(channel: &execnet::Channel, what: Ready) -> impl FnMut(Option<Duration>) -> bool + Send + use<> {
    let channel = channel.clone();
    move |slice| raw::until(&channel, what, until(slice)) != Err(ChannelError::TimedOut)
}

/// `None` if it was not in time.
fn in_time<T>(result: std::result::Result<T, ChannelError>) -> std::result::Result<Option<T>, ChannelError> {
    match result {
        Err(ChannelError::TimedOut) => Ok(None),
        result => result.map(Some),
    }
}

pub(crate) fn until(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}
