//! Gateways for Python: how they are started, and the handle of one.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use execnet::raw;
use execnet::spec::{HostSpec, join, time};
use execnet::text::line;
use execnet::value::{StrConfig, Writing};
use execnet::{
    ChannelError, Code, ExecModel, GatewayBuilder, JoinError, KeptName, KeptNameError, OpenError, Private,
};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{IntoPyDict, PyDict, PyList, PyTuple};

use crate::channel::{RawChannel, until};
use crate::encode::encode;
use crate::error::{DumpError, Failure, using};
use crate::network::{Network, Node, Outages, limit, quiet, selection_of};
use crate::packages::{Packages, Progress};
use crate::wait::{Coming, aside, deadline, wait};

/// How many lines wait for a program that takes them. Then printing blocks.
const LINES: usize = 1024;

/// The settings that every gateway has, wherever it runs.
#[pyclass(frozen, module = "execnet._native")]
pub(crate) struct Settings {
    id: String,
    execmodel: ExecModel,
    python: Option<Vec<String>>,
    chdir: Option<String>,
    nice: i32,
    patience: Option<Duration>,
    env: Vec<(String, String)>,
    dont_write_bytecode: bool,
    silent: bool,
    keeps_output: bool,
    give_up: Option<Duration>,
    packages: Option<Packages>,
    keep: Option<KeptName>,
    keep_for: Option<Duration>,
}

#[pymethods]
impl Settings {
    #[new]
    #[pyo3(signature = (
        *, id, execmodel, python, chdir, nice, patience, env, dont_write_bytecode, silent, keeps_output,
        give_up, packages, keep, keep_for
    ))]
    #[expect(clippy::too_many_arguments, reason = "they have names")]
    fn new(
        id: String,
        execmodel: &str,
        python: Option<Vec<String>>,
        chdir: Option<String>,
        nice: i32,
        patience: Option<&str>,
        env: &Bound<'_, PyDict>,
        dont_write_bytecode: bool,
        silent: bool,
        keeps_output: bool,
        give_up: Option<&str>,
        packages: Option<&Packages>,
        keep: Option<&str>,
        keep_for: Option<&str>,
    ) -> PyResult<Self> {
        let execmodel = match execmodel {
            "thread" => ExecModel::Thread,
            "main_thread_only" => ExecModel::MainThreadOnly,
            other => return Err(PyValueError::new_err(format!("unknown execmodel {other:?}"))),
        };
        let env = env.iter().map(|(name, value)| Ok((name.extract()?, value.extract()?)));
        let env = env.collect::<PyResult<_>>()?;
        let patience = patience.map(a_time).transpose()?;
        let give_up = give_up.map(|text| limit("give_up", text)).transpose()?;
        let keep_for = keep_for.map(|text| limit("keep_for", text)).transpose()?;
        if keep_for.is_some_and(|time| time < Duration::from_secs(1)) {
            return Err(PyValueError::new_err("keep_for= is less than a second"));
        }
        let keep = keep
            .map(str::parse)
            .transpose()
            .map_err(|error: KeptNameError| PyValueError::new_err(format!("keep={error}")))?;
        Ok(Self {
            id,
            execmodel,
            python,
            chdir,
            nice,
            patience,
            env,
            dont_write_bytecode,
            silent,
            keeps_output,
            give_up,
            packages: packages.cloned(),
            keep,
            keep_for,
        })
    }
}

