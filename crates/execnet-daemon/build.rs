//! Embeds what is sent to hosts (remote/agent): the script, stage 1 and the compressed bundle, as
//! docs/bootstrap.md describes them.

#[path = "../../remote/tools/bundle.rs"]
mod bundle;

use bundle::{text, write};

fn main() {
    let agent = bundle::folder("agent");
    let stage1 = stage1(&text(&agent, "stage1.py"));
    let boot = boot(&text(&agent, "boot.py")).replace("LENGTH", &stage1.len().to_string());
    let script = script(&text(&agent, "boot.sh"), &boot);
    write("boot.txt", boot.as_bytes());
    write("script.txt", script.as_bytes());
    write("stage1.txt", stage1.as_bytes());
    write("bundle.bin", &bundle::bundle(&agent));
}

/// One line of POSIX sh that can stand between single quotes in any login shell.
fn script(source: &str, boot: &str) -> String {
    let lines: Vec<&str> =
        source.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let script = lines.join(" ").replace("@BOOT@", boot);
    let without_history = script.replace("! ", "");
    assert!(!without_history.contains(['\'', '!', '\n', '\\']), "boot.sh cannot be quoted for every shell");
    assert!(script.contains("@CANDIDATES@"), "boot.sh has no place for the candidates");
    script
}

/// One line of Python: statements that stand on a line each.
fn boot(source: &str) -> String {
    let lines: Vec<&str> = source.lines().filter(|line| !line.starts_with('#')).collect();
    lines.join(";")
}

/// One line of Python that executes the source.
fn stage1(source: &str) -> String {
    let lines: Vec<&str> = source.lines().filter(|line| !line.starts_with('#')).collect();
    format!("exec({})\n", bundle::quoted(&(lines.join("\n") + "\n")))
}
