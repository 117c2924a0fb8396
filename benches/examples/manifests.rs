//! Writes a cluster of 100,000 pods and 10,000 policies as manifests, which the agent's figures are measured with: `cargo
//! run --release -p palisade-benches --example manifests -- DIRECTORY [PODS [POLICIES]]`. The node is `node-0`.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use palisade_benches::{Shape, Universe, manifest};
use palisade_compiler::model::{Pod, Uid};
use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or("name a directory to write into")?;
    let mut number = |default| arguments.next().map_or(Ok(default), |text| text.parse::<usize>());
    let universe = Universe::new(number(100_000)?, number(10_000)?, Shape::Apps);
    let directory = Path::new(&directory);
    std::fs::create_dir_all(directory)?;
    let pods = (0..universe.pods).map(|i| manifest::pod(&with_uid(i, universe.pod(i)), &[]));
    write_list(&directory.join("pods.json"), pods)?;
    let spaces = (0..universe.namespaces).map(|n| manifest::namespace(&universe.namespace(n)));
    let policies = (0..universe.policies).map(|k| manifest::policy(&universe.policy(k)));
    write_list(&directory.join("policies.json"), spaces.chain(policies))?;
    Ok(())
}

fn write_list(path: &Path, items: impl Iterator<Item = Value>) -> Result<(), Box<dyn Error>> {
    let mut file = BufWriter::new(File::create(path)?);
    write!(file, r#"{{"apiVersion":"v1","kind":"List","items":["#)?;
    for (at, item) in items.enumerate() {
        file.write_all(if at == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut file, &item)?;
    }
    writeln!(file, "]}}")?;
    file.flush()?;
    Ok(())
}

/// The pod with a uid as an API server would give it: a unique UUID.
fn with_uid(i: usize, pod: Pod) -> Pod {
    let scattered = i.wrapping_mul(2_654_435_761) & 0xffff_ffff;
    let uid = format!("{scattered:08x}-7a3c-4f1e-9b2d-{i:012x}");
    Pod { uid: Some(Uid::from(uid.as_str())), ..pod }
}