impl Settings {
    /// `node_python`: the node was selected by its interpreter.
    fn follow(&self, mut builder: GatewayBuilder, node_python: bool) -> (GatewayBuilder, Option<Progress>) {
        builder = builder
            .id(&self.id)
            .execmodel(self.execmodel)
            .dont_write_bytecode(self.dont_write_bytecode)
            .silent(self.silent);
        if let Some(python) = self.python.as_ref().filter(|words| !node_python || words.len() > 1) {
            builder = builder.python_args(python);
        }
        if let Some(folder) = &self.chdir {
            builder = builder.chdir(folder);
        }
        if let Some(limit) = self.give_up {
            builder = builder.give_up(limit);
        }
        if let Some(name) = &self.keep {
            builder = builder.keep(name.clone());
        }
        if let Some(time) = self.keep_for {
            builder = builder.keep_for(time);
        }
        if self.nice != 0 {
            builder = builder.nice(self.nice);
        }
        if let Some(patience) = self.patience {
            builder = builder.timeout(patience);
        }
        builder = self.env.iter().fold(builder, |builder, (name, value)| builder.env(name, value));
        match &self.packages {
            None => (builder, None),
            Some(packages) => {
                let (builder, progress) = packages.follow(builder);
                (builder, Some(progress))
            }
        }
    }
}

/// Starts a gateway.
#[pyclass(frozen, module = "execnet._native")]
#[derive(Clone)]
pub(crate) struct Launcher {
    builder: GatewayBuilder,
    /// The command of a child of this program, if it is one.
    python: Vec<String>,
    network: Option<execnet::Network>,
    private: Option<Arc<Private>>,
    keeps_output: bool,
    /// It is new, and is kept.
    keeps: bool,
    /// Of its packages, if it has some.
    progress: Option<Progress>,
}

#[pymethods]
impl Launcher {
    /// As a child of this program.
    #[staticmethod]
    fn popen(python: &str, settings: &Settings) -> Self {
        Self::child(&[python.to_owned()], settings)
    }

    /// On a node of a network.
    #[staticmethod]
    fn on(network: &Network, selection: &Bound<'_, PyDict>, settings: &Settings) -> PyResult<Self> {
        let chosen = selection_of(selection)?;
        let network = network.open()?;
        Ok(Self::new(network.makegateway().selection(chosen), Some(network), settings))
    }

    /// What is kept under this name in a network.
    #[staticmethod]
    fn attach(network: &Network, name: &str, settings: &Settings) -> PyResult<Self> {
        let network = network.open()?;
        Ok(Self::new(network.attach(name).gateway(), Some(network), settings))
    }

    /// On a host that ssh reaches, from this machine or from where another gateway runs. `command` is the
    /// `execnet` command.
    #[staticmethod]
    #[pyo3(signature = (command, host, config, via, settings))]
    fn ssh(
        py: Python<'_>,
        command: PathBuf,
        host: &str,
        config: Option<String>,
        via: Option<&Gateway>,
        settings: &Settings,
    ) -> PyResult<Self> {
        let via = via.map(Gateway::private_host).transpose()?.flatten();
        let spec = host_spec(host, config, via, settings)?;
        let (private, host) = aside(py, move || {
            let private = Private::shared(&command)?;
            quiet(private.network());
            let host = private.join(&spec)?;
            Ok((private, host))
        })?
        .map_err(|error: JoinError| Failure::from(error))?;
        let (builder, progress) = settings.follow(private.network().makegateway().node(host), true);
        let network = Some(private.network().clone());
        let keeps_output = settings.keeps_output;
        let (python, private) = (Vec::new(), Some(private));
        Ok(Self { builder, python, network, private, keeps_output, keeps: false, progress })
    }

    /// Where another gateway runs.
    #[staticmethod]
    fn beside(gateway: &Gateway, settings: &Settings) -> Self {
        let mut start = match (&gateway.network, gateway.gateway.node()) {
            (Some(network), Some(node)) => {
                Self::new(network.makegateway().node(&node.name), Some(network.clone()), settings)
            }
            // not the executable that it reports: with `python=ssh …` that is a path on another machine
            _ => Self::child(&gateway.python, settings),
        };
        start.private = gateway.private.clone();
        start
    }

    /// The outages of its network, if nobody listens to them yet.
    fn outages(&self) -> Option<Outages> {
        raw::first_outages(self.network.as_ref()?).map(Outages::new)
    }

    /// The progress of its packages, if it has some. The caller ends it.
    fn progress(&self) -> Option<Progress> {
        self.progress.clone()
    }

