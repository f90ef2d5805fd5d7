//! Any text is a host spec, a selection, a set or refused, and survives writing and reading.
#![no_main]

use execnet_proto::spec::sets::{NodeSet, fold};
use execnet_proto::spec::{HostSpec, NetworkName, NodeSelection, VersionRequirement};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(spec) = text.parse::<HostSpec>() {
        assert_eq!(spec.to_string().parse::<HostSpec>().as_ref(), Ok(&spec));
    }
    let _ = text.parse::<NetworkName>();
    if let Ok(requirement) = text.parse::<VersionRequirement>() {
        assert_eq!(requirement.to_string().parse::<VersionRequirement>().as_ref(), Ok(&requirement));
        let _ = requirement.matches(text);
    }
    if let Ok(names) = text.parse::<NodeSet>().and_then(|set| set.names()) {
        assert_eq!(fold(&names).count, names.len());
    }
    let mut selection = NodeSelection::default();
    for part in text.split('\n') {
        if let Some((key, value)) = part.split_once('=') {
            let _ = selection.set(key, value);
        }
    }
    let pairs = selection.to_pairs();
    let again = NodeSelection::from_pairs(pairs.iter().map(|(key, value)| (*key, value.as_str())));
    assert_eq!(again.as_ref(), Ok(&selection));
});
