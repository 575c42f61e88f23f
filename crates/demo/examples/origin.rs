//! Serves a directory on loopback until it is killed: `cargo run -p holdfast-demo --example origin -- DIR [PORT [STYLE]]`, where STYLE is
//! `nginx-json` (default), `nginx-html`, `apache-html` or `none`. Prints the URL.

use holdfast_demo::origin::{IndexStyle, Origin, OriginConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let root = args
        .next()
        .ok_or("usage: origin DIR [PORT [nginx-json|nginx-html|apache-html|none]]")?;
    let mut config = OriginConfig::new(root);
    if let Some(port) = args.next() {
        config.port = port.to_str().ok_or("the port is not a number")?.parse()?;
    }
    if let Some(style) = args.next() {
        config.index = match style.to_str() {
            Some("nginx-json") => IndexStyle::NginxJson,
            Some("nginx-html") => IndexStyle::NginxHtml,
            Some("apache-html") => IndexStyle::ApacheHtml,
            Some("none") => IndexStyle::Disabled,
            Some(_) | None => return Err("no such index style".into()),
        };
    }
    let origin = Origin::start(config)?;
    println!("{}", origin.url());
    loop {
        std::thread::park();
    }
}