    /// Opens the gateway, and waits until it is ready.
    fn open(&self, py: Python<'_>) -> PyResult<Gateway> {
        let started = self.clone();
        Ok(aside(py, move || started.start())?.map_err(Failure::from)?.claim())
    }
}

impl Launcher {
    fn new(builder: GatewayBuilder, network: Option<execnet::Network>, settings: &Settings) -> Self {
        let (builder, progress) = settings.follow(builder, false);
        let (python, keeps_output) = (Vec::new(), settings.keeps_output);
        Self {
            builder,
            python,
            network,
            private: None,
            keeps_output,
            keeps: settings.keep.is_some(),
            progress,
        }
    }

    /// As a child of this program, started with this command unless the settings have another.
    fn child(python: &[String], settings: &Settings) -> Self {
        let python = settings.python.clone().unwrap_or_else(|| python.to_vec());
        let builder = execnet::Gateway::popen().python_args(python.clone());
        Self { python, ..Self::new(builder, None, settings) }
    }

    fn start(self) -> Result<Unclaimed, OpenError> {
        let (builder, opened) = self.prepare();
        Ok(opened(builder.start()?))
    }

    /// The builder, and what to make of the opened gateway.
    fn prepare(self) -> (GatewayBuilder, impl FnOnce(execnet::Gateway) -> Unclaimed) {
        let Self { builder, python, network, private, keeps_output, keeps, .. } = self;
        let (lines_tx, lines) = sync_channel(LINES);
        let builder = if keeps_output { keep_output(builder, lines_tx) } else { builder };
        let lines = Coming::new(move |timeout| lines.recv_timeout(timeout));
        (builder, move |gateway| {
            let end = EndUnclaimed(keeps.then(|| gateway.clone()));
            Unclaimed { gateway: Gateway { gateway, python, network, private, lines }, end }
        })
    }
}

/// An opened gateway that nobody has yet.
struct Unclaimed {
    gateway: Gateway,
    end: EndUnclaimed,
}

impl Unclaimed {
    fn claim(self) -> Gateway {
        let Self { gateway, mut end } = self;
        end.0 = None;
        gateway
    }
}

/// Ends a kept gateway that nobody was given, because a signal came just then: it would stay.
struct EndUnclaimed(Option<execnet::Gateway>);

impl Drop for EndUnclaimed {
    fn drop(&mut self) {
        if let Some(gateway) = self.0.take() {
            let _ = gateway.kill();
        }
    }
}

fn keep_output(builder: GatewayBuilder, lines: SyncSender<String>) -> GatewayBuilder {
    // if this fails, nobody wants lines any more
    builder.on_output(move |_, line| drop(lines.send(String::from_utf8_lossy(line).into_owned())))
}

/// A gateway.
#[pyclass(frozen, module = "execnet._native")]
pub(crate) struct Gateway {
    gateway: execnet::Gateway,
    /// Its command, if it is a child of this program.
    python: Vec<String>,
    network: Option<execnet::Network>,
    /// Keeps the program's private network alive, if the gateway is on it.
    private: Option<Arc<Private>>,
    /// The lines printed there.
    lines: Arc<Coming<String>>,
}

#[pymethods]
impl Gateway {
    /// The node it runs on, and whether that is reachable now or its processes are lost; none for a child of
    /// this program.
    #[getter]
    fn node(&self) -> Option<Node> {
        let state = match self.gateway.join_timeout(Duration::ZERO) {
            // or left behind
            Ok(death) if death.status.is_none() => "lost",
            _ if self.gateway.unreachable().is_some() => "unreachable",
            _ => "ready",
        };
        self.gateway.node().map(|node| Node::seen(node, state))
    }

