//! Properties of any text that people or hosts write.

use std::collections::BTreeSet;

use execnet_proto::spec::sets::{Groups, MAX_NAMES, MAX_TEXT, Member, NodeSet, Universe, fold};
use execnet_proto::spec::{HostSpec, NetworkName, NodeSelection, VersionRequirement};
use execnet_proto::text::{Segment, json, line, lines, one_line, segments};

/// The text in front of the first byte that is none.
pub(crate) fn text(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default(),
    }
}

/// Any text is a host spec, a selection or refused, and survives writing and reading.
pub(crate) fn specs(bytes: &[u8]) {
    let text = text(bytes);
    if let Ok(spec) = text.parse::<HostSpec>() {
        assert_eq!(spec.to_string().parse::<HostSpec>().as_ref(), Ok(&spec));
    }
    if let Ok(name) = text.parse::<NetworkName>() {
        assert_eq!(name.to_string(), text);
    }
    if let Ok(requirement) = text.parse::<VersionRequirement>() {
        assert_eq!(requirement.to_string().parse::<VersionRequirement>().as_ref(), Ok(&requirement));
        let _ = requirement.matches(text);
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
}

/// Any text is a set of bounded size or refused. Folding keeps a set as it is, and names alone and a network
/// of hosts with these names agree about it.
pub(crate) fn sets(bytes: &[u8]) {
    let text = text(bytes);
    let set = match text.parse::<NodeSet>() {
        Ok(set) => set,
        Err(error) => return is_shown(&error.to_string()),
    };
    assert_eq!(set.to_string().parse::<NodeSet>().as_ref(), Ok(&set));
    let names = match set.names() {
        Ok(names) => names,
        Err(error) => {
            is_shown(&error.to_string());
            assert!(set.is_all_but() || set.groups().next().is_some());
            return in_network(&set, None);
        }
    };
    assert!(names.len() <= MAX_NAMES && names.iter().all(|name| name.len() <= 256));
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    let folded = fold(&names);
    assert_eq!(folded.count, names.len());
    assert_eq!(fold(names.iter().rev()), folded);
    match folded.set.parse::<NodeSet>() {
        Ok(again) => assert_eq!(again.names().as_ref(), Ok(&names)),
        // a step has no shorter form
        Err(_) => assert!(names.is_empty() || folded.set.len() > MAX_TEXT),
    }
    in_network(&set, Some(&names));
}

/// A set stands for the same in a network of hosts that are called as its operands.
fn in_network(set: &NodeSet, names: Option<&[String]>) {
    let text = set.to_string();
    if text.contains(['@', ':']) {
        return;
    }
    let operands: Vec<&str> =
        text.split([',', '!', '&', '^']).filter(|name| !name.trim().is_empty()).collect();
    let all = operands.join(",").parse::<NodeSet>().and_then(|all| all.names()).unwrap();
    if all.len() > 300 {
        return;
    }
    let groups = Groups::default();
    let members = all.iter().map(|name| Member { id: name, nodes: vec![name], settled: true });
    let universe = Universe::new(members, &groups);
    let chosen: BTreeSet<&str> =
        universe.choose(Some(set)).map(|chosen| chosen.hosts().collect()).unwrap_or_default();
    if let Some(names) = names {
        assert_eq!(chosen, names.iter().map(String::as_str).collect());
    }
    if let Some(rest) = text.strip_prefix('!')
        && !rest.contains([',', '!', '&', '^'])
    {
        assert!(chosen.is_empty(), "all but all");
    }
}

/// Whatever a host writes, nothing of it can steer a terminal, and what is safe stays as it is.
pub(crate) fn shown(bytes: &[u8]) {
    let text = text(bytes);
    let kept: String = segments(text)
        .map(|segment| match segment {
            Segment::Shown(part) => part.to_owned(),
            Segment::Hidden(char) => char.into(),
        })
        .collect();
    assert_eq!(kept, text);
    let (one, several) = (line(text), lines(text));
    is_shown(&one);
    is_shown(&one_line(text));
    several.split(['\n', '\t']).for_each(is_shown);
    assert_eq!((&line(&one), &lines(&several)), (&one, &several));
    let ends = |text: &str| text.matches('\n').count();
    assert_eq!(ends(&several), ends(text));
    let quoted = json(&serde_json::to_string_pretty(&[text]).unwrap());
    quoted.split('\n').for_each(is_shown);
    assert_eq!(serde_json::from_str::<[String; 1]>(&quoted).unwrap(), [text]);
}

/// A message can be printed.
fn is_shown(message: &str) {
    assert!(segments(message).all(|segment| matches!(segment, Segment::Shown(_))), "{message:?}");
    let turns = ['\u{61c}', '\u{200e}', '\u{200f}', '\u{2028}', '\u{2029}', '\u{feff}'];
    let steers = |char: char| {
        char.is_control()
            || turns.contains(&char)
            || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{e0000}'..='\u{e007f}')
    };
    assert!(!message.contains(steers), "{message:?}");
}
