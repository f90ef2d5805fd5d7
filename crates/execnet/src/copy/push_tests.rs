//! A hostile host that files are sent to.

use std::fs;

use super::super::Quiet;
use super::*;

/// What a host gets that says `lies` in answer to its first batch, and how that ends for us.
fn told(lies: &str) -> (Vec<String>, CopyError) {
    let source = tempfile::tempdir().unwrap();
    fs::create_dir(source.path().join("a folder")).unwrap();
    fs::write(source.path().join("file"), "public").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", source.path().join("link")).unwrap();
    let listing = Listing::of(&[source.path().join("")]).unwrap();
    let gateway = Gateway::popen().on_output(|_, _| {}).timeout(execnet_testkit::PATIENCE).start().unwrap();
    let got = gateway.new_channel().unwrap();
    let code = format!(
        "got = channel.receive()\nchannel.receive()\nchannel.send({{'open': (b'/', None)}})\n\
         for said in [{lies}]: channel.send(said)\n\
         for what, about in channel:\n    if what == 'data': got.send(repr(about))\n\
         got.close()"
    );
    let channel = gateway.remote_exec(Code::source(code)).unwrap();
    channel.send(crate::value::Value::Channel(got.clone())).unwrap();
    let blocks = Blocks::default();
    let options = Options::default();
    let push = Push { line: Line(&channel), listing: &listing, blocks: &blocks, options, observer: &Quiet };
    let error = push.run(b"/x").unwrap_err();
    channel.close().unwrap();
    let got = got.iter::<String>().map(Result::unwrap).collect();
    (got, error)
}

#[test]
fn a_host_gets_only_what_it_was_offered() {
    // the entries are a folder, a file and a link
    for lies in [
        "{'need': ([(0, None, False)], [], [])}",
        "{'need': ([(2, None, False)], [], [])}",
        "{'need': ([(3, None, False)], [], [])}",
        "{'need': ([(4000000000, None, False)], [], [])}",
        "{'need': ([(-1, None, False)], [], [])}",
        "{'need': ([('/etc/passwd', None, False)], [], [])}",
        "{'need': (7, [], [])}",
        "{'end': ([], [], 0)}",
        "{'open': (b'/', None)}",
        "{'else': 1}",
        "7",
    ] {
        let (got, error) = told(lies);
        assert!(matches!(error, CopyError::Refused(_)), "{lies}: {error:?}");
        assert_eq!(got, [""; 0], "{lies}");
    }
    // each file once
    let (got, error) = told("{'need': ([(1, None, False), (1, None, False)], [], [])}");
    assert!(matches!(error, CopyError::Refused(_)), "{error:?}");
    assert_eq!(got, [""; 0]);
    let (_, error) = told("{'over': 'no\x1b[2J more'}");
    assert_eq!(error.to_string(), r"no\x1b[2J more");
}