    /// Executes code.
    fn remote_exec(
        &self,
        kind: &str,
        source: String,
        filename: Option<String>,
        name: Option<String>,
        channel: Option<String>,
        kwargs: &Bound<'_, PyDict>,
    ) -> PyResult<RawChannel> {
        let mut code = match (kind, name) {
            ("function", Some(name)) => {
                let kwargs = encode(kwargs, Writing::default())?;
                if kwargs.is_escaped() {
                    return Err(DumpError::new_err(
                        "channels cannot be arguments of functions: send them afterwards",
                    ));
                }
                raw::written_function(source, name, kwargs)
            }
            ("module", _) => Code::module(source, filename.clone().unwrap_or_default()),
            _ => Code::source(source),
        };
        if let Some(filename) = filename {
            code = code.filename(filename);
        }
        if let Some(name) = channel {
            code = code.channel(name);
        }
        Ok(RawChannel::new(self.gateway.remote_exec(code).map_err(using(&self.gateway))?))
    }

    /// A channel to code that receives a copy.
    fn copy_receiver(&self) -> PyResult<RawChannel> {
        Ok(RawChannel::new(execnet::copy::receiver(&self.gateway).map_err(using(&self.gateway))?))
    }

    /// The channel of this name, if it is kept.
    fn channel(&self, py: Python<'_>, name: String) -> PyResult<RawChannel> {
        let gateway = self.gateway.clone();
        let channel = aside(py, move || gateway.channel(&name))?.map_err(using(&self.gateway))?;
        Ok(RawChannel::new(channel))
    }

    /// A channel that is not connected to any code yet.
    fn newchannel(&self) -> PyResult<RawChannel> {
        Ok(RawChannel::new(self.gateway.new_channel().map_err(using(&self.gateway))?))
    }

    /// What the kernel is doing.
    fn status<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let gateway = self.gateway.clone();
        let status = aside(py, move || gateway.remote_status())?.map_err(using(&self.gateway))?;
        let facts = PyDict::new(py);
        facts.set_item("numchannels", status.numchannels)?;
        facts.set_item("numexecuting", status.numexecuting)?;
        facts.set_item("execqsize", status.execqsize)?;
        facts.set_item("execmodel", status.execmodel)?;
        Ok(facts)
    }

    /// What the interpreter reported at its start.
    fn rinfo<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        use execnet::value::Value;
        let info = self.gateway.info();
        let version = info.version_info.iter().map(|part| match part {
            Value::Int(number) => Ok(number.into_pyobject(py)?.into_any()),
            other => Ok(other.as_str().unwrap_or_default().into_pyobject(py)?.into_any()),
        });
        let version = version.collect::<PyResult<Vec<_>>>()?;
        let facts = PyDict::new(py);
        facts.set_item("executable", &info.executable)?;
        facts.set_item("version_info", PyTuple::new(py, version)?)?;
        facts.set_item("platform", &info.platform)?;
        facts.set_item("cwd", &info.cwd)?;
        facts.set_item("pid", info.pid)?;
        Ok(facts)
    }

    /// What it has brought along: its folders and variables there, if it was asked to.
    fn packages<'py>(&self, py: Python<'py>) -> PyResult<Option<(Vec<String>, Bound<'py, PyDict>)>> {
        let Some(packages) = self.gateway.packages() else { return Ok(None) };
        let environment = packages.environment.iter().into_py_dict(py)?;
        Ok(Some((packages.folders.clone(), environment)))
    }

    fn reconfigure(&self, py2str_as_py3str: bool, py3str_as_py2str: bool) -> PyResult<()> {
        let strconfig = StrConfig::new(py2str_as_py3str, py3str_as_py2str);
        Ok(self.gateway.reconfigure(strconfig).map_err(using(&self.gateway))?)
    }

    /// Whether its end has not been noticed yet.
    fn is_alive(&self) -> bool {
        self.gateway.is_alive()
    }

    /// Tells the interpreter to end.
    fn exit(&self) -> PyResult<()> {
        Ok(self.gateway.exit().map_err(using(&self.gateway))?)
    }

    /// Whether its interpreter stays when this program leaves.
    fn is_kept(&self) -> bool {
        self.gateway.is_kept()
    }

    /// Leaves an interpreter that is kept, and waits until it has all that was sent.
    fn detach(&self, py: Python<'_>) -> PyResult<()> {
        let gateway = self.gateway.clone();
        Ok(aside(py, move || gateway.detach())?.map_err(using(&self.gateway))?)
    }

    /// Leaves an interpreter that is kept. `join` waits until it is left.
    fn leave(&self) -> PyResult<()> {
        Ok(raw::leave(&self.gateway).map_err(using(&self.gateway))?)
    }

    /// Raises KeyboardInterrupt in what the main thread executes there.
    fn interrupt(&self) -> PyResult<()> {
        Ok(self.gateway.interrupt().map_err(using(&self.gateway))?)
    }

    /// Kills the interpreter.
    fn kill(&self) -> PyResult<()> {
        Ok(self.gateway.kill().map_err(using(&self.gateway))?)
    }

    /// Waits for its end; false if it did not end in time.
    #[pyo3(signature = (timeout = None))]
    fn join(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        let ready = || {
            let gateway = self.gateway.clone();
            move |slice| raw::join(&gateway, until(slice)) != Err(ChannelError::TimedOut)
        };
        let ended =
            wait(py, deadline(timeout), ready, |slice| match raw::join(&self.gateway, until(slice)) {
                Err(ChannelError::TimedOut) => Ok(None),
                ended => ended.map(Some).map_err(using(&self.gateway)),
            })?;
        Ok(ended.is_some())
    }

    /// The next line printed there; none after the last one.
    fn next_line(&self, py: Python<'_>) -> PyResult<Option<String>> {
        Ok(self.lines.next(py)?)
    }
}

