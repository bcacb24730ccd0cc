//! The short form of `attacks`: every bound holds.

use std::process::Command;

#[test]
fn every_attack_leaves_the_node_within_its_bounds() {
    let output = Command::new(env!("CARGO_BIN_EXE_attacks"))
        .arg("--short")
        .output()
        .expect("attacks can be run");
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "stdout: {stdout}\nstderr: {stderr}"
    );
    println!("{stdout}");
}
