//! Embeds the files that are sent into a gateway's interpreter (remote/kernel): the stage and the compressed
//! bundle, as docs/kernel.md describes them.

#[path = "../../remote/tools/bundle.rs"]
mod bundle;

fn main() {
    let kernel = bundle::folder("kernel");
    let stage = bundle::text(&kernel, "stage.py");
    let stage: Vec<&str> = stage.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    bundle::write("stage.txt", bundle::quoted(&(stage.join("\n") + "\n")).as_bytes());
    bundle::write("kernel.bin", &bundle::bundle(&kernel));
}
