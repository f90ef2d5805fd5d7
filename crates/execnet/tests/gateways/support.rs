//! How the tests open gateways.

use std::sync::{Arc, Mutex};

use execnet::{Gateway, GatewayBuilder};
use execnet_testkit::{Interpreter, require};

/// Long enough for everything; tests wait this long only if something is wrong.
pub(crate) use execnet_testkit::PATIENCE;

/// The interpreters that gateways are tested with. Jython, which takes a second to start, has its own tests.
pub(crate) fn pythons() -> Vec<Interpreter> {
    require(&["2.7", "3.6", "3.11", "3.13", "pypy3"]).unwrap()
}

/// The interpreter that most tests use.
pub(crate) fn python() -> String {
    require(&["3.11"]).unwrap().first().map_or_else(|| "python3".into(), path)
}

pub(crate) fn path(interpreter: &Interpreter) -> String {
    interpreter.path.to_str().unwrap().to_owned()
}

/// A gateway whose output nobody sees.
pub(crate) fn quiet() -> GatewayBuilder {
    Gateway::popen().python(python()).on_output(|_, _| {}).timeout(execnet_testkit::PATIENCE)
}

pub(crate) fn open() -> Gateway {
    quiet().start().unwrap()
}

/// Collects printed lines.
#[derive(Clone, Default)]
pub(crate) struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    pub(crate) fn collector(&self) -> impl Fn(&str, &[u8]) + Send + Sync + 'static {
        let lines = self.0.clone();
        move |id, line| lines.lock().unwrap().push(format!("{id}: {}", String::from_utf8_lossy(line)))
    }

    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}
