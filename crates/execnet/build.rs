//! Embeds what is sent into a gateway's interpreter (remote/kernel): the stage and the compressed bundle, as docs/kernel.md has them.

#[path = "../../remote/tools/bundle.rs"]
mod bundle;

fn main() {
    let kernel = bundle::folder("kernel");
    bundle::write("stage.txt", bundle::text(&kernel, "stage.py").trim().as_bytes());
    bundle::write("kernel.bin", &bundle::bundle(&kernel));
}