impl Gateway {
    /// The host of the program's private network that it is on; none if it is on this machine.
    fn private_host(&self) -> PyResult<Option<String>> {
        match (&self.private, self.gateway.node()) {
            (Some(_), Some(node)) => Ok(Some(node.host.clone())),
            (None, None) => Ok(None),
            _ => Err(PyValueError::new_err(
                "via= a gateway of a network cannot lead to another host: \
                 `execnet addhost` adds hosts to a network",
            )),
        }
    }
}

/// The host to reach. Without `python=`, its first Python is used.
fn host_spec(
    host: &str,
    config: Option<String>,
    via: Option<String>,
    settings: &Settings,
) -> PyResult<HostSpec> {
    let spec = HostSpec::by_ssh(host)
        .map_err(|error| PyValueError::new_err(line(&format!("ssh={host}: {error}")).into_owned()))?;
    // the host's own Python starts a command of several words
    let python = settings.python.as_deref();
    let python = python.and_then(|words| if let [word] = words { Some(join(&[word])) } else { None });
    Ok(HostSpec { ssh_config: config, patience: settings.patience, via, python, ..spec })
}

/// The value of `patience=`.
fn a_time(text: &str) -> PyResult<Duration> {
    let time = time(text).filter(|time| !time.is_zero());
    let wrong = || format!("patience={}: not a time like `90`, `90s`, `2m` or `1h`", line(text));
    time.ok_or_else(|| PyValueError::new_err(wrong()))
}

/// Starts several gateways in parallel: all, or none.
#[pyfunction]
pub(crate) fn start_all(py: Python<'_>, launchers: &Bound<'_, PyList>) -> PyResult<Vec<Gateway>> {
    let launchers = launchers.iter().map(|launcher| Ok(launcher.cast::<Launcher>()?.get().clone()));
    let launchers = launchers.collect::<PyResult<_>>()?;
    let opened = aside(py, move || open_all(launchers))?;
    Ok(opened.map_err(Failure::from)?.into_iter().map(Unclaimed::claim).collect())
}

fn open_all(launchers: Vec<Launcher>) -> Result<Vec<Unclaimed>, OpenError> {
    let (builders, opened): (Vec<_>, Vec<_>) = launchers.into_iter().map(Launcher::prepare).unzip();
    let gateways = GatewayBuilder::start_all(builders)?;
    Ok(opened.into_iter().zip(gateways).map(|(opened, gateway)| opened(gateway)).collect())
}
